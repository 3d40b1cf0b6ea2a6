"""The openai SDK and our side of Chat Completions: its types take our bodies and know the golden
answers, its client the sandbox, and our adapter reads the sandbox as it does.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from deluge_sync.adapters import openai_chat
from deluge_sync.adapters.sse import EventReader
from deluge_sync.testing import Reply, Sandbox
from deluge_sync.testing.answers import Finished, Question
from deluge_sync.testing.openai_answers import chunks, completion
from deluge_sync.values.errors import BadRequestError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import ToolResult
from deluge_sync.values.request import Request
from deluge_sync.values.response import Answer, Usage
from deluge_sync.values.wire import HttpResponse

from .golden_features import FEATURES, get_weather, now
from .test_adapter_sdks import sdk, typed
from .test_golden import EVERYTHING, model_of
from .test_responses_sdk import is_known

GOLDEN = sorted((Path(__file__).parent / "golden" / "openai_chat").glob("*.json"))
golden_files = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
HOSTS_OWN = {"reasoning_content", "obfuscation"}
"""Fields that the SDK's classes lack: other hosts' thinking, and the padding against listeners."""


def contents(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def without_hosts_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: without_hosts_own(inner) for name, inner in value.items() if name not in HOSTS_OWN
        }
    return [without_hosts_own(inner) for inner in value] if isinstance(value, list) else value


def check(name: str, body: Any) -> None:
    """`body` is a whole one of the SDK's class of that name."""
    kind = getattr(sdk("openai.types.chat"), name)
    assert is_known(kind.model_validate(without_hosts_own(body)))


@golden_files
def test_the_sdks_types_know_every_field_we_send(path):
    params = sdk("openai.types.chat.completion_create_params")
    body = contents(path)["sent"]
    kind = "Streaming" if body.get("stream") else "NonStreaming"
    assert typed(getattr(params, f"CompletionCreateParams{kind}"), body) == body


@golden_files
def test_what_the_golden_files_receive_is_what_the_sdks_models_know(path):
    golden = contents(path)
    if "received" in golden:
        check("ChatCompletion", golden["received"])
    for name, data in golden.get("stream", ()):
        assert name == ""
        if data != "[DONE]":
            check("ChatCompletionChunk", data)


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "refusal", "content_filter"])
def test_what_the_sandbox_writes_is_what_the_sdks_models_know(finish):
    body = {"logprobs": True, "top_logprobs": 2, "stream_options": {"include_usage": True}}
    question = Question("openai", "m", "Hi", None, (), 1, None, (), body)
    calls = [("look", {"at": 1})] if finish == "tool_calls" else []
    finished = Finished("Hello, you.", "Hm, hm.", finish, None, calls, Usage(5, 4, 2, 2, 1))
    check("ChatCompletion", completion(question, finished, 0, 1.5))
    for chunk in chunks(question, finished, 0, 1.5):
        check("ChatCompletionChunk", chunk)


def asked(sandbox: Sandbox, request: Request) -> Answer:
    """What our adapter reads when the sandbox has answered what it wrote."""
    model = Model("echo", Provider("sandbox", base_url=sandbox.base_url), supports=EVERYTHING)
    sent = openai_chat.encode(request, model)
    call = urllib.request.Request(sent.url, sent.body, dict(sent.headers), method="POST")
    try:
        with urllib.request.urlopen(call, timeout=5) as answer:
            body, head = answer.read(), HttpResponse(answer.status, dict(answer.headers), b"")
    except urllib.error.HTTPError as error:
        return openai_chat.decode(
            HttpResponse(error.code, dict(error.headers), error.read()), model
        )
    if not request.stream:
        return openai_chat.decode(HttpResponse(200, {}, body), model)
    fold, reader = openai_chat.fold(head, model), EventReader()
    for event in reader.feed(body):
        fold.feed(event)
    assert fold.done
    return fold.answer()


@golden_files
def test_the_sandbox_takes_every_golden_request(path):
    request = FEATURES[path.stem]
    with Sandbox(answer="Hello.") as sandbox:
        if path.stem == "json mode":
            with pytest.raises(BadRequestError, match="must contain the word 'json'"):
                asked(sandbox, request)
        else:
            assert asked(sandbox, request).content.text == "Hello."


