"""uPlot 1.6.32 (MIT, https://github.com/leeoniya/uPlot): charts of the status page and of `--plot FILE.html`."""
