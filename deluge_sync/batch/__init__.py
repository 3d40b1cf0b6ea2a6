"""Jobs that the provider answers in its own time, and that outlive the process."""
