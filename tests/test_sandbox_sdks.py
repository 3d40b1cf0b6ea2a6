"""The vendors' own SDKs accept the sandbox."""

from __future__ import annotations

import json

import pytest

from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.values.response import Usage

SLOW_DOWN = Fault("429", retry_after=0.001, retry_after_form="ms")
TURNS = [
    {"role": "user", "content": "One"},
    {"role": "assistant", "content": "Two"},
    {"role": "user", "content": "Three"},
]


def openai_client(sandbox: Sandbox, **options):
    openai = pytest.importorskip("openai")
    options = {"api_key": "key", "max_retries": 0, **options}
    return openai.OpenAI(base_url=sandbox.base_url, **options)


def anthropic_client(sandbox: Sandbox, **options):
    anthropic = pytest.importorskip("anthropic")
    options = {"api_key": "key", "max_retries": 0, **options}
    return anthropic.Anthropic(base_url=sandbox.anthropic_url, **options)


def gemini_client(sandbox: Sandbox, *, api_key: str = "key", **options):
    """A client to be kept in a variable: it closes itself when collected."""
    genai = pytest.importorskip("google.genai")
    return genai.Client(api_key=api_key, http_options={"base_url": sandbox.gemini_url, **options})


class TestOpenAI:
    """openai 3.x."""

    def test_a_conversation_is_answered_with_the_last_user_text(self, sandbox):
        messages = [{"role": "system", "content": "Be brief."}, *TURNS]
        answer = openai_client(sandbox).chat.completions.create(model="echo", messages=messages)
        assert answer.choices[0].message.content == "Three"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == "echo"
        assert answer.id.startswith("chatcmpl-")
        assert sandbox.journal[0].prompt == "Three"

    def test_usage_is_one_token_for_four_characters(self, sandbox):
        answer = openai_client(sandbox).chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "x" * 41}]
        )
        assert answer.usage.prompt_tokens == 11
        assert answer.usage.completion_tokens == 11
        assert answer.usage.total_tokens == 22

    def test_a_token_limit_cuts_the_answer(self, sandbox):
        answer = openai_client(sandbox).chat.completions.create(
            model="echo",
            messages=[{"role": "user", "content": "abcdefghijkl"}],
            max_completion_tokens=2,
        )
        assert answer.choices[0].message.content == "abcdefgh"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 2

    def test_tools_refusals_and_thinking_come_where_the_sdk_looks(self):
        replies = [
            Reply(tool_calls=[("look", {"at": [1]})]),
            Reply("No.", finish="refusal"),
            Reply("Yes.", thinking="Hm."),
        ]
        with Sandbox(answer=replies) as sandbox:
            client = openai_client(sandbox)
            choices = [
                client.chat.completions.create(model="any", messages=TURNS).choices[0]
                for _ in replies
            ]
        call = choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"at": [1]})
        assert choices[0].finish_reason == "tool_calls"
        assert (choices[1].message.refusal, choices[1].message.content) == ("No.", None)
        assert choices[2].message.reasoning_content == "Hm."

    @pytest.mark.parametrize(
        ("fault", "error", "code"),
        [
            (Fault("401"), "AuthenticationError", "invalid_api_key"),
            (Fault("400"), "BadRequestError", None),
            (Fault("404"), "NotFoundError", None),
            (Fault("429"), "RateLimitError", "rate_limit_exceeded"),
            (Fault("quota"), "RateLimitError", "insufficient_quota"),
            (Fault("500"), "InternalServerError", None),
        ],
    )
    def test_each_error_raises_its_own_class(self, sandbox, fault, error, code):
        openai = pytest.importorskip("openai")
        sandbox.script([fault])
        with pytest.raises(getattr(openai, error)) as caught:
            openai_client(sandbox).chat.completions.create(model="echo", messages=TURNS)
        assert caught.value.code == code
        assert caught.value.request_id.startswith("req_")

    def test_a_wrong_key_and_an_unknown_model_are_refused(self):
        openai = pytest.importorskip("openai")
        with Sandbox(api_key="right", models=["known"]) as sandbox:
            with pytest.raises(openai.AuthenticationError):
                openai_client(sandbox).models.list()
            client = openai_client(sandbox, api_key="right")
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model="other", messages=TURNS)
            assert client.chat.completions.create(model="known", messages=TURNS)
            assert [model.id for model in client.models.list()] == ["known"]

    def test_its_own_retry_succeeds_after_a_429(self, sandbox):
        sandbox.script([SLOW_DOWN])
        client = openai_client(sandbox, max_retries=1)
        answer = client.chat.completions.create(model="echo", messages=TURNS)
        assert answer.choices[0].message.content == "Three"
        assert [record.status for record in sandbox.journal] == [429, 200]
        assert sandbox.journal[1].headers["x-stainless-retry-count"] == "1"

    @pytest.mark.sandbox(requests_per_minute=60, tokens_per_minute=1000, clock=lambda: 0.0)
    def test_limit_headers_say_what_is_left(self, sandbox):
        raw = openai_client(sandbox).chat.completions.with_raw_response.create(
            model="echo", messages=[{"role": "user", "content": "x" * 40}]
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "60"
        assert raw.headers["x-ratelimit-remaining-requests"] == "59"
        assert raw.headers["x-ratelimit-remaining-tokens"] == "980"
        assert raw.headers["x-ratelimit-reset-requests"] == "1m0s"


class TestAnthropic:
    """anthropic 2.x."""

    def test_a_conversation_is_answered_with_the_last_user_text(self, sandbox):
        message = anthropic_client(sandbox).messages.create(
            model="echo", max_tokens=50, system="Be brief.", messages=TURNS
        )
        assert message.content[0].text == "Three"
        assert message.stop_reason == "end_turn"
        assert message.id.startswith("msg_")
        assert sandbox.journal[0].has_key

    def test_usage_leaves_the_cache_out_of_the_input(self):
        usage = Usage(100, 20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=5)
        with Sandbox(answer=Reply("Hi", usage=usage)) as sandbox:
            message = anthropic_client(sandbox).messages.create(
                model="any", max_tokens=50, messages=TURNS
            )
        assert message.usage.input_tokens == 30
        assert message.usage.cache_read_input_tokens == 60
        assert message.usage.cache_creation_input_tokens == 10
        assert message.usage.output_tokens == 20
        assert message.usage.output_tokens_details.thinking_tokens == 5

    def test_limits_and_stop_words_end_the_answer_with_their_reasons(self, sandbox):
        client = anthropic_client(sandbox)
        turn = [{"role": "user", "content": "abcdefghijkl"}]
        cut = client.messages.create(model="echo", max_tokens=2, messages=turn)
        assert (cut.content[0].text, cut.stop_reason) == ("abcdefgh", "max_tokens")
        stopped = client.messages.create(
            model="echo", max_tokens=50, messages=turn, stop_sequences=["ef"]
        )
        assert (stopped.content[0].text, stopped.stop_sequence) == ("abcd", "ef")
        assert stopped.stop_reason == "stop_sequence"

    def test_tools_refusals_and_thinking_come_where_the_sdk_looks(self):
        replies = [
            Reply(tool_calls=[("look", {"at": 1})]),
            Reply("No.", finish="refusal"),
            Reply("Yes.", thinking="Hm."),
        ]
        with Sandbox(answer=replies) as sandbox:
            client = anthropic_client(sandbox)
            messages = [
                client.messages.create(model="any", max_tokens=50, messages=TURNS) for _ in replies
            ]
        assert (messages[0].content[0].name, messages[0].content[0].input) == ("look", {"at": 1})
        assert messages[0].stop_reason == "tool_use"
        assert (messages[1].stop_reason, messages[1].content) == ("refusal", [])
        assert messages[1].stop_details.explanation == "No."
        assert (messages[2].content[0].thinking, messages[2].content[1].text) == ("Hm.", "Yes.")

    def test_tokens_are_counted_without_an_answer(self, sandbox):
        counted = anthropic_client(sandbox).messages.count_tokens(
            model="echo", messages=[{"role": "user", "content": "x" * 9}]
        )
        assert counted.input_tokens == 3

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("401", "AuthenticationError"),
            ("400", "BadRequestError"),
            ("404", "NotFoundError"),
            ("429", "RateLimitError"),
            ("quota", "RateLimitError"),
            ("500", "InternalServerError"),
            ("529", "OverloadedError"),
        ],
    )
    def test_each_error_raises_its_own_class(self, sandbox, kind, error):
        anthropic = pytest.importorskip("anthropic")
        expected = getattr(anthropic, error, anthropic.InternalServerError)
        sandbox.script([kind])
        with pytest.raises(expected) as caught:
            anthropic_client(sandbox).messages.create(model="echo", max_tokens=50, messages=TURNS)
        assert caught.value.body["type"] == "error"
        assert caught.value.request_id == caught.value.body["request_id"]

    def test_its_own_retry_succeeds_after_a_429(self, sandbox):
        sandbox.script([SLOW_DOWN])
        client = anthropic_client(sandbox, max_retries=1)
        assert client.messages.create(model="echo", max_tokens=50, messages=TURNS)
        assert [record.status for record in sandbox.journal] == [429, 200]

    @pytest.mark.sandbox(requests_per_minute=60, input_tokens_per_minute=500)
    def test_limit_headers_say_what_is_left(self, sandbox):
        raw = anthropic_client(sandbox).messages.with_raw_response.create(
            model="echo", max_tokens=50, messages=[{"role": "user", "content": "x" * 40}]
        )
        prefix = "anthropic-ratelimit"
        assert raw.headers[f"{prefix}-requests-limit"] == "60"
        assert raw.headers[f"{prefix}-requests-remaining"] == "59"
        assert raw.headers[f"{prefix}-input-tokens-remaining"] == "490"
        assert raw.headers[f"{prefix}-requests-reset"].endswith("Z")

    def test_models_are_listed(self, sandbox):
        ids = [model.id for model in anthropic_client(sandbox).models.list()]
        assert ids == ["echo", "fixed", "template"]


