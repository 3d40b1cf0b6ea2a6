"""One call for all who ask the same thing at once, also from several processes."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deluge_sync.testing import Fault, Sandbox

from ..helpers import client_for

PROCESSES = 8

ASK = """
import sys
from deluge_sync import Client
url, cache, threads = sys.argv[1:4]
client = Client("gpt-4.1-mini", base_url=url, api_key="sk-secret-key", cache=cache, progress="none",
                max_concurrent_requests=int(threads), max_attempts=1)
print("ready", flush=True)
sys.stdin.readline()
replies = client.map(["the same"] * int(threads))
print(sum(reply.completion == "the same" for reply in replies))
"""


def asked_by_processes(sandbox: Sandbox, cache: Path, *, threads: int) -> list[int]:
    """How many answers each of the processes got, all beginning at once."""
    command = [sys.executable, "-c", ASK, sandbox.base_url, str(cache), str(threads)]
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
    return [int(process.communicate(timeout=60)[0]) for process in processes]


def test_a_hundred_identical_prompts_from_fifty_threads_are_one_request(tmp_path: Path) -> None:
    with Sandbox(delay=0.2) as sandbox:
        clients = [client_for(sandbox, cache=tmp_path / "cache") for _ in range(5)]
        with ThreadPoolExecutor(50) as pool:
            ask = [pool.submit(clients[number % 5].complete, "same") for number in range(100)]
            replies = [future.result(30) for future in ask]
        assert sandbox.requests == 1
    assert sum(not reply.cached for reply in replies) == 1
    assert {reply.completion for reply in replies} == {"same"}


def test_identical_prompts_of_eight_processes_are_one_request(tmp_path: Path) -> None:
    with Sandbox(delay=0.5) as sandbox:
        counts = asked_by_processes(sandbox, tmp_path / "cache", threads=13)
        assert sandbox.requests == 1
    assert counts == [13] * PROCESSES


def test_processes_take_over_from_one_that_fails(tmp_path: Path) -> None:
    with Sandbox(delay=0.2) as sandbox:
        sandbox.script([Fault("503", times=3)])
        counts = asked_by_processes(sandbox, tmp_path / "cache", threads=1)
        assert sandbox.requests == 4
    assert sum(counts) == PROCESSES - 3


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_process_gives_its_claim_back(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("black_hole")])
        command = [sys.executable, "-c", ASK, sandbox.base_url, str(tmp_path / "cache"), "1"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("go\n")
            process.stdin.flush()
            sandbox.wait_for(1, timeout=30)
            client = client_for(sandbox, cache=tmp_path / "cache")
            mine = client.submit("the same", timeout=30)
            process.kill()

        assert mine.result().completion == "the same"
