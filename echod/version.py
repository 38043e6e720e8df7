"""The one place that knows which version this is; packaging reads it as text."""

VERSION = "0.1.0"
