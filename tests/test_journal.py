"""Journals: what a run writes as it goes, and goes on from when begun again."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import Conversation, JournalError, Message, Text, Thinking, ToolCall
from deluge_sync.journal import Journal, JournalFile, _Places
from deluge_sync.rows import START, prompt_digest, response_of, row_of
from deluge_sync.testing import Fault, Sandbox
from deluge_sync.values.plain import MalformedError
from deluge_sync.values.response import Response, RouteStep, Usage

from .helpers import client_for

ROOT = Path(__file__).parent.parent
PROMPTS = [f"prompt {number}" for number in range(30)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def texts(responses: list[Response]) -> list[str | None]:
    return [response.completion for response in responses]


def rounded(response: Response) -> Response:
    return response.replace(latency=round(response.latency or 0, 6))


def is_locked(path: Path) -> bool:
    """Whether another process finds `path` in use."""
    script = (
        "import os, sys; from deluge_sync.journal import LOCK_BYTE;"
        "from deluge_sync.stores.file_lock import lock;"
        "sys.exit(not lock(os.open(sys.argv[1], os.O_RDWR), at=LOCK_BYTE))"
    )
    return subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT).returncode == 1


# Going on


def test_a_run_begun_again_sends_nothing_and_gives_the_same_responses(
    sandbox: Sandbox, path: Path
) -> None:
    client = client_for(sandbox)
    first = client.map(PROMPTS, journal=path)
    again = client.map(PROMPTS, journal=str(path))
    assert sandbox.requests == len(PROMPTS)
    assert again == [rounded(response) for response in first]


@pytest.mark.parametrize("ordered", [True, False])
def test_imap_gives_what_the_journal_has_at_its_place(
    sandbox: Sandbox, path: Path, ordered: bool
) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS[:10], journal=path)
    found = list(client.imap(iter(PROMPTS), journal=path, ordered=ordered))
    assert sandbox.requests == len(PROMPTS)
    indexes = [response.index for response in found]
    assert (indexes if ordered else sorted(indexes)) == list(range(30))
    assert all(PROMPTS[each.index] == each.completion == each.prompt for each in found)


def test_restored_answers_count_as_answered_and_cost_nothing_again(
    sandbox: Sandbox, path: Path
) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS[:10], journal=path)
    client.map(PROMPTS, journal=path)
    report = client.last_run
    assert (report.prompts, report.answered, report.restored, report.attempts) == (30, 30, 10, 20)
    assert report.output_tokens == sum(row["usage"]["output_tokens"] for row in rows(path)[10:])
    assert report.cost == pytest.approx(sum(row["cost"] for row in rows(path)[10:]))
    assert client.usage().restored == 10


def test_rows_that_failed_are_sent_again_and_the_last_row_counts(
    sandbox: Sandbox, path: Path
) -> None:
    sandbox.script([Fault("400", match="prompt 3")])
    client = client_for(sandbox)
    assert client.map(PROMPTS[:5], journal=path)[3].is_error
    assert texts(client.map(PROMPTS[:5], journal=path)) == PROMPTS[:5]
    assert sandbox.requests == 6
    assert texts(client.map(PROMPTS[:5], journal=path)) == PROMPTS[:5]
    assert sandbox.requests == 6
    assert [row["index"] for row in rows(path)].count(3) == 2


def test_a_prompt_that_could_not_be_sent_may_be_another_one_now(
    sandbox: Sandbox, path: Path
) -> None:
    client = client_for(sandbox)
    assert client.map(["a", ""], journal=path)[1].error.kind == "prompt"
    assert texts(client.map(["a", "b"], journal=path)) == ["a", "b"]


def test_more_rows_than_prompts_stay(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS, journal=path)
    before = path.read_bytes()
    assert texts(client.map(PROMPTS[:3], journal=path)) == PROMPTS[:3]
    assert path.read_bytes() == before


def test_an_answer_of_several_parts_comes_back_as_it_was(sandbox: Sandbox, path: Path) -> None:
    prompt = 'one [[sandbox:call look {"index": 1}]]'
    client = client_for(sandbox)
    (first,) = client.map([prompt], journal=path)
    assert first.content.tool_calls[0].arguments == {"index": 1}
    assert client.map([prompt], journal=path) == [rounded(first)]
    assert sandbox.requests == 1


@pytest.mark.parametrize(
    "content",
    [
        None,
        Message.assistant(""),
        Message.assistant("\ud800 half"),
        Message("assistant", ()),
        Message("assistant", (Text("a"), Text("b"))),
        Message("assistant", (Thinking("hm", signature="s"), Text("a"))),
        Message("assistant", (ToolCall("1", "f", {"index": [1]}),)),
    ],
)
def test_a_row_gives_back_its_response(content: Message | None) -> None:
    response = Response(
        "m", "p", 3, content, "stop", Usage(1, 2, 3), 0.25, None, 2, 0.5, True, 0.1, "id"
    )
    row = json.loads(json.dumps(row_of(response, "p")))
    assert response_of(row, "p") == response


def test_a_row_gives_back_the_route_of_a_client_of_several_models() -> None:
    route = (RouteStep("a/a", "auth"), RouteStep("b/b", "answered"))
    row = json.loads(json.dumps(row_of(Response("b/b", "p", 0, route=route), "p")))
    assert row["route"][0] == {"model": "a/a", "outcome": "auth"}
    assert response_of(row, "p").route == route
    assert "route" not in row_of(Response("a/a", "p", 0), "p")


@pytest.mark.parametrize(
    "route", [None, 3, ["a"], [["a", "auth"]], [{"model": "a"}], [{"model": "a", "outcome": 1}]]
)
def test_a_route_that_is_none_is_malformed(route: Any) -> None:
    with pytest.raises(MalformedError, match="not a route"):
        response_of({**row_of(Response("m", "p", 0), "p"), "route": route}, "p")


# The file


def test_a_row_is_plain_data_and_is_there_when_its_answer_is(sandbox: Sandbox, path: Path) -> None:
    replies = client_for(sandbox).imap(PROMPTS, journal=path)
    first = next(replies)
    row = next(row for row in rows(path) if row["index"] == 0)
    replies.close()
    assert row.pop("request").startswith("1-")
    assert row == {
        "index": 0,
        "prompt": "prompt 0",
        "completion": "prompt 0",
        "error": None,
        "model": "openai/gpt-4.1-mini",
        "finish_reason": "stop",
        "usage": first.usage._asdict(),
        "cost": first.cost,
        "cached": False,
        "saved_cost": None,
        "attempts": 1,
        "latency": round(first.latency, 6),
        "request_id": first.request_id,
        "response_id": first.response_id,
        "service_tier": "default",
    }


def test_a_prompt_that_is_no_string_is_not_repeated_in_its_row(
    sandbox: Sandbox, path: Path
) -> None:
    client_for(sandbox).map([Conversation().system("s").user("u")], journal=path)
    assert rows(path)[0]["prompt"] is None


def test_the_same_conversation_has_the_same_digest_however_it_is_given() -> None:
    same = [
        "hi",
        Conversation().user("hi"),
        Message.user("hi"),
        [{"role": "user", "content": "hi"}],
    ]
    assert len({prompt_digest(prompt) for prompt in same}) == 1
    assert prompt_digest("hi") != prompt_digest("hi ") != prompt_digest(Conversation().system("hi"))


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_last_line_is_cut_off_and_its_prompt_sent_again(
    sandbox: Sandbox, path: Path, cut: int
) -> None:
    client = client_for(sandbox, max_concurrent_requests=1)
    client.map(PROMPTS[:5], journal=path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[: last + cut])
    assert texts(client.map(PROMPTS[:5], journal=path)) == PROMPTS[:5]
    assert sandbox.requests == 6
    assert len(rows(path)) == 5


def test_a_last_line_that_lacks_only_its_end_is_kept(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS[:5], journal=path)
    path.write_bytes(path.read_bytes()[:-1])
    client.map(PROMPTS[:6], journal=path)
    assert sandbox.requests == 6
    assert len(rows(path)) == 6


def test_a_row_glued_to_a_torn_one_is_found(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox, max_concurrent_requests=1)
    client.map(PROMPTS[:5], journal=path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:40], lines[2], b"\0" * 9 + b"\n", *lines[3:]]))
    assert texts(client.map(PROMPTS[:5], journal=path)) == PROMPTS[:5]
    assert sandbox.requests == 6


def test_a_million_rows_cost_two_words_each() -> None:
    tracemalloc.start()
    places = _Places()
    for index in range(100_000):
        places.note(index, index * 300, "f" * 32)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 100_000 * 20
    assert places.offset(99_999) == 99_999 * 300
    assert places.offset(100_000) is None


def sorting(path: Path) -> Journal:
    journal = Journal(path)
    journal.sorts = True
    return journal


def test_a_complete_run_can_leave_the_rows_in_order_one_for_each_prompt(
    sandbox: Sandbox, path: Path
) -> None:
    client = client_for(sandbox)
    sandbox.script([Fault("400", match="prompt 3")])
    client.map(PROMPTS[:5], journal=path)
    path.with_name(".run.jsonl.sorted").write_text("what a kill left")
    path.chmod(0o600)
    assert texts(client.map(PROMPTS, journal=sorting(path))) == PROMPTS
    assert [row["completion"] for row in rows(path)] == PROMPTS
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    inode = path.stat().st_ino
    client.map(PROMPTS, journal=sorting(path))
    assert path.stat().st_ino == inode
    assert sandbox.requests == 31


def test_where_it_cannot_be_put_in_order_the_file_stays_as_it_is(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS[:5], journal=path)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        assert texts(client.map(PROMPTS[:5], journal=sorting(path))) == PROMPTS[:5]
    assert "complete, but not in order" in caplog.text
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_answers_out_of_the_cache_are_rows_too(
    sandbox: Sandbox, path: Path, tmp_path: Path
) -> None:
    client = client_for(sandbox, cache=tmp_path / "cache")
    client.map(PROMPTS)
    client.map(PROMPTS, journal=path)
    assert [row["cached"] for row in rows(path)] == [True] * 30
    found = client.map(PROMPTS, journal=path)
    assert (sandbox.requests, client.last_run.restored) == (30, 30)
    assert found[0].cached
    assert found[0].saved_cost


# What is refused


@pytest.mark.parametrize(
    ("rule", "model", "options", "says"),
    [
        (
            "model",
            "gpt-4.1",
            {},
            "other models (openai/gpt-4.1-mini, for one; now openai/gpt-4.1)",
        ),
        ("params", "gpt-4.1-mini", {"temperature": 0.5}, "other sampling parameters"),
        ("params", "gpt-4.1-mini", {"extra_body": {"user": "u"}}, "other sampling parameters"),
    ],
)
def test_what_has_changed_is_named_and_refused_unless_forced(
    sandbox: Sandbox, path: Path, rule: str, model: str, options: dict, says: str
) -> None:
    client_for(sandbox).map(PROMPTS, journal=path)
    before = path.read_bytes()
    client = client_for(sandbox, model, **options)
    with pytest.raises(JournalError) as caught:
        client.map([*PROMPTS, "more"], journal=path)
    assert says in str(caught.value)
    assert f"--force {rule}" in str(caught.value)
    assert str(path) in str(caught.value)
    assert (sandbox.requests, path.read_bytes()) == (30, before)
    client.map([*PROMPTS, "more"], journal=Journal(path, force=rule))
    assert sandbox.requests == 31


def test_two_changes_are_named_together(sandbox: Sandbox, path: Path) -> None:
    client_for(sandbox).map(PROMPTS, journal=path)
    with pytest.raises(JournalError, match=r"--force model --force params"):
        client_for(sandbox, "gpt-4.1", temperature=1).map(PROMPTS, journal=path)


def test_another_sample_is_not_taken_from_the_journal(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS, journal=path)
    with pytest.raises(JournalError, match="parameters"):
        client.map(PROMPTS, journal=path, cache_salt="2")


def test_a_changed_prompt_of_a_list_is_refused_before_anything_is_sent(
    sandbox: Sandbox, path: Path
) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS, journal=path)
    changed = [*PROMPTS[:-1], "other", "more"]
    with pytest.raises(JournalError, match="another prompt at index 29"):
        client.map(changed, journal=path)
    assert sandbox.requests == 30
    found = client.map(changed, journal=Journal(path, force=["prompt"]))
    assert texts(found) == changed
    assert sandbox.requests == 32


def test_a_changed_prompt_of_a_generator_ends_the_run_when_it_comes(
    sandbox: Sandbox, path: Path
) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS[:3], journal=path)
    with pytest.raises(JournalError, match="another prompt at index 2"):
        client.map(iter(["prompt 0", "prompt 1", "other"]), journal=path)
    assert texts(list(client.last_run.responses)) in ([], PROMPTS[:2])
    assert not is_locked(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"one prompt\nanother", "not a journal"),
        (b"[1, 2]\n", "not a journal"),
        (b'{"prompt": "a"}\n', "not a journal"),
        (b'{"index": 0, "completion": "x", "error": null}\n', "line 1: a row without `request`"),
        (b'{"index": 0, "error": null, "request": "2-a-b-c"}\n', "of version 2"),
        (b'{"index": 0, "error": null, "request": "1-a-b-c"}\n', "not a journal"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not a journal"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(
    sandbox: Sandbox, path: Path, content: bytes, says: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match=says) as caught:
        client_for(sandbox).map(PROMPTS, journal=path)
    assert str(path) in str(caught.value)
    assert (sandbox.requests, path.read_bytes()) == (0, content)


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": True},
        {"index": "0"},
        {"error": ""},
        {"error": 3},
        {"completion": 3},
        {"usage": {"input_tokens": -1}},
        {"usage": 5},
        {"content": {"role": "nobody", "parts": []}},
        {"content": 7},
        {"cost": "1"},
        {"request": None},
    ],
)
def test_a_row_that_was_tampered_with_is_refused(
    sandbox: Sandbox, path: Path, change: dict
) -> None:
    client = client_for(sandbox)
    client.map(PROMPTS[:2], journal=path)
    lines = rows(path)
    lines[1].update(change)
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    with pytest.raises(JournalError, match="line 2"):
        client.map(PROMPTS, journal=path)
    assert sandbox.requests == 2


def test_a_path_that_cannot_be_used_is_an_error_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    client = client_for(sandbox)
    for path in (tmp_path, tmp_path / "absent" / "x.jsonl", Path("/dev/null")):
        with pytest.raises(JournalError, match="the journal"):
            client.map(PROMPTS, journal=path)
    for wrong in (3, "", b"x"):
        with pytest.raises(JournalError, match="path of a file"):
            client.map(PROMPTS, journal=wrong)
    with pytest.raises(JournalError, match="model, params, prompt"):
        Journal("x", force="models")
    assert sandbox.requests == 0


# One run at a time


def test_a_second_run_of_this_process_on_one_file_refuses(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox)
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    first = client.imap(PROMPTS, journal=path)
    next(first)
    for name in (path, link):
        with pytest.raises(JournalError, match="in use by another run of this process"):
            client.map(PROMPTS, journal=name)
    assert is_locked(path)
    assert texts(list(first)) == PROMPTS[1:]
    assert not is_locked(path)
    assert texts(client.map(PROMPTS, journal=link)) == PROMPTS
    assert sandbox.requests == 30


def test_a_second_process_on_one_file_refuses(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox)
    first = client.imap(PROMPTS, journal=path)
    next(first)
    script = (
        "import sys; from deluge_sync import Client;"
        "Client('gpt-4.1-mini', base_url=sys.argv[1], api_key='k').map(['x'], journal=sys.argv[2])"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, sandbox.base_url, str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "in use by another process" in other.stderr
    assert str(path) in other.stderr
    assert texts(list(first)) == PROMPTS[1:]
    assert len(rows(path)) == 30


def test_reading_the_file_meanwhile_frees_its_lock_for_a_tenth_of_a_second_only(
    path: Path,
) -> None:
    file = opened(path)
    path.read_bytes()  # closing it ends the locks of the process
    file._sync([])
    assert is_locked(path)
    file.close()


def opened(path: Path) -> JournalFile:
    file = JournalFile(Journal(path), models=["m"], params={})
    file.open()
    return file


def test_a_file_removed_while_it_is_written_ends_the_run(path: Path) -> None:
    file = opened(path)
    path.unlink()
    file._sync([])
    with pytest.raises(JournalError, match="removed or replaced"):
        file.check()
    file.close()


# What goes wrong


@pytest.mark.parametrize("written", [None, 20])
def test_a_full_disk_ends_the_run_with_what_came_in(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    real, count = os.write, iter(range(10**6))

    def write(number: int, data: bytes) -> int:
        if not data.startswith(START) or next(count) < 10:
            return real(number, data)
        if written is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(number, data[:written])

    taken = []

    def prompts() -> Iterator[str]:
        for number in range(100_000):
            taken.append(number)
            yield f"prompt {number}"

    client = client_for(sandbox, max_concurrent_requests=4)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(JournalError, match=r"cannot be written: .*(disk is full|space left)"):
            client.map(prompts(), journal=path)
    assert len(taken) < 1_000
    assert sum(not response.is_error for response in client.last_run.responses) > 10
    before = sandbox.requests
    found = client.map([f"prompt {number}" for number in range(20)], journal=path)
    assert [response.index for response in found] == list(range(20))
    assert client.last_run.restored == 10
    assert sandbox.requests == before + 10


@pytest.mark.parametrize("ending", ["close", "source", "interrupt"])
def test_a_run_that_ends_early_leaves_a_whole_file_with_all_that_came_in(
    sandbox: Sandbox, path: Path, ending: str
) -> None:
    def prompts() -> Iterator[str]:
        yield from PROMPTS[:10]
        if ending == "source":
            raise ValueError("the database went away")
        if ending == "interrupt":
            raise KeyboardInterrupt
        yield from PROMPTS[10:]

    client = client_for(sandbox, max_concurrent_requests=2)
    replies = client.imap(prompts(), journal=path)
    got = [next(replies) for _ in range(3)]
    if ending == "close":
        replies.close()
    else:
        with pytest.raises((ValueError, KeyboardInterrupt)):
            got.extend(replies)
    kept = {row["index"] for row in rows(path)}
    assert kept >= {response.index for response in got}
    assert not is_locked(path)
    assert texts(client.map(PROMPTS, journal=path)) == PROMPTS
    assert client.last_run.restored == len(kept)


@pytest.mark.sandbox(delay=lambda question: 30 if question.prompt == "slow" else 0)
def test_calls_that_were_cancelled_leave_no_rows(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox)
    replies = client.imap(["fast", "slow"], journal=path)
    next(replies)
    sandbox.wait_for(2)
    replies.close()
    assert [row["prompt"] for row in rows(path)] == ["fast"]


def test_calls_that_did_not_fit_the_budget_leave_no_rows(sandbox: Sandbox, path: Path) -> None:
    client = client_for(sandbox, max_new_tokens=10)
    replies = client.map(PROMPTS, journal=path, max_cost=0.00005)
    over = [each for each in replies if each.is_error and each.error.kind == "budget"]
    assert over
    assert len(rows(path)) == len(PROMPTS) - len(over)
    assert texts(client.map(PROMPTS, journal=path)) == PROMPTS
    assert sandbox.requests == 30


def test_an_answer_that_no_json_can_hold_ends_the_run(sandbox: Sandbox, path: Path) -> None:
    def odd(response: Response) -> Response:
        return response.replace(
            content=Message("assistant", (ToolCall("1", "f", {"object": object()}),))
        )

    with pytest.raises(JournalError, match="not JSON serializable"):
        client_for(sandbox, postprocess=odd).map(PROMPTS, journal=path)


def test_what_postprocess_made_of_an_answer_comes_back_without_it(
    sandbox: Sandbox, path: Path
) -> None:
    called = []

    def shout(response: Response) -> Response:
        called.append(response.index)
        return response.replace(content=Message.assistant(response.completion.upper()), index=None)

    client = client_for(sandbox, postprocess=shout)
    client.map(["a", "b"], journal=path)
    assert texts(client.map(["a", "b"], journal=path)) == ["A", "B"]
    assert len(called) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_writes_nothing_to_its_parents_journal(path: Path) -> None:
    file = opened(path)
    file.begin(0, "a")
    pid = os.fork()
    if not pid:
        file.record(0, Response("m", "a", 0, Message.assistant("child")))
        file.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert is_locked(path)
    assert path.read_bytes() == b""
    file.record(0, Response("m", "a", 0, Message.assistant("parent")))
    file.finish()
    file.close()
    assert [row["completion"] for row in rows(path)] == ["parent"]


def test_an_answer_in_hand_is_still_written_when_the_run_ends(path: Path) -> None:
    file = opened(path)
    file.begin(0, "a")
    file.expect(0)
    closing = threading.Thread(target=file.close)
    closing.start()
    file.record(0, Response("m", "a", 0, Message.assistant("late")))
    closing.join(10)
    assert [row["completion"] for row in rows(path)] == ["late"]


def test_a_run_with_another_effort_in_its_models_name_is_another(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        path = tmp_path / "journal.jsonl"
        client_for(sandbox, "gpt-5.2").map(["a"], journal=path)
        with pytest.raises(JournalError, match="model"):
            client_for(sandbox, "gpt-5.2-high").map(["a"], journal=path)
