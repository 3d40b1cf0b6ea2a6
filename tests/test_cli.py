"""The command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deluge_sync.testing import Fault, Sandbox

from .helpers import deluge_here as deluge
from .helpers import interruptible

ROOT = Path(__file__).parent.parent


def deluge_apart(
    *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess:
    """Run `deluge-sync` as a program of its own; gives what it printed and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "deluge_sync", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def against(sandbox: Sandbox, *arguments: str, **options: str) -> subprocess.CompletedProcess:
    """Run `deluge-sync map` against `sandbox`."""
    url = ("--model", "sandbox/echo", "--base-url", sandbox.base_url)
    return deluge("map", *arguments, *url, **options)


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_readmes_first_command_answers_every_prompt_in_order(tmp_path: Path) -> None:
    done = deluge_apart("map", "examples/prompts.txt", "--model", "sandbox/echo", "--limit", "200")
    assert done.returncode == 0
    prompts = (ROOT / "examples/prompts.txt").read_text().splitlines()[:200]
    answers = rows(done.stdout)
    assert [row["completion"] for row in answers] == prompts == [row["prompt"] for row in answers]
    assert [row["index"] for row in answers] == list(range(200))
    assert list(answers[0]) == ["index", "prompt", "completion", "error", "model", "finish_reason",
                                "usage", "cost", "cached", "saved_cost", "attempts", "latency",
                                "request_id", "response_id", "service_tier"]  # fmt: skip
    assert "200 answered, 0 failed" in done.stderr


def test_output_goes_to_a_file_and_stdout_stays_empty(sandbox: Sandbox, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("één\n\nzwei\n", encoding="utf-8")
    url = ("--model", "sandbox/echo", "--base-url", sandbox.base_url)
    locale = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = deluge_apart("map", str(source), "-o", str(target), *url, **locale)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [row["completion"] for row in rows(target.read_text("utf-8"))] == ["één", "zwei"]


def test_prompts_come_from_stdin(sandbox: Sandbox) -> None:
    done = against(sandbox, "-", "--system", "Be kind.", stdin="hello\nworld\n")
    assert [row["completion"] for row in rows(done.stdout)] == ["hello", "world"]
    assert sandbox.journal[0].body["messages"][0] == {"role": "system", "content": "Be kind."}


def test_json_lines_hold_strings_prompts_or_messages(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = ["one", {"prompt": "two"}, {"messages": [{"role": "user", "content": "three"}]}]
    source.write_text("\n".join(map(json.dumps, lines)))
    done = against(sandbox, str(source))
    assert [row["completion"] for row in rows(done.stdout)] == ["one", "two", "three"]


def test_a_field_chooses_the_column(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "question"], ["1", "multi\nline"], ["2", "b"]])
    done = against(sandbox, str(source), "--field", "question")
    assert [row["completion"] for row in rows(done.stdout)] == ["multi\nline", "b"]


def test_a_broken_row_fails_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('"one"\n{broken\n{"other": 1}\n"four"\n')
    done = against(sandbox, str(source))
    assert done.returncode == 1
    assert [row["completion"] for row in rows(done.stdout)] == ["one", None, None, "four"]
    assert "line 2 is not JSON" in rows(done.stdout)[1]["error"]
    assert "has no field prompt or messages or text; it has: other" in rows(done.stdout)[2]["error"]


def test_a_failed_call_gives_exit_code_1_and_its_reason(sandbox: Sandbox) -> None:
    sandbox.script([Fault("400", match="bad")])
    done = against(sandbox, "-", stdin="good\nbad\n")
    assert done.returncode == 1
    assert rows(done.stdout)[1]["error"].startswith("bad_request: ")
    assert "1 answered, 1 failed" in done.stderr


@pytest.mark.parametrize("resume", [False, True])
def test_of_several_models_one_takes_over_and_the_rows_say_the_way(
    sandbox: Sandbox, tmp_path: Path, resume: bool
) -> None:
    provider = {"adapter": "openai_chat", "base_url": sandbox.base_url, "key_env": []}
    models = {name: {"id": name, "provider": "here"} for name in ("first", "second")}
    config = tmp_path / "config.yaml"  # JSON is YAML
    config.write_text(json.dumps({"providers": {"here": provider}, "models": models}))
    target = tmp_path / "out.jsonl"
    sandbox.script([Fault("404")])
    flags = ("--config", str(config), "-m", "first", "-m", "second", "-o", str(target))
    done = deluge("map", "-", *flags, *(["--resume"] if resume else []), stdin="hello\n")
    assert done.returncode == 0, done.stderr
    (row,) = rows(target.read_text())
    assert (row["completion"], row["model"]) == ("hello", "here/second")
    assert row["route"] == [
        {"model": "here/first", "outcome": "not_found"},
        {"model": "here/second", "outcome": "answered"},
    ]


