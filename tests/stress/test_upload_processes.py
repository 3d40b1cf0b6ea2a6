"""One upload for all processes that begin at once with the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deluge_sync.testing import Sandbox

PROCESSES = 6

UPLOAD = """
import sys
from deluge_sync import Client
url, cache = sys.argv[1:3]
client = Client("gpt-4.1-mini", base_url=url, api_key="sk-secret-key", cache=cache, progress="none")
print("ready", flush=True)
sys.stdin.readline()
print(client.upload_file(b"%PDF-1.7 " + bytes(1_000_000), name="a.pdf").file_id)
"""


def test_processes_with_the_same_file_upload_it_once(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        command = [sys.executable, "-c", UPLOAD, sandbox.base_url, str(tmp_path / "cache")]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        ids = {process.communicate(timeout=60)[0].strip() for process in processes}
        assert ids == {sandbox.files[0].id}
        assert len(sandbox.files) == 1
