"""Engines `scan` and `scan-log`: all time steps at once, for cells that are linear in their
state.
"""
