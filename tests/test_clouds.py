"""The same wire formats at other addresses: Azure, Foundry, Bedrock, Mantle, Vertex AI; and Cohere.

Their own SDKs judge our sandbox, our bodies and our paths.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from deluge_sync import Client, Image, MCPServer, SamplingParams, Tool, ToolResult
from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.event_stream import FrameReader, reader_of
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.catalog import Catalog, base_url_for
from deluge_sync.testing import Reply, Sandbox
from deluge_sync.testing.frames import chunk_frame, event_frame, exception_frame
from deluge_sync.values.errors import (
    AuthError,
    ConfigError,
    ConnectionFailedError,
    DecodeError,
    PromptError,
    QuotaExhaustedError,
    ResponseTooLargeError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from deluge_sync.values.prompt import Conversation
from deluge_sync.values.request import Request
from deluge_sync.values.wire import HttpResponse

GOLDEN = Path(__file__).parent / "golden"
CATALOG = Catalog.builtin()
HELLO = Request(Conversation().user("Hello"))
KEY = "the-key"
NOVA, BEDROCK_CLAUDE = "bedrock/amazon.nova-2-lite-v1:0", "bedrock/anthropic.claude-haiku-5-5"
COHERE = "cohere/command-a-03-2025"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PLACE = {"type": "object", "properties": {"at": {"type": "string"}}}
LOOSE = Tool("look", "Looks.", PLACE, strict=False)
STRICT = Tool("watch", "Watches.", PLACE, strict=True)
CALLING = {
    "role": "assistant",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ],
}
VARIABLES = (
    "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION",
    "BEARER_TOKEN_BEDROCK", "ENDPOINT_URL_BEDROCK_RUNTIME",
)  # fmt: skip


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """A region, and nothing else of this machine's AWS settings."""
    for name in VARIABLES:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def access_key(aws):
    """AWS credentials that sign."""
    pytest.importorskip("botocore")
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    aws.setenv("AWS_SESSION_TOKEN", "session")
    return aws


