"""Ctrl-C, exits and forks, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deluge_sync.testing import Fault, Sandbox

from ..helpers import ROOT, interruptible, start

SETUP = """
import os, sys, threading, time
from deluge_sync import Client
client = Client(
    "gpt-4.1-mini", base_url=sys.argv[1], api_key="k", max_concurrent_requests=256,
    max_requests_per_minute=1e9, max_tokens_per_minute=1e9, progress="none",
)
"""


def finish(process: subprocess.Popen, *, seconds: float = 5.0) -> tuple[int, str, str]:
    """Wait for the end; gives (exit code, stdout, stderr)."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


@pytest.fixture
def black_hole(sandbox: Sandbox) -> Sandbox:
    """A provider that answers what begins with "good" and nothing else, ever."""
    sandbox.script([Fault("black_hole", match="bad", times=100_000)])
    return sandbox


def test_ctrl_c_in_a_black_hole_comes_back_and_keeps_the_answers(black_hole: Sandbox) -> None:
    script = """
prompts = [f"good {n}" for n in range(20)] + [f"bad {n}" for n in range(1000)]
try:
    client.map(prompts)
except KeyboardInterrupt:
    print(sum(not reply.is_error for reply in client.last_run.responses))
    raise
"""
    process = start(black_hole, SETUP + script)
    black_hole.wait_for(20 + 256, timeout=20)
    time.sleep(0.3)  # the 256 are in the hole; what follows must not depend on luck
    interrupted_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert time.monotonic() - interrupted_at < 2
    assert code == -signal.SIGINT
    assert out == "20\n"
    assert err.count("Traceback") <= 2  # the interrupt's own
    assert "deluge-sync_" not in err


def test_the_command_line_interrupted_gives_130_and_keeps_the_rows(
    black_hole: Sandbox, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("".join(f"good {n}\n" for n in range(20)) + "bad\n" * 500)
    process = subprocess.Popen(
        [sys.executable, "-m", "deluge_sync", "map", source, "-o", target, "--model",
         "sandbox/echo", "--base-url", black_hole.base_url, "--concurrency", "256"],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=interruptible,
    )  # fmt: skip
    black_hole.wait_for(20 + 256, timeout=20)
    until = time.monotonic() + 10
    while time.monotonic() < until and target.read_text().count("\n") < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert len(target.read_text().splitlines()) == 20


@pytest.mark.parametrize(
    "ending",
    ["", "sys.exit(0)", "raise SystemExit(0)", "del client"],
)
def test_an_exit_with_calls_under_way_neither_hangs_nor_prints(
    black_hole: Sandbox, ending: str
) -> None:
    script = f"""
futures = [client.submit("bad") for _ in range(400)]
while not client._workers().routes.status().startswith('256 '):
    time.sleep(0.01)
{ending}
"""
    process = start(black_hole, SETUP + script)
    black_hole.wait_for(200, timeout=20)  # the last ones may have been cancelled before sending
    code, out, err = finish(process)
    assert (code, out, err) == (0, "", "")


def test_an_exception_with_calls_under_way_prints_only_itself(black_hole: Sandbox) -> None:
    process = start(black_hole, SETUP + "f = [client.submit('bad') for _ in range(300)]; 1 / 0\n")
    code, _, err = finish(process)
    assert code == 1
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("ZeroDivisionError: division by zero")


def test_a_client_that_was_used_and_never_closed_ends_quietly(sandbox: Sandbox) -> None:
    process = start(
        sandbox, SETUP + "print(client.map(['one', 'two'], return_completions_only=True))\n"
    )
    assert finish(process) == (0, "['one', 'two']\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_client_used_before_fork_gives_right_answers_in_every_child(sandbox: Sandbox) -> None:
    script = """
import warnings
warnings.simplefilter("ignore")
client.map([f"warm {n}" for n in range(50)])
children = []
for child in range(8):
    pid = os.fork()
    if pid == 0:
        wanted = [f"child {child} prompt {n}" for n in range(50)]
        answers = client.map(wanted, return_completions_only=True)
        os._exit(0 if answers == wanted else 1)
    children.append(pid)
wanted = [f"parent {n}" for n in range(50)]
assert client.map(wanted, return_completions_only=True) == wanted
codes = [os.waitpid(pid, 0)[1] for pid in children]
print(codes)
"""
    code, out, err = finish(start(sandbox, SETUP + script), seconds=60)
    assert (code, out, err) == (0, "[0, 0, 0, 0, 0, 0, 0, 0]\n", "")


def test_a_thread_that_outlives_main_still_gets_its_answer_or_an_error(sandbox: Sandbox) -> None:
    script = """
def work():
    time.sleep(0.2)
    try:
        print(client.complete("late").completion)
    except Exception as error:
        print(type(error).__name__)
threading.Thread(target=work).start()
"""
    code, out, err = finish(start(sandbox, SETUP + script))
    assert code == 0
    assert out in ("late\n", "CallCancelledError\n")
    assert err == ""
