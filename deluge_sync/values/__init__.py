"""Frozen, picklable values with no I/O: what every other folder speaks in."""
