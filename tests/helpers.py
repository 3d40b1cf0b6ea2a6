"""Small things that several tests use."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from deluge_sync import Client
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


def client_for(sandbox: Sandbox, model: str = "gpt-4.1-mini", **options: Any) -> Client:
    """A client of `sandbox` without limits that matter."""
    url = {"claude": sandbox.anthropic_url, "gemini": sandbox.gemini_url}
    options.setdefault("max_requests_per_minute", UNLIMITED)
    options.setdefault("max_tokens_per_minute", UNLIMITED)
    options.setdefault("max_concurrent_requests", 16)
    base_url = url.get(model.split("-")[0], sandbox.base_url)
    return Client(model, base_url=base_url, api_key="sk-secret-key", progress="none", **options)
