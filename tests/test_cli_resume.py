"""`deluge-sync map --resume`: the output is the journal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deluge_sync.testing import Fault, Sandbox

from .helpers import deluge_here as deluge
from .test_cli import rows


def against(sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `deluge-sync map` against `sandbox`."""
    url = ("--model", "sandbox/echo", "--base-url", sandbox.base_url)
    return deluge("map", *arguments, *url)


PROMPTS = [f"prompt {number}" for number in range(40)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_a_complete_output_is_in_order_and_sends_nothing_again(
    sandbox: Sandbox, source: Path, target: Path
) -> None:
    sandbox.script([Fault("500", match="prompt 0")])  # so that it is not the first to be answered
    arguments = (str(source), "-o", str(target), "--resume")
    assert against(sandbox, *arguments).returncode == 0
    written = target.read_bytes()
    assert [row["index"] for row in rows(written.decode())] == list(range(40))
    assert [row["completion"] for row in rows(written.decode())] == PROMPTS
    assert sorted(path.name for path in target.parent.iterdir()) == ["in.txt", "out.jsonl"]
    sent = sandbox.requests
    again = against(sandbox, *arguments)
    assert again.returncode == 0
    assert "40 answered, 0 failed" in again.stderr
    assert "40 of them restored" in again.stderr
    assert sandbox.requests == sent
    assert target.read_bytes() == written


def test_it_writes_what_map_writes_and_one_field_more(
    sandbox: Sandbox, source: Path, target: Path
) -> None:
    plain = target.with_name("plain.jsonl")
    against(sandbox, str(source), "-o", str(plain), "--system", "s")
    against(sandbox, str(source), "-o", str(target), "--system", "s", "--resume")
    for ours, theirs in zip(rows(target.read_text()), rows(plain.read_text())):
        assert ours.pop("request").startswith("1-")
        for row in (ours, theirs):
            del row["latency"], row["request_id"], row["response_id"]
        assert ours == theirs


def test_failed_rows_give_exit_code_1_and_are_sent_again(
    sandbox: Sandbox, source: Path, target: Path
) -> None:
    sandbox.script([Fault("400", match="prompt 7")])
    arguments = (str(source), "-o", str(target), "--resume")
    done = against(sandbox, *arguments)
    assert done.returncode == 1
    assert rows(target.read_text())[7]["error"].startswith("bad_request")
    done = against(sandbox, *arguments)
    assert done.returncode == 0
    assert sandbox.requests == 41
    assert [row["completion"] for row in rows(target.read_text())] == PROMPTS


def test_a_limit_leaves_the_rows_behind_it(sandbox: Sandbox, source: Path, target: Path) -> None:
    arguments = (str(source), "-o", str(target), "--resume")
    against(sandbox, *arguments, "--limit", "10")
    assert sandbox.requests == 10
    against(sandbox, *arguments)
    against(sandbox, *arguments, "--limit", "5")
    assert sandbox.requests == 40
    assert len(rows(target.read_text())) == 40


def test_json_rows_keep_their_prompts_and_broken_ones_fail_alone(
    sandbox: Sandbox, tmp_path: Path, target: Path
) -> None:
    source = tmp_path / "in.jsonl"
    messages = [{"role": "user", "content": "two"}]
    source.write_text('"one"\n' + json.dumps({"messages": messages}) + "\n{broken\n")
    arguments = (str(source), "-o", str(target), "--resume")
    assert against(sandbox, *arguments).returncode == 1
    assert [row["prompt"] for row in rows(target.read_text())] == ["one", messages, None]
    source.write_text(source.read_text().replace("{broken", '"three"'))
    assert against(sandbox, *arguments).returncode == 0
    assert sandbox.requests == 3
    assert [row["completion"] for row in rows(target.read_text())] == ["one", "two", "three"]


def test_what_changed_is_refused_with_exit_code_3_unless_forced(
    sandbox: Sandbox, source: Path, target: Path
) -> None:
    arguments = (str(source), "-o", str(target), "--resume")
    against(sandbox, *arguments)
    before = target.read_bytes()
    source.write_text("".join(f"{prompt}\n" for prompt in ["new", *PROMPTS[1:]]))
    for change, says in (
        (("--temperature", "0"), "--force params"),
        ((), "--force prompt"),
    ):
        done = against(sandbox, *arguments, *change)
        assert done.returncode == 3
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert (sandbox.requests, target.read_bytes()) == (40, before)
    done = against(
        sandbox, *arguments, "--temperature", "0", "--force", "params", "--force", "prompt"
    )
    assert done.returncode == 0
    assert sandbox.requests == 41
    assert [row["completion"] for row in rows(target.read_text())] == ["new", *PROMPTS[1:]]


def test_an_output_that_is_no_journal_is_refused_and_kept(
    sandbox: Sandbox, source: Path, target: Path
) -> None:
    against(sandbox, str(source), "-o", str(target))
    before = target.read_bytes()
    done = against(sandbox, str(source), "-o", str(target), "--resume")
    assert done.returncode == 3
    assert "not a journal" in done.stderr
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--resume"], "-o"), (["--force", "model"], "--resume"), (["--force", "all"], "choose from")],
)
def test_flags_that_mean_nothing_are_usage_errors(arguments: list[str], says: str) -> None:
    done = deluge("map", "-", "--model", "sandbox/echo", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_cap_on_the_cost_gives_exit_code_1_and_a_later_run_the_rest(
    sandbox: Sandbox, source: Path, target: Path
) -> None:
    arguments = ("map", str(source), "-o", str(target), "--model", "gpt-4.1-mini", "--base-url",
                 sandbox.base_url, "--resume", "--max-new-tokens", "10")  # fmt: skip
    done = deluge(*arguments, "--max-cost", "0.0001", OPENAI_API_KEY="k")
    assert done.returncode == 1
    assert 0 < len(rows(target.read_text())) < 40
    assert "budget" in done.stderr
    done = deluge(*arguments, OPENAI_API_KEY="k")
    assert done.returncode == 0
    assert sandbox.requests == 40
    assert [row["completion"] for row in rows(target.read_text())] == PROMPTS


def test_a_cache_answers_without_sending(sandbox: Sandbox, source: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    against(sandbox, str(source), "--cache", cache)
    done = against(sandbox, str(source), "--cache", cache)
    assert [row["cached"] for row in rows(done.stdout)] == [True] * 40
    assert sandbox.requests == 40
    assert "40 not paid for" in done.stderr


def test_a_dry_run_sends_and_writes_nothing(sandbox: Sandbox, source: Path, target: Path) -> None:
    target.write_text("old")
    done = against(sandbox, str(source), "-o", str(target), "--dry-run")
    assert done.returncode == 0
    assert "40" in done.stdout
    assert (sandbox.requests, target.read_text()) == (0, "old")
