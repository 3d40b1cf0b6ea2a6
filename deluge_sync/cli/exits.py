"""What the exit codes mean."""

ANSWERED = 0
FAILED = 1
USAGE = 2
CONFIGURATION = 3
NOT_DONE = 4
RUNNING = 75  # sysexits.h's "try again later"; BSD's lockf(1) says it too
INTERRUPTED = 130
TERMINATED = 143


class UsageError(Exception):
    """The command line, or a file it names, cannot be used."""


class RunningError(Exception):
    """Another run is writing the output."""
