"""Threads, forks, exits, faults and kills, for real: `pytest tests/stress`."""
