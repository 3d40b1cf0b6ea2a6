"""The anthropic package takes the sandbox and our bodies, and its types hold for what we read.

Skipped where the package is absent or older than the wire format we speak (on Python 3.9).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import urllib3

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import EventReader
from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.testing.answers import Answerer
from deluge_sync.testing.anthropic_messages import AnthropicMessages
from deluge_sync.testing.wire import Route
from deluge_sync.values.deltas import UsageDelta
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import Conversation, Message, Thinking, ToolResult
from deluge_sync.values.request import OutputFormat, PromptCache, Request
from deluge_sync.values.response import Usage
from deluge_sync.values.wire import HttpResponse

from .golden_features import FEATURES, PDF, PNG, SCHEMA
from .test_adapter_sdks import type_adapter, typed

anthropic = pytest.importorskip("anthropic", minversion="2")
types = anthropic.types
params = pytest.importorskip("anthropic.types.message_create_params")

GOLDEN = sorted((Path(__file__).parent / "golden" / "anthropic").glob("*.json"))
ADAPTER = ADAPTERS["anthropic"]
EVERYTHING = frozenset(
    {
        "vision",
        "pdf",
        "tools",
        "forced_tool_choice",
        "json_schema",
        "reasoning",
        "prompt_caching",
    }
)
NO_LIMITS: dict[str, Any] = {"model": "echo", "max_tokens": 1_000}
ASK = [{"role": "user", "content": "What is this?"}]
TOOL = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}

every_golden = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def client_of(sandbox: Sandbox, **options: Any) -> Any:
    options = {"api_key": "key", "max_retries": 0, **options}
    return anthropic.Anthropic(base_url=sandbox.anthropic_url, **options)


def model_at(sandbox: Sandbox) -> Model:
    provider = Provider("sandbox", "anthropic", base_url=sandbox.anthropic_url)
    return Model("echo", provider, thinking="adaptive", supports=EVERYTHING)


def posted(sandbox: Sandbox, request: Request) -> HttpResponse:
    """What the sandbox answers to what our adapter makes of `request`."""
    call = ADAPTER.encode(request, model_at(sandbox))
    headers = {**dict(call.headers), "x-api-key": "key"}
    answer = urllib3.PoolManager().request(
        call.method, call.url, body=call.body, headers=headers, retries=False
    )
    found = {name.lower(): value for name, value in answer.headers.items()}
    return HttpResponse(answer.status, found, answer.data)


def blocked(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": [*blocks, {"type": "text", "text": "What is this?"}]}]


def marked(text: str, **lifetime: str) -> dict[str, Any]:
    control = {"type": "ephemeral", **lifetime}
    return {"type": "text", "text": text, "cache_control": control}


class TestTypes:
    """Golden files."""

    @every_golden
    def test_every_body_is_one_the_package_could_have_sent(self, path: Path) -> None:
        """But for the sampling parameters, which only the API version before theirs takes."""
        body = json.loads(path.read_text("utf-8"))["sent"]
        body = {k: v for k, v in body.items() if k not in ("temperature", "top_p", "top_k")}
        kind = params.MessageCreateParamsNonStreaming
        if "mcp_servers" in body:
            kind = anthropic.types.beta.message_create_params.MessageCreateParamsNonStreaming
        if body.get("stream"):
            kind = params.MessageCreateParamsStreaming
        assert typed(kind, body) == body

    @every_golden
    def test_every_answer_and_event_is_one_the_package_reads_without_loss(self, path: Path) -> None:
        golden = json.loads(path.read_text("utf-8"))
        is_beta = "mcp_servers" in golden["sent"]
        if "received" in golden:
            kind = types.beta.BetaMessage if is_beta else types.Message
            message = kind.model_validate(golden["received"])
            assert message.to_dict(exclude_unset=True) == golden["received"]
        adapter = type_adapter(
            types.beta.BetaRawMessageStreamEvent if is_beta else types.RawMessageStreamEvent
        )
        for name, data in golden.get("stream", ()):
            if name != "ping":
                event = adapter.validate_python(data)
                assert event.type == name
                assert event.to_dict(exclude_unset=True) == data

    def test_breakpoints_on_tools_are_where_the_types_have_them(self) -> None:
        for pattern in ("tools_only", "system_and_tools"):
            request = Request(
                Conversation().system("Be brief.").user("Hello"),
                extra_body={"tools": [TOOL, TOOL]},
                prompt_cache=PromptCache(pattern, ttl="1h"),
            )
            model = Model("m", Provider("vendor"), supports=EVERYTHING)
            body = json.loads(ADAPTER.encode(request, model).body)
            assert typed(params.MessageCreateParamsNonStreaming, body) == body
            assert [("cache_control" in tool) for tool in body["tools"]] == [False, True]


class TestStreams:
    """`messages.stream` and `create(stream=True)`."""

    def test_the_packages_helper_puts_the_same_message_together_that_comes_whole(self) -> None:
        reply = Reply("Let me look, twice.", thinking="Two calls.", tool_calls=[("f", {"n": [1]})])
        replies = [reply, reply, Reply("No.", finish="refusal"), Reply("No.", finish="refusal")]
        with Sandbox(answer=replies) as sandbox:
            client = client_of(sandbox)
            for _ in range(2):
                whole = client.messages.create(messages=ASK, **NO_LIMITS).to_dict()
                with client.messages.stream(messages=ASK, **NO_LIMITS) as stream:
                    kinds = [event.type for event in stream]
                    streamed = stream.get_final_message().to_dict()
                for message in (whole, streamed):
                    message.pop("id")
                    for block in message["content"]:
                        block.pop("id", None)
                assert {k: v for k, v in streamed.items() if v is not None} == {
                    k: v for k, v in whole.items() if v is not None
                }
                assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")

    def test_events_come_in_the_vendors_order_with_every_kind_of_delta(self) -> None:
        reply = Reply("Look.", thinking="Hm.", tool_calls=[("f", {"n": 1}), ("g", {})])
        with Sandbox(answer=reply) as sandbox:
            events = list(
                client_of(sandbox).messages.create(messages=ASK, stream=True, **NO_LIMITS)
            )
        kinds = [
            event.delta.type if event.type == "content_block_delta" else event.type
            for event in events
        ]
        assert list(dict.fromkeys(kinds)) == [
            "message_start",
            "content_block_start",
            "thinking_delta",
            "signature_delta",
            "content_block_stop",
            "text_delta",
            "input_json_delta",
            "message_delta",
            "message_stop",
        ]
        assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 4
        adapter = type_adapter(types.RawMessageStreamEvent)
        for event in events:
            adapter.validate_python(event.to_dict())

    def test_our_fold_of_the_sandboxs_stream_is_what_decoding_the_whole_gives(self) -> None:
        reply = Reply("Grüße 🌍", thinking="Hm.", tool_calls=[("f", {"n": 1}), ("g", {})])
        conversation = Conversation().user("What is this?")
        with Sandbox(answer=reply) as sandbox:
            model = model_at(sandbox)
            whole = ADAPTER.decode(posted(sandbox, Request(conversation)), model)
            response = posted(sandbox, Request(conversation, stream=True))
        assert b"event: ping" in response.body
        fold = ADAPTER.fold(response._replace(body=b""), model)
        deltas = [d for event in EventReader().feed(response.body) for d in fold.feed(event)]
        assert fold.done
        answer = fold.answer()
        assert answer.usage == whole.usage == deltas[-1].usage
        assert isinstance(deltas[0], UsageDelta)
        assert answer.content.text == whole.content.text == "Grüße 🌍"
        assert answer.content.thinking == whole.content.thinking
        assert [call.arguments for call in answer.content.tool_calls] == [{"n": 1}, {}]
        assert answer.finish_reason == whole.finish_reason == "tool_calls"

    @pytest.mark.parametrize("after", [0, 1, 3, 6])
    def test_an_error_event_is_the_packages_own_error(self, sandbox: Sandbox, after: int) -> None:
        sandbox.script([Fault("stream_error", status=529, after=after)])
        with pytest.raises(anthropic.APIStatusError) as caught:
            list(client_of(sandbox).messages.create(messages=ASK, stream=True, **NO_LIMITS))
        assert caught.value.body["error"]["type"] == "overloaded_error"


class TestMedia:
    """Pictures and documents."""

    def test_every_golden_body_is_accepted(self, sandbox: Sandbox) -> None:
        """But for those with the old version's parameters or thinking that was not signed here."""
        model = model_at(sandbox)
        for path in GOLDEN:
            if path.stem in ("parameters", "thinking and tools echoed"):
                continue
            response = posted(sandbox, FEATURES[path.stem])
            assert response.status == 200, (path.stem, response.body)
            if "stream" not in path.stem and not path.stem.startswith(
                "computer"
            ):  # a picture has no echo
                assert ADAPTER.decode(response, model).content.text

    @pytest.mark.parametrize(
        "block",
        [
            {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": ""}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png"}},
            {"type": "image", "source": {"type": "url", "url": "ftp://host/x.png"}},
            {"type": "image", "source": {"type": "text", "data": "x"}},
            {"type": "image", "source": "x"},
            {"type": "document", "source": {"type": "text", "media_type": "text/csv", "data": ""}},
            {"type": "thinking", "thinking": "x", "signature": "x"},
        ],
    )
    def test_what_the_vendor_would_not_take_is_refused(self, sandbox: Sandbox, block: Any) -> None:
        with pytest.raises(anthropic.BadRequestError):
            client_of(sandbox).messages.create(messages=blocked(block), **NO_LIMITS)

    def test_data_must_be_what_it_says_it_is(self, sandbox: Sandbox) -> None:
        client = client_of(sandbox)
        encoded = base64.b64encode(PNG).decode()
        good = {"type": "base64", "media_type": "image/png", "data": encoded}
        assert client.messages.create(
            messages=blocked({"type": "image", "source": good}), **NO_LIMITS
        )
        for change in ({"media_type": "image/gif"}, {"data": "!!"}, {"data": encoded * 1_000_000}):
            block = {"type": "image", "source": {**good, **change}}
            with pytest.raises(anthropic.BadRequestError) as caught:
                client.messages.create(messages=blocked(block), **NO_LIMITS)
            assert "messages.0.content.0.image.source.base64" in str(caught.value)


