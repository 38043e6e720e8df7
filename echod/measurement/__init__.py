"""Packets, timestamps and clocks of measurement protocols."""