@pytest.fixture
def google(monkeypatch):
    """Google credentials, without a network."""
    auth = pytest.importorskip("google.auth")
    credentials = pytest.importorskip("google.auth.credentials")
    pytest.importorskip("google.auth.transport.requests")

    class Found(credentials.Credentials):
        def refresh(self, request):
            self.token = "ya29.token"
            now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
            self.expiry = now + datetime.timedelta(hours=1)

    monkeypatch.setattr(auth, "default", lambda **options: (Found(), "project"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west1")
    monkeypatch.setenv("CLOUD_ML_REGION", "europe-west1")


def encoded(name: str, request: Request = HELLO, *, base_url: str = "https://host"):
    model = CATALOG.model(name, base_url=base_url)
    return ADAPTERS[model.provider.adapter].encode(request, model)


def golden(adapter: str) -> dict[str, dict]:
    files = sorted((GOLDEN / adapter).glob("*.json"))
    return {path.stem: json.loads(path.read_text("utf-8")) for path in files}


class TestAddresses:
    """Where each host is, and what its paths and bodies say."""

    @pytest.mark.parametrize(
        ("name", "path", "stream_path"),
        [
            ("azure/gpt-4.1-mini", "/chat/completions", "/chat/completions"),
            ("azure_anthropic/claude-opus-5-5", "/v1/messages", "/v1/messages"),
            (
                BEDROCK_CLAUDE,
                "/model/anthropic.claude-haiku-5-5/invoke",
                "/model/anthropic.claude-haiku-5-5/invoke-with-response-stream",
            ),
            (
                NOVA,
                "/model/amazon.nova-2-lite-v1%3A0/converse",
                "/model/amazon.nova-2-lite-v1%3A0/converse-stream",
            ),
            (
                "vertex/gemini-3.8-flash",
                "/models/gemini-3.8-flash:generateContent",
                "/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
            ),
            (
                "vertex_anthropic/claude-haiku-5-5",
                "/models/claude-haiku-5-5:rawPredict",
                "/models/claude-haiku-5-5:streamRawPredict",
            ),
            ("cohere/command-a-03-2025", "/v2/chat", "/v2/chat"),
        ],
    )
    def test_a_call_goes_to_the_path_of_its_host(self, name, path, stream_path):
        assert encoded(name).url == "https://host" + path
        streamed = Request(HELLO.conversation, stream=True)
        assert encoded(name, streamed).url == "https://host" + stream_path

    @pytest.mark.parametrize(
        ("name", "in_body"),
        [(BEDROCK_CLAUDE, set()), ("vertex_anthropic/claude-haiku-5-5", {"stream"})],
    )
    def test_claude_on_other_hosts_has_its_version_in_the_body_and_its_model_in_the_path(
        self, name, in_body
    ):
        call = encoded(name, Request(HELLO.conversation, stream=True))
        body = json.loads(call.body)
        assert body["anthropic_version"] == "2026-10-21"
        assert "anthropic-version" not in dict(call.headers)
        assert body.keys() & {"model", "stream"} == in_body

    def test_a_region_has_its_own_host_unless_it_is_one_of_those_without(self):
        provider = CATALOG.provider("vertex_anthropic")
        variables = {"GOOGLE_CLOUD_PROJECT": "p", "CLOUD_ML_REGION": "europe-west1"}
        assert base_url_for(provider, variables) == (
            "https://europe-west1-aiplatform.googleapis.com"
            "/v1/projects/p/locations/europe-west1/publishers/anthropic"
        )
        variables["CLOUD_ML_REGION"] = "global"
        assert base_url_for(provider, variables) == (
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic"
        )
        with pytest.raises(ConfigError, match="CLOUD_ML_REGION or GOOGLE_CLOUD_LOCATION"):
            base_url_for(provider, {"GOOGLE_CLOUD_PROJECT": "p"})

    def test_an_id_that_would_leave_its_path_is_quoted_or_refused(self):
        url = encoded("bedrock/arn:aws:bedrock:us-east-1:1:inference-profile/us.x").url
        assert url.endswith(
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse"
        )
        with pytest.raises(ConfigError):
            encoded("bedrock/..")

    @pytest.mark.parametrize(
        "path", ["no-slash/{id}", "/model", "/{model}/x", "/a/{id}/{id}", "/{id"]
    )
    def test_a_path_without_the_place_of_the_id_is_refused_in_yaml(self, path):
        with pytest.raises(ConfigError, match="path"):
            CATALOG.with_overrides({"models": {"openai/x": {"path": path}}})

    def test_options_without_a_form_are_named(self):
        for name, option in (
            (NOVA, {"background": True}),
            (NOVA, {"continuation": "token"}),
            ("cohere/command-a-03-2025", {"previous_response_id": "resp_1"}),
        ):
            with pytest.raises(ConfigError, match=next(iter(option))):
                encoded(name, Request(HELLO.conversation, **option))


class TestFrames:
    """Amazon's event stream."""

    FRAMES = (
        event_frame("messageStart", {"role": "assistant"}),
        event_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Grüß dich"}}),
        chunk_frame(b'{"type":"message_stop"}'),
        exception_frame("ThrottlingException", "Too many tokens"),
    )

    def test_a_stream_is_the_same_wherever_its_packets_were_cut(self):
        data = b"".join(self.FRAMES)
        whole = FrameReader().feed(data)
        assert [event.name for event in whole] == [
            "messageStart",
            "contentBlockDelta",
            "message_stop",
            "error",
        ]
        for size in (1, 3, 7, 64):
            reader = FrameReader()
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            assert [event for piece in pieces for event in reader.feed(piece)] == whole
            assert reader.finish() == []

    def test_botocore_reads_the_frames_that_the_sandbox_writes(self):
        eventstream = pytest.importorskip("botocore.eventstream")
        buffer = eventstream.EventStreamBuffer()
        buffer.add_data(b"".join(self.FRAMES))
        messages = [message.to_response_dict() for message in buffer]
        assert [message["status_code"] for message in messages] == [200, 200, 200, 400]
        assert messages[3]["headers"][":exception-type"] == "throttlingException"

    def test_headers_of_every_type_are_passed_over(self):
        import struct
        import zlib

        odd = b"".join(
            bytes([1]) + b"x" + bytes([kind]) + bytes(size)
            for kind, size in ((0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16))
        )
        name = b":event-type"
        odd += bytes([1]) + b"b" + bytes([6]) + struct.pack(">H", 3) + b"abc"
        odd += bytes([len(name)]) + name + bytes([7]) + struct.pack(">H", 2) + b"hi"
        prelude = struct.pack(">II", 16 + len(odd) + 2, len(odd))
        frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + odd + b"{}"
        frame += struct.pack(">I", zlib.crc32(frame))
        assert FrameReader().feed(frame) == [ServerEvent("hi", "{}")]

    def test_every_damaged_byte_is_noticed(self):
        frame = self.FRAMES[1]
        for at in range(len(frame)):
            damaged = bytearray(frame)
            damaged[at] ^= 0x40
            with pytest.raises((DecodeError, ResponseTooLargeError)):
                FrameReader().feed(bytes(damaged))

    def test_half_a_frame_is_no_event(self):
        for at in range(len(self.FRAMES[0])):
            reader = FrameReader()
            assert reader.feed(self.FRAMES[0][:at]) == reader.finish() == []

    def test_the_content_type_says_how_a_stream_is_read(self):
        frames = {"content-type": "application/vnd.amazon.eventstream"}
        assert isinstance(reader_of(HttpResponse(200, frames, b"")), FrameReader)
        assert isinstance(reader_of(HttpResponse(200, {}, b"")), EventReader)

    def test_an_exception_within_a_stream_raises_its_error(self):
        for adapter in ("anthropic", "bedrock_converse"):
            model = CATALOG.model(NOVA, base_url="https://host")
            for kind, error in (
                ("ThrottlingException", ThrottledError),
                ("InternalServerException", TransientError),
                ("ModelStreamErrorException", TransientError),
                ("AccessDeniedException", AuthError),
            ):
                fold = ADAPTERS[adapter].fold(HttpResponse(200, {}, b""), model)
                (event,) = FrameReader().feed(exception_frame(kind, "It failed."))
                with pytest.raises(error, match=r"It failed\."):
                    fold.feed(event)


class TestConverse:
    """Our bodies and golden answers, judged by botocore's model of the service."""

    @pytest.fixture
    def model(self):
        pytest.importorskip("botocore", minversion="1.44")  # the fields of then
        session = pytest.importorskip("botocore.session")
        return session.get_session().get_service_model("bedrock-runtime")

    def test_botocore_would_send_the_same(self, model):
        serialize = pytest.importorskip("botocore.serialize")
        validate = pytest.importorskip("botocore.validate")
        operation = model.operation_model("Converse")
        for feature, case in golden("bedrock_converse").items():
            given = {"modelId": "amazon.nova-2-lite-v1:0", **with_bytes(case["sent"])}
            report = validate.ParamValidator().validate(given, operation.input_shape)
            assert not report.has_errors(), (feature, report.generate_report())
            sent = serialize.create_serializer("rest-json").serialize_to_request(given, operation)
            assert json.loads(sent["body"]) == case["sent"], feature
            assert encoded(NOVA).url == "https://host" + sent["url_path"]

    def test_botocore_knows_all_that_the_golden_answers_hold(self, model):
        parsers = pytest.importorskip("botocore.parsers")
        shape = model.operation_model("Converse").output_shape
        for feature, case in golden("bedrock_converse").items():
            if "received" in case:
                answer = {"status_code": 200, "headers": {}, "body": dumped(case["received"])}
                parsed = parsers.create_parser("rest-json").parse(answer, shape)
                del parsed["ResponseMetadata"]
                assert parsed == with_bytes(case["received"]), feature

    def test_botocore_knows_all_that_the_golden_events_hold(self, model):
        parsers = pytest.importorskip("botocore.parsers")
        shape = model.shape_for("ConverseStreamOutput")
        for feature, case in golden("bedrock_converse").items():
            for name, data in case.get("stream", ()):
                headers = {":event-type": name, ":message-type": "event"}
                answer = {"status_code": 200, "headers": headers, "body": dumped(data)}
                parsed = parsers.EventStreamJSONParser().parse(answer, shape)
                padded = {key: value for key, value in data.items() if key != "p"}
                assert parsed == {name: with_bytes(padded)}, feature

    def test_a_stream_cut_at_any_event_is_no_answer(self):
        model = CATALOG.model(NOVA, base_url="https://host")
        for case in golden("bedrock_converse").values():
            events = case.get("stream", ())
            for end in range(len(events)):
                fold = ADAPTERS["bedrock_converse"].fold(HttpResponse(200, {}, b""), model)
                for name, data in events[:end]:
                    fold.feed(ServerEvent(name, json.dumps(data)))
                with pytest.raises(ConnectionFailedError):
                    fold.answer()

    @pytest.mark.parametrize(
        ("status", "kind", "message", "error"),
        [
            (429, "ThrottlingException", "Too many requests, please wait", ThrottledError),
            (429, "ThrottlingException", "Too many tokens per day, wait", QuotaExhaustedError),
            (400, "ValidationException", "Input is too long for requested model.", TooLongError),
            (403, "AccessDeniedException", "You don't have access", AuthError),
            (424, "ModelErrorException", "The model failed", TransientError),
            (503, "ServiceUnavailableException", "Try again", TransientError),
        ],
    )
    def test_each_error_has_its_class_and_code(self, status, kind, message, error):
        headers = {"x-amzn-errortype": f"{kind}:http://internal", "x-amzn-requestid": "r-1"}
        response = HttpResponse(status, headers, dumped({"message": message}))
        with pytest.raises(error) as caught:
            ADAPTERS["bedrock_converse"].decode(response, CATALOG.model(NOVA, base_url="https://h"))
        assert (caught.value.code, caught.value.request_id) == (kind, "r-1")

    @pytest.mark.parametrize(
        ("effort", "wanted"),
        [
            ("none", {"type": "disabled"}),
            ("low", {"type": "enabled", "maxReasoningEffort": "low"}),
        ],
    )
    def test_nova_thinks_as_hard_as_it_is_told_to(self, effort, wanted):
        request = Request(HELLO.conversation, SamplingParams(reasoning_effort=effort))
        body = json.loads(encoded(NOVA, request).body)
        assert body["additionalModelRequestFields"] == {"reasoningConfig": wanted}


class TestCohere:
    """Our bodies and golden answers, judged by Cohere's types."""

    def test_the_types_know_every_field_of_our_messages(self):
        types = pytest.importorskip("cohere.types")
        kinds = {
            "user": types.UserChatMessageV2,
            "assistant": types.AssistantChatMessageV2,
            "system": types.SystemChatMessageV2,
            "tool": types.ToolChatMessageV2,
        }
        for feature, case in golden("cohere_chat").items():
            for message in case["sent"]["messages"]:
                parsed = kinds[message["role"]].model_validate(message)
                assert parsed.model_dump(exclude_none=True, mode="json") == message, feature
                assert not parsed.model_extra, feature

    def test_the_sdk_takes_every_option_that_we_send(self):
        import inspect

        cohere = pytest.importorskip("cohere")
        known = set(inspect.signature(cohere.ClientV2.chat).parameters) | {"stream"}
        for case in golden("cohere_chat").values():
            assert case["sent"].keys() <= known

    def test_the_types_know_every_field_of_our_tools(self):
        types = pytest.importorskip("cohere.types")
        tools = [
            tool
            for case in golden("cohere_chat").values()
            for tool in case["sent"].get("tools", ())
        ]
        assert tools
        for tool in tools:
            parsed = types.ToolV2.model_validate(tool)
            assert parsed.model_dump(exclude_none=True, mode="json") == tool
            assert not parsed.model_extra
            assert not parsed.function.model_extra

    @pytest.mark.parametrize(
        ("options", "fields"),
        [
            ({"tool_choice": "required"}, {"tool_choice": "REQUIRED"}),
            ({"tool_choice": "none"}, {"tool_choice": "NONE"}),
            ({"tool_choice": "auto"}, {}),
            ({"parallel_tool_calls": True}, {}),
            ({"tools": (STRICT,)}, {"strict_tools": True}),
        ],
    )
    def test_choices_and_strictness_have_their_words(self, options, fields):
        request = HELLO._replace(**{"tools": (LOOSE,), **options})
        body = json.loads(encoded(COHERE, request).body)
        assert {name: body[name] for name in body if "tool" in name and name != "tools"} == fields

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"tool_choice": "look"}, "'look'"),
            ({"parallel_tool_calls": False}, "parallel_tool_calls"),
            ({"tools": (STRICT, LOOSE)}, "strict is mixed"),
            ({"tools": (MCPServer("docs", "https://example.com"),)}, "MCPServer"),
            ({"tools": ({"googleSearch": {}},)}, "functions only"),
            ({"tools": ({"type": "mcp", "authorization": "hush"},)}, "not mcp"),
        ],
    )
    def test_what_of_tools_has_no_form_is_named_without_secrets(self, options, words):
        with pytest.raises(ConfigError, match=words) as caught:
            encoded(COHERE, HELLO._replace(**{"tools": (LOOSE,), **options}))
        assert COHERE in caught.value.message
        assert "hush" not in caught.value.message

    @pytest.mark.parametrize("lacks", ["tools", "forced_tool_choice"])
    def test_a_model_that_cannot_is_told_so(self, lacks):
        model = CATALOG.model(COHERE)
        model = dataclasses.replace(model, supports=model.supports - {lacks})
        request = HELLO._replace(tools=(LOOSE,), tool_choice="required")
        with pytest.raises(ConfigError, match=f"{COHERE}.*{lacks}"):
            ADAPTERS["cohere_chat"].encode(request, model)

    def test_a_tool_of_its_own_words_is_sent_as_it_is(self):
        tool = {"type": "function", "function": {"name": "go", "parameters": {"type": "object"}}}
        request = HELLO._replace(tools=(tool, LOOSE))
        assert json.loads(encoded(COHERE, request).body)["tools"][0] == tool

    def test_a_picture_has_no_place_in_a_tools_result(self):
        picture = Image(PNG, media_type="image/png")
        conversation = HELLO.conversation.with_tool_results(ToolResult("c", "", images=(picture,)))
        with pytest.raises(PromptError, match="no pictures in a tool's result"):
            encoded(COHERE, Request(conversation))

    @pytest.mark.parametrize(
        ("content", "data"),
        [
            ("Rain", {"output": "Rain"}),
            (' {"sky": "rain"}', {"sky": "rain"}),
            ("{}", {"output": "{}"}),
            ("[1]", {"output": "[1]"}),
            ('{"a": NaN}', {"output": '{"a": NaN}'}),
            ("{broken", {"output": "{broken"}),
        ],
    )
    def test_a_result_is_a_document_and_a_json_object_is_its_fields(self, content, data):
        conversation = HELLO.conversation.with_tool_results(ToolResult("c", content))
        message = json.loads(encoded(COHERE, Request(conversation)).body)["messages"][-1]
        assert message["content"] == [{"type": "document", "document": {"data": data}}]

    def test_the_types_know_the_golden_answers(self):
        types = pytest.importorskip("cohere.v2.types")
        for feature, case in golden("cohere_chat").items():
            if "received" in case:
                parsed = types.V2ChatResponse.model_validate(case["received"])
                again = without_none(parsed.model_dump(mode="json"))
                assert without_none(case["received"]) == again, feature

    def test_a_stream_cut_at_any_event_is_no_answer(self):
        model = CATALOG.model("cohere/command-a-03-2025", base_url="https://host")
        for case in golden("cohere_chat").values():
            events = case.get("stream", ())
            for end in range(len(events)):
                fold = ADAPTERS["cohere_chat"].fold(HttpResponse(200, {}, b""), model)
                for name, data in events[:end]:
                    fold.feed(ServerEvent(name, json.dumps(data)))
                with pytest.raises(ConnectionFailedError):
                    fold.answer()

    @pytest.mark.parametrize(
        ("status", "message", "error"),
        [
            (429, "You are past the per minute request limit", ThrottledError),
            (429, "a Trial key, which is limited to 1000 API calls / month", QuotaExhaustedError),
            (400, "too many tokens: size limit exceeded by 11 tokens", TooLongError),
            (401, "invalid api token", AuthError),
        ],
    )
    def test_each_error_has_its_class(self, status, message, error):
        model = CATALOG.model("cohere/command-a-03-2025", base_url="https://host")
        response = HttpResponse(status, {}, dumped({"id": "1", "message": message}))
        with pytest.raises(error):
            ADAPTERS["cohere_chat"].decode(response, model)

    def test_an_answer_that_broke_off_at_the_server_is_an_error(self):
        model = CATALOG.model("cohere/command-a-03-2025", base_url="https://host")
        body = {"id": "1", "finish_reason": "ERROR", "message": {"role": "assistant"}}
        with pytest.raises(TransientError):
            ADAPTERS["cohere_chat"].decode(HttpResponse(200, {}, dumped(body)), model)

    def test_the_plan_of_a_turn_goes_back_where_it_came_from(self):
        case = golden("cohere_chat")["thinking and tools echoed"]
        model = CATALOG.model("cohere/command-a-03-2025", base_url="https://host")
        answer = ADAPTERS["cohere_chat"].decode(
            HttpResponse(200, {}, dumped(case["received"])), model
        )
        request = Request(HELLO.conversation.add(answer.content))
        turn = json.loads(encoded("cohere/command-a-03-2025", request).body)["messages"][1]
        assert turn == without_none(case["received"]["message"])