class TestThinking:
    """Signatures."""

    def test_thinking_goes_back_unchanged_or_not_at_all(self) -> None:
        with Sandbox(answer=Reply("Yes.", thinking="Hm.")) as sandbox:
            client = client_of(sandbox)
            first = client.messages.create(messages=ASK, **NO_LIMITS)
            turns = [*ASK, first.to_param(), {"role": "user", "content": "Sure?"}]
            assert client.messages.create(messages=turns, **NO_LIMITS)
            first.content[0].thinking = "Hm!"
            turns = [*ASK, first.to_param(), {"role": "user", "content": "Sure?"}]
            with pytest.raises(anthropic.BadRequestError) as caught:
                client.messages.create(messages=turns, **NO_LIMITS)
        assert "messages.1.content.0: Invalid `signature`" in str(caught.value)

    @pytest.mark.parametrize("stream", [False, True])
    def test_our_echo_of_an_answer_is_taken(self, stream: bool) -> None:
        reply = Reply("Look.", thinking="Hm.", tool_calls=[("f", {"n": 1})])
        with Sandbox(answer=reply) as sandbox:
            model = model_at(sandbox)
            asked = Conversation().user("What is this?")
            response = posted(sandbox, Request(asked, stream=stream))
            if stream:
                fold = ADAPTER.fold(response, model)
                for event in EventReader().feed(response.body):
                    fold.feed(event)
                content = fold.answer().content
            else:
                content = ADAPTER.decode(response, model).content
            assert [type(part).__name__ for part in content.parts] == [
                "Thinking",
                "Text",
                "ToolCall",
            ]
            (call,) = content.tool_calls
            result = ToolResult(call.id, "It is a cat.")
            round_of = asked.add(content).with_tool_results(result)
            assert posted(sandbox, Request(round_of)).status == 200
            changed = Message("assistant", (Thinking("Hm!", content.parts[0].signature),))
            refused = posted(sandbox, Request(asked.add(changed).user("Go on.")))
            assert refused.status == 400