TOOLS = FEATURES["tools"]
WEATHER = {"role": "user", "content": "What is the weather in Bonn?"}


def two_calls() -> list[Reply | str]:
    calls = [("get_weather", {"city": "Bonn", "days": 2}), ("now", {})]
    return [Reply("Let me look.", tool_calls=calls), "Rain."]


def results_of(message: Any) -> list[dict[str, Any]]:
    """What the functions give back that a message of the SDK's asks for."""
    run = {"get_weather": get_weather, "now": now}
    return [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": run[call.function.name](**json.loads(call.function.arguments)),
        }
        for call in message.tool_calls
    ]


def without_sdks_own(value: Any) -> Any:
    """`value` without what the SDK's streaming helper adds to what came."""
    if isinstance(value, list):
        return [without_sdks_own(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    own = ("parsed", "parsed_arguments", "index")
    return {name: without_sdks_own(inner) for name, inner in value.items() if name not in own}


@pytest.mark.parametrize("streamed", [False, True])
def test_the_sdks_client_gets_through_two_rounds_with_our_tools(streamed):
    openai = sdk("openai")
    sent = json.loads(openai_chat.encode(TOOLS, model_of("openai_chat")).body)
    messages: list[Any] = [WEATHER]
    with Sandbox(answer=two_calls()) as sandbox:
        completions = openai.OpenAI(base_url=sandbox.base_url, api_key="key").chat.completions
        for _ in range(2):
            options = {"model": "m", "messages": messages, "tools": sent["tools"]}
            if streamed:
                with completions.stream(**options) as stream:
                    choice = stream.get_final_completion().choices[0]
            else:
                choice = completions.create(**options).choices[0]
            messages.append(without_sdks_own(choice.message.to_dict()))
            if choice.finish_reason == "tool_calls":
                messages += results_of(choice.message)
        journal = list(sandbox.journal)
    assert [message["role"] for message in messages] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert messages[2]["content"] == "Rain in Bonn for 2 days"
    assert (messages[-1]["content"], len(journal)) == ("Rain.", 2)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_custom_tools_call_is_answered_with_its_text(streamed):
    tool = {"type": "custom", "custom": {"name": "write"}}
    request = Request(FEATURES["plain"].conversation, tools=(tool,), stream=streamed)
    with Sandbox(answer=[Reply(tool_calls=[("write", {"input": "x = 1"})]), "Ok."]) as sandbox:
        answer = asked(sandbox, request)
        (call,) = answer.content.tool_calls
        assert (call.name, call.arguments, call.kind) == ("write", {"input": "x = 1"}, "custom")
        talk = request.conversation.add(answer.content)
        talk = talk.with_tool_results(ToolResult(call.id, "ok", kind="custom"))
        assert asked(sandbox, request._replace(conversation=talk)).content.text == "Ok."


@pytest.mark.parametrize(
    "reply",
    [
        Reply("Hello."),
        Reply("Hello.", thinking="A greeting will do."),
        Reply(tool_calls=[("look", {"at": [1]}), ("go", {})]),
        Reply("Grüße 🌍", thinking="Hm.", tool_calls=[("look", {"at": "Köln"})]),
        Reply("Hel", finish="length"),
        Reply("I cannot.", finish="refusal"),
        Reply("Half", finish="content_filter"),
        Reply("Hello.", usage=Usage(100, 20, 60, 10, 5)),
    ],
    ids=str,
)
def test_a_streamed_answer_is_the_same_as_a_whole_one(reply):
    request = FEATURES["logprobs"]
    with Sandbox(answer=reply) as sandbox:
        whole = asked(sandbox, request)
    with Sandbox(answer=reply) as sandbox:  # another, whose ids begin anew
        streamed = asked(sandbox, Request(request.conversation, request.params, stream=True))
    assert (whole.error is None) == (streamed.error is None)
    assert str(whole.error) == str(streamed.error)
    assert streamed._replace(error=None) == whole._replace(error=None)
