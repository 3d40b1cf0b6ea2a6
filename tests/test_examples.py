"""The examples run as they stand, without a key, and the README's code is true."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deluge_sync
from deluge_sync import testing
from deluge_sync.testing import Fault, Sandbox

ROOT = Path(__file__).parent.parent


def run(*command: object, **environment: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
    )


def test_the_script_answers_every_review() -> None:
    done = run(sys.executable, "examples/script.py")
    assert done.returncode == 0, done.stderr
    assert "3 answered, 0 failed" in done.stdout


def test_the_agent_refunds_what_it_may_and_reports_the_rest() -> None:
    done = run(sys.executable, "examples/agent_loop.py")
    assert done.returncode == 0, done.stderr
    assert "refund: refused or failed: refunds over 30 need a clerk" in done.stdout
    said = "round 3: Here is what came of it: Error: refunds over 30 need a clerk; 25.50 paid back"
    assert said in done.stdout
    assert done.stdout.splitlines()[-1].startswith("6 messages, 3 calls, $0.")


def test_the_stdlib_summary_runs_against_the_sandbox(tmp_path: Path) -> None:
    done = run(
        sys.executable, "examples/summarise_stdlib.py", "--model", "sandbox/echo", "--limit", "5",
        "--folder", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_cron_job_writes_its_answers(tmp_path: Path) -> None:
    command = tmp_path / "deluge-sync"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m deluge_sync "$@"\n')
    command.chmod(0o755)
    target = tmp_path / "answers.jsonl"
    source = tmp_path / "prompts.txt"
    source.write_text("one\ntwo\n")
    done = run("sh", "examples/cron.sh", source, target,
               PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["completion"] for row in rows] == ["one", "two"]
    assert done.stdout == ""


def test_the_batch_job_started_again_goes_on_with_the_same_job(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    environment = {
        "DELUGE_SYNC_BATCHES": str(tmp_path),
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": sandbox.base_url,
    }
    flags = ("examples/batch_job.py", "--model", "gpt-4.1-mini")
    first = run(sys.executable, *flags, "--timeout", "0.01", **environment)
    assert "it goes on" in first.stdout, first.stderr
    second, third = (run(sys.executable, *flags, **environment) for _ in range(2))
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("  <- ") == 3
    assert third.stdout == second.stdout
    assert len(sandbox.batches) == 1


def test_the_django_view_answers_and_turns_a_failure_into_503(sandbox: Sandbox) -> None:
    pytest.importorskip("django")
    script = """
import sys
sys.path.insert(0, "examples")
import django_view
from django.test import Client
site = Client()
good, bad = site.get("/?topic=tides"), site.get("/?topic=fail")
print(good.status_code, good.json()["answer"], bad.status_code)
"""
    sandbox.script([Fault("400", match="fail")])
    done = run(sys.executable, "-c", script, MODEL="gpt-4.1-mini", OPENAI_API_KEY="k",
               OPENAI_BASE_URL=sandbox.base_url)  # fmt: skip
    assert done.stdout == "200 In one sentence, explain tides. 503\n", done.stderr


STREAMED = "['In one sentence, explain tides.'] True cut\n"


def test_the_django_view_passes_a_stream_on(sandbox: Sandbox) -> None:
    pytest.importorskip("django")
    script = """
import sys
sys.path.insert(0, "examples")
import django_stream
from django.test import Client
site = Client()
good = list(site.get("/?topic=tides").streaming_content)
bad = b"".join(site.get("/?topic=fail").streaming_content).decode()
print([b"".join(good).decode()], len(good) > 3, "cut" if "broke off: connection" in bad else bad)
"""
    sandbox.script([Fault("stream_cut", after=4, match="fail")])
    done = run(sys.executable, "-c", script, MODEL="gpt-4.1-mini", OPENAI_API_KEY="k",
               OPENAI_BASE_URL=sandbox.base_url)  # fmt: skip
    assert done.stdout == STREAMED, done.stderr


def test_the_flask_view_passes_a_stream_on(sandbox: Sandbox) -> None:
    pytest.importorskip("flask")
    script = """
import sys
sys.path.insert(0, "examples")
import flask_stream
site = flask_stream.app.test_client()
good = list(site.get("/?topic=tides").response)
bad = site.get("/?topic=fail").get_data(as_text=True)
print([b"".join(good).decode()], len(good) > 3, "cut" if "broke off: connection" in bad else bad)
"""
    sandbox.script([Fault("stream_cut", after=4, match="fail")])
    done = run(sys.executable, "-c", script, MODEL="gpt-4.1-mini", OPENAI_API_KEY="k",
               OPENAI_BASE_URL=sandbox.base_url)  # fmt: skip
    assert done.stdout == STREAMED, done.stderr


def test_the_tools_of_an_mcp_server_are_run() -> None:
    pytest.importorskip("mcp", reason="the mcp package needs Python 3.10 or newer")
    done = run(sys.executable, "examples/mcp_tools.py")
    assert done.returncode == 0, done.stderr
    assert "notes__search: The names of the notes that hold this word." in done.stdout
    assert "notes__read{'name': 'kettle'} -> Boils 1.7 litres." in done.stdout


README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_readmes_python_is_python_that_names_what_exists(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deluge_sync"):
            home = testing if node.module.endswith("testing") else deluge_sync
            assert all(hasattr(home, alias.name) for alias in node.names)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "client":
            assert hasattr(deluge_sync.Client, node.attr)
