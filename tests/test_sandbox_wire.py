"""What the sandbox takes and gives in the three wire formats, seen as plain JSON."""

from __future__ import annotations

import http.client
import json

import pytest

from deluge_sync.testing import Reply, Sandbox

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
GENERATE = "/v1/models/echo:generateContent"
NEW = {"anthropic-version": "2026-10-21"}
OLD = {"anthropic-version": "2023-06-01"}


def call(sandbox: Sandbox, path: str, body=None, headers=None, method: str = "POST"):
    """One request; gives status, headers and parsed body."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    connection.request(method, path, data if method == "POST" else None, headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, answer.headers, content


def chat(prompt: str = "Hi", model: str = "echo", **fields):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def message(prompt: str = "Hi", **fields):
    return {"max_tokens": 50, **chat(prompt), **fields}


def contents(prompt: str = "Hi", **fields):
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **fields}


def said(sandbox: Sandbox, body) -> str:
    return call(sandbox, CHAT, body)[2]["choices"][0]["message"]["content"]


class TestAnswers:
    """Which answer comes."""

    def test_the_model_id_chooses_among_echo_fixed_and_template(self):
        with Sandbox(fixed="Always", template="{model}: {prompt}!") as sandbox:
            models = ("echo", "gpt-4.1-mini", "fixed", "fixed:Blue: yes", "template")
            answers = [said(sandbox, chat("Hi {model}", model)) for model in models]
        expected = ["Hi {model}", "Hi {model}", "Always", "Blue: yes", "template: Hi {model}!"]
        assert answers == expected

    def test_a_string_or_a_callable_answers_every_model(self):
        with Sandbox(answer="Paris") as sandbox:
            assert said(sandbox, chat(model="fixed")) == "Paris"
        with Sandbox(answer=lambda question: question.prompt.upper()) as sandbox:
            assert said(sandbox, chat("shout")) == "SHOUT"

    def test_a_list_answers_in_order_and_then_refuses(self):
        with Sandbox(answer=["one", Reply("two")]) as sandbox:
            assert [said(sandbox, chat()), said(sandbox, chat())] == ["one", "two"]
            status, _, body = call(sandbox, CHAT, chat())
        assert status == 400
        assert "used up" in body["error"]["message"]

    def test_an_answer_callable_that_raises_is_a_500_that_says_so(self):
        def broken(question):
            raise KeyError("oops")

        with Sandbox(answer=broken) as sandbox:
            status, _, body = call(sandbox, CHAT, chat())
            assert status == 500
            assert "KeyError: 'oops'" in body["error"]["message"]
            assert sandbox.journal[0].status == 500

    def test_a_reply_that_is_no_json_is_a_500_that_says_so(self):
        reply = Reply(tool_calls=[("look", {"at": object()})], usage=(1, 1))
        with Sandbox(answer=reply) as sandbox:
            status, _, body = call(sandbox, CHAT, chat())
        assert status == 500
        assert "not JSON serializable" in body["error"]["message"]

    def test_markers_in_the_prompt_make_rich_answers(self, sandbox):
        prompt = 'Hi[[sandbox:think Hm.]][[sandbox:call look {"at": 1}]]'
        _, _, body = call(sandbox, CHAT, chat(prompt))
        answer = body["choices"][0]["message"]
        assert (answer["content"], answer["reasoning_content"]) == ("Hi", "Hm.")
        assert answer["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": 1}'}
        _, _, body = call(sandbox, CHAT, chat("[[sandbox:refuse No.]]"))
        assert body["choices"][0]["message"]["refusal"] == "No."
        _, _, body = call(sandbox, CHAT, chat("Hi [[sandbox:finish content_filter]]"))
        assert body["choices"][0]["finish_reason"] == "content_filter"

    def test_any_text_comes_back_unchanged(self, sandbox):
        text = "é ☃ \U0001f600 \u0000 \u2028 [[x]] \\n"
        assert said(sandbox, chat(text)) == text
        assert said(sandbox, chat("\ud800")) == "\ud800"

    def test_set_tokens_are_reported_and_still_obey_the_limit(self):
        with Sandbox(tokens=(7, 30)) as sandbox:
            usage = call(sandbox, CHAT, chat())[2]["usage"]
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 30)
            _, _, body = call(sandbox, CHAT, chat(max_tokens=5))
            assert body["usage"]["completion_tokens"] == 5
            assert body["choices"][0]["finish_reason"] == "length"


class TestOpenAIChecks:
    """What Chat Completions refuses."""

    @pytest.mark.parametrize(
        ("body", "param", "code"),
        [
            ({"model": "m"}, "messages", "missing_required_parameter"),
            ({"messages": []}, "model", "missing_required_parameter"),
            (chat(max_new_tokens=5), "max_new_tokens", "unknown_parameter"),
            (chat(temperature=3), "temperature", "invalid_value"),
            (chat(temperature="hot"), "temperature", "invalid_value"),
            (chat(max_tokens=0), "max_tokens", "invalid_value"),
            (chat(stop=[1]), "stop", "invalid_value"),
            (chat(messages=[]), "messages", "empty_array"),
            (chat(messages=["Hi"]), "messages[0]", "invalid_value"),
            (
                chat(messages=[{"role": "robot", "content": ""}]),
                "messages[0].role",
                "invalid_value",
            ),
            (
                chat(messages=[{"role": "user"}]),
                "messages[0].content",
                "missing_required_parameter",
            ),
            (
                chat(messages=[{"role": "user", "content": "", "text": ""}]),
                "messages[0].text",
                "unknown_parameter",
            ),
            (
                chat(messages=[{"role": "user", "content": [{"type": "video"}]}]),
                "messages[0].content[0].type",
                "invalid_value",
            ),
            (
                chat(messages=[{"role": "tool", "content": "x"}]),
                "messages[0].tool_call_id",
                "missing_required_parameter",
            ),
        ],
    )
    def test_a_bad_field_is_named(self, sandbox, body, param, code):
        status, headers, answer = call(sandbox, CHAT, body)
        assert status == 400
        assert answer["error"]["param"] == param
        assert answer["error"]["code"] == code
        assert answer["error"]["type"] == "invalid_request_error"
        assert headers["x-request-id"]

    def test_what_the_sandbox_cannot_do_is_said_clearly(self, sandbox):
        status, _, answer = call(sandbox, CHAT, chat(n=2))
        assert status == 400
        assert "the sandbox" in answer["error"]["message"]

    @pytest.mark.parametrize("body", [b"{", b"\xff", b"[NaN]", b"[" * 100_000, b"[]"])
    def test_a_body_that_is_no_json_object_is_a_400(self, sandbox, body):
        assert call(sandbox, CHAT, body)[0] == 400

    def test_the_content_type_must_be_json(self, sandbox):
        assert call(sandbox, CHAT, chat(), {"Content-Type": "text/plain"})[0] == 400

    def test_unknown_paths_and_methods_are_refused(self, sandbox):
        assert call(sandbox, "/v1/nowhere", {})[0] == 404
        assert call(sandbox, CHAT, method="GET")[0] == 405

    def test_dialects_pass_when_not_strict(self):
        with Sandbox(strict=False) as sandbox:
            assert call(sandbox, CHAT, chat(random_seed=1))[0] == 200


class TestAnthropicChecks:
    """What the Messages API refuses."""

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (chat(), "max_tokens: Field required"),
            (message(n=1), "n: Extra inputs are not permitted"),
            (message(temperature=1), "temperature: Extra inputs are not permitted"),
            (message(messages=[]), "messages: at least one message is required"),
            (
                message(messages=[{"role": "tool", "content": "x"}]),
                "messages.0.role: Input should be one of 'user', 'assistant', 'system'",
            ),
            (message(""), "messages.0: all messages must have non-empty content"),
            (
                message(messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]),
                "messages: text content blocks must be non-empty",
            ),
            (
                message(messages=[{"role": "user", "content": [{"type": "text"}]}]),
                "messages.0.content.0.text.text: Field required",
            ),
            (
                message(thinking={"type": "enabled", "budget_tokens": 10}),
                "thinking.budget_tokens: Input should be greater than or equal to 1024",
            ),
        ],
    )
    def test_a_bad_field_is_named(self, sandbox, body, text):
        status, headers, answer = call(sandbox, MESSAGES, body, NEW)
        assert status == 400
        assert answer["error"]["type"] == "invalid_request_error"
        assert answer["error"]["message"].startswith(text)
        assert answer["request_id"] == headers["request-id"]

    def test_the_old_version_still_takes_a_temperature(self, sandbox):
        assert call(sandbox, MESSAGES, message(temperature=1), OLD)[0] == 200

    @pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2024-01-01"}])
    def test_the_version_must_be_there_and_known(self, sandbox, headers):
        status, _, answer = call(sandbox, MESSAGES, message(), headers)
        assert status == 400
        assert answer["error"]["message"].startswith("anthropic-version")


class TestGeminiChecks:
    """What generateContent refuses."""

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({}, "* GenerateContentRequest.contents: contents is not specified"),
            (contents(foo=1), 'Invalid JSON payload received. Unknown name "foo": '),
            (contents(generationConfig={"max_tokens": 1}), "Invalid JSON payload received."),
            (contents(generationConfig={"temperature": 9}), "Invalid value at"),
            ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "Invalid value at"),
            ({"contents": [{"role": "user", "parts": []}]}, "* GenerateContentRequest."),
            (
                contents(
                    generationConfig={
                        "thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}
                    }
                ),
                "You can only set one of",
            ),
        ],
    )
    def test_a_bad_field_is_named(self, sandbox, body, text):
        status, _, answer = call(sandbox, GENERATE, body)
        assert status == 400
        assert answer["error"]["status"] == "INVALID_ARGUMENT"
        assert answer["error"]["message"].startswith(text)

    def test_unknown_verbs_and_versions_are_a_404(self, sandbox):
        assert call(sandbox, "/v1/models/echo:fly", contents())[0] == 404
        assert call(sandbox, "/v1beta/echo", contents())[0] == 404

    def test_a_model_id_may_hold_a_colon(self, sandbox):
        _, _, answer = call(sandbox, "/v1/models/fixed:Blue:generateContent", contents())
        assert answer["candidates"][0]["content"]["parts"] == [{"text": "Blue"}]


@pytest.mark.parametrize(
    ("path", "body", "good", "bad"),
    [
        (CHAT, chat(), {"Authorization": "Bearer right"}, {"Authorization": "Bearer wrong"}),
        (CHAT, chat(), {"api-key": "right"}, {"Authorization": "Basic right"}),
        (MESSAGES, message(), {"x-api-key": "right", **NEW}, NEW),
        (MESSAGES, message(), {"Authorization": "Bearer right", **NEW}, {"x-api-key": "é"}),
        (GENERATE, contents(), {"x-goog-api-key": "right"}, {"x-goog-api-key": "wrong"}),
        (GENERATE + "?key=right", contents(), {}, {"x-goog-api-key": "wrong"}),
    ],
)
def test_a_demanded_key_is_looked_for_where_the_vendor_does(path, body, good, bad):
    with Sandbox(api_key="right") as sandbox:
        assert call(sandbox, path, body, good)[0] == 200
        assert call(sandbox, path, body, bad)[0] == 401
