"""Answers that the vendor works on without a connection."""

from __future__ import annotations

import dataclasses
import io
import threading

import pytest

from deluge_sync import (
    CallCancelledError,
    ConfigError,
    DeadlineExceededError,
    DelugeError,
    NotFoundError,
    TransientError,
)
from deluge_sync import background as background_module
from deluge_sync.engine.clock import monotonic
from deluge_sync.testing import Fault, Reply, Sandbox

from .helpers import client_for


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "FIRST_POLL", 0.01)
    monkeypatch.setattr(background_module, "SLOWEST_POLL", 0.02)


def paths(sandbox: Sandbox) -> list[str]:
    return [f"{record.method} {record.path.rpartition('/')[2]}" for record in sandbox.journal]


def test_a_background_answer_is_begun_looked_after_and_given_whole() -> None:
    with Sandbox(background_polls=3) as sandbox:
        client = client_for(sandbox)
        response = client.complete("Hello", background=True)
        sent = sandbox.journal[0].body
    assert response.completion == "Hello"
    assert response.response_id
    assert sent["background"] is True
    assert sent["store"] is True
    assert len(sandbox.journal) == 4
    assert response.cost > 0


def test_the_discounted_window_is_asked_for() -> None:
    with Sandbox() as sandbox:
        client_for(sandbox).complete("Hello", background=True, completion_window="2h")
        assert sandbox.journal[0].body["background_options"] == {"completion_window": "2h"}


def test_a_look_that_fails_costs_nothing() -> None:
    with Sandbox(background_polls=3) as sandbox:
        sandbox.script([None, "503", "reset", Fault("429", retry_after=0.01)])
        response = client_for(sandbox).complete("Hello", background=True)
        assert sum(record.method == "POST" for record in sandbox.journal) == 1
    assert response.completion == "Hello"


def test_looks_draw_from_the_limits() -> None:
    with Sandbox(background_polls=2) as sandbox:
        client = client_for(sandbox, max_requests_per_minute=None)
        client.map(["one", "two", "three"], background=True)
        assert sandbox.requests == 9


def test_a_deadline_that_passes_cancels_it_at_the_server() -> None:
    with Sandbox(background_polls=10**6) as sandbox:
        with pytest.raises(DeadlineExceededError):
            client_for(sandbox).complete("Hello", background=True, timeout=0.3)
        assert paths(sandbox)[-1] == "POST cancel"


def test_closing_the_client_cancels_it_at_the_server() -> None:
    with Sandbox(background_polls=10**6) as sandbox:
        client = client_for(sandbox)
        future = client.submit("Hello", background=True)
        sandbox.wait_for(3)
        client.close()
        with pytest.raises(CallCancelledError):
            future.result(5)
        assert paths(sandbox)[-1] == "POST cancel"


def test_ctrl_c_cancels_it_at_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(background_polls=10**6) as sandbox:
        client = client_for(sandbox)

        def interrupt(self: object, seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(background_module.Cancellation, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.complete("Hello", background=True)
        assert paths(sandbox)[-1] == "POST cancel"


def test_an_answer_begun_by_one_process_is_fetched_by_another() -> None:
    with Sandbox(background_polls=2) as sandbox:
        begun = client_for(sandbox).start_background("Hello")
        assert begun.finish_reason == "queued"
        assert begun.completion is None
        assert begun.cost in (None, 0.0)
        response = client_for(sandbox).resume_background(begun.response_id)
        assert response.completion == "Hello"
        assert response.cost > 0
        assert sum(record.method == "POST" for record in sandbox.journal) == 1


def test_one_that_is_resumed_for_a_while_goes_on_at_the_server() -> None:
    with Sandbox(background_polls=10**6) as sandbox:
        client = client_for(sandbox)
        begun = client.start_background("Hello")
        with pytest.raises(DeadlineExceededError):
            client.resume_background(begun.response_id, timeout=0.2)
        assert "POST cancel" not in paths(sandbox)


def test_an_unknown_id_is_not_found(sandbox: Sandbox) -> None:
    with pytest.raises(NotFoundError):
        client_for(sandbox).resume_background("resp_unknown")


def test_a_budget_sets_aside_one_answer_for_all_looks() -> None:
    with Sandbox(background_polls=5) as sandbox:
        client = client_for(sandbox, max_cost=0.001)
        response = client.complete("Hello", background=True, max_new_tokens=100)
        assert client._here.budget.spent == pytest.approx(response.cost)


def test_a_background_stream_goes_on_where_its_connection_broke() -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("stream_reset", after=8), Fault("stream_cut", after=1)])
        file = io.StringIO()
        prompt = "one two three four five six seven"
        response = client_for(sandbox).stream(prompt, file=file, background=True)
        assert file.getvalue() == response.completion == prompt
        assert [record.method for record in sandbox.journal] == ["POST", "GET", "GET"]


