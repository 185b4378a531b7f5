"""Engines `scan` and `scan-log`: all time steps at once, for cells linear in their state."""