class TestSDKs:
    """The vendors' own SDKs accept the sandbox, and ask at the paths that we ask at."""

    TURNS = ({"role": "user", "content": "Hello"},)

    def test_botocore_converses(self, sandbox, access_key):
        session = pytest.importorskip("botocore.session").get_session()
        client = session.create_client(
            "bedrock-runtime", region_name="eu-central-1", endpoint_url=sandbox.url
        )
        said = [{"role": "user", "content": [{"text": "Hello [[sandbox:think Hm.]]"}]}]
        asked = {"modelId": "amazon.nova-2-lite-v1:0", "messages": said}
        answer = client.converse(**asked)
        thought, text = answer["output"]["message"]["content"]
        assert thought["reasoningContent"]["reasoningText"]["text"] == "Hm."
        assert text == {"text": "Hello"}
        assert answer["stopReason"] == "end_turn"
        events = list(client.converse_stream(**asked)["stream"])
        deltas = [
            event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
        ]
        assert "".join(delta.get("text", "") for delta in deltas) == "Hello"
        assert "metadata" in events[-1]
        assert sandbox.journal[0].path == encoded(NOVA).url[len("https://host") :]

    def test_botocore_raises_the_sandboxs_errors(self, sandbox, access_key):
        session = pytest.importorskip("botocore.session").get_session()
        config = pytest.importorskip("botocore.config").Config(retries={"total_max_attempts": 1})
        client = session.create_client(
            "bedrock-runtime", region_name="eu-central-1", endpoint_url=sandbox.url, config=config
        )
        said = [{"role": "user", "content": [{"text": "Hello"}]}]
        sandbox.script(["429"])
        with pytest.raises(client.exceptions.ThrottlingException):
            client.converse(modelId="echo", messages=said)

    def test_anthropics_bedrock_client_is_answered(self, sandbox, aws):
        anthropic = pytest.importorskip("anthropic", minversion="2")
        pytest.importorskip("botocore")
        client = anthropic.AnthropicBedrock(
            api_key=KEY, base_url=sandbox.url, aws_region="us-east-1", max_retries=0
        )
        model = "anthropic.claude-haiku-5-5"
        message = client.messages.create(model=model, max_tokens=50, messages=self.TURNS)
        assert message.content[0].text == "Hello"
        with client.messages.stream(model=model, max_tokens=50, messages=self.TURNS) as stream:
            assert "".join(stream.text_stream) == "Hello"
        assert [record.path for record in sandbox.journal] == ours(BEDROCK_CLAUDE)
        assert sandbox.journal[0].body["anthropic_version"] == "2026-10-21"

    def test_anthropics_mantle_foundry_and_vertex_clients_are_answered(self, sandbox, aws):
        anthropic = pytest.importorskip("anthropic", minversion="2")
        pytest.importorskip("botocore")
        pytest.importorskip("google.auth")
        under = f"{sandbox.url}/anthropic"
        clients = {
            "bedrock_mantle/x": anthropic.AnthropicBedrockMantle(
                api_key=KEY, base_url=under, aws_region="us-east-1"
            ),
            "azure_anthropic/x": anthropic.AnthropicFoundry(api_key=KEY, base_url=under),
            "vertex_anthropic/x": anthropic.AnthropicVertex(
                access_token=KEY, project_id="p", region="r", base_url=f"{sandbox.url}/v1"
            ),
        }
        for name, client in clients.items():
            before = len(sandbox.journal)
            message = client.messages.create(model="x", max_tokens=50, messages=self.TURNS)
            assert message.content[0].text == "Hello"
            with client.messages.stream(model="x", max_tokens=50, messages=self.TURNS) as stream:
                assert "".join(stream.text_stream) == "Hello"
            paths = [record.path for record in sandbox.journal[before:]]
            assert [path[-len(own) :] for path, own in zip(paths, ours(name))] == ours(name)
            assert sandbox.journal[0].has_key

    def test_openais_azure_client_is_answered(self, sandbox):
        openai = pytest.importorskip("openai", minversion="3")
        client = openai.AzureOpenAI(
            api_key=KEY, azure_endpoint=sandbox.url, api_version="2025-01-01"
        )
        answer = client.chat.completions.create(model="deployment", messages=self.TURNS)
        assert (answer.choices[0].message.content, answer.model) == ("Hello", "deployment")
        client = openai.OpenAI(api_key=KEY, base_url=f"{sandbox.url}/openai/v1")
        assert client.chat.completions.create(model="deployment", messages=self.TURNS)

    def test_googles_client_is_answered_as_vertex_ai(self, sandbox, google):
        genai = pytest.importorskip("google.genai", minversion="3")
        credentials = pytest.importorskip("google.oauth2.credentials").Credentials(KEY)
        client = genai.Client(
            vertexai=True,
            project="project",
            location="europe-west1",
            credentials=credentials,
            http_options={"base_url": sandbox.url},
        )
        models = client.models
        assert models.generate_content(model="gemini-3.8-flash", contents="Hello").text == "Hello"
        chunks = list(models.generate_content_stream(model="gemini-3.8-flash", contents="Hello"))
        assert "".join(chunk.text or "" for chunk in chunks) == "Hello"
        base = base_url_for(CATALOG.provider("vertex"))
        path = base[base.index("/v1beta1") :] + "/models/gemini-3.8-flash:generateContent"
        assert sandbox.journal[0].path == path

    def test_coheres_client_is_answered(self, sandbox):
        cohere = pytest.importorskip("cohere", minversion="5")
        client = cohere.ClientV2(api_key=KEY, base_url=sandbox.url)
        turns = [{"role": "user", "content": "Hello [[sandbox:think Hm.]]"}]
        answer = client.chat(model="command-a-03-2025", messages=turns)
        assert [block.type for block in answer.message.content] == ["thinking", "text"]
        assert (answer.message.content[1].text, answer.finish_reason) == ("Hello", "COMPLETE")
        kinds, text = [], ""
        for event in client.chat_stream(model="command-a-03-2025", messages=turns):
            kinds.append(event.type)
            if event.type == "content-delta":
                text += event.delta.message.content.text or ""
        assert (kinds[0], kinds[-1], text) == ("message-start", "message-end", "Hello")

    @pytest.mark.parametrize("stream", [False, True])
    def test_coheres_client_gets_through_two_rounds_with_tools(self, stream):
        cohere = pytest.importorskip("cohere", minversion="5")
        calls = [("look", {"at": "Bonn"}), ("look", {"at": "Köln"})]
        with Sandbox(answer=[Reply("I will look.", tool_calls=calls), "Rain."]) as sandbox:
            client = cohere.ClientV2(api_key=KEY, base_url=sandbox.url)
            tool = json.loads(encoded(COHERE, HELLO._replace(tools=(LOOSE,))).body)["tools"][0]
            turns = [{"role": "user", "content": "Well?"}]
            options = {"model": "m", "tools": [tool], "tool_choice": "REQUIRED"}
            turn = coheres_turn(client, stream, messages=turns, **options)
            assert turn["tool_plan"] == "I will look."
            asked = [json.loads(call["function"]["arguments"]) for call in turn["tool_calls"]]
            assert asked == [arguments for _, arguments in calls]
            results = [
                {
                    "role": "tool",
                    "tool_call_id": call["id"],
                    "content": [{"type": "document", "document": {"data": {"sky": "rain"}}}],
                }
                for call in turn["tool_calls"]
            ]
            answer = client.chat(model="m", messages=[*turns, turn, *results], tools=[tool])
        assert answer.message.content[0].text == "Rain."

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ({"tool_choice": "REQUIRED"}, "tool_choice may only be set with tools"),
            ({"tool_choice": "look"}, "tool_choice"),
            ({"tools": [{"type": "function"}]}, r"tools\[0\].function is required"),
            (
                {"tools": [{"type": "function", "function": {"name": "look"}}]},
                "function.parameters is required",
            ),
            ({"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]}, "not that of"),
            ({"messages": [CALLING, {"role": "user", "content": "Hi"}]}, "no tool message answers"),
            (
                {"messages": [CALLING, {"role": "tool", "tool_call_id": "c2", "content": "x"}]},
                "not that of a tool call",
            ),
            (
                {
                    "messages": [
                        CALLING,
                        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "image"}]},
                    ]
                },
                "must be one of",
            ),
        ],
    )
    def test_the_sandboxs_cohere_refuses_what_does_not_fit_together(self, sandbox, more, words):
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], **more}
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        request = urllib.request.Request(f"{sandbox.url}/v2/chat", dumped(body), headers)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as refused:
            assert re.search(words, json.loads(refused.read())["message"])


