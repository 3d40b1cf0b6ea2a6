"""The client, over real HTTP against the sandbox."""

from __future__ import annotations

import contextvars
import logging
import pickle
import threading
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import requests

from deluge_sync import (
    AuthError,
    BadRequestError,
    Client,
    ConfigError,
    Conversation,
    DeadlineExceededError,
    DelugeError,
    DelugeWarning,
    ForkedError,
    MCPServer,
    MissingKeyError,
    NotFoundError,
    PostprocessError,
    PromptError,
    QuotaExhaustedError,
    RefusalError,
    Response,
    SamplingParams,
    ThrottledError,
    TransientError,
    UnknownModelError,
)
from deluge_sync.process import ResponseFuture
from deluge_sync.testing import Fault, Reply, Sandbox

from .helpers import client_for

MODELS = ["gpt-4.1-mini", "claude-haiku-4-5", "gemini-3.5-flash"]
PROMPTS = [f"prompt number {number}" for number in range(100)]


@pytest.mark.parametrize("model", MODELS)
def test_one_prompt_gives_one_answer_with_all_its_facts(sandbox: Sandbox, model: str) -> None:
    prompt = Conversation().system("Be brief.").user("one").assistant("two").user("three")
    reply = client_for(sandbox, model).complete(prompt, max_new_tokens=50)
    assert reply.completion == "three"
    assert reply.finish_reason == "stop"
    assert reply.model.endswith(model)
    assert reply.usage is not None
    assert reply.usage.input_tokens > reply.usage.output_tokens > 0
    assert reply.cost is not None
    assert reply.cost > 0
    assert reply.attempts == 1
    assert not reply.cached
    assert reply.latency is not None
    assert reply.request_id
    assert sandbox.requests == 1


@pytest.mark.parametrize("model", MODELS)
def test_map_gives_every_answer_in_order(sandbox: Sandbox, model: str) -> None:
    replies = client_for(sandbox, model).map(PROMPTS)
    assert [reply.completion for reply in replies] == PROMPTS
    assert [reply.index for reply in replies] == list(range(100))
    assert sandbox.requests == 100


@pytest.mark.parametrize(
    "prompts",
    [tuple(PROMPTS[:5]), (prompt for prompt in PROMPTS[:5]), dict.fromkeys(PROMPTS[:5])][:2],
    ids=["tuple", "generator"],
)
def test_map_takes_any_iterable(sandbox: Sandbox, prompts) -> None:
    texts = client_for(sandbox).map(prompts, return_completions_only=True)
    assert texts == PROMPTS[:5]