class TestPromptCache:
    """Breakpoints."""

    def test_a_prefix_is_written_once_and_read_from_then_on(self, sandbox: Sandbox) -> None:
        client = client_of(sandbox)
        system = [marked("x" * 4_000, ttl="1h")]

        def usage(text: str) -> Any:
            turn = [{"role": "user", "content": text}]
            return client.messages.create(system=system, messages=turn, **NO_LIMITS).usage

        first, second = usage("abcd"), usage("efghijkl")
        assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (1000, 0)
        assert first.cache_creation.ephemeral_1h_input_tokens == 1000
        assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 1000)
        assert (first.input_tokens, second.input_tokens) == (1, 2)

    def test_a_conversation_that_grows_reads_what_it_wrote_before(self, sandbox: Sandbox) -> None:
        model = model_at(sandbox)
        cache = PromptCache("last_user_message")
        conversation = Conversation().system("s" * 400).user("a" * 400)
        seen = []
        for _ in range(3):
            request = Request(conversation, prompt_cache=cache)
            answer = ADAPTER.decode(posted(sandbox, request), model)
            seen.append(answer.usage)
            conversation = conversation.add(answer.content).user("b" * 400)
        assert [(u.cache_read_tokens, u.cache_write_tokens) for u in seen] == [
            (0, 200),
            (200, 200),
            (400, 200),
        ]
        assert all(isinstance(usage, Usage) for usage in seen)

    def test_tools_are_kept_before_the_system_prompt(self, sandbox: Sandbox) -> None:
        model = model_at(sandbox)
        cache = PromptCache("system_and_tools")

        def usage(system: str) -> Usage:
            request = Request(
                Conversation().system(system).user("Hi"),
                extra_body={"tools": [TOOL]},
                prompt_cache=cache,
            )
            return ADAPTER.decode(posted(sandbox, request), model).usage

        first, second = usage("a" * 400), usage("b" * 400)
        assert first.cache_read_tokens == 0
        assert second.cache_read_tokens == first.cache_write_tokens - 100 > 0
        assert second.cache_write_tokens == 100

    def test_other_keys_and_other_sandboxes_do_not_share_what_is_kept(self) -> None:
        def read(sandbox: Sandbox, key: str) -> int:
            client = client_of(sandbox, api_key=key)
            system = [marked("shared " * 100)]
            usage = client.messages.create(system=system, messages=ASK, **NO_LIMITS).usage
            return int(usage.cache_read_input_tokens)

        with Sandbox() as one, Sandbox() as other:
            assert (read(one, "a"), read(one, "b"), read(other, "a")) == (0, 0, 0)
            assert read(one, "a") > 0

    def test_five_breakpoints_and_odd_lifetimes_are_refused(self, sandbox: Sandbox) -> None:
        client = client_of(sandbox)
        for system in (
            [marked("x")] * 5,
            [marked("x", ttl="2h")],
            [marked("x", ttl="5m"), marked("y", ttl="1h")],
        ):
            with pytest.raises(anthropic.BadRequestError):
                client.messages.create(system=system, messages=ASK, **NO_LIMITS)
        assert client.messages.create(
            system=[marked("x", ttl="1h"), marked("y")], messages=ASK, **NO_LIMITS
        )

    def test_prompts_that_arrive_together_find_nothing_of_each_others(self) -> None:
        """What makes `warm_first` worth it: a prefix is kept once its prompt is answered."""
        wire, answerer = AnthropicMessages(), Answerer()
        headers = {"anthropic-version": "2026-10-21", "x-api-key": "key"}
        body = {**NO_LIMITS, "system": [marked("x" * 400)], "messages": ASK}

        def arrive() -> Any:
            return wire.question(Route("generate"), body, headers, True)

        first, second = arrive(), arrive()
        assert first.cached == second.cached == Usage(cache_write_tokens=100)
        wire.answer(first, answerer.finish(first), 0, 0.0)
        assert arrive().cached == Usage(cache_read_tokens=100)


