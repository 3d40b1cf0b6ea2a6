"""Showing how far a run is: a bar for people, a log line for machines."""

from __future__ import annotations

import logging
import sys
from typing import Any, Callable, Protocol

from .engine.clock import Clock, monotonic
from .stats import Report
from .values.errors import ConfigError

logger = logging.getLogger("deluge_sync.progress")

STYLES = ("auto", "bar", "log", "none")

LOG_SECONDS = 30.0
BAR_SECONDS = 0.1


class Display(Protocol):
    """Shows numbers; never raises into the run it shows."""

    def show(self, report: Report, total: int | None, status: str) -> None:
        """Show `report`; `status` says what is under way and what limits it."""

    def close(self) -> None:
        """Leave the last state standing."""


class Progress:
    """Looks at the numbers now and then, and hands them to a display.

    `total` may be None (not known). `numbers` gives the report, `status` a few words on what is
    under way. `tick` is cheap and may be called as often as one likes, from any thread: should two
    be due in the same moment, the numbers are shown twice.
    """

    def __init__(
        self,
        style: str,
        *,
        name: str,
        total: int | None,
        numbers: Callable[[], Report],
        status: Callable[[], str],
        clock: Clock = monotonic,
    ) -> None:
        self.total = total
        self._numbers = numbers
        self._status = status
        self._clock = clock
        self._display, self._seconds = _display(style, name)
        self._next = clock() + self._seconds

    def tick(self) -> None:
        """Show the numbers if it is time to."""
        now = self._clock()
        display = self._display
        if display is not None and now >= self._next:
            self._next = now + self._seconds
            display.show(self._numbers(), self.total, self._status())

    def close(self) -> None:
        """Show the last numbers and end."""
        display, self._display = self._display, None
        if display is not None:
            display.show(self._numbers(), self.total, "")
            display.close()


class _Bar:
    """tqdm on stderr."""

    def __init__(self, name: str) -> None:
        # Only where a bar is shown: tqdm is slow to import, and most runs have no terminal.
        from tqdm.auto import tqdm

        class QuietBar(tqdm):  # type: ignore[type-arg]
            """A bar without tqdm's monitor thread: we refresh often enough, and may fork."""

            monitor_interval = 0

        self._bar: Any = QuietBar(desc=name, unit="call", file=sys.stderr, dynamic_ncols=True)

    def show(self, report: Report, total: int | None, status: str) -> None:
        self._bar.total = total
        self._bar.n = report.prompts
        tokens = report.input_tokens + report.output_tokens
        spent = [f"{tokens:,} tokens", f"${report.cost:.4f}"] if tokens else []
        words = [*spent, status]
        if report.failed:
            words.insert(0, f"{report.failed} failed")
        self._bar.set_postfix_str(", ".join(word for word in words if word), refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _Log:
    """One line every `LOG_SECONDS`; a run shorter than that says nothing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def show(self, report: Report, total: int | None, status: str) -> None:
        if report.seconds < LOG_SECONDS:
            return
        logger.info(
            "%s: %d of %s done, %d failed, %.1f a second, %d tokens, $%.4f%s",
            self._name,
            report.prompts,
            "?" if total is None else total,
            report.failed,
            report.prompts / report.seconds if report.seconds else 0.0,
            report.input_tokens + report.output_tokens,
            report.cost,
            f", {status}" if status else "",
        )

    def close(self) -> None:
        pass


def resolved(style: str) -> str:
    """What `style` comes to here: "bar", "log" or "none"; `ConfigError` for one there is not."""
    if style not in STYLES:
        raise ConfigError(f"progress must be one of {', '.join(STYLES)}, not {style!r}")
    if style == "auto":
        return "bar" if _watched() else "log"
    return style


def _display(style: str, name: str) -> tuple[Display | None, float]:
    style = resolved(style)
    if style == "bar":
        return _Bar(name), BAR_SECONDS
    if style == "log":
        return _Log(name), LOG_SECONDS
    return None, LOG_SECONDS


def _watched() -> bool:
    """Whether somebody looks at stderr: a terminal or a notebook."""
    shell = sys.modules.get("IPython")
    if shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell":
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stderr (pythonw), or it is closed
        return False
