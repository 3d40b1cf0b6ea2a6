"""`deluge-sync batch`: commands that share nothing but a folder, some as programs of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from deluge_sync.batch import job as job_module
from deluge_sync.testing import BatchScript, Fault, Sandbox

from .helpers import deluge_here
from .test_cli import ROOT, deluge_apart, rows

PROMPTS = [f"prompt {number}" for number in range(10)]
Batch = Callable[..., subprocess.CompletedProcess]
soon = pytest.mark.sandbox(batches=BatchScript(polls=1))
never = pytest.mark.sandbox(batches=BatchScript(polls=1_000_000))


@pytest.fixture
def environment(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": "sk-secret-key",
        "OPENAI_BASE_URL": sandbox.base_url,
        "DELUGE_SYNC_BATCHES": str(tmp_path / "batches"),
    }


@pytest.fixture
def apart(environment: dict[str, str]) -> Batch:
    """Runs `deluge-sync batch` with these arguments, as a program of its own."""

    def run(*arguments: object, stdin: str = "", **more: str) -> subprocess.CompletedProcess:
        done = deluge_apart("batch", *map(str, arguments), stdin=stdin, **{**environment, **more})
        return sound(done)

    return run


@pytest.fixture
def batch(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Batch:
    """The same in this process: far quicker."""
    monkeypatch.setattr(job_module, "FIRST_LOOK", 0.0)

    def run(*arguments: object, stdin: str = "", **more: str) -> subprocess.CompletedProcess:
        words = ("batch", *map(str, arguments))
        return sound(deluge_here(*words, stdin=stdin, **{**environment, **more}))

    return run


def sound(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """What holds for every command."""
    assert "Traceback" not in done.stderr
    assert "sk-secret-key" not in done.stdout + done.stderr
    return done


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment where `deluge-sync` is a command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "deluge-sync"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m deluge_sync "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    return {**os.environ, **environment, "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    return path


def submitted(batch: Batch, *arguments: object, **more: str) -> str:
    """Submit; gives the job's id."""
    done = batch("submit", *arguments, "--model", "gpt-4.1-mini", **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@soon
def test_the_id_alone_is_printed_and_another_process_fetches_what_map_would_write(
    sandbox: Sandbox, apart: Batch, source: Path, tmp_path: Path
) -> None:
    done = apart("submit", source, "--model", "gpt-4.1-mini", "--batch-size", "4")
    job = done.stdout[:-1]
    assert re.fullmatch(r"batch-\d{8}-\d{6}-[0-9a-f]{6}", job)
    assert [record.requests for record in sandbox.batches] == [4, 4, 2]
    target = tmp_path / "out.jsonl"
    fetched = apart("fetch", job, "-o", target)
    assert (fetched.returncode, fetched.stdout) == (0, "")
    assert "10 answered, 0 failed" in fetched.stderr
    written = rows(target.read_text())
    assert [row["completion"] for row in written] == PROMPTS == [row["prompt"] for row in written]
    live = deluge_apart("map", str(source), "-m", "sandbox/echo", "--limit", "1")
    assert list(written[0]) == list(rows(live.stdout)[0])
    assert apart("fetch", job).stdout == target.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batches", "in.txt", "out.jsonl"]


@soon
def test_prompts_come_from_stdin_with_a_system_prompt_and_options(
    apart: Batch, environment: dict[str, str]
) -> None:
    job = submitted(
        apart, "-", "--system", "Be kind.", "--temperature", "0.5", "--limit", "1", stdin="één\nb\n"
    )
    (row,) = rows(apart("fetch", job, LC_ALL="C", PYTHONIOENCODING="ascii").stdout)
    assert row["completion"] == "één"
    assert row["prompt"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "één"},
    ]
    spooled = Path(environment["DELUGE_SYNC_BATCHES"], job, "part-00000.jsonl").read_text()
    assert json.loads(spooled)["body"]["temperature"] == 0.5