class TestSchemas:
    """`output_config.format`."""

    def test_a_format_must_be_a_schema(self, sandbox: Sandbox) -> None:
        client = client_of(sandbox)
        for form in ({"type": "json_object"}, {"type": "json_schema"}):
            with pytest.raises(anthropic.BadRequestError):
                client.messages.create(
                    messages=ASK, extra_body={"output_config": {"format": form}}, **NO_LIMITS
                )

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_answer_fits_the_schema(self, sandbox: Sandbox, stream: bool) -> None:
        model = model_at(sandbox)
        request = Request(
            Conversation().user("Where?"), output=OutputFormat(SCHEMA, "place"), stream=stream
        )
        response = posted(sandbox, request)
        if stream:
            fold = ADAPTER.fold(response, model)
            for event in EventReader().feed(response.body):
                fold.feed(event)
            answer = fold.answer()
        else:
            answer = ADAPTER.decode(response, model)
        place = json.loads(answer.content.text)
        assert sorted(place) == ["city", "people"]
        assert isinstance(place["people"], int)

    def test_the_packages_own_structured_output_works(self, sandbox: Sandbox) -> None:
        pydantic = pytest.importorskip("pydantic")
        place = pydantic.create_model("Place", city=(str, ...), people=(int, ...))
        message = client_of(sandbox).messages.parse(messages=ASK, output_format=place, **NO_LIMITS)
        assert isinstance(message.parsed_output, place)

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object", "properties": {}},
            {"type": "object", "additionalProperties": True},
            {"type": "integer", "minimum": 1},
            {"type": ["string", "null"], "maxLength": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 2},
            {"anyOf": [{"type": "string", "minLength": 1}]},
            {"oneOf": [{"type": "string"}]},
        ],
    )
    def test_a_schema_the_vendor_does_not_take_is_refused(
        self, sandbox: Sandbox, schema: Any
    ) -> None:
        config = {"format": {"type": "json_schema", "schema": schema}}
        with pytest.raises(anthropic.BadRequestError) as caught:
            client_of(sandbox).messages.create(messages=ASK, output_config=config, **NO_LIMITS)
        assert "output_config.format.schema: " in str(caught.value)

    def test_a_document_counts_as_text(self, sandbox: Sandbox) -> None:
        source = {"type": "text", "media_type": "text/plain", "data": "x" * 400}
        message = client_of(sandbox).messages.create(
            messages=blocked({"type": "document", "source": source, "title": "t"}), **NO_LIMITS
        )
        assert message.usage.input_tokens > 100


