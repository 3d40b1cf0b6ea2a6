"""Small things that several tests use."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from deluge_sync import Client
from deluge_sync.cli import main
from deluge_sync.testing import Sandbox

ROOT = Path(__file__).parent.parent
UNLIMITED = 1e9


def interruptible() -> None:
    """For `preexec_fn`: Ctrl-C works in the child, even where a shell switched it off for us."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(sandbox: Sandbox, script: str) -> subprocess.Popen[str]:
    """A Python of its own that runs `script`, with the address of `sandbox` as `sys.argv[1]`."""
    return subprocess.Popen(
        [sys.executable, "-c", script, sandbox.base_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=interruptible,
    )


def deluge_here(
    *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `deluge-sync` in this process, far quicker than as a program; leaves nothing changed."""
    logger, terminated = logging.getLogger("deluge_sync"), signal.getsignal(signal.SIGTERM)
    handlers, level = logger.handlers[:], logger.level
    streams = [io.TextIOWrapper(io.BytesIO(data), "utf-8") for data in (stdin.encode(), b"", b"")]
    names = ("stdin", "stdout", "stderr")
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment))
        stack.enter_context(mock.patch.object(warnings, "showwarning", warnings.showwarning))
        for name, stream in zip(names, streams):
            stack.enter_context(mock.patch.object(sys, name, stream))
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            logger.handlers[:], logger.level = handlers, level
            signal.signal(signal.SIGTERM, terminated)
    told = [_written(stream) for stream in streams[1:]]
    return subprocess.CompletedProcess(arguments, code, *told)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def client_for(sandbox: Sandbox, model: str = "gpt-4.1-mini", **options: Any) -> Client:
    """A client of `sandbox` without limits that matter."""
    url = {"claude": sandbox.anthropic_url, "gemini": sandbox.gemini_url}
    options.setdefault("max_requests_per_minute", UNLIMITED)
    options.setdefault("max_tokens_per_minute", UNLIMITED)
    options.setdefault("max_concurrent_requests", 16)
    base_url = url.get(model.split("-")[0], sandbox.base_url)
    return Client(model, base_url=base_url, api_key="sk-secret-key", progress="none", **options)
