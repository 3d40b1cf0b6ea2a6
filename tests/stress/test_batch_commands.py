"""`deluge-sync batch` as programs of their own: interrupted, killed, in scripts and pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from deluge_sync.testing import BatchScript, Sandbox

from ..helpers import deluge_here, interruptible
from ..test_cli import ROOT, rows
from ..test_cli_batch import (
    PROMPTS,
    Batch,
    apart,
    batch,
    command,
    environment,
    never,
    soon,
    source,
    submitted,
)

__all__ = ["apart", "batch", "command", "environment", "source"]


@soon
def test_a_reader_that_leaves_early_is_no_traceback(
    batch: Batch, environment: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "many.txt"
    source.write_text("".join(f"{number} {'x' * 500}\n" for number in range(2000)))
    job = submitted(batch, source)
    done = subprocess.run(
        f"{sys.executable} -m deluge_sync batch fetch {job} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert len(rows(done.stdout)) == 1
    assert "Traceback" not in done.stderr


def begun(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """`deluge-sync batch` that has begun to wait."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deluge_sync", "batch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        preexec_fn=interruptible,
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    assert process.stderr is not None
    for line in process.stderr:
        if "in_progress: " in line:
            break
    guard.cancel()
    return process


@never
def test_the_cron_script_comes_again_until_the_job_is_done(
    sandbox: Sandbox, command: dict[str, str], batch: Batch, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    script = ["sh", str(ROOT / "examples/batch_cron.sh"), str(source), str(target), "nightly"]
    environment = {**command, "MODEL": "gpt-4.1-mini"}
    for _ in range(2):
        done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "")
        assert not target.exists()
    batch("cancel", "nightly")
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert len(rows(target.read_text())) == 10
    assert len(sandbox.batches) == 1
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_command_ends_its_batches_as_it_is_told(
    environment: dict[str, str], source: Path, batch: Batch
) -> None:
    flags = ("--batch-polls", "1", "--batch-end", "expired", "--batch-share", "0.7")
    process = subprocess.Popen(
        [sys.executable, "-m", "deluge_sync", "sandbox", *flags],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=interruptible,
    )
    assert process.stdout is not None
    try:
        url = ("--base-url", process.stdout.readline().strip())
        done = batch("submit", source, "--model", "sandbox/echo", *url, "--wait")
        assert done.returncode == 1
        fetched = rows(batch("fetch", done.stdout.strip(), *url).stdout)
        assert [row["completion"] for row in fetched] == [*PROMPTS[:7], None, None, None]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert deluge_here("sandbox", "--batch-share", "2").returncode == 2


@never
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_interrupts_the_wait_is_told_how_to_take_it_up_again(
    batch: Batch, environment: dict[str, str], source: Path, number: int, code: int
) -> None:
    submitted(batch, source, "--job-id", "nightly")
    process = begun(environment, "wait", "nightly", "--base-url", environment["OPENAI_BASE_URL"])
    process.send_signal(number)
    said: Any = process.communicate(timeout=60)
    assert (process.returncode, said[0]) == (code, "")
    assert "the batch job nightly goes on; take it up again with: " in said[1]
    url = environment["OPENAI_BASE_URL"]
    assert f"deluge-sync batch wait nightly --base-url {url}\n" in said[1]
    assert "Traceback" not in said[1]
    assert batch("status", "nightly").returncode == 4


def test_an_interrupt_while_prompts_are_read_submits_nothing_and_says_so(
    sandbox: Sandbox, batch: Batch, environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "deluge_sync", "batch", "submit", "-", "-m", "gpt-4.1-mini",
         "--job-id", "nightly"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
        preexec_fn=interruptible,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b"a prompt\n" * 100_000)  # more than a pipe holds: most of it was read
    process.send_signal(signal.SIGINT)
    said: Any = process.communicate(timeout=60)
    assert (process.returncode, said[0]) == (130, b"")
    assert b"nothing was submitted" in said[1]
    assert b"Traceback" not in said[1]
    assert sandbox.requests == 0
    assert submitted(batch, "-", "--job-id", "nightly", stdin="x\n") == "nightly"


@pytest.mark.sandbox(batches=BatchScript(polls=3))
def test_what_a_killed_process_submitted_another_one_fetches(
    sandbox: Sandbox, batch: Batch, environment: dict[str, str], source: Path
) -> None:
    flags = (str(source), "-m", "gpt-4.1-mini", "--job-id", "nightly", "--batch-size", "4")
    process = begun(environment, "submit", *flags, "--wait")
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    done = batch("submit", *flags)
    assert (done.returncode, done.stdout) == (0, "nightly\n")
    done = batch("fetch", "nightly", "--wait")
    assert done.returncode == 0
    assert [row["completion"] for row in rows(done.stdout)] == PROMPTS
    assert [record.requests for record in sandbox.batches] == [4, 4, 2]
