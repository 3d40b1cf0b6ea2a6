"""MCP servers and the ends, forks and interrupts of the program that started them."""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..helpers import interruptible

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the mcp package needs Python 3.10 or newer"
)

ROOT = Path(__file__).parent.parent.parent

SETUP = """
import os, sys, threading
from deluge_sync import Tool
tools = {
    tool.name.partition("__")[2]: tool.run
    for tool in Tool.from_mcp("every", command=sys.executable, args=sys.argv[1:], timeout=600)
}
def say(*words):
    print(*words, flush=True)
"""


def start(script: str, *args: str) -> subprocess.Popen:
    server = str(ROOT / "tests" / "mcp_servers" / "everything.py")
    return subprocess.Popen(
        # Newer Pythons warn of any fork beside threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SETUP + script, server, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=interruptible,
    )


def told(process: subprocess.Popen) -> list[str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    return line.split()


def watch(pid: str) -> Any:
    """A poll that says when the process has ended, even where nobody reaps it."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("only Linux tells of the end of a process that is not one's own child")
    poll = select.poll()
    poll.register(os.pidfd_open(int(pid)), select.POLLIN)
    return poll


@pytest.mark.parametrize("args", [(), ("--stubborn",)], ids=["polite", "stubborn"])
def test_a_program_that_ends_without_close_leaves_no_server(args: tuple[str, ...]) -> None:
    process = start("say(tools['process']()); sys.stdin.readline()", *args)
    server = watch(told(process)[0])
    _, err = process.communicate("\n", timeout=10)
    assert server.poll(0 if args else 5_000)
    assert process.returncode == 0
    assert err == ""


def test_a_program_that_is_killed_leaves_no_server() -> None:
    process = start("say(tools['process']()); sys.stdin.readline()")
    server = watch(told(process)[0])
    process.kill()
    process.communicate(timeout=10)
    assert server.poll(10_000)


def test_a_program_ends_while_threads_wait_for_tools() -> None:
    script = """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(4)
for _ in range(4):
    pool.submit(tools["sleep"], seconds=3600)
say(tools["process"]())
sys.stdin.readline()
"""
    process = start(script)
    server = watch(told(process)[0])
    process.communicate("\n", timeout=10)
    assert process.returncode == 0
    assert server.poll(0)


def test_ctrl_c_ends_the_wait_for_a_tool() -> None:
    process = start("say(tools['process']()); tools['sleep'](seconds=3600)")
    server = watch(told(process)[0])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert server.poll(5_000)


def test_a_fork_has_a_server_of_its_own_and_leaves_the_parents_alone() -> None:
    script = """
own = tools["process"]()
child = os.fork()
if child == 0:
    say(own, tools["process"](), tools["add"](left=1, right=2))
    sys.exit()
_, status = os.waitpid(child, 0)
say(status, tools["process"]() == own, tools["add"](left=1, right=2))
sys.stdin.readline()
"""
    process = start(script)
    parents, childs, sum_in_child = told(process)
    assert parents != childs
    assert sum_in_child == "3"
    assert told(process) == ["0", "True", "3"]
    server = watch(parents)
    with pytest.raises(ProcessLookupError):
        os.kill(int(childs), 0)
    _, err = process.communicate("\n", timeout=10)
    assert server.poll(5_000)
    assert err == ""


def test_a_fork_that_calls_no_tool_leaves_the_parents_server_alone() -> None:
    script = """
import gc
own = tools["process"]()
child = os.fork()
if child == 0:
    tools.clear(); gc.collect()
    sys.exit()
os.waitpid(child, 0)
say(tools["process"]() == own)
"""
    process = start(script)
    assert told(process) == ["True"]
    _, err = process.communicate(timeout=10)
    assert err == ""
