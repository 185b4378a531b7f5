"""Intervals, tests, corrections and verdicts over paired differences; power and sample sizes.

Pure functions.
"""
