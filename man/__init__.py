"""The manual pages, made of the pages in docs/: `python -m man DIRECTORY` writes them."""
