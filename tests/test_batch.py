"""Batch jobs, from prompts to responses, against the sandbox over real HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import (
    AuthError,
    BatchError,
    BatchJob,
    BudgetExceeded,
    CallCancelledError,
    CallError,
    Client,
    ConfigError,
    Conversation,
    DeadlineExceededError,
    DelugeWarning,
    NotFoundError,
    OutputError,
    PromptError,
    Response,
    Tool,
)
from deluge_sync.adapters import openai_batches
from deluge_sync.batch import job as job_module
from deluge_sync.batch import steps as steps_module
from deluge_sync.batch.ledger import Ledger
from deluge_sync.embed import EmbedError, stack_results
from deluge_sync.testing import BatchScript, Fault, Sandbox

VENDORS = {
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3.5-flash",
    "mistral": "mistral/mistral-small-latest",
    "groq": "groq/openai/gpt-oss-20b",
}
SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between two looks."""
    monkeypatch.setattr(job_module, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(steps_module, "LAG", 0.0)


def client_of(sandbox: Sandbox, folder: Path, vendor: str = "openai", **options: Any) -> Client:
    url = {"anthropic": sandbox.anthropic_url, "gemini": sandbox.gemini_url}
    return Client(
        options.pop("model", VENDORS[vendor]),
        base_url=url.get(vendor, sandbox.base_url),
        api_key=SECRET,
        batch_folder=folder / "batches",
        progress="none",
        **options,
    )


def prompts(count: int) -> list[str]:
    return [f"prompt {number}" for number in range(count)]


def completions(responses: Any) -> list[str | None]:
    return [response.completion for response in responses]


# Answers


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_responses_are_those_of_live_calls_in_the_order_of_the_prompts(
    vendor: str, tmp_path: Path
) -> None:
    with Sandbox() as sandbox:
        client = client_of(sandbox, tmp_path, vendor)
        live = client.map(prompts(7))
        job = client.submit_batch_job(prompts(7), batch_size=3)
        responses = list(job.results())
        assert [record.requests for record in sandbox.batches] == [3, 3, 1]
    assert [response.index for response in responses] == list(range(7))
    assert [response.prompt for response in responses] == prompts(7)
    for one, other in zip(responses, live):
        assert one.error is None
        assert (one.content, one.usage, one.model) == (other.content, other.usage, other.model)
        assert one.finish_reason == other.finish_reason
        assert one.response_id


def test_the_responses_api_has_batches_too(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path, model="gpt-5.6-luna", use_responses_api=True)
    live = client.map(prompts(3))
    job = client.submit_batch_job(prompts(3), reasoning_effort="low")
    attached = client_of(sandbox, tmp_path).attach_batch_job(job.job_id)
    responses = list(attached.results())
    assert completions(responses) == completions(live)
    assert [response.usage for response in responses] == [reply.usage for reply in live]


def test_a_batch_costs_what_batches_cost(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    live = client.complete("What?")
    (response,) = client.submit_batch_job(["What?"]).results()
    assert live.cost is not None
    assert response.cost == pytest.approx(live.cost / 2)


def test_prompts_may_be_any_iterable_and_any_prompt(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    conversation = Conversation().system("Be kind").user("Hello")
    given = iter(["one", conversation, [{"role": "user", "content": "three"}]])
    responses = list(client.submit_batch_job(given).results())
    assert [response.completion for response in responses] == ["one", "Hello", "three"]
    assert responses[1].prompt == conversation


def test_results_can_be_read_again_by_another_client(sandbox: Sandbox, tmp_path: Path) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(5), batch_size=2)
    first = completions(job.results())
    asked = sandbox.requests
    attached = client_of(sandbox, tmp_path, model="gpt-4o-mini").attach_batch_job(job.job_id)
    assert completions(attached.results()) == first == prompts(5)
    assert sandbox.requests == asked


def test_objects_are_parsed_and_their_schema_outlives_the_process(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with Sandbox(answer=lambda question: question.prompt) as sandbox:
        client = client_of(sandbox, tmp_path)
        job = client.submit_batch_job(['{"n": 1}', '{"n": "x"}'], output_schema=schema)
        good, bad = job.results()
        assert good.parsed == {"n": 1}
        assert isinstance(bad.error, OutputError)
        again = client_of(sandbox, tmp_path).attach_batch_job(job.job_id)
        assert next(again.results()).parsed == {"n": 1}


def test_tools_and_the_vendors_cache_go_into_every_line(sandbox: Sandbox, tmp_path: Path) -> None:
    def lookup(word: str) -> str:
        """Look a word up."""
        return word

    client = client_of(sandbox, tmp_path, "anthropic")
    job = client.submit_batch_job(
        [Conversation().system("You know words.").user("x")],
        tools=[Tool.from_function(lookup)],
        cache="system_and_tools",
        temperature=None,
    )
    (file,) = Path(tmp_path, "batches", job.job_id).glob("part-*.jsonl")
    line = json.loads(file.read_bytes())["params"]
    assert line["tools"][0]["name"] == "lookup"
    assert "cache_control" in json.dumps(line["system"])
    assert "stream" not in line


def test_postprocess_runs_once_for_each_good_response(sandbox: Sandbox, tmp_path: Path) -> None:
    seen: list[int | None] = []

    def note(response: Response) -> Response:
        seen.append(response.index)
        return response

    client = client_of(sandbox, tmp_path, postprocess=note)
    list(client.submit_batch_job(prompts(3)).results())
    assert seen == [0, 1, 2]


# Texts

TEXTS = ["a cat on a sofa", "two cats", "the price of gold"]


@pytest.mark.parametrize("model", ["text-embedding-3-small", "mistral/mistral-embed"])
def test_texts_are_embedded_in_batches_with_the_vectors_of_live_requests(
    model: str, tmp_path: Path
) -> None:
    with Sandbox() as sandbox:
        client = client_of(sandbox, tmp_path, model=model)
        live = client.embed(TEXTS)
        job = client.submit_batch_job(TEXTS, batch_size=2)
        responses = list(job.results())
        assert stack_results(responses) == live
        assert [record.requests for record in sandbox.batches] == [2, 1]
    live_cost = client.models[0].prices.cost(responses[0].usage)
    assert live_cost is not None
    assert responses[0].cost == pytest.approx(live_cost / 2)


def test_what_was_asked_of_texts_outlives_the_process(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path, model="text-embedding-3-small")
    job = client.submit_batch_job([*TEXTS, "", 5], dimensions=8)
    responses = list(client_of(sandbox, tmp_path).attach_batch_job(job.job_id).results())
    assert [len(response.vectors) for response in responses] == [1, 1, 1, 0, 0]
    assert len(responses[0].vectors[0]) == 8
    assert "text 3: it is empty" in str(responses[3].error)
    assert "text 4: it is a int" in str(responses[4].error)
    with pytest.raises(EmbedError):
        stack_results(responses)
    with pytest.raises(ConfigError, match="takes dimensions and input_type"):
        client.submit_batch_job(TEXTS, temperature=1)


def test_vectors_of_the_cache_are_not_submitted_and_batches_fill_it(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        options = {"model": "text-embedding-3-small", "cache": tmp_path / "cache"}
        client = client_of(sandbox, tmp_path, **options)
        client.embed(TEXTS[:1])
        job = client.submit_batch_job(TEXTS)
        responses = list(job.results())
        assert [response.cached for response in responses] == [True, False, False]
        assert [record.requests for record in sandbox.batches] == [2]
        client.close()
        asked = sandbox.requests
        again = client_of(sandbox, tmp_path, **options).embed(TEXTS)
        assert again == stack_results(responses)
        assert sandbox.requests == asked


def test_texts_that_expired_are_submitted_again(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(end="expired", share=0.7)) as sandbox:
        client = client_of(sandbox, tmp_path, model="text-embedding-3-small")
        job = client.submit_batch_job([f"text {number}" for number in range(10)])
        assert sum(not response.is_error for response in job.results()) == 7
        job.resubmit_failed()
        assert sum(not response.is_error for response in job.results()) == 9
        assert [record.requests for record in sandbox.batches] == [10, 3]


# The cache


def test_what_the_cache_has_is_not_submitted_and_results_fill_it(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        client = client_of(sandbox, tmp_path, cache=tmp_path / "cache")
        client.map(prompts(2))
        job = client.submit_batch_job(prompts(5))
        responses = list(job.results())
        assert [record.requests for record in sandbox.batches] == [3]
        assert completions(responses) == prompts(5)
        assert [response.cached for response in responses] == [True, True, False, False, False]
        assert responses[0].cost == 0.0
        client.close()
        asked = sandbox.requests
        replies = client_of(sandbox, tmp_path, cache=tmp_path / "cache").map(prompts(5))
        assert all(reply.cached for reply in replies)
        assert sandbox.requests == asked


def test_a_job_that_the_cache_answers_whole_submits_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    client = client_of(sandbox, tmp_path, cache=tmp_path / "cache")
    client.map(prompts(2))
    job = client.submit_batch_job(prompts(2))
    assert job.status().done
    assert completions(job.results()) == prompts(2)
    assert sandbox.batches == []


# Partial results


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "mistral", "groq"])
def test_an_expired_batch_gives_what_it_has_and_the_rest_is_submitted_again(
    vendor: str, tmp_path: Path
) -> None:
    script = BatchScript(end="expired", share=0.7)
    with Sandbox(batches=script) as sandbox:
        client = client_of(sandbox, tmp_path, vendor)
        job = client.submit_batch_job(prompts(100))
        responses = list(job.results())
        done = [response.index for response in responses if response.error is None]
        assert done == list(range(70))
        assert "expired" in str(responses[99].error) or "time was up" in str(responses[99].error)
        assert job.status().succeeded == 70
        job_module_client = client_of(sandbox, tmp_path, vendor).attach_batch_job(job.job_id)
        job_module_client.resubmit_failed()
        assert [record.requests for record in sandbox.batches] == [100, 30]
        second = list(job.results())
        assert completions(second[:70]) == prompts(70)
        assert [response.index for response in second if response.error is None] == list(range(91))
        assert job.status().succeeded == 91


def test_what_is_there_can_be_had_before_the_job_is_done(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    job = client.submit_batch_job(prompts(4), batch_size=2)
    sandbox.script([None, None, Fault("401")] * 2)  # of the second batch nothing is heard
    while "fetched" not in {part.state for part in client.batch_jobs()[0].parts}:
        with contextlib.suppress(AuthError):
            job.status()
    sandbox.clear_faults()
    asked = sandbox.requests
    responses = list(job.results(partial=True))
    assert sandbox.requests == asked
    assert [response.is_error for response in responses].count(False) == 2
    waiting = [response.error for response in responses if response.is_error]
    assert all("not done yet" in str(error) and error.retryable for error in waiting)
    assert completions(job.results()) == prompts(4)


def test_submitting_again_calls_no_function_of_the_users(tmp_path: Path) -> None:
    seen: list[int | None] = []

    def note(response: Response) -> Response:
        seen.append(response.index)
        return response

    with Sandbox(batches=BatchScript(end="expired", share=0.5)) as sandbox:
        client = client_of(sandbox, tmp_path, postprocess=note)
        job = client.submit_batch_job(prompts(4))
        job.wait()
        job.resubmit_failed()
        assert seen == []
        assert [record.requests for record in sandbox.batches] == [4, 2]


def test_a_full_queue_holds_up_no_look(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        client = client_of(sandbox, tmp_path, "anthropic")
        first = client.submit_batch_job(prompts(2))
        sandbox.script([Fault("429", retry_after=3600.0, match="POST /v1/messages/batches")])
        client.submit_batch_job(["later"])
        assert completions(first.results(timeout=30)) == prompts(2)


def test_failed_requests_have_the_errors_of_live_calls(tmp_path: Path) -> None:
    def failing(custom_id: str, prompt: str) -> int | None:
        return {"prompt 1": 404, "prompt 3": 400}.get(prompt)

    with Sandbox(batches=BatchScript(failing=failing)) as sandbox:
        client = client_of(sandbox, tmp_path)
        responses = list(client.submit_batch_job(prompts(5)).results())
    errors = [response.error and response.error.kind for response in responses]
    assert errors == [None, "not_found", None, "bad_request", None]
    assert isinstance(responses[1].error, NotFoundError)
    assert responses[1].error.response is responses[1]


def test_a_batch_without_an_output_file_says_so(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(without_output=True)) as sandbox:
        client = client_of(sandbox, tmp_path)
        (response,) = client.submit_batch_job(["x"]).results()
    assert "neither an output file nor an error file" in str(response.error)


def test_a_batch_that_fails_gives_every_prompt_its_reason(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(end="failed", share=0.0)) as sandbox:
        client = client_of(sandbox, tmp_path)
        responses = list(client.submit_batch_job(prompts(3)).results())
    assert all("failed" in str(response.error) for response in responses)


@pytest.mark.parametrize("vendor", VENDORS)
def test_cancelling_keeps_what_is_done_and_submits_nothing_more(
    vendor: str, tmp_path: Path
) -> None:
    with Sandbox(batches=BatchScript(polls=4)) as sandbox:
        client = client_of(sandbox, tmp_path, vendor)
        # Only one of the two batches is under way; the other one waits for it.
        job = client.submit_batch_job(prompts(8), batch_size=4, max_enqueued_tokens=50)
        assert len(sandbox.batches) == 1
        job.status()
        job.status()
        job.cancel()
        responses = list(job.results())
        assert len(sandbox.batches) == 1
    done = [response for response in responses if response.error is None]
    assert 0 < len(done) < 8
    assert all(response.error is not None for response in responses[4:])
    kinds = {type(response.error) for response in responses if response.error}
    assert CallCancelledError in kinds or vendor in ("gemini", "mistral")


# Limits and queues


def test_batches_hold_no_more_bytes_and_tokens_than_the_provider_takes(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    batch = {"wire": "openai", "max_requests": 100, "max_bytes": 1000}
    client = client_of(sandbox, tmp_path, config={"providers": {"openai": {"batch": batch}}})
    job = client.submit_batch_job(prompts(20))
    files = sorted(Path(tmp_path, "batches", job.job_id).glob("part-*.jsonl"))
    assert len(files) > 2
    assert all(file.stat().st_size <= 1000 for file in files)
    assert completions(job.results()) == prompts(20)


def test_what_the_providers_queue_has_no_room_for_waits_and_is_then_submitted(
    tmp_path: Path,
) -> None:
    with Sandbox(batches=BatchScript(enqueued_tokens=40)) as sandbox:
        client = client_of(sandbox, tmp_path)
        job = client.submit_batch_job(prompts(30), batch_size=10)
        assert completions(job.results()) == prompts(30)
        done = [record for record in sandbox.batches if record.status == "completed"]
        assert sorted(record.requests for record in done) == [10, 10, 10]


@pytest.mark.parametrize("vendor", ["anthropic", "gemini", "mistral"])
def test_a_queue_that_is_full_at_once_is_waited_for_too(vendor: str, tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(enqueued_tokens=40)) as sandbox:
        client = client_of(sandbox, tmp_path, vendor)
        job = client.submit_batch_job(prompts(20), batch_size=10)
        assert completions(job.results()) == prompts(20)
        assert len(sandbox.batches) == 2


def test_no_more_tokens_are_under_way_than_one_says(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    job = client.submit_batch_job(prompts(9), batch_size=3, max_enqueued_tokens=100)
    assert len(sandbox.batches) < 3
    assert completions(job.results()) == prompts(9)
    assert len(sandbox.batches) == 3


def test_a_failed_look_is_invisible(sandbox: Sandbox, tmp_path: Path) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    sandbox.script([Fault("503"), Fault("reset"), Fault("html")])
    assert completions(job.results()) == prompts(3)


def test_looks_that_fail_again_and_again_are_said(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    sandbox.script([Fault("503")] * 7)
    job.wait()
    assert caplog.text.count("the last 5 looks failed") == 1


def test_without_a_connection_not_every_batch_is_tried_in_vain(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(sandbox, tmp_path, max_attempts=1)
    job = client.submit_batch_job(prompts(3), batch_size=1)
    sandbox.close()
    more = client.submit_batch_job(prompts(9), batch_size=1)
    assert caplog.text.count("is not submitted yet") == 1
    assert [part.state for part in more.status().parts[1:]] == ["ready"] * 8
    assert not job.status().done


def test_a_batch_that_another_accounts_key_does_not_find_is_not_given_up(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    other = Client(
        VENDORS["openai"],
        base_url=sandbox.base_url,
        api_key="sk-another",
        batch_folder=tmp_path / "batches",
    )
    sandbox.script([Fault("404")])
    with pytest.raises(BatchError, match="another key"):
        other.attach_batch_job(job.job_id).status()
    assert completions(job.results()) == prompts(3)


def test_cancelling_ends_a_submission_that_is_under_way(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, call_off, called_off = openai_batches.create, Ledger.call_off, threading.Event()

    def recorded(ledger: Ledger) -> None:
        call_off(ledger)
        called_off.set()

    def cancelled_meanwhile(*args: Any) -> Any:
        cancelling.start()
        assert called_off.wait(20)
        return create(*args)

    client = client_of(sandbox, tmp_path)
    cancelling = threading.Thread(target=lambda: client.attach_batch_job("long").cancel())
    monkeypatch.setattr(Ledger, "call_off", recorded)
    monkeypatch.setattr(openai_batches, "create", cancelled_meanwhile)
    job = client.submit_batch_job(prompts(5), batch_size=1, job_id="long")
    cancelling.join(20)
    assert len(sandbox.batches) == 1
    assert job.wait().failed >= 4


def test_one_batch_that_cannot_be_stopped_leaves_the_others_stopped(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(polls=50)) as sandbox:
        job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3), batch_size=1)
        sandbox.script([Fault("400", match="/cancel")])
        with pytest.raises(CallError):
            job.cancel()
        stopped = [batch.status.startswith("cancel") for batch in sandbox.batches]
        assert stopped == [False, True, True]


@pytest.mark.parametrize("where", ["GET /v1/batches/", "GET /v1/files/"])
def test_one_404_gives_up_neither_a_batch_nor_its_outcomes(
    where: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    sandbox.script([Fault("404", match=where)])
    assert completions(job.results()) == prompts(3)
    assert len(sandbox.batches) == 1


def test_a_batch_that_is_not_found_for_long_is_given_up(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "MISSING", 0.0)
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    sandbox.script([Fault("404")])
    errors = [response.error for response in job.results()]
    assert all("'lost'" in str(error) for error in errors)


def test_outcomes_that_another_accounts_key_does_not_find_are_not_given_up(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "MISSING", 0.0)
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    sandbox.script([Fault("403", match="GET /v1/files/")])
    with pytest.raises(AuthError):
        job.wait()
    other = Client(
        VENDORS["openai"],
        base_url=sandbox.base_url,
        api_key="sk-another",
        batch_folder=tmp_path / "batches",
    )
    sandbox.script([Fault("404")])
    with pytest.raises(BatchError, match="another key"):
        other.attach_batch_job(job.job_id).status()
    assert completions(job.results()) == prompts(3)


def test_a_server_that_is_silent_is_not_asked_for_every_batch(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(9), batch_size=1)
    before = sandbox.requests
    sandbox.script([Fault("reset", times=9)])
    assert job.status().state == "in_progress"
    assert sandbox.requests == before + 3
    sandbox.clear_faults()
    assert completions(job.results()) == prompts(9)


def test_a_batch_that_is_too_large_for_the_queue_alone_is_said(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(polls=1, enqueued_tokens=1)) as sandbox:
        job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
        job.status()
        with pytest.warns(DelugeWarning, match="max_enqueued_tokens"):
            job.status()


def test_a_look_that_fails_for_good_leaves_the_other_batches_looked_at(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(6), batch_size=3)
    sandbox.script([Fault("401"), None, Fault("401"), None])
    for _ in range(2):
        with pytest.raises(AuthError):
            job.status()
    assert {part.state for part in client_of(sandbox, tmp_path).batch_jobs()[0].parts} == {
        "submitted",
        "fetched",
    }


def test_a_lost_answer_makes_no_second_batch(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script([Fault("reset", match="POST /v1/batches")])
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    assert completions(job.results()) == prompts(3)
    assert len(sandbox.batches) == 1


def test_a_lost_answer_makes_no_second_batch_where_batches_have_no_names(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script([Fault("reset", match="POST /v1/messages/batches")])
    client = client_of(sandbox, tmp_path, "anthropic")
    client.submit_batch_job(["of another job"])
    sandbox.script([Fault("reset", match="POST /v1/messages/batches")])
    job = client.submit_batch_job(["mine"])
    assert completions(job.results()) == ["mine"]
    assert len(sandbox.batches) == 2


@pytest.mark.parametrize("where", ["/v1/messages/batches/", "/results"])
def test_one_404_makes_no_second_batch_where_batches_have_no_names(
    where: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = client_of(sandbox, tmp_path, "anthropic")
    sandbox.script([Fault("reset", match="POST /v1/messages/batches")])
    job = client.submit_batch_job(["mine"])
    sandbox.script([Fault("404", match=where)])
    assert completions(job.results()) == ["mine"]
    assert len(sandbox.batches) == 1


def test_outcomes_of_another_job_are_not_counted_as_answers(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(sandbox, tmp_path)
    download = openai_batches.download
    asked: list[str] = []

    def first(result: str, model: Any) -> Any:
        asked.append(result)
        return download(asked[0], model)

    monkeypatch.setattr(openai_batches, "download", first)
    client.submit_batch_job(prompts(4)).wait()
    status = client.submit_batch_job(prompts(3)).wait()
    assert (status.succeeded, status.failed, status.waiting) == (0, 3, 0)


# Going on


def test_the_same_job_id_goes_on_with_the_job(sandbox: Sandbox, tmp_path: Path) -> None:
    first = client_of(sandbox, tmp_path).submit_batch_job(prompts(3), job_id="nightly")
    second = client_of(sandbox, tmp_path).submit_batch_job(prompts(3), job_id="nightly")
    assert completions(second.results()) == prompts(3)
    assert first.job_id == second.job_id == "nightly"
    assert len(sandbox.batches) == 1


def test_a_job_id_of_another_job_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    client.submit_batch_job(prompts(3), job_id="nightly")
    with pytest.raises(BatchError, match="of other prompts"):
        client.submit_batch_job(prompts(4), job_id="nightly")
    with pytest.raises(BatchError, match="other options"):
        client.submit_batch_job(prompts(3), job_id="nightly", temperature=0.5)
    other = client_of(sandbox, tmp_path, model="gpt-4o-mini")
    with pytest.raises(BatchError, match="another model"):
        other.submit_batch_job(prompts(3), job_id="nightly")
    assert len(sandbox.batches) == 1


def test_jobs_are_waited_for_by_themselves_their_ids_and_the_providers(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    client = client_of(sandbox, tmp_path)
    one = client.submit_batch_job(prompts(2))
    two = client.submit_batch_job(["other"])
    assert completions(client.wait_for_batch_job(one, provider="openai")) == prompts(2)
    ids = [one.job_id, two.batch_ids[0]]
    assert completions(client.wait_for_batch_job(ids)) == [*prompts(2), "other"]
    with pytest.raises(BatchError, match="not of 'anthropic'"):
        client.wait_for_batch_job(two, provider="anthropic")


def test_waiting_ends_at_its_timeout_and_the_job_goes_on(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(polls=1000)) as sandbox:
        client = client_of(sandbox, tmp_path)
        job = client.submit_batch_job(prompts(2))
        with pytest.raises(DeadlineExceededError, match="it goes on"):
            job.wait(timeout=0.05)
        assert job.status().state == "in_progress"
        assert len(sandbox.batches) == 1


def test_all_jobs_of_the_folder_are_told(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    assert client.batch_jobs() == []
    jobs = [client.submit_batch_job(prompts(n)) for n in (1, 2)]
    list(jobs[0].results())
    told = client.batch_jobs()
    assert {status.job_id: status.state for status in told} == {
        jobs[0].job_id: "done",
        jobs[1].job_id: "in_progress",
    }


# Bad input


def test_an_unknown_job_is_named_with_those_there_are(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    job = client.submit_batch_job(["x"])
    with pytest.raises(BatchError, match=f"no batch job 'nope'.*{job.job_id}"):
        client.attach_batch_job("nope")
    with pytest.raises(BatchError, match="made of letters"):
        client.attach_batch_job("../../etc")


def test_a_provider_without_batches_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path, model="deepseek/deepseek-v4-flash")
    with pytest.raises(BatchError, match="deepseek has no batch API"):
        client.submit_batch_job(["x"])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("embed-v4.0", r"use embed\(\)"),
        ("rerank-v5.0-fast", r"use rerank\(\)"),
        ("gemini-embedding-001", "only for :generateContent"),
    ],
)
def test_texts_that_have_no_batches_say_what_to_use(
    model: str, words: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(BatchError, match=words):
        client_of(sandbox, tmp_path, model=model).submit_batch_job(["x"])


def test_several_models_are_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path, model=["gpt-4.1-mini", "gpt-4o-mini"])
    with pytest.raises(BatchError, match="of one model"):
        client.submit_batch_job(["x"])


def test_a_bad_prompt_is_named_before_anything_is_sent_and_costs_the_others_nothing(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(sandbox, tmp_path)
    job = client.submit_batch_job(["a", 5, "b"])
    assert "prompt 1:" in caplog.text
    responses = list(job.results())
    assert completions(responses) == ["a", None, "b"]
    assert isinstance(responses[1].error, PromptError)
    assert [record.requests for record in sandbox.batches] == [2]
    assert job.status().rejected == 1


def test_a_prompt_over_the_limit_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    batch = {"wire": "openai", "max_requests": 100, "max_bytes": 100_000, "max_request_bytes": 500}
    client = client_of(sandbox, tmp_path, config={"providers": {"openai": {"batch": batch}}})
    with pytest.raises(PromptError, match=r"prompt 0: its request has 1,\d+ bytes.*at most 500"):
        client.submit_batch_job(["x" * 1000])
    assert sandbox.requests == 0
    assert client.batch_jobs() == []
    responses = list(client.submit_batch_job(["x", "x" * 1000]).results())
    assert responses[0].error is None
    assert "prompt 1: its request has" in str(responses[1].error)


@pytest.mark.parametrize("bad", ["one prompt", 5, None, {"role": "user"}])
def test_one_prompt_is_not_many(bad: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(PromptError):
        client_of(sandbox, tmp_path).submit_batch_job(bad)


def test_a_job_that_is_not_made_leaves_files_of_others_where_they_are(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "batches" / "thesis"
    folder.mkdir(parents=True)
    (folder / "chapter-1.txt").write_text("mine")
    with pytest.raises(PromptError):
        client_of(sandbox, tmp_path).submit_batch_job([], job_id="thesis")
    assert [path.name for path in folder.iterdir()] == ["chapter-1.txt"]


def test_no_prompts_make_no_job(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    with pytest.raises(PromptError, match="at least one"):
        client.submit_batch_job([])
    assert client.batch_jobs() == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"job_id": "a/b"}, "job_id"),
        ({"job_id": ""}, "job_id"),
        ({"max_enqueued_tokens": 0}, "max_enqueued_tokens"),
        ({"background": True}, "background"),
        ({"repair": 1, "json_mode": True}, "repair"),
        ({"tempratur": 1}, "temperature"),
        ({"extra_headers": {"X-Region": "eu"}}, "extra_headers"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], word: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=word):
        client_of(sandbox, tmp_path).submit_batch_job(["x"], **options)
    assert sandbox.batches == []


def test_a_ledger_of_another_version_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    job = client.submit_batch_job(["x"])
    ledger = Path(tmp_path, "batches", job.job_id, "ledger.jsonl")
    text = ledger.read_text()
    ledger.write_text(text.replace('"deluge_sync_batch": 1', '"deluge_sync_batch": 2', 1))
    with pytest.raises(BatchError, match="version 2"):
        client.attach_batch_job(job.job_id)
    ledger.write_text("what is this?\n")
    with pytest.raises(BatchError, match="not the ledger"):
        client.attach_batch_job(job.job_id)


@pytest.mark.parametrize("timeout", ["5", -1, True])
def test_a_timeout_is_a_number_of_seconds(timeout: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    job = client.submit_batch_job(["x"])
    for wait in (
        job.wait,
        job.results,
        lambda given: client.wait_for_batch_job(job, None, timeout=given),
    ):
        with pytest.raises(ConfigError, match="timeout"):
            wait(timeout)


def test_a_batch_folder_that_is_a_file_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "batches").write_text("a file")
    client = client_of(sandbox, tmp_path)
    with pytest.raises(ConfigError, match="batch_folder"):
        client.batch_jobs()
    with pytest.raises(ConfigError, match="batch_folder"):
        client.attach_batch_job("nightly")


def test_a_file_of_a_job_that_is_gone_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(["x"])
    job.wait()
    Path(tmp_path, "batches", job.job_id, "part-00000.jsonl").unlink()
    with pytest.raises(BatchError, match=r"part-00000\.jsonl cannot be read"):
        job.results()


def test_a_refused_key_leaves_a_job_and_the_error_says_how_to_go_on(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    client = client_of(sandbox, tmp_path)
    sandbox.script([None, None, Fault("401")])
    with pytest.raises(AuthError, match="attach_batch_job") as raised:
        client.submit_batch_job(prompts(2), batch_size=1)
    (status,) = client.batch_jobs()
    assert status.job_id in str(raised.value)
    job = client.attach_batch_job(status.job_id)
    assert completions(job.results()) == prompts(2)
    assert len(sandbox.batches) == 2


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        ('"created_at": ', '"created_at": "x", "was": '),
        ('"number": 0', '"number": "../../x"'),
        ('"number": 0', '"number": 7'),
        ('"part": 0', '"part": "0"'),
    ],
)
def test_a_damaged_ledger_is_named_and_leaves_the_other_jobs_readable(
    found: str, instead: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = client_of(sandbox, tmp_path)
    client.submit_batch_job(["x"], job_id="bad")
    client.submit_batch_job(["x"], job_id="good")
    ledger = tmp_path / "batches" / "bad" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace(found, instead))
    with pytest.raises(BatchError, match="damaged"):
        client.attach_batch_job("bad")
    assert [status.job_id for status in client.batch_jobs()] == ["good"]


def test_a_ledger_that_cannot_be_opened_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path)
    (tmp_path / "batches" / "bad" / "ledger.jsonl").mkdir(parents=True)
    with pytest.raises(BatchError, match="cannot be read"):
        client.attach_batch_job("bad")
    assert client.batch_jobs() == []


def test_a_job_of_another_server_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(["x"])
    with Sandbox() as other:
        client = client_of(other, tmp_path)
        with pytest.raises(BatchError, match="was submitted to"):
            client.attach_batch_job(job.job_id).status()


# Money


def test_a_job_that_may_cost_too_much_is_not_submitted(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path, max_new_tokens=100)
    with pytest.raises(BudgetExceeded, match="prompts up to number"):
        client.submit_batch_job(prompts(1000), max_cost=0.001)
    assert sandbox.requests == 0
    assert client.batch_jobs() == []


def test_a_job_counts_against_the_clients_budget(sandbox: Sandbox, tmp_path: Path) -> None:
    client = client_of(sandbox, tmp_path, max_new_tokens=100, max_cost=0.01)
    client.submit_batch_job(prompts(80))
    with pytest.raises(BudgetExceeded):
        client.submit_batch_job(prompts(80))


# On disk


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_files_of_a_job_are_for_its_user_alone_and_hold_no_key(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(prompts(3))
    list(job.results())
    folder = Path(tmp_path, "batches", job.job_id)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert SECRET.encode() not in file.read_bytes(), file


def test_a_job_shows_its_id(sandbox: Sandbox, tmp_path: Path) -> None:
    job = client_of(sandbox, tmp_path).submit_batch_job(["x"], job_id="nightly")
    assert isinstance(job, BatchJob)
    assert repr(job) == "<BatchJob nightly>"
