"""uPlot 1.6.32 (MIT, https://github.com/leeoniya/uPlot): charts of `echoctl --plot FILE.html`."""
