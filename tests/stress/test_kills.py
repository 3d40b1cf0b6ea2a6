"""Runs that are killed, and terminated, at any moment: nothing is lost, and little paid twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deluge_sync import Client, ConfigError
from deluge_sync.testing import Fault, Sandbox

from ..helpers import client_for, interruptible

ROOT = Path(__file__).parent.parent.parent

PROMPTS = [f"prompt {number} " + "x" * (number % 97) for number in range(2_000)]
WIDTH = 64
RUNS, KILLS = 5, 10


def start(sandbox: Sandbox, *arguments: object, width: int = WIDTH) -> subprocess.Popen:
    """`deluge-sync map` against `sandbox`, without limits that matter."""
    return subprocess.Popen(
        [sys.executable, "-m", "deluge_sync", "map", *map(str, arguments),
         "--model", "sandbox/echo", "--base-url", sandbox.base_url, "--concurrency", str(width),
         "--max-requests-per-minute", "1000000000", "--max-tokens-per-minute", "1000000000"],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=interruptible,
    )  # fmt: skip


def finish(process: subprocess.Popen, *, seconds: float = 30) -> tuple[int, str]:
    """Wait for the end; gives (exit code, stderr)."""
    err = process.communicate(timeout=seconds)[1]
    return process.returncode, err


def whole_rows(path: Path) -> list[dict]:
    """The rows that end with a line feed; each must be one."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def kill_at_random(sandbox: Sandbox, process: subprocess.Popen, dice: random.Random) -> bool:
    """`kill -9` some requests from now, and a moment later; whether it was still at work."""
    try:
        sandbox.wait_for(sandbox.requests + dice.randint(1, 200), timeout=20)
        time.sleep(dice.uniform(0, 0.03))
    except TimeoutError:
        pass
    process.kill()
    return finish(process)[0] == -signal.SIGKILL


@pytest.mark.parametrize("run", range(RUNS))
def test_a_run_killed_at_ten_random_moments_has_every_answer_once(tmp_path: Path, run: int) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    dice = random.Random(run)
    arguments = (source, "-o", target, "--resume", "--progress", "none")
    with Sandbox(delay=0.05) as sandbox:
        kills = 0
        while kills < KILLS:
            known = {row["index"] for row in whole_rows(target)}
            before = sandbox.requests
            kills += kill_at_random(sandbox, start(sandbox, *arguments), dice)
            sent = {record.prompt for record in sandbox.journal[before:]}
            assert not sent & {PROMPTS[index] for index in known}, "paid for twice"
        code, err = finish(start(sandbox, *arguments), seconds=60)
        requests = sandbox.requests
    assert code == 0, err
    rows = whole_rows(target)
    assert [row["index"] for row in rows] == list(range(len(PROMPTS)))
    assert [row["completion"] for row in rows] == PROMPTS
    assert len(PROMPTS) <= requests <= len(PROMPTS) + WIDTH * kills
    sys.stderr.write(f"\nrun {run}: {kills} kills, {requests} requests for {len(PROMPTS)}\n")


def test_killed_while_it_sorts_it_still_has_every_answer(tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    arguments = (source, "-o", target, "--resume", "--progress", "none")
    dice = random.Random(7)
    with Sandbox() as sandbox:
        assert finish(start(sandbox, *arguments), seconds=60)[0] == 0
        rows = target.read_bytes().splitlines(keepends=True)
        for _ in range(8):
            dice.shuffle(rows)
            target.write_bytes(b"".join(rows))
            process = start(sandbox, *arguments)
            draft = tmp_path / ".out.jsonl.sorted"
            while process.poll() is None and not draft.exists():
                pass
            process.kill()
            finish(process)
            assert sorted(row["index"] for row in whole_rows(target)) == list(range(len(PROMPTS)))
        assert finish(start(sandbox, *arguments), seconds=60)[0] == 0
        assert sandbox.requests == len(PROMPTS)
    assert [row["completion"] for row in whole_rows(target)] == PROMPTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.jsonl"]


# SIGTERM


@pytest.fixture
def black_hole(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A provider that answers what begins with "good" and nothing else, ever."""
    sandbox.script([Fault("black_hole", match="bad", times=100_000)])
    return sandbox


def wait_for_lines(path: Path, count: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and (not path.exists() or len(whole_rows(path)) < count):
        time.sleep(0.01)


@pytest.mark.parametrize("resume", [True, False])
def test_the_command_line_terminated_gives_143_and_keeps_the_rows(
    black_hole: Sandbox, tmp_path: Path, resume: bool
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("".join(f"good {number}\n" for number in range(20)) + "bad\n" * 500)
    process = start(black_hole, source, "-o", target, *["--resume"] * resume, width=256)
    black_hole.wait_for(20 + 256, timeout=20)
    wait_for_lines(target, 20)
    process.terminate()
    code, err = finish(process, seconds=10)
    assert code == 143
    assert "terminated" in err
    assert "Traceback" not in err
    assert {row["completion"] for row in whole_rows(target)} == {f"good {n}" for n in range(20)}
    assert black_hole.requests <= 20 + 256


SETUP = """
import os, signal, sys, threading, time
from deluge_sync import Client
client = Client(
    "gpt-4.1-mini", base_url=sys.argv[1], api_key="k", max_concurrent_requests=64,
    max_requests_per_minute=1e9, max_tokens_per_minute=1e9, progress="none",
)
prompts = [f"good {n}" for n in range(20)] + [f"bad {n}" for n in range(200)]
"""


def script(sandbox: Sandbox, text: str, path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SETUP + text, sandbox.base_url, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=interruptible,
    )  # fmt: skip


@pytest.mark.parametrize("thread", [False, True])
def test_a_program_with_the_handlers_ends_with_143_and_a_whole_journal(
    black_hole: Sandbox, tmp_path: Path, thread: bool
) -> None:
    path = tmp_path / "run.jsonl"
    work = "client.map(prompts, journal=sys.argv[2])"
    text = f"""
def work():
    try:
        {work}
    except Exception as error:
        print(type(error).__name__)
client.install_signal_handlers()
client.install_signal_handlers()
try:
    {"thread = threading.Thread(target=work); thread.start(); thread.join()" if thread else work}
finally:
    print(len(client.last_run.responses))
"""
    process = script(black_hole, text, path)
    black_hole.wait_for(20 + 64, timeout=20)
    wait_for_lines(path, 20)
    process.terminate()
    assert finish(process, seconds=10) == (143, "")
    assert len(whole_rows(path)) == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_ended_by_sigterm_as_before(sandbox: Sandbox, tmp_path: Path) -> None:
    text = """
client.install_signal_handlers()
ready, tell = os.pipe()
pid = os.fork()
if not pid:
    os.write(tell, b"x")  # a signal before that is lost: Python itself clears them after a fork
    time.sleep(20)
os.read(ready, 1)
os.kill(pid, signal.SIGTERM)
print(os.waitpid(pid, 0)[1])
"""
    out, err = script(sandbox, text, tmp_path / "x").communicate(timeout=20)
    assert (out, err) == (f"{int(signal.SIGTERM)}\n", "")


def test_handlers_are_for_the_main_thread_only(sandbox: Sandbox) -> None:
    client: Client = client_for(sandbox)
    before = signal.getsignal(signal.SIGTERM)
    found: list[BaseException] = []

    def install() -> None:
        try:
            client.install_signal_handlers()
        except ConfigError as error:
            found.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert "main thread" in str(found[0])
    assert signal.getsignal(signal.SIGTERM) is before