def test_background_needs_the_responses_api_and_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="Responses API"):
        client_for(sandbox, "claude-haiku-4-5").complete("Hello", background=True)
    with pytest.raises(ConfigError, match="use_responses_api=False"):
        client_for(sandbox).complete("Hello", background=True, use_responses_api=False)
    with pytest.raises(ConfigError, match="completion_window needs background"):
        client_for(sandbox).complete("Hello", completion_window="2h")
    assert sandbox.requests == 0


def test_a_conversation_that_the_vendor_keeps_goes_on(sandbox: Sandbox) -> None:
    client = client_for(sandbox, use_responses_api=True)
    first = client.complete("Hello", background=True)
    second = client.complete("And now?", previous_response_id=first.response_id)
    assert sandbox.journal[-1].body["previous_response_id"] == first.response_id
    assert second.completion == "And now?"


def test_many_wait_at_once() -> None:
    with Sandbox(background_polls=2) as sandbox:
        client = client_for(sandbox)
        failed: list[DelugeError] = []

        def ask(number: int) -> None:
            try:
                assert client.complete(f"{number}", background=True).completion == f"{number}"
            except DelugeError as error:
                failed.append(error)

        threads = [threading.Thread(target=ask, args=[number]) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed


def test_a_streamed_run_that_is_given_up_is_cancelled_at_the_server() -> None:
    prompt = "one two three four five six seven " * 20
    with Sandbox(event_delay=0.02) as sandbox:
        client = client_for(sandbox)
        pieces = client.stream_chat(prompt, background=True)
        next(pieces)
        pieces.close()
        assert paths(sandbox)[-1] == "POST cancel"
        with pytest.raises(DeadlineExceededError) as caught:
            list(client.stream_chat(prompt, background=True, timeout=0.2))
        assert paths(sandbox)[-1] == "POST cancel"
        assert caught.value.response.response_id


@pytest.mark.parametrize("again", [["503", "503"], [Fault("429", retry_after=0.01)], ["reset"]])
@pytest.mark.parametrize("kind", ["stream_cut", "stream_malformed", "stream_error"])
def test_a_streamed_run_is_begun_once_whatever_happens_to_its_connections(
    kind: str, again: list
) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault(kind, after=3), *again])
        response = client_for(sandbox).stream(
            "one two three four", file=io.StringIO(), background=True
        )
        assert response.completion == "one two three four"
        assert sum(record.method == "POST" for record in sandbox.journal) == 1


def test_a_resumed_answer_cannot_be_repaired_without_its_question(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="repair needs the question"):
        client_for(sandbox).resume_background("resp_1", json_mode=True, repair=1)


@pytest.mark.parametrize("model", ["gpt-5.6-sol", "gpt-6.1-sol"])
def test_tools_of_recent_models_go_over_the_responses_api_by_themselves(model: str) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    with Sandbox() as sandbox:
        client = client_for(sandbox, model, extra_body={"tools": [tool]})
        response = client.complete('[[sandbox:call look {"at": "it"}]]')
        assert response.content.tool_calls[0].name == "look"
        assert sandbox.journal[0].path.endswith("/responses")
        assert sandbox.journal[0].body["tools"][0]["name"] == "look"
        client_for(sandbox, "gpt-4.1-mini", extra_body={"tools": [tool]}).complete("Hello")
        assert sandbox.journal[-1].path.endswith("/chat/completions")


def test_a_run_that_failed_is_not_looked_at_again_nor_cancelled() -> None:
    with Sandbox(answer=Reply("no", finish="failed"), background_polls=1) as sandbox:
        with pytest.raises(TransientError):
            client_for(sandbox).complete("Hello", background=True)
        assert [record.method for record in sandbox.journal] == ["POST", "GET"]


def test_a_look_is_repeated_even_where_calls_are_not() -> None:
    with Sandbox() as sandbox:
        sandbox.script([None, "503", "503"])
        response = client_for(sandbox, max_attempts=1).complete("Hello", background=True)
        assert response.completion == "Hello"


def test_a_signed_run_is_cancelled_with_credentials_of_their_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of the call have none left: its deadline has passed, or it was cancelled."""

    class Signer:
        def credentials(self, request, *, deadline, cancellation):  # type: ignore[no-untyped-def]
            cancellation.check()
            if monotonic() >= deadline:
                raise DeadlineExceededError("too late to sign")
            return ()

    with Sandbox(background_polls=10**6) as sandbox:
        client = client_for(sandbox)
        routes = client._workers().routes
        route = routes.draw(responses_api=True)
        signed = dataclasses.replace(route, signer=Signer())
        monkeypatch.setattr(routes, "draw", lambda **options: signed)
        with pytest.raises(DeadlineExceededError):
            client.complete("Hello", background=True, timeout=0.2)
        assert paths(sandbox)[-1] == "POST cancel"