class TestGemini:
    """google-genai 3.x."""

    @pytest.mark.parametrize("version", ["v1", "v1beta"])
    def test_a_conversation_is_answered_with_the_last_user_text(self, sandbox, version):
        contents = [
            {"role": "user", "parts": [{"text": "One"}]},
            {"role": "model", "parts": [{"text": "Two"}]},
            {"role": "user", "parts": [{"text": "Three"}]},
        ]
        client = gemini_client(sandbox, api_version=version)
        answer = client.models.generate_content(
            model="echo",
            contents=contents,
            config={"system_instruction": "Be brief.", "temperature": 0.5},
        )
        assert answer.text == "Three"
        assert answer.candidates[0].finish_reason.value == "STOP"
        assert sandbox.journal[0].path.startswith(f"/{version}/models/echo")

    def test_usage_leaves_the_thoughts_out_of_the_candidates(self):
        with Sandbox(answer=Reply("Yes.", thinking="Hm.", usage=(7, 30, 2, 0, 10))) as sandbox:
            client = gemini_client(sandbox)
            answer = client.models.generate_content(model="x", contents="Hi")
        usage = answer.usage_metadata
        assert (usage.prompt_token_count, usage.cached_content_token_count) == (7, 2)
        assert (usage.candidates_token_count, usage.thoughts_token_count) == (20, 10)
        assert [part.thought for part in answer.candidates[0].content.parts] == [True, None]

    def test_limits_tools_and_refusals_come_where_the_sdk_looks(self):
        replies = ["abcdefghijkl", Reply(tool_calls=[("look", {"at": 1})])]
        replies.append(Reply("No.", finish="refusal"))
        with Sandbox(answer=replies) as sandbox:
            client = gemini_client(sandbox)
            models = client.models
            cut = models.generate_content(model="x", contents="Hi", config={"max_output_tokens": 2})
            called = models.generate_content(model="x", contents="Hi")
            refused = models.generate_content(model="x", contents="Hi")
        assert (cut.text, cut.candidates[0].finish_reason.value) == ("abcdefgh", "MAX_TOKENS")
        assert called.function_calls[0].args == {"at": 1}
        assert called.candidates[0].content.parts[0].thought_signature == b"sandbox"
        assert refused.candidates is None
        assert refused.prompt_feedback.block_reason.value == "PROHIBITED_CONTENT"

    def test_tokens_are_counted_without_an_answer(self, sandbox):
        client = gemini_client(sandbox)
        counted = client.models.count_tokens(model="echo", contents="x" * 9)
        assert counted.total_tokens == 3

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            ("400", "INVALID_ARGUMENT"),
            ("401", "UNAUTHENTICATED"),
            ("404", "NOT_FOUND"),
            ("429", "RESOURCE_EXHAUSTED"),
            ("500", "INTERNAL"),
            ("503", "UNAVAILABLE"),
        ],
    )
    def test_each_error_raises_its_class_and_status(self, sandbox, kind, status):
        errors = pytest.importorskip("google.genai.errors")
        sandbox.script([kind])
        expected = errors.ClientError if kind < "500" else errors.ServerError
        client = gemini_client(sandbox)
        with pytest.raises(expected) as caught:
            client.models.generate_content(model="echo", contents="Hi")
        assert (caught.value.code, caught.value.status) == (int(kind), status)

    def test_its_own_retry_succeeds_after_a_503(self, sandbox):
        sandbox.script(["503"])
        retry = {"attempts": 2, "initial_delay": 0.001, "jitter": 0.001}
        client = gemini_client(sandbox, retry_options=retry)
        assert client.models.generate_content(model="echo", contents="Hi").text == "Hi"
        assert [record.status for record in sandbox.journal] == [503, 200]

    @pytest.mark.sandbox(requests_per_minute=1, clock=lambda: 0.0)
    def test_a_429_says_in_its_body_when_to_come_back(self, sandbox):
        errors = pytest.importorskip("google.genai.errors")
        client = gemini_client(sandbox)
        models = client.models
        models.generate_content(model="echo", contents="Hi")
        with pytest.raises(errors.ClientError) as caught:
            models.generate_content(model="echo", contents="Hi")
        details = caught.value.details["error"]["details"]
        assert details[1]["retryDelay"] == "60s"
        assert "retry-after" not in caught.value.response.headers

    def test_models_are_listed(self, sandbox):
        client = gemini_client(sandbox)
        names = [model.name for model in client.models.list()]
        assert names == ["models/echo", "models/fixed", "models/template"]