def coheres_turn(client, stream, **request):
    """The assistant's turn as it is to go back, read by Cohere's SDK."""
    if not stream:
        turn = client.chat(**request).message.model_dump(exclude_none=True, mode="json")
        assert turn.pop("content", None) is None
        return turn
    plan, calls = "", []
    for event in client.chat_stream(**request):
        if event.type == "tool-plan-delta":
            plan += event.delta.message.tool_plan
        elif event.type == "tool-call-start":
            calls.append(event.delta.message.tool_calls.model_dump(mode="json"))
        elif event.type == "tool-call-delta":
            more = event.delta.message.tool_calls.function.arguments
            calls[-1]["function"]["arguments"] += more
    return {"role": "assistant", "tool_plan": plan, "tool_calls": calls}


class TestClient:
    """A Client reaches every host."""

    def test_azure_by_its_endpoint_and_key(self, sandbox, monkeypatch):
        monkeypatch.delenv("AZURE_OPENAI_BASE_URL", raising=False)
        monkeypatch.delenv("AZURE_URL", raising=False)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", sandbox.url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        assert Client("azure/gpt-4.1-mini").complete("Hello").completion == "Hello"
        assert sandbox.journal[0].path == "/openai/v1/chat/completions"
        assert sandbox.journal[0].headers["api-key"] == KEY

    def test_claude_on_foundry_by_its_base_url_and_key(self, sandbox, monkeypatch):
        monkeypatch.setenv("ANTHROPIC_FOUNDRY_BASE_URL", f"{sandbox.url}/anthropic/")
        monkeypatch.setenv("ANTHROPIC_FOUNDRY_API_KEY", KEY)
        reply = Client("azure_anthropic/claude-opus-5-5").complete("Hello")
        assert reply.completion == "Hello"
        assert sandbox.journal[0].headers["x-api-key"] == KEY

    @pytest.mark.parametrize("name", [NOVA, BEDROCK_CLAUDE])
    def test_bedrock_by_its_bearer_token(self, sandbox, aws, name):
        aws.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sandbox.url)
        aws.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
        reply = Client(name).complete("Hello")
        assert reply.completion == "Hello"
        assert reply.cost
        assert sandbox.journal[0].headers["authorization"] == f"Bearer {KEY}"
        assert sandbox.journal[0].path == ours(name)[0]

    @pytest.mark.parametrize("name", [NOVA, BEDROCK_CLAUDE])
    def test_bedrock_streams_its_frames(self, sandbox, aws, name):
        aws.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sandbox.url)
        aws.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
        *pieces, reply = Client(name).stream_chat("Hello, how are you?")
        assert len(pieces) > 1
        assert "".join(pieces) == reply.completion == "Hello, how are you?"
        assert sandbox.journal[0].path == ours(name)[1]

    @pytest.mark.parametrize("name", [NOVA, BEDROCK_CLAUDE, "bedrock_mantle/claude-x"])
    def test_bedrock_by_signatures_that_are_right(self, sandbox, access_key, name):
        access_key.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sandbox.url)
        access_key.setenv("ANTHROPIC_BEDROCK_MANTLE_BASE_URL", f"{sandbox.url}/anthropic")
        replies = Client(name).map(["One", "Two"])
        assert [reply.completion for reply in replies] == ["One", "Two"]
        service = "bedrock-mantle" if "mantle" in name else "bedrock"
        for record in sandbox.journal:
            assert signature_of(record) == signed_again(record, sandbox.url, service)
            assert record.headers["x-amz-security-token"] == "session"

    def test_mantle_speaks_responses_for_openais_models(self, sandbox, aws):
        aws.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
        client = Client("bedrock_mantle/openai.gpt-6.1-sol", base_url=f"{sandbox.url}/openai/v1")
        assert client.complete("Hello").completion == "Hello"
        assert sandbox.journal[0].path == "/openai/v1/responses"

    @pytest.mark.parametrize(
        "name", ["vertex/gemini-3.8-flash", "vertex_anthropic/claude-haiku-5-5"]
    )
    def test_vertex_ai_by_googles_credentials(self, sandbox, google, name):
        provider = CATALOG.provider(name.partition("/")[0])
        path = base_url_for(provider).partition(".com")[2]
        client = Client(name, base_url=sandbox.url + path)
        assert client.complete("Hello").completion == "Hello"
        *pieces, reply = client.stream_chat("Hello")
        assert "".join(pieces) == reply.completion == "Hello"
        assert sandbox.journal[0].headers["authorization"] == "Bearer ya29.token"

    def test_cohere_by_its_key(self, monkeypatch):
        replies = [Reply("Hello", thinking="Hm."), Reply(tool_calls=[("look", {"at": 1})])]
        with Sandbox(answer=[*replies, *replies]) as sandbox:
            monkeypatch.setenv("CO_API_URL", sandbox.url)
            monkeypatch.setenv("CO_API_KEY", KEY)
            client = Client("cohere/command-a-03-2025")
            first = client.complete("Hello")
            assert (first.completion, first.thinking) == ("Hello", "Hm.")
            assert client.complete("Hello").content.tool_calls[0].arguments == {"at": 1}
            *_, streamed = client.stream_chat("Hello")
            assert (streamed.completion, streamed.thinking) == ("Hello", "Hm.")
            *_, called = client.stream_chat("Hello")
            assert called.content.tool_calls[0].arguments == {"at": 1}

    def test_no_credentials_are_named_before_anything_is_sent(self, sandbox, aws):
        pytest.importorskip("botocore")
        aws.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sandbox.url)
        with pytest.raises(ConfigError, match="AWS_BEARER_TOKEN_BEDROCK"):
            Client(NOVA).complete("Hello")
        assert not sandbox.journal


