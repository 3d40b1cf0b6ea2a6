"""Every call ends at its deadline with a typed error, and Ctrl-C gives the prompt back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from common import ROOT, Claim, arguments, client_of, report, say, table, wait_until
from sandbox_process import SandboxProcess

from deluge_sync import DelugeError

CALLS = 500
GRACE = 0.25
TIMEOUT = 2.0

SCENES: dict[str, tuple[dict[str, Any], int]] = {
    "black hole": ({"kind": "black_hole"}, CALLS),
    "dripping body": ({"kind": "drip"}, CALLS),
    "dripping head": ({"kind": "slow_headers", "size": 1}, CALLS),
    "429 for ever": ({"kind": "429"}, CALLS),
    "500 for ever": ({"kind": "500"}, CALLS),
    "429 with Retry-After: 60": ({"kind": "429", "retry_after": 60}, CALLS),
    "a queue of 500 for 8 workers": ({"kind": "black_hole"}, 8),
}
"""The fault of every answer, and how many calls may be in flight."""


def scene(fault: dict[str, Any], workers: int) -> tuple[list[float], Counter[str]]:
    """Seconds by which each call outlived its deadline, and the errors by type."""
    late: list[float] = []
    futures: list[Future[Any]] = []
    with SandboxProcess(keep_bodies=False, faults=[(fault, 1)]) as server:
        client = client_of(server.base_url, workers)
        for number in range(CALLS):
            due = time.monotonic() + TIMEOUT
            future = client.submit(f"Prompt {number} " + "x" * 400, timeout=TIMEOUT)
            future.add_done_callback(lambda _, due=due: late.append(time.monotonic() - due))
            futures.append(future)
        errors = [future.exception(60) for future in futures]
        wait_until(lambda: len(late) == CALLS, 5)
        client.close()
    return late, Counter(
        type(error).__name__ if isinstance(error, DelugeError) else f"untyped {error!r}"
        for error in errors
    )


def interrupt() -> tuple[float, int]:
    """Seconds from Ctrl-C until `deluge-sync map` has ended, and its exit code."""
    # A shell's background jobs ignore Ctrl-C, and hand that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        SandboxProcess(faults=[({"kind": "black_hole"}, 1)]) as server,
        tempfile.TemporaryDirectory() as home,
    ):
        prompts = Path(home, "prompts.txt")
        prompts.write_text("".join(f"Prompt {number}\n" for number in range(1000)))
        flags = (
            f"--base-url {server.base_url} --model gpt-4.1-mini --concurrency 256 "
            "--max-requests-per-minute 1000000 --max-tokens-per-minute 1000000000"
        )
        command = [sys.executable, "-m", "deluge_sync", "map", str(prompts), *flags.split()]
        command += ["-o", str(Path(home, "out.jsonl"))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "benchmark"}
        process = subprocess.Popen(
            command,
            env=environment,
            # A shell may have started us with Ctrl-C switched off.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            wait_until(lambda: server.stats()["requests"] >= 256, 30)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            code = process.wait(30)
            return time.monotonic() - start, code
        finally:
            process.kill()


def main() -> None:
    options = arguments(__doc__).parse_args()
    claims, rows = [], []
    for title, (fault, workers) in SCENES.items():
        say(title)
        late, errors = scene(fault, workers)
        in_time = sum(seconds <= GRACE for seconds in late)
        typed = not any(name.startswith("untyped") for name in errors)
        claims.append(
            Claim(
                title,
                f"{CALLS} within deadline + {GRACE} s",
                f"{in_time}, the last {max(late):+.3f} s",
                in_time == CALLS and typed,
            )
        )
        rows.append([title, ", ".join(f"{count} {name}" for name, count in errors.items())])
    seconds, code = interrupt()
    claims.append(
        Claim(
            "Ctrl-C with 256 calls in a black hole",
            "< 1 s, exit code 130",
            f"{seconds:.2f} s, exit code {code}",
            seconds < 1 and code == 130,
        )
    )
    title = f"Deadlines: {CALLS} calls of {TIMEOUT:g} s each, submitted at once"
    report(title, claims, table(["scene", "errors"], rows), options.json)


if __name__ == "__main__":
    main()