def test_no_prompts_are_no_error(sandbox: Sandbox) -> None:
    done = against(sandbox, "-", stdin="")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not UTF-8"),
        (b"a\0b\n", "binary"),
    ],
)
def test_an_input_that_cannot_be_read_is_a_usage_error(tmp_path: Path, content, says) -> None:
    source = tmp_path / "in.txt"
    if content is not None:
        source.write_bytes(content)
    done = deluge("map", str(source), "--model", "sandbox/echo")
    assert done.returncode == 2
    assert says in done.stderr
    assert str(source) in done.stderr or says == "binary"
    assert "Traceback" not in done.stderr


def test_a_field_that_no_row_has_is_a_usage_error_that_names_the_others(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,question\n1,why\n")
    done = deluge("map", str(source), "--field", "prompt", "--model", "sandbox/echo")
    assert done.returncode == 2
    assert "id, question" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["map", "x.txt"], 2, "--model"),
        (["nonsense"], 2, "invalid choice"),
        (["map", "-", "--model", "gpt-4.1-mimi"], 3, "gpt-4.1-mini"),
        (["map", "-", "--model", "sandbox/echo", "--limit", "0"], 2, "at least 1"),
        (["map", "-", "--model", "sandbox/echo", "--concurrency", "0"], 2, "at least 1"),
        (["map", "-", "--model", "sandbox/echo", "--config", "absent.yaml"], 3, "absent.yaml"),
        (["map", "-", "--model", "sandbox/echo", "-o", "/no/such/folder/x"], 2, "cannot write"),
        (["models", "--provider", "opnai"], 3, "openai"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, code, says) -> None:
    done = deluge(*arguments, stdin="hello\n")
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_key_is_a_configuration_error() -> None:
    done = deluge("map", "-", "--model", "gpt-4.1-mini", stdin="hello\n", OPENAI_API_KEY="")
    assert done.returncode == 3
    assert "OPENAI_API_KEY" in done.stderr


def test_models_lists_the_catalog_as_a_table_and_as_json() -> None:
    table = deluge("models", "--provider", "anthropic")
    assert "anthropic/claude-haiku-4-5" in table.stdout
    assert "openai/" not in table.stdout
    models = json.loads(deluge("models", "--json").stdout)
    assert len(models) >= 90
    assert len({model["provider"] for model in models}) >= 15


def test_check_says_which_keys_are_there_without_showing_them() -> None:
    done = deluge("check", OPENAI_API_KEY="sk-very-secret", ANTHROPIC_API_KEY="")
    assert done.returncode == 0
    assert "key present" in done.stdout
    assert "set ANTHROPIC_API_KEY" in done.stdout
    assert "very-secret" not in done.stdout + done.stderr


def test_check_of_a_model_without_its_key_is_a_configuration_error() -> None:
    done = deluge("check", "--model", "gpt-4.1-mini", OPENAI_API_KEY="")
    assert done.returncode == 3


def test_check_live_sends_one_prompt() -> None:
    done = deluge("check", "--model", "sandbox/echo", "--live")
    assert done.returncode == 0
    assert "answered 'Say: ok'" in done.stdout


def test_the_sandbox_serves_other_programs_until_interrupted() -> None:
    command = [sys.executable, "-m", "deluge_sync", "sandbox", "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=interruptible
    )
    try:
        url = server.stdout.readline().strip()
        done = deluge("map", "-", "--model", "sandbox/echo", "--base-url", url, stdin="hello\n")
        assert rows(done.stdout)[0]["completion"] == "hello"
    finally:
        server.send_signal(signal.SIGINT)
    assert server.wait(10) == 130


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    command = f"{sys.executable} -m deluge_sync map examples/prompts.txt --model sandbox/echo"
    done = subprocess.run(
        f"{command} | head -n 1", shell=True, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_text_that_cannot_be_written_as_it_is_costs_no_other_row(sandbox, tmp_path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt":"a"}\n{"prompt":"\\ud800"}\n{"prompt":"b"}\n')
    done = against(sandbox, str(source))
    assert [row["completion"] for row in rows(done.stdout)][::2] == ["a", "b"]
    assert "Traceback" not in done.stderr


def test_a_line_that_is_not_utf8_fails_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(b"one\n\xff\xfe\nthree\n")
    done = against(sandbox, str(source))
    assert done.returncode == 1
    assert [row["completion"] for row in rows(done.stdout)] == ["one", None, "three"]
    assert "not UTF-8" in rows(done.stdout)[1]["error"]


def test_the_input_is_never_overwritten(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("one\n")
    done = against(sandbox, str(source), "-o", str(source))
    assert done.returncode == 2
    assert source.read_text() == "one\n"


def test_a_large_csv_field_is_a_prompt_like_any_other(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("prompt\n" + "word " * 40_000 + "\n")
    assert against(sandbox, str(source)).returncode == 0


def test_a_ca_bundle_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    done = deluge("map", "-", "--model", "gpt-4.1-mini", stdin="a\nb\n", OPENAI_API_KEY="k",
                  REQUESTS_CA_BUNDLE="/no/such/bundle.pem")  # fmt: skip
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_port_that_cannot_be_had_is_a_usage_error() -> None:
    done = deluge("sandbox", "--port", "99999")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
