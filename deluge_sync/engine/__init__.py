"""Limits, retries, transport and threads. Nothing here knows a vendor or what a prompt is."""
