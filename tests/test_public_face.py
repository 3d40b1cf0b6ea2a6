"""What users import."""

from __future__ import annotations

import subprocess
import sys

import deluge_sync


def test_the_face_is_one_sorted_list_of_names_that_exist() -> None:
    assert deluge_sync.__all__ == sorted(deluge_sync.__all__)
    assert all(hasattr(deluge_sync, name) for name in deluge_sync.__all__)


def test_nothing_public_is_missing_from_the_list() -> None:
    assert dir(deluge_sync) == deluge_sync.__all__


def test_importing_loads_no_slow_library_and_starts_no_thread() -> None:
    script = (
        "import sys, threading\n"
        "from deluge_sync import Client\n"
        "slow = {'requests', 'urllib3', 'diskcache', 'yaml', 'tqdm', 'httptools', 'ssl'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_pytest_plugin_loads_no_more_than_itself() -> None:
    script = (
        "import sys, deluge_sync.testing.pytest_plugin\n"
        "loaded = {name for name in sys.modules if name.startswith('deluge_sync')}\n"
        "assert not [name for name in loaded if 'client' in name or 'sandbox' in name], loaded\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