@soon
def test_texts_are_embedded(batch: Batch, source: Path) -> None:
    done = batch("submit", source, "--model", "text-embedding-3-small", "--limit", "2", "--wait")
    assert done.returncode == 0, done.stderr
    fetched = batch("fetch", done.stdout.strip())
    written = rows(fetched.stdout)
    assert [row["index"] for row in written] == [0, 1]
    assert all(len(row["embedding"]) == 1536 and row["error"] is None for row in written)
    assert "2 answered, 0 failed" in fetched.stderr


@soon
def test_a_broken_row_fails_alone_and_is_not_submitted(
    sandbox: Sandbox, batch: Batch, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('"one"\n{broken\n{"other": 1}\n{"prompt": "four"}\n')
    done = batch("submit", source, "--model", "gpt-4.1-mini")
    assert done.returncode == 0
    assert "prompt 1: line 2 is not JSON" in done.stderr
    assert "2 prompts cannot be sent" in done.stderr
    assert [record.requests for record in sandbox.batches] == [2]
    fetched = batch("fetch", done.stdout.strip())
    assert fetched.returncode == 1
    assert [row["completion"] for row in rows(fetched.stdout)] == ["one", None, None, "four"]


@never
def test_a_job_that_is_not_done_has_an_exit_code_of_its_own_and_leaves_no_file(
    batch: Batch, source: Path, tmp_path: Path
) -> None:
    job, target = submitted(batch, source), tmp_path / "out.jsonl"
    target.write_text("old\n")
    done = batch("fetch", job, "-o", target)
    assert done.returncode == 4
    assert f"{job} is not done yet: in_progress: 0 of 10 done" in done.stderr
    assert target.read_text() == "old\n"
    for command in (["wait"], ["fetch", "--wait"]):
        done = batch(*command, job, "--timeout", "0.2")
        assert (done.returncode, done.stdout) == (4, "")
        assert "was not done within 0.2 s; it goes on" in done.stderr
    assert batch("resubmit", job).returncode == 4
    assert batch("status", job).returncode == 4


@pytest.mark.sandbox(batches=BatchScript(polls=50))
def test_what_is_there_by_now_is_written_when_it_is_asked_for(
    sandbox: Sandbox, batch: Batch, source: Path, tmp_path: Path
) -> None:
    job, target = submitted(batch, source), tmp_path / "out.jsonl"
    asked = sandbox.requests
    done = batch("fetch", job, "--partial", "-o", target)
    assert (done.returncode, sandbox.requests) == (4, asked)
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(rows) == 10
    assert all("not done yet" in json.dumps(row["error"]) for row in rows)
    assert batch("fetch", job, "--partial", "--wait").returncode == 2


@pytest.mark.sandbox(batches=BatchScript(polls=2))
def test_status_is_a_table_or_one_json_object_of_the_newest_job(batch: Batch, source: Path) -> None:
    submitted(batch, "-", "--job-id", "older", stdin="x\n")
    job = submitted(batch, source, "--job-id", "newer")
    facts = json.loads(batch("status", "--json").stdout)
    assert (facts["job_id"], facts["state"], facts["total"]) == (job, "in_progress", 10)
    assert facts["waiting"] + facts["succeeded"] == 10
    assert not facts["done"]
    done = batch("status", job)
    assert done.returncode == 0
    assert "answered  10 (0 by the cache)" in done.stdout
    assert re.search(r"^0 +batch_\w+ +fetched \(completed\) +10 +10 +0 +-$", done.stdout, re.M)
    listed = batch("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert lines[0] == ["JOB", "MODEL", "STATE", "DONE", "FAILED", "CREATED"]
    assert [line[:5] for line in lines[1:]] == [
        ["older", "openai/gpt-4.1-mini", "in_progress", "0/1", "0"],
        ["newer", "openai/gpt-4.1-mini", "done", "10/10", "0"],
    ]
    assert [each["job_id"] for each in json.loads(batch("list", "--json").stdout)] == [
        "older",
        "newer",
    ]


@pytest.mark.sandbox(batches=BatchScript(polls=1, end="expired", share=0.7))
def test_an_expired_job_gives_what_it_has_and_the_rest_is_submitted_again(
    sandbox: Sandbox, batch: Batch, source: Path
) -> None:
    job = submitted(batch, source)
    done = batch("fetch", job, "--wait")
    assert done.returncode == 1
    answers = [row["completion"] for row in rows(done.stdout)]
    assert answers == [*PROMPTS[:7], None, None, None]
    assert "expired" in rows(done.stdout)[9]["error"]
    again = batch("resubmit", job)
    assert (again.returncode, again.stdout) == (0, f"{job}\n")
    assert [record.requests for record in sandbox.batches] == [10, 3]
    assert [row["completion"] for row in rows(batch("fetch", job).stdout)][:9] == PROMPTS[:9]


BROKEN = {"prompt 3", "prompt 8"}


@pytest.mark.sandbox(
    batches=BatchScript(polls=1, failing=lambda _, prompt: 500 if prompt in BROKEN else None)
)
def test_what_failed_is_submitted_again_and_then_all_is_answered(
    sandbox: Sandbox, batch: Batch, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(batch, source)
    done = batch("wait", job)
    assert (done.returncode, done.stdout) == (1, "")
    assert "done: 10 of 10 done, 2 failed" in done.stderr
    assert batch("status", job).returncode == 1
    monkeypatch.setattr(sys.modules[__name__], "BROKEN", set())
    assert batch("resubmit", job, "--wait").returncode == 0
    assert [record.requests for record in sandbox.batches] == [10, 2]
    fetched = batch("fetch", job)
    assert fetched.returncode == 0
    assert [row["completion"] for row in rows(fetched.stdout)] == PROMPTS
    assert "nothing to submit again" in batch("resubmit", job).stderr
    assert len(sandbox.batches) == 2


@pytest.mark.sandbox(batches=BatchScript(polls=1, end="expired", share=0.5))
@pytest.mark.parametrize(
    ("model", "kept"), [("claude-haiku-4-5", 5), ("google/gemini-3.8-flash", 0), ("mistral/any", 5)]
)
def test_the_commands_are_the_same_for_all_vendors(
    sandbox: Sandbox, batch: Batch, source: Path, model: str, kept: int
) -> None:
    """Google keeps nothing of a batch that expired."""
    keys = dict.fromkeys(("ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY"), "k")
    urls = {"claude": sandbox.anthropic_url, "google": sandbox.gemini_url}
    url = ("--base-url", urls.get(re.split("[-/]", model)[0], sandbox.base_url))
    flags = ("--max-new-tokens", "50")
    done = batch("submit", source, "--model", model, "--wait", *flags, *url, **keys)
    assert done.returncode == 1, done.stderr
    job = done.stdout.strip()
    fetched = rows(batch("fetch", job, *url, **keys).stdout)
    assert [row["completion"] for row in fetched] == [*PROMPTS[:kept], *[None] * (10 - kept)]
    assert re.search("expired|time was up", fetched[9]["error"])
    assert batch("resubmit", job, *url, **keys).returncode == 0
    assert [record.requests for record in sandbox.batches] == [10, 10 - kept]


@never
def test_a_cancelled_job_gives_what_was_done(batch: Batch, source: Path) -> None:
    job = submitted(batch, source)
    done = batch("cancel", job, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["state"] in ("cancelling", "done")
    done = batch("fetch", job, "--wait")
    assert done.returncode == 1
    assert len(rows(done.stdout)) == 10


@soon
def test_the_same_command_with_a_job_id_submits_nothing_twice(
    sandbox: Sandbox, batch: Batch, source: Path
) -> None:
    for _ in range(2):
        assert submitted(batch, source, "--job-id", "nightly") == "nightly"
    assert len(sandbox.batches) == 1
    source.write_text("other\n")
    done = batch("submit", source, "--model", "gpt-4.1-mini", "--job-id", "nightly")
    assert (done.returncode, done.stdout) == (3, "")
    assert "of other prompts" in done.stderr
    assert len(sandbox.batches) == 1


def test_an_empty_job_id_is_refused_and_not_made_up(
    sandbox: Sandbox, batch: Batch, source: Path
) -> None:
    done = batch("submit", source, "--model", "gpt-4.1-mini", "--job-id", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert "job_id" in done.stderr
    assert len(sandbox.batches) == 0


@soon
@pytest.mark.parametrize("command", ["status", "wait", "fetch", "cancel", "resubmit"])
def test_an_unknown_id_is_a_usage_error_that_names_those_there_are(
    batch: Batch, command: str
) -> None:
    done = batch(command, "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no batch job 'nowhere' in" in done.stderr
    assert done.stderr.endswith("there are: none at all\n")
    submitted(batch, "-", "--job-id", "nightly", stdin="x\n")
    assert batch(command, "../nightly").returncode == 2
    assert batch(command, "nowhere").stderr.endswith("there are: nightly\n")


@soon
def test_a_batch_id_of_the_providers_names_its_job(sandbox: Sandbox, batch: Batch) -> None:
    job = submitted(batch, "-", stdin="x\n")
    (record,) = sandbox.batches
    assert json.loads(batch("status", record.id, "--json").stdout)["job_id"] == job


def test_status_without_any_job_is_a_usage_error(batch: Batch) -> None:
    done = batch("status")
    assert done.returncode == 2
    assert "there are no batch jobs in" in done.stderr
    assert batch("list").stdout.splitlines() == [
        "JOB  MODEL  STATE  DONE  FAILED  CREATED",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--model", "deepseek/any"], 3, "deepseek has no batch API that we know of"),
        (["--model", "nonsense"], 3, "nonsense"),
        (["--model", "claude-haiku-4-5"], 3, "ANTHROPIC_API_KEY"),
        (["--model", "gpt-4.1-mini", "--job-id", "a/b"], 2, "a job_id is made of letters"),
        (["--model", "gpt-4.1-mini", "--batch-size", "0"], 2, "0 is not at least 1"),
        (["--model", "gpt-4.1-mini", "--max-cost", "0.0000001"], 1, "nothing was submitted"),
        (["--model", "gpt-4.1-mini", "--timeout", "5"], 2, "--timeout is for --wait"),
        (["--model", "gpt-4.1-mini", "--field", "x"], 2, "--field is for .jsonl and .csv"),
        ([], 2, "--model"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_submitted(
    sandbox: Sandbox, batch: Batch, source: Path, arguments: list[str], code: int, says: str
) -> None:
    done = batch("submit", source, *arguments, ANTHROPIC_API_KEY="", DEEPSEEK_API_KEY="k")
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert sandbox.requests == 0


def test_a_file_without_prompts_makes_no_job(batch: Batch) -> None:
    done = batch("submit", "-", "--model", "gpt-4.1-mini", stdin="\n")
    assert done.returncode == 2
    assert "- has no prompts" in done.stderr
    assert len(batch("list").stdout.splitlines()) == 1


@soon
def test_a_job_whose_prompts_were_never_written_down_is_not_waited_for(
    batch: Batch, source: Path, environment: dict[str, str]
) -> None:
    options = ("--model", "gpt-4.1-mini", "--job-id", "dear")
    assert batch("submit", source, *options).returncode == 0
    ledger = Path(environment["DELUGE_SYNC_BATCHES"], "dear", "ledger.jsonl")
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])  # killed right behind it
    done = batch("wait", "dear")
    assert done.returncode == 3
    assert "were never all written down" in done.stderr
    assert batch("submit", source, *options, "--wait").returncode == 0


@soon
def test_another_server_is_named(batch: Batch) -> None:
    job = submitted(batch, "-", stdin="x\n")
    done = batch("status", job, "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 3
    assert "was submitted to" in done.stderr


@soon
def test_one_unreadable_ledger_costs_no_other_job(
    batch: Batch, environment: dict[str, str]
) -> None:
    bad = Path(environment["DELUGE_SYNC_BATCHES"], "bad")
    bad.mkdir(parents=True)
    (bad / "ledger.jsonl").write_text('{"deluge_sync_batch": 99}\n')
    job = submitted(batch, "-", stdin="x\n")
    listed = batch("list")
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 2)
    assert "is a ledger of version 99" in listed.stderr
    assert batch("fetch", job).returncode == 0
    done = batch("status", "bad")
    assert done.returncode == 3
    assert "is a ledger of version 99" in done.stderr


@soon
def test_answers_in_the_cache_are_not_submitted_and_fetched_ones_go_into_it(
    sandbox: Sandbox, batch: Batch, environment: dict[str, str], source: Path, tmp_path: Path
) -> None:
    cache = ("--cache", str(tmp_path / "cache"))
    live = ("map", "-", *cache, "--model", "gpt-4.1-mini")
    deluge_here(*live, stdin="prompt 4\n", **environment)
    job = submitted(batch, source, *cache)
    assert [record.requests for record in sandbox.batches] == [9]
    fetched = rows(batch("fetch", job, *cache).stdout)
    assert [row["index"] for row in fetched if row["cached"]] == [4]
    sent = sandbox.requests
    done = deluge_here(*live, stdin=source.read_text(), **environment)
    assert [row["cached"] for row in rows(done.stdout)] == [True] * 10
    assert sandbox.requests == sent


@soon
def test_a_file_that_is_written_again_stays_as_private_as_it_was(
    batch: Batch, tmp_path: Path
) -> None:
    job, target = submitted(batch, "-", stdin="x\n"), tmp_path / "out.jsonl"
    target.touch(0o600)
    assert batch("fetch", job, "-o", target).returncode == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert batch("fetch", job, "-o", "/dev/null").returncode == 0


@soon
def test_a_key_that_is_refused_is_said_in_one_line_and_the_job_stays(
    sandbox: Sandbox, batch: Batch
) -> None:
    job = submitted(batch, "-", stdin="x\n")
    sandbox.script([Fault("401")])
    done = batch("status", job)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("deluge-sync: auth: ")
    assert batch("fetch", job).returncode == 0


@soon
def test_an_output_that_cannot_be_written_is_a_usage_error_and_the_job_stays(
    batch: Batch, tmp_path: Path
) -> None:
    job = submitted(batch, "-", stdin="x\n")
    done = batch("fetch", job, "-o", tmp_path / "nowhere" / "out.jsonl")
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert batch("fetch", job, "-o", tmp_path / "out.jsonl").returncode == 0


@soon
def test_a_bar_is_shown_where_it_is_asked_for(batch: Batch, source: Path) -> None:
    job = submitted(batch, source)
    done = batch("wait", job, "--progress", "bar")
    assert "100%" in done.stderr
    assert done.stdout == ""


PAGE = (ROOT / "docs/batch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@soon
def test_the_commands_and_the_code_of_the_page_work_as_they_stand(
    command: dict[str, str], tmp_path: Path
) -> None:
    assert [kind for kind, _ in BLOCKS] == ["python", "python", "sh", "sh"]
    said = []
    for kind, text in BLOCKS:
        program = ["sh", "-eu", "-c"] if kind == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*program, text], cwd=tmp_path, env=command, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        said.append(done.stdout)
    assert said[0] == "done\n0 Say one. None\n1 Say two. None\n"
    assert said[1] == "2 0\n"
    for name in ("answers.jsonl", "nightly.jsonl"):
        written = rows((tmp_path / name).read_text())
        assert [row["completion"] for row in written] == ["Say one.", "Say two."]


def test_every_command_and_flag_that_the_page_names_is_there(batch: Batch) -> None:
    helped = batch("--help").stdout
    for action in re.findall(r"^\| `(\w+) ?[A-Z\[`]", PAGE, re.MULTILINE):
        assert f"    {action} " in helped
        helped += batch(action, "--help").stdout
    for flag in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert flag in helped
