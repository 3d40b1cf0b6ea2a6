"""What users import."""

from __future__ import annotations

import subprocess
import sys

import deluge_sync


def test_the_face_is_one_sorted_list_of_names_that_exist() -> None:
    assert deluge_sync.__all__ == sorted(deluge_sync.__all__)
    assert all(hasattr(deluge_sync, name) for name in deluge_sync.__all__)


def test_nothing_public_is_missing_from_the_list() -> None:
    modules = {"adapters", "call", "catalog", "client", "engine", "launch", "progress", "routes",
               "run", "settings", "stats", "values", "testing", "local", "cli"}  # fmt: skip
    visible = {name for name in vars(deluge_sync) if name.isidentifier() and name[0] != "_"}
    assert visible - modules - {"annotations", "logging"} <= set(deluge_sync.__all__)


def test_importing_loads_no_slow_library_and_starts_no_thread() -> None:
    script = (
        "import sys, threading, deluge_sync\n"
        "slow = {'requests', 'urllib3', 'diskcache', 'yaml', 'tqdm', 'httptools', 'ssl'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
