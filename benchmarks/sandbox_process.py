"""The sandbox in a process of its own, so that it does not share the GIL with what is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any

from common import ROOT

SERVE = """
import json, sys
from deluge_sync.testing import Fault, serve
settings = json.loads(sys.argv[1])
faults = {Fault(**fault): chance for fault, chance in settings.pop("faults", ())}
serve(ready=lambda url: print(url, flush=True), faults=faults, **settings)
"""


class SandboxProcess:
    """`Sandbox(**settings)` elsewhere while the `with` block runs.

    Settings must be JSON; `faults` is a list of (the fields of a `Fault`, its chance).
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self.base_url = ""

    def __enter__(self) -> SandboxProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, json.dumps(self._settings)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        self._process.wait(10)

    def stats(self) -> dict[str, Any]:
        """Requests, and counts by status and fault."""
        return dict(self._page("stats"))

    def journal(self) -> list[dict[str, Any]]:
        """What arrived, in order."""
        return list(self._page("journal"))

    def _page(self, name: str) -> Any:
        url = self.base_url[: -len("/v1")] + "/_sandbox/" + name
        with urllib.request.urlopen(url, timeout=60) as reply:
            return json.load(reply)
