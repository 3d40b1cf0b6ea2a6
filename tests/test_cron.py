"""Runs from cron: one at a time, and silent when all went well."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deluge_sync.testing import Fault, Sandbox

from .helpers import deluge_here as deluge

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/cron.md").read_text(encoding="utf-8")
HOLD = """
import os, sys
from deluge_sync.journal import LOCK_BYTE
from deluge_sync.stores.file_lock import lock
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
assert lock(file, at=LOCK_BYTE)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_run(path: Path) -> Iterator[None]:
    """Another process holds the output at `path`."""
    words = [sys.executable, "-c", HOLD, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.communicate()


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_second_run_says_so_in_one_line_or_is_skipped(
    sandbox: Sandbox, tmp_path: Path, resume: list[str]
) -> None:
    target = tmp_path / "out.jsonl"
    words = ["map", "-", "-o", str(target), "-m", "sandbox/echo", "--base-url", sandbox.base_url]
    with another_run(target):
        second = deluge(*words, *resume, stdin="hello\n")
        skipped = deluge("-q", *words, *resume, "--skip-if-running", stdin="hello\n")
    assert second.returncode == 75
    assert second.stderr == f"deluge-sync: {target} is being written by another run\n"
    assert (skipped.returncode, skipped.stdout, skipped.stderr) == (0, "", "")
    assert sandbox.requests == 0
    assert deluge(*words, *resume, stdin="hello\n").returncode == 0


def test_skipping_needs_an_output() -> None:
    done = deluge("map", "-", "-m", "sandbox/echo", "--skip-if-running", stdin="hello\n")
    assert done.returncode == 2


def test_quiet_says_what_failed_and_nothing_else(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ["-q", "map", "-", "-o", str(tmp_path / "out.jsonl"), "-m", "sandbox/echo"]
    words += ["--base-url", sandbox.base_url]
    assert deluge(*words, stdin="hello\n").stderr == ""
    sandbox.script([Fault("400")])
    done = deluge(*words, stdin="hello\n")
    assert done.returncode == 1
    assert "0 answered, 1 failed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_model_is_a_wrong_command_line() -> None:
    done = deluge("map", "-", stdin="hello\n")
    assert done.returncode == 2
    assert "--model" in done.stderr


def test_the_crontab_of_the_page_works_as_it_stands_and_sends_no_mail(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (crontab,) = re.findall(r"^```crontab\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = crontab.replace("/srv/app", str(tmp_path)).splitlines()
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]+=", line))
    commands = [line.split(None, 5)[5] for line in lines if not re.match(r"[A-Z]+=", line)]
    program = tmp_path / "bin" / "deluge-sync"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m deluge_sync "$@"\n')
    program.chmod(0o755)
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    keys = f"export OPENAI_API_KEY=k OPENAI_BASE_URL={sandbox.base_url}\n"
    (tmp_path / "keys").write_text(keys)
    environment = {"HOME": str(tmp_path), "SHELL": "/bin/sh", **settings}
    for command in 2 * commands:
        done = subprocess.run(["/bin/sh", "-c", command.replace(r"\%", "%")], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60)  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(commands) == 2
    assert sandbox.requests == 4  # the second time, all is there