def test_map_takes_an_open_file(sandbox: Sandbox, tmp_path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("first\nsecond\n")
    with path.open() as file:
        replies = client_for(sandbox).map(file)
    assert [reply.completion.strip() for reply in replies] == ["first", "second"]


def test_no_prompts_give_no_answers_and_no_error(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    assert client.map([]) == []
    assert list(client.imap(iter(()))) == []
    assert client.wait_for_all() == []
    assert sandbox.requests == 0


@pytest.mark.parametrize("one", ["a string", Conversation().user("x"), {"role": "user"}, 42])
def test_map_refuses_a_single_prompt_and_says_what_to_do(sandbox: Sandbox, one) -> None:
    with pytest.raises(PromptError, match="complete"):
        client_for(sandbox).map(one)


def test_a_bad_prompt_costs_the_others_nothing(sandbox: Sandbox) -> None:
    prompts = ["good", 42, None, "", [{"role": "user", "content": "fine"}], [{"role": "nobody"}]]
    replies = client_for(sandbox).map(prompts)
    assert [reply.completion for reply in replies] == ["good", None, None, None, "fine", None]
    assert all(isinstance(replies[bad].error, PromptError) for bad in (1, 2, 3, 5))
    assert [reply.index for reply in replies] == list(range(6))
    with pytest.raises(PromptError, match="int"):
        replies[1].raise_for_error()


def test_a_call_that_fails_is_a_row_with_its_error(sandbox: Sandbox) -> None:
    sandbox.script([Fault("400", match="number 3", message="not that one")])
    replies = client_for(sandbox).map(PROMPTS[:6])
    assert [reply.is_error for reply in replies] == [False, False, False, True, False, False]
    assert isinstance(replies[3].error, BadRequestError)
    assert "not that one" in str(replies[3].error)
    assert replies[3].error.response is replies[3]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", BadRequestError),
        ("401", AuthError),
        ("403", AuthError),
        ("404", NotFoundError),
        ("413", BadRequestError),
        ("422", BadRequestError),
        ("quota", QuotaExhaustedError),
        ("redirect", BadRequestError),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_what_cannot_succeed_is_sent_once(sandbox: Sandbox, model: str, fault, error) -> None:
    sandbox.script([Fault(fault, times=9)])
    with pytest.raises(error):
        client_for(sandbox, model).complete("hello")
    assert sandbox.requests == 1


@pytest.mark.parametrize(
    "fault", ["500", "503", "529", "reset", "reset_body", "truncated", "malformed", "empty", "html"]
)
@pytest.mark.parametrize("model", MODELS)
def test_what_may_pass_is_sent_again_and_counted(sandbox: Sandbox, model: str, fault) -> None:
    sandbox.script([fault])
    client = client_for(sandbox, model)
    reply = client.complete("hello")
    assert reply.completion == "hello"
    assert reply.attempts == 2 == sandbox.requests
    assert sum(client.usage().retries.values()) == 1


def test_attempts_end_with_the_error_of_the_last_one(sandbox: Sandbox) -> None:
    sandbox.script([Fault("500", times=9)])
    with pytest.raises(TransientError) as caught:
        client_for(sandbox, max_attempts=3).complete("hello")
    assert caught.value.status == 500
    assert caught.value.response.attempts == 3 == sandbox.requests


def test_being_throttled_does_not_use_up_attempts(sandbox: Sandbox) -> None:
    sandbox.script([Fault("429", retry_after=0.01, retry_after_form="ms", times=8)])
    reply = client_for(sandbox, max_attempts=1).complete("hello", timeout=30)
    assert reply.attempts == 9


def test_a_retry_after_beyond_the_deadline_fails_at_once_saying_so(sandbox: Sandbox) -> None:
    sandbox.script([Fault("429", retry_after=3_600)])
    with pytest.raises(ThrottledError, match=r"asks for 3600\.0 s") as caught:
        client_for(sandbox).complete("hello", timeout=20)
    assert caught.value.retry_after == pytest.approx(3_600)


@pytest.mark.parametrize("fault", ["black_hole", Fault("drip", seconds=0.2), "slow_headers"])
def test_the_timeout_is_total(sandbox: Sandbox, fault) -> None:
    sandbox.script([fault])
    with pytest.raises(DeadlineExceededError):
        client_for(sandbox).complete("hello " * 50, timeout=0.4)


def test_one_attempt_that_takes_too_long_is_made_again(sandbox: Sandbox) -> None:
    sandbox.script(["black_hole"])
    reply = client_for(sandbox, request_timeout=0.2).complete("hello", timeout=30)
    assert reply.attempts == 2


def test_a_refusal_is_an_error_that_keeps_what_was_paid() -> None:
    refusal = Reply("I will not.", finish="refusal")
    with Sandbox(answer=refusal) as refusing, pytest.raises(RefusalError) as caught:
        client_for(refusing).complete("something bad")
    assert caught.value.response.usage.output_tokens > 0
    assert caught.value.response.cost > 0


def test_imap_in_order_and_as_they_come(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    assert [reply.completion for reply in client.imap(iter(PROMPTS))] == PROMPTS
    unordered = list(client.imap(iter(PROMPTS), ordered=False))
    assert {reply.index: reply.completion for reply in unordered} == dict(enumerate(PROMPTS))


def test_imap_reads_at_most_two_prompts_a_worker_ahead(sandbox: Sandbox) -> None:
    read: list[str] = []

    def source() -> Iterator[str]:
        for prompt in PROMPTS:
            read.append(prompt)
            yield prompt

    client = client_for(sandbox, max_concurrent_requests=3)
    for given, _ in enumerate(client.imap(source())):
        assert len(read) <= given + 1 + 2 * 3


def test_closing_imap_early_cancels_the_rest(sandbox: Sandbox) -> None:
    replies = client_for(sandbox, max_concurrent_requests=2).imap(f"p{n}" for n in range(10_000))
    next(replies)
    replies.close()
    assert sandbox.requests < 100


def test_an_error_of_the_source_keeps_the_answers_that_came(sandbox: Sandbox) -> None:
    def source() -> Iterator[str]:
        yield from PROMPTS[:30]
        raise RuntimeError("the database is gone")

    client = client_for(sandbox, max_concurrent_requests=2)
    with pytest.raises(RuntimeError, match="database"):
        client.map(source())
    assert client.last_run is not None
    assert len(client.last_run.responses) >= 20


def test_submit_gives_a_standard_future(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    futures = [client.submit(prompt) for prompt in PROMPTS[:10]]
    assert all(isinstance(future, Future) for future in futures)
    done = {future.result().completion for future in client.as_completed(futures, timeout=30)}
    assert done == set(PROMPTS[:10])


def test_a_futures_result_raises_what_failed_and_wait_for_all_gives_it(sandbox: Sandbox) -> None:
    sandbox.script([Fault("404", match="bad")])
    client = client_for(sandbox)
    futures = [client.submit(prompt) for prompt in ("good", "bad")]
    replies = client.wait_for_all(futures)
    assert [reply.is_error for reply in replies] == [False, True]
    with pytest.raises(NotFoundError):
        futures[1].result()


def test_between_open_and_close_all_futures_are_kept(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    client.open(total=20)
    for prompt in PROMPTS[:20]:
        client.submit(prompt)
    assert [reply.completion for reply in client.wait_for_all()] == PROMPTS[:20]
    client.reset_tracker()
    assert client.usage().prompts == 0
    client.close()


def test_a_call_that_is_still_queued_ends_at_its_deadline(sandbox: Sandbox) -> None:
    sandbox.script([Fault("black_hole", times=2)])
    client = client_for(sandbox, max_concurrent_requests=2)
    stuck = [client.submit("stuck") for _ in range(2)]
    sandbox.wait_for(2, timeout=10)
    late = client.submit("late", timeout=0.2)
    with pytest.raises(DeadlineExceededError, match="before a worker was free"):
        late.result(timeout=10)
    client.close()
    assert all(future.exception(timeout=10) for future in stuck)


def test_a_closed_client_can_be_used_again(sandbox: Sandbox) -> None:
    with client_for(sandbox) as client:
        assert client.complete("one").completion == "one"
    assert client.map(["two"])[0].completion == "two"


def test_postprocess_sees_each_answer_once_and_never_a_failed_attempt(sandbox: Sandbox) -> None:
    seen: list[Response] = []

    def shout(reply: Response) -> Response:
        seen.append(reply)
        return reply.replace(content=type(reply.content).assistant(reply.completion.upper()))

    sandbox.script([Fault("500", times=2), Fault("400", match="bad")])
    replies = client_for(sandbox, postprocess=shout).map(["good", "bad", "fine"])
    assert [reply.completion for reply in replies] == ["GOOD", None, "FINE"]
    assert len(seen) == 2


def test_a_postprocess_that_raises_fails_its_row_and_keeps_the_cost(sandbox: Sandbox) -> None:
    def broken(reply: Response) -> Response:
        raise KeyError("oops")

    reply = client_for(sandbox, postprocess=broken).map(["hello"])[0]
    assert isinstance(reply.error, PostprocessError)
    assert isinstance(reply.error.__cause__, KeyError)
    assert reply.cost


def test_context_variables_reach_the_workers(sandbox: Sandbox) -> None:
    request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")
    seen: list[str] = []

    def note(reply: Response) -> Response:
        seen.append(request_id.get())
        return reply

    request_id.set("abc")
    client = client_for(sandbox, postprocess=note)
    client.map(["one", "two"])
    client.submit("three").result()
    assert seen == ["abc"] * 3


def test_sampling_parameters_come_from_client_and_call(sandbox: Sandbox) -> None:
    params = SamplingParams(temperature=0.5, top_p=0.9)
    client = client_for(sandbox, sampling_params=params, max_new_tokens=7)
    client.complete("hello", temperature=0)
    body = sandbox.journal[0].body
    assert (body["temperature"], body["top_p"], body["max_completion_tokens"]) == (0, 0.9, 7)


def test_parameters_a_model_refuses_are_dropped_with_one_warning(sandbox: Sandbox) -> None:
    client = client_for(sandbox, "claude-opus-5-5")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.map(["one", "two"], temperature=0.3, top_k=5)
        client.complete("three", temperature=0.3, top_k=5)
    ours = [str(w.message) for w in caught if issubclass(w.category, DelugeWarning)]
    assert ours == ["anthropic/claude-opus-5-5 does not take temperature, top_k: not sent"]
    assert all("temperature" not in record.body for record in sandbox.journal)


def test_a_model_past_its_date_warns_once_and_names_a_successor() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Client("gpt-4-turbo")
        Client("gpt-4-turbo")
    assert len([w for w in caught if "gpt-4-turbo" in str(w.message)]) == 1


def test_extra_headers_and_body_are_sent(sandbox: Sandbox) -> None:
    client = client_for(sandbox, extra_headers={"x-team": "blue"}, extra_body={"user": "u1"})
    client.complete("hello")
    assert sandbox.journal[0].headers["x-team"] == "blue"
    assert sandbox.journal[0].body["user"] == "u1"


def test_several_models_share_the_calls_by_weight(sandbox: Sandbox) -> None:
    client = Client(
        ["gpt-4.1-mini", "gpt-4o-mini"],
        model_weights=[3, 1],
        base_url=sandbox.base_url,
        api_key="k",
        progress="none",
        max_requests_per_minute=1e9,
        max_tokens_per_minute=1e9,
    )
    replies = client.map(PROMPTS * 4)
    minis = sum(reply.model == "openai/gpt-4.1-mini" for reply in replies)
    assert 240 < minis < 360
    assert {reply.model for reply in replies} == {"openai/gpt-4.1-mini", "openai/gpt-4o-mini"}


def test_an_unknown_model_of_a_known_provider_is_called(sandbox: Sandbox) -> None:
    client = client_for(sandbox, "openrouter/somebody/some-model")
    reply = client.complete("hello")
    assert reply.completion == "hello"
    assert reply.cost is None
    assert sandbox.journal[0].body["model"] == "somebody/some-model"


def test_the_environment_gives_key_and_base_url(sandbox: Sandbox, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-env")
    monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
    assert Client("gpt-4.1-mini", progress="none").complete("hello").completion == "hello"
    assert sandbox.journal[0].headers["authorization"] == "Bearer sk-from-env"


def test_a_key_that_is_not_set_is_named_before_anything_is_sent(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    client = Client("gpt-4.1-mini")
    for call in (client.complete, client.submit, lambda prompt: client.map([prompt])):
        with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
            call("hello")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"max_requests_per_minute": 0}, "max_requests_per_minute"),
        ({"max_tokens_per_minute": -5}, "max_tokens_per_minute"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
        ({"max_concurrent_requests": 2.5}, "max_concurrent_requests"),
        ({"temprature": 0}, "temperature"),
        ({"max_request_per_minute": 5}, "max_requests_per_minute"),
        ({"timeout": 0}, "timeout"),
        ({"progress": "fancy"}, "progress"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"model_weights": [1, 2]}, "model_weights"),
        ({"extra_body": ["x"]}, "extra_body"),
        ({"sampling_params": {"temprature": 0}}, "temperature"),
        ({"max_new_tokens": "5"}, "max_new_tokens"),
        ({"temperature": float("nan")}, "temperature"),
        ({"stop": 5}, "stop"),
        ({"base_url": 5}, "base_url"),
        ({"api_key": 5}, "api_key"),
        ({"session": 5}, "session"),
        ({"proxies": "http://x"}, "proxies"),
        ({"extra_headers": {"a": 1}}, "extra_headers"),
        ({"request_timeout": None}, "request_timeout"),
        ({"timeout": 1e12}, "timeout"),
        ({"sampling_params": 5}, "sampling_params"),
    ],
)
def test_a_wrong_option_is_named_with_its_likely_fix(options, names) -> None:
    with pytest.raises(ConfigError, match=names):
        Client("sandbox/echo", **options)


def test_an_unknown_model_is_named_with_what_is_close() -> None:
    with pytest.raises(UnknownModelError, match=r"gpt-4\.1-mini"):
        Client("gpt-4.1-mimi")


def test_a_model_that_does_not_chat_is_refused() -> None:
    client = Client("text-embedding-3-small", api_key="k")
    with pytest.raises(ConfigError, match="it is a model for embedding"):
        client.complete("Hi")


def test_clients_of_one_account_share_its_limits(sandbox: Sandbox) -> None:
    first = client_for(sandbox, max_requests_per_minute=600)
    second = client_for(sandbox, max_requests_per_minute=600)
    first.map(PROMPTS[:9])
    replies = second.wait_for_all([second.submit(prompt, timeout=0.02) for prompt in PROMPTS[:9]])
    assert any(isinstance(reply.error, DeadlineExceededError) for reply in replies)


def test_with_limits_changes_this_client(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    assert client.with_limits(max_requests_per_minute=60, max_concurrent_requests=1) is client
    client.complete("hello")
    with pytest.raises(DeadlineExceededError):
        client.complete("hello", timeout=0.05)
    with pytest.raises(ConfigError, match="with_limits"):
        client.with_limits(max_request_per_minute=1)
    with pytest.raises(ConfigError, match="max_concurrent_requests"):
        client.with_limits(max_concurrent_requests=0)


def test_from_yaml_and_from_dict_make_the_same_client(sandbox: Sandbox, tmp_path) -> None:
    text = f"""
providers:
  intranet:
    base_url: {sandbox.base_url}
    key_env: INTRANET_KEY
models:
  intranet/llama: {{prices: {{input: 1000000, output: 0}}}}
client:
  model_names: intranet/llama
  temperature: 0
  progress: none
"""
    path = tmp_path / "deluge.yaml"
    path.write_text(text)
    options = {
        "providers": {"intranet": {"base_url": sandbox.base_url, "key_env": "INTRANET_KEY"}},
        "models": {"intranet/llama": {"prices": {"input": 1_000_000, "output": 0}}},
        "client": {"model_names": "intranet/llama", "temperature": 0, "progress": "none"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTRANET_KEY", "k")
        for client in (Client.from_yaml(path), Client.from_dict(options)):
            reply = client.complete("hello")
            assert reply.cost == reply.usage.input_tokens


def test_usage_and_last_run_add_up(sandbox: Sandbox) -> None:
    sandbox.script([Fault("500", match="number 1"), Fault("400", match="number 2")])
    client = client_for(sandbox)
    client.map(PROMPTS[:5])
    client.complete("another")
    run, total = client.last_run, client.usage()
    assert run is not None
    assert (run.prompts, run.answered, run.failed) == (5, 4, 1)
    assert run.attempts == 6
    assert run.retries == {"transient": 1}
    assert run.errors == {"bad_request": 1}
    assert (total.prompts, total.answered) == (6, 5)
    assert run.cost == pytest.approx(sum(reply.cost or 0 for reply in run.responses))
    assert total.cost > run.cost > 0
    assert set(run.latency_percentiles) == {50, 90, 99}


def test_the_key_appears_nowhere_but_in_its_header(sandbox: Sandbox) -> None:
    sandbox.script([Fault("401")])
    client = client_for(sandbox)
    reply = client.map(["hello"])[0]
    seen = [repr(client), repr(vars(client)), repr(reply), str(reply.error), repr(client.settings)]
    assert not [text for text in seen if "sk-secret-key" in text]
    assert sandbox.journal[0].headers["authorization"] == "Bearer sk-secret-key"


def test_the_key_appears_in_no_log_even_when_everything_is_logged(sandbox, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox.script(["401", "reset"])
    client_for(sandbox).map(["one", "two", "three"])
    assert "attempt 1 failed" in caplog.text
    assert "sk-secret-key" not in caplog.text


def test_a_pause_of_the_lane_is_logged_once(sandbox: Sandbox, caplog) -> None:
    caplog.set_level(logging.INFO)
    sandbox.script([Fault("429", retry_after=0.1, retry_after_form="ms")])
    client_for(sandbox).complete("hello")
    assert [record.getMessage() for record in caplog.records] == [
        "openai/gpt-4.1-mini: throttled, paused for 0.1 s"
    ]


def test_a_session_of_the_users_own_is_used(sandbox: Sandbox) -> None:
    session = requests.Session()
    session.headers["x-company"] = "acme"
    replies = client_for(sandbox, session=session).map(PROMPTS[:20])
    assert [reply.completion for reply in replies] == PROMPTS[:20]
    assert {record.headers["x-company"] for record in sandbox.journal} == {"acme"}
    assert sandbox.journal[0].headers["authorization"] == "Bearer sk-secret-key"


def test_responses_and_errors_survive_pickling(sandbox: Sandbox) -> None:
    sandbox.script([Fault("400", match="bad")])
    replies = client_for(sandbox).map(["good", "bad"])
    again = pickle.loads(pickle.dumps(replies))
    assert again[0] == replies[0]
    assert (type(again[1].error), str(again[1].error)) == (BadRequestError, str(replies[1].error))
    assert again[1].error.status == 400


@pytest.mark.parametrize(
    "odd",
    [
        [{"role": "assistant", "tool_calls": 5}],
        [{"role": "user", "content": 5}],
        [[]],
        object(),
        {"role": "user"},
        float("nan"),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_however_odd_a_prompt_is_the_others_are_answered(sandbox: Sandbox, model, odd) -> None:
    replies = client_for(sandbox, model).map(["good", odd, "fine"])
    assert [reply.completion for reply in replies] == ["good", None, "fine"]
    assert isinstance(replies[1].error, PromptError)


def test_a_future_ends_even_where_postprocess_returns_no_response(sandbox: Sandbox) -> None:
    client = client_for(sandbox, postprocess=lambda reply: reply.completion)
    error = client.submit("hello").exception(timeout=10)
    assert isinstance(error, PostprocessError)
    assert error.response.completion == "hello"


def test_with_limits_leaves_a_running_imap_alone(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_concurrent_requests=2)
    texts = []
    for reply in client.imap(PROMPTS):
        texts.append(reply.completion)
        client.with_limits(max_requests_per_minute=1e8)
    assert texts == PROMPTS


def test_imap_hands_out_an_answer_before_a_slow_source_has_its_next_prompt(sandbox) -> None:
    answered = threading.Event()

    def source() -> Iterator[str]:
        for prompt in PROMPTS[:5]:
            yield prompt
            sandbox.wait_for(1, timeout=10)
            arrived.append(answered.is_set())

    arrived: list[bool] = []
    for _ in client_for(sandbox).imap(source()):
        answered.set()
    assert any(arrived)


def test_wait_for_all_gives_answers_in_the_order_of_submission(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    futures = [client.submit(prompt) for prompt in PROMPTS[:30]]
    assert [reply.completion for reply in client.wait_for_all()] == PROMPTS[:30]
    assert len(futures) == 30


def test_a_pending_future_of_the_parent_fails_at_once_in_a_forked_child(sandbox: Sandbox) -> None:
    future = ResponseFuture()
    future._pid = -1  # as it is in a child
    with pytest.raises(ForkedError):
        future.result()
    with pytest.raises(ForkedError):
        client_for(sandbox).wait_for_all([future])


def test_a_key_missing_for_one_of_several_models_shows_at_once(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    client = Client(["sandbox/echo", "gpt-4.1-mini"], model_weights=[1, 0])
    with pytest.raises(MissingKeyError):
        client.complete("hello")


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(MissingKeyError, match="api_key"):
        Client("gpt-4.1-mini", api_key="")


def test_a_session_that_authenticates_itself_needs_no_key(sandbox: Sandbox, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    session = requests.Session()
    session.headers["Authorization"] = "Bearer corporate"
    client = Client("gpt-4.1-mini", base_url=sandbox.base_url, session=session, progress="none")
    client.complete("hello")
    assert sandbox.journal[0].headers["authorization"] == "Bearer corporate"


def test_secrets_in_headers_and_proxies_stay_out_of_the_repr() -> None:
    options = {"extra_headers": {"X-Key": "hush"}, "proxies": {"https": "http://u:hush@h:1"}}
    assert "hush" not in repr(Client("sandbox/echo", **options).settings)


def test_one_client_serves_many_threads(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    answers: dict[int, list[str]] = {}

    def work(number: int) -> None:
        prompts = [f"{number}: {prompt}" for prompt in PROMPTS[:20]]
        answers[number] = client.map(prompts, return_completions_only=True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(8):
        assert answers[number] == [f"{number}: {prompt}" for prompt in PROMPTS[:20]]


def test_making_a_client_starts_nothing() -> None:
    before = threading.active_count()
    Client("sandbox/echo")
    assert threading.active_count() == before


def test_proofs_of_one_vendor_are_not_sent_to_another(sandbox: Sandbox) -> None:
    prompt = "[[sandbox:think I wonder.]] Hello"
    thought = client_for(sandbox, "claude-opus-4-6").complete(prompt, reasoning_effort="high")
    assert thought.content.parts[0].signature
    turns = Conversation().user(prompt).add(thought.content).user("And now?")
    for model in ("gemini-3.5-flash", "gpt-4.1-mini", "claude-opus-4-6"):
        assert client_for(sandbox, model).complete(turns).completion == "And now?"
        sent = str(sandbox.journal[-1].body)
        assert (thought.content.parts[0].signature in sent) == model.startswith("claude")


def test_an_effort_that_the_model_does_not_know_is_named_with_those_it_does(
    sandbox: Sandbox,
) -> None:
    with pytest.raises(ConfigError, match=r"reasoning_effort='xhigh' \(it takes low, medium, high"):
        client_for(sandbox, "o3").complete("Hello", reasoning_effort="xhigh", strict=True)
    with pytest.raises(UnknownModelError, match="no effort 'xhigh'"):
        client_for(sandbox, "o3-xhigh")
    assert sandbox.requests == 0


def test_a_pattern_of_the_providers_cache_is_no_folder() -> None:
    with pytest.raises(ConfigError, match="goes with each call"):
        Client("claude-haiku-4-5", cache="system_and_tools")


SERVER = MCPServer("docs", "https://docs.example/mcp?key=query-hush", "token-hush")
PICKY = replace(SERVER, headers={"X-Key": "header-hush"}, allowed_tools=("look",))


@pytest.mark.parametrize(
    ("model", "options", "fault", "words"),
    [
        ("gpt-4.1-mini", {"use_responses_api": True}, None, ""),
        ("gpt-4.1-mini", {"use_responses_api": True}, "reset", ""),
        ("gpt-4.1-mini", {"use_responses_api": True}, "400", "BadRequestError"),
        ("gpt-4.1-mini", {"use_responses_api": False}, None, "MCP"),
        ("gpt-4.1-mini", {"tool_choice": SERVER}, None, "MCPServer(name='docs'"),
        ("gpt-4.1-mini", {"tools": [SERVER, PICKY]}, None, "two tools have the name 'docs'"),
        ("claude-haiku-4-5", {"tools": [PICKY]}, None, "MCP server docs"),
        ("gemini-3.5-flash", {"tools": [PICKY]}, None, "MCP server docs"),
    ],
)
def test_no_log_repr_or_error_shows_what_the_url_of_an_mcp_server_asks_with(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    model: str,
    options: dict[str, Any],
    fault: Any,
    words: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox.script([fault])
    shown = ""
    try:
        client_for(sandbox, model).complete("hello", **{"tools": [SERVER], **options})
        assert "query-hush" in str(sandbox.journal[-1].body)
    except DelugeError as error:
        shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        shown += repr(error)
    assert words in shown
    assert bool(words) is bool(shown)
    assert "hush" not in shown + caplog.text