def test_the_page_on_providers_has_each_of_them_with_all_its_variables():
    page = (Path(__file__).parent.parent / "docs" / "providers.md").read_text("utf-8")
    for provider in CATALOG.providers():
        names = [*provider.key_env, *provider.base_url_env]
        names += [name for group in provider.base_url_vars.values() for name in group]
        for name in (provider.name, *names):
            assert f"`{name}`" in page, (provider.name, name)


def ours(name: str) -> list[str]:
    """The paths that we ask at: for a whole answer, and for a stream."""
    stream = Request(HELLO.conversation, stream=True)
    return [encoded(name, request).url[len("https://host") :] for request in (HELLO, stream)]


def with_bytes(value):
    """`value` with its blobs as bytes, as botocore takes and gives them."""
    if isinstance(value, list):
        return [with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(item) if name in ("bytes", "redactedContent") else with_bytes(item)
        for name, item in value.items()
    }


def without_none(value):
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


def dumped(value) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def signature_of(record) -> str:
    return re.search(r"Signature=([0-9a-f]{64})", record.headers["authorization"])[1]


def signed_again(record, url: str, service: str) -> str:
    """What botocore signs of that which arrived."""
    auth = pytest.importorskip("botocore.auth")
    awsrequest = pytest.importorskip("botocore.awsrequest")
    credentials = pytest.importorskip("botocore.credentials")
    names = re.search(r"SignedHeaders=([^,]+)", record.headers["authorization"])[1].split(";")
    request = awsrequest.AWSRequest(
        method=record.method,
        url=url + record.path,
        headers={name: record.headers[name] for name in names},
        data=dumped(record.body),
    )
    request.context["timestamp"] = record.headers["x-amz-date"]
    keys = credentials.Credentials("AKIDEXAMPLE", "secret", "session")
    signer = auth.SigV4Auth(keys, service, "eu-central-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return signer.signature(text, request)