@pytest.mark.parametrize(
    "odd",
    [
        {"tools": [1]},
        {"tools": [{"cache_control": 1}]},
        {"system": [1]},
        {"system": [{"type": "text", "text": "x", "cache_control": "x"}]},
        {"cache_control": {}},
        {"messages": [1]},
        {"messages": blocked({"type": "tool_result", "tool_use_id": "x", "content": 7})},
        {"messages": blocked({"type": "tool_result", "tool_use_id": "x", "content": [1]})},
        {"messages": blocked({"type": "image", "source": {"type": ["x"]}})},
        {"messages": blocked({"type": "text", "text": 1})},
        {"output_config": {"format": "x"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"properties": 1}}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": [["x"]]}}}},
        {"output_config": {"effort": 7}},
    ],
)
def test_a_body_of_odd_shapes_is_a_400_never_a_500(sandbox: Sandbox, odd: Any) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client_of(sandbox).messages.create(**{"messages": ASK, **NO_LIMITS}, extra_body=odd)


class TestFiles:
    """`/v1/files`."""

    def test_a_file_is_uploaded_named_in_a_prompt_and_deleted(self, sandbox: Sandbox) -> None:
        client = client_of(sandbox)
        stored = client.files.upload(file=("report.pdf", PDF, "application/pdf"))
        assert (stored.filename, stored.mime_type) == ("report.pdf", "application/pdf")
        assert stored.size_bytes == len(PDF)
        assert client.files.retrieve_metadata(stored.id) == stored
        assert [file.id for file in client.files.list()] == [stored.id]
        block = {"type": "document", "source": {"type": "file", "file_id": stored.id}}
        assert client.messages.create(messages=blocked(block), **NO_LIMITS).content
        assert client.files.delete(stored.id).id == stored.id
        with pytest.raises(anthropic.NotFoundError):
            client.files.retrieve_metadata(stored.id)
