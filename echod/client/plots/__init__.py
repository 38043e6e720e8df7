"""Plots of a measurement: as a picture, as a page and in the terminal."""
