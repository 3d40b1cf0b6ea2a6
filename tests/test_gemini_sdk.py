"""google-genai takes the sandbox's answers, streams and files, and knows all that we send and read.

Skipped where the SDK is absent or older than the wire format we speak (on Python 3.9).
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from deluge_sync import Client, Conversation, Image, Tool, ToolResult
from deluge_sync.adapters.gemini_tools import SKIP_SIGNATURE
from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.testing.gemini_fields import FIELDS, SIGNATURE

pytest.importorskip("google.genai", minversion="3")

from google import genai
from google.genai import errors, types

GOLDEN = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((Path(__file__).parent / "golden" / "gemini").glob("*.json"))
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def client_of(sandbox: Sandbox, **options):
    """A client to be kept in a variable: it closes itself when collected."""
    return genai.Client(api_key="key", http_options={"base_url": sandbox.gemini_url, **options})


def same(kind, value):
    """These models forbid fields they do not have."""
    parsed = kind.model_validate(value)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_none=True) == value


def signed(content):
    """The golden features' signatures are no base64, as Google's are."""
    parts = [
        {**part, "thoughtSignature": "c2ln"} if "thoughtSignature" in part else part
        for part in content["parts"]
    ]
    return {**content, "parts": parts}


@pytest.mark.parametrize("name", GOLDEN)
def test_googles_types_know_every_field_we_send(name):
    body = GOLDEN[name]["sent"]
    for content in body["contents"]:
        same(types.Content, signed(content))
    same(types.Content, body.get("systemInstruction", {}))
    config = body.get("generationConfig", {})
    same(types.GenerationConfig, config)
    types.GenerateContentConfig.model_validate(config)
    beside = {"contents", "systemInstruction", "generationConfig"}
    more = {name: value for name, value in body.items() if name not in beside}
    for tool in more.get("tools", ()):
        same(types.Tool, tool)
    same(types.ToolConfig, more.get("toolConfig", {}))
    if more:
        assert more.keys() <= FIELDS.keys()
        types.GenerateContentConfig.model_validate(
            {"serviceTier": more.get("serviceTier"), "continuationToken": b"token"}
        )


@pytest.mark.parametrize("name", GOLDEN)
def test_googles_types_know_every_field_we_read(name):
    golden = GOLDEN[name]
    bodies = [data for _, data in golden.get("stream", ())]
    if "received" in golden:
        bodies.append(golden["received"])
    for body in bodies:
        same(types.GenerateContentResponse, body)


class TestStreams:
    """Server-sent events."""

    def test_a_stream_is_the_answer_in_pieces(self, sandbox):
        client = client_of(sandbox)
        stream = client.models.generate_content_stream(model="echo", contents="Grüß dich 🌍!")
        chunks = list(stream)
        assert [chunk.text for chunk in chunks] == ["Grüß", " dic", "h 🌍!", ""]
        last = chunks[-1]
        assert last.candidates[0].finish_reason.value == "STOP"
        assert last.usage_metadata.candidates_token_count == 3
        assert sandbox.journal[0].path == "/v1/models/echo:streamGenerateContent"

    def test_thoughts_calls_and_signatures_come_where_the_sdk_looks(self):
        reply = Reply("I look.", thinking="Hm, hm.", tool_calls=[("look", {"at": 1}), ("go", {})])
        with Sandbox(answer=[reply, Reply("Yes.", thinking="Hm.")]) as sandbox:
            client = client_of(sandbox)
            ask = client.models.generate_content_stream
            called = list(ask(model="m", contents="Hi"))
            thought = list(ask(model="m", contents="Hi"))
        parts = [part for chunk in called for part in chunk.candidates[0].content.parts]
        assert "".join(part.text for part in parts if part.thought) == "Hm, hm."
        calls = [part for part in parts if part.function_call]
        assert [part.function_call.args for part in calls] == [{"at": 1}, {}]
        assert [part.thought_signature for part in calls] == [b"sandbox", None]
        last = thought[-1].candidates[0].content.parts[0]
        assert (last.text, last.thought_signature) == ("", b"sandbox")

    def test_a_refusal_is_a_blocked_prompt(self):
        with Sandbox(answer=Reply("No.", finish="refusal")) as sandbox:
            client = client_of(sandbox)
            (chunk,) = client.models.generate_content_stream(model="m", contents="Hi")
        assert chunk.prompt_feedback.block_reason.value == "PROHIBITED_CONTENT"

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_an_error_in_the_middle_raises_its_class(self, sandbox, after):
        sandbox.script([Fault("stream_error", status=503, after=after)])
        client = client_of(sandbox)
        stream = client.models.generate_content_stream(model="echo", contents="12345678")
        seen = [next(stream).text for _ in range(after)]
        assert seen == ["1234", "5678"][:after]
        with pytest.raises(errors.ServerError) as caught:
            next(stream)
        assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")

    @pytest.mark.parametrize("kind", ["stream_crlf", "stream_bytes"])
    def test_other_ways_to_write_a_stream_are_read_alike(self, sandbox, kind):
        sandbox.script([kind])
        client = client_of(sandbox)
        stream = client.models.generate_content_stream(model="echo", contents="Grüß dich 🌍!")
        assert "".join(chunk.text for chunk in stream) == "Grüß dich 🌍!"


class TestContinuation:
    """Answers that come in pieces."""

    CONTENTS = "One [[sandbox:continue]]two [[sandbox:continue]]three"

    def test_an_answer_in_several_pieces_is_put_together(self, sandbox):
        client = client_of(sandbox)
        answer = client.models.generate_content(model="echo", contents=self.CONTENTS)
        assert answer.text == "One two three"
        assert answer.candidates[0].finish_reason.value == "STOP"
        tokens = [record.body.get("continuationToken") for record in sandbox.journal]
        assert len(tokens) == 3
        assert len(set(tokens)) == 3

    def test_so_is_one_that_streams(self, sandbox):
        client = client_of(sandbox)
        stream = client.models.generate_content_stream(model="echo", contents=self.CONTENTS)
        assert "".join(chunk.text for chunk in stream) == "One two three"

    def test_a_scripted_reply_may_break_off_too(self):
        replies = [Reply("One ", finish="CONTINUATION"), Reply("two")]
        with Sandbox(answer=replies) as sandbox:
            client = client_of(sandbox)
            answer = client.models.generate_content(model="m", contents="Hi")
        assert answer.text == "One two"

    def test_a_token_of_somebody_elses_is_refused(self, sandbox):
        client = client_of(sandbox)
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(
                model="echo", contents="Hi", config={"continuation_token": b"mine"}
            )
        assert caught.value.code == 400

    def test_each_piece_is_billed_for_what_it_holds(self, sandbox):
        client = client_of(sandbox)
        answer = client.models.generate_content(
            model="echo",
            contents="12345678[[sandbox:continue]]1234",
            config={"automatic_continuation": False},
        )
        assert (answer.text, answer.usage_metadata.candidates_token_count) == ("12345678", 2)


class TestMedia:
    """Pictures and files in prompts."""

    def test_pictures_documents_and_files_are_taken(self, sandbox):
        client = client_of(sandbox)
        contents = [
            "What is this?",
            types.Part.from_bytes(data=PNG, mime_type="image/png"),
            types.Part.from_uri(file_uri="https://example.com/a.pdf", mime_type="application/pdf"),
        ]
        answer = client.models.generate_content(model="echo", contents=contents)
        assert answer.text == "What is this?"

    @pytest.mark.parametrize(
        "part",
        [
            {"inlineData": {"mimeType": "image/png"}},
            {"inlineData": {"mimeType": "png", "data": "iVBO"}},
            {"inlineData": {"mimeType": "image/png", "data": "not base64"}},
            {"inlineData": {"mimeType": "image/png", "data": ""}},
            {"inlineData": {"mimeType": "image/png", "data": "iVBO", "detail": "low"}},
            {"fileData": {"mimeType": "image/png"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "cat.png"}},
        ],
    )
    def test_bad_media_is_refused(self, sandbox, part):
        client = client_of(sandbox)
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(
                model="echo",
                contents="Hi",
                config={
                    "http_options": {
                        "extra_body": {"contents": [{"role": "user", "parts": [part]}]}
                    }
                },
            )
        assert caught.value.status == "INVALID_ARGUMENT"


def turns(*parts):
    calls = [part.function_call for part in parts if part.function_call]
    rain = {"output": "Rain"}
    return [
        types.Content(role="user", parts=[types.Part(text="Look!")]),
        types.Content(role="model", parts=list(parts)),
        types.Content(
            role="user",
            parts=[
                types.Part.from_function_response(name=call.name, response=rain) for call in calls
            ],
        ),
    ]


def call_part(signature):
    call = types.FunctionCall(name="look", args={})
    return types.Part(function_call=call, thought_signature=signature)


class TestSignatures:
    """What goes back with a call."""

    def test_what_was_answered_may_be_sent_back(self):
        replies = [Reply(tool_calls=[("look", {}), ("look", {})]), "Rain it is."]
        with Sandbox(answer=replies) as sandbox:
            client = client_of(sandbox)
            ask = client.models.generate_content
            called = ask(model="m", contents="Look!").candidates[0].content.parts
            assert ask(model="m", contents=turns(*called)).text == "Rain it is."

    def test_a_call_without_its_signature_is_refused(self, sandbox):
        client = client_of(sandbox)
        with pytest.raises(errors.ClientError, match="thought_signature"):
            client.models.generate_content(model="echo", contents=turns(call_part(None)))

    def test_turns_before_the_users_last_words_are_not_looked_at(self, sandbox):
        client = client_of(sandbox)
        contents = [*turns(call_part(None)), types.ModelContent("Rain."), types.UserContent("Hi")]
        assert client.models.generate_content(model="echo", contents=contents).text == "Hi"

    @pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-1.5-pro"])
    def test_older_models_do_without(self, model):
        with Sandbox(answer="Rain.") as sandbox:
            client = client_of(sandbox)
            answer = client.models.generate_content(model=model, contents=turns(call_part(None)))
        assert answer.text == "Rain."

    def test_a_call_that_another_model_made_says_so_in_its_place(self):
        contents = turns(call_part(b"skip"))
        part = contents[1].parts[0].model_dump(mode="json", by_alias=True, exclude_none=True)
        part["thoughtSignature"] = SKIP_SIGNATURE
        part = types.Part.model_validate(part)  # in the alphabet that the SDK takes it for
        contents[1].parts = [part]
        with Sandbox(answer="Rain.") as sandbox:
            client = client_of(sandbox)
            assert client.models.generate_content(model="m", contents=contents).text == "Rain."


def get_weather(city: str, days: int) -> str:
    """The weather of the days to come."""
    return f"Rain in {city} for {days} days"


def now() -> str:
    """The time of day."""
    return "12:00"


CALLS = [("get_weather", {"city": "Bonn", "days": 2}), ("now", {})]


class TestTools:
    """Google's SDK and our adapter, each over two rounds with tools."""

    def test_the_sdk_calls_functions_by_itself_and_the_sandbox_takes_what_they_gave(self):
        with Sandbox(answer=[Reply("Let me look.", tool_calls=CALLS), "Rain."]) as sandbox:
            client = client_of(sandbox)
            answer = client.models.generate_content(
                model="m", contents="Well?", config={"tools": [get_weather, now]}
            )
        assert answer.text == "Rain."
        first, second = (record.body for record in sandbox.journal)
        assert len(first["tools"][0]["functionDeclarations"]) == 2
        responses = [part["functionResponse"] for part in second["contents"][2]["parts"]]
        assert [response["response"] for response in responses] == [
            {"result": "Rain in Bonn for 2 days"},
            {"result": "12:00"},
        ]

    def test_streamed_calls_go_back_as_they_came(self):
        with Sandbox(answer=[Reply("Let me look.", "Hm.", tool_calls=CALLS), "Rain."]) as sandbox:
            client = client_of(sandbox)
            chat = client.chats.create(
                model="m",
                config={
                    "tools": [get_weather, now],
                    "automatic_function_calling": {"disable": True},
                },
            )
            parts = [
                part
                for chunk in chat.send_message_stream("Well?")
                for part in chunk.candidates[0].content.parts
            ]
            calls = [part.function_call for part in parts if part.function_call]
            results = [
                types.Part(
                    function_response=types.FunctionResponse(
                        id=call.id,
                        name=call.name,
                        response={"output": "Rain"},
                        parts=[
                            types.FunctionResponsePart.from_bytes(data=PNG, mime_type="image/png")
                        ],
                    )
                )
                for call in calls
            ]
            said = "".join(chunk.text or "" for chunk in chat.send_message_stream(results))
        assert [(call.name, call.args) for call in calls] == CALLS
        assert said == "Rain."

    @pytest.mark.parametrize("stream", [False, True])
    def test_our_adapter_gets_through_two_rounds(self, stream):
        tools = [Tool.from_function(get_weather), Tool.from_function(now)]
        replies = [Reply("Let me look.", "Hm.", tool_calls=CALLS), "Rain."]
        with Sandbox(answer=replies) as sandbox:
            url = sandbox.gemini_url
            with Client("google/gemini-3.8-flash", base_url=url, api_key="key") as client:
                conversation = Conversation().user("Well?")
                asked = complete(client, conversation, stream, tools=tools, tool_choice="required")
                results = [
                    ToolResult(call.id, "Rain", images=(Image(PNG, media_type="image/png"),))
                    for call in asked.tool_calls
                ]
                conversation = conversation.with_response(asked).with_tool_results(*results)
                said = complete(client, conversation, stream, tools=tools)
        assert asked.finish_reason == "tool_calls"
        assert [(call.name, dict(call.arguments)) for call in asked.tool_calls] == CALLS
        assert (said.completion, said.finish_reason) == ("Rain.", "stop")
        first, second = (record.body for record in sandbox.journal)
        assert first["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
        model, results = second["contents"][1:]
        signed = [part.get("thoughtSignature") for part in model["parts"] if "functionCall" in part]
        assert signed == [SIGNATURE, None]
        assert len(results["parts"]) == 2

    def test_our_adapter_goes_on_where_another_vendors_model_began(self):
        with Sandbox(answer=[Reply(tool_calls=CALLS), "Rain."]) as sandbox:
            tools = [get_weather, now]
            conversation = Conversation().user("Well?")
            with Client("gpt-4.1-mini", base_url=sandbox.base_url, api_key="key") as client:
                asked = client.complete(conversation, tools=tools)
            results = [ToolResult(call.id, "Rain") for call in asked.tool_calls]
            conversation = conversation.with_response(asked).with_tool_results(*results)
            url = sandbox.gemini_url
            with Client("google/gemini-3.8-flash", base_url=url, api_key="key") as client:
                assert client.complete(conversation, tools=tools).completion == "Rain."


@pytest.mark.parametrize(
    ("word", "sends"),
    [("MALFORMED_FUNCTION_CALL", 2), ("UNEXPECTED_TOOL_CALL", 1), ("TOO_MANY_TOOL_CALLS", 1)],
)
def test_only_a_call_that_cannot_be_read_is_asked_for_again(word, sends):
    with Sandbox(answer=[Reply(finish=word), Reply(tool_calls=CALLS)]) as sandbox:
        options = {"base_url": sandbox.gemini_url, "api_key": "key", "max_attempts": 2}
        with Client("google/gemini-3.8-flash", **options) as client:
            (response,) = client.map(["Well?"], tools=[get_weather, now])
    assert len(sandbox.journal) == sends
    assert len(response.tool_calls) == (2 if sends == 2 else 0)
    assert (response.error is None) == (sends == 2)


def complete(client, conversation, stream, **options):
    """The response of one call, whole or streamed."""
    if not stream:
        return client.complete(conversation, **options)
    *_, response = client.stream_chat(conversation, **options)
    return response


DECLARED = {"functionDeclarations": [{"name": "look", "parametersJsonSchema": {"type": "object"}}]}
CALLING = {"functionCallingConfig": {"mode": "ANY"}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tools": [{"functionDeclarations": [{"name": "1st"}]}]}, "begins with a letter"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "is not specified"),
        ({"tools": [{"functions": []}]}, "Cannot find field"),
        ({"tools": [DECLARED, DECLARED]}, "Duplicate function declaration"),
        (
            {
                "tools": [
                    {
                        "functionDeclarations": [
                            {"name": "a", "parametersJsonSchema": {"type": "array"}}
                        ]
                    }
                ]
            },
            "schema of an object",
        ),
        ({"toolConfig": CALLING}, "without function_declarations"),
        (
            {"tools": [DECLARED], "toolConfig": {"functionCallingConfig": {"mode": "ALWAYS"}}},
            "expected one of",
        ),
        (
            {
                "tools": [DECLARED],
                "toolConfig": {
                    "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["go"]}
                },
            },
            "go is not among",
        ),
        (
            {
                "tools": [DECLARED],
                "toolConfig": {
                    "functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["look"]}
                },
            },
            "only be set when",
        ),
        ({"tools": [DECLARED, {"googleSearch": {}}]}, "include_server_side_tool_invocations"),
        ({"tools": [{"mcpServers": [{"name": "docs"}]}]}, "is not specified"),
        (
            {"tools": [{"mcpServers": [{"name": "d", "streamableHttpTransport": {}}]}]},
            "is not specified",
        ),
    ],
)
def test_tools_that_cannot_be_offered_so_are_refused(sandbox, body, words):
    client = client_of(sandbox)
    config = {"http_options": {"extra_body": body}}
    with pytest.raises(errors.ClientError, match=words) as caught:
        client.models.generate_content(model="echo", contents="Hi", config=config)
    assert caught.value.status == "INVALID_ARGUMENT"


def response_part(name="look", **fields):
    response = types.FunctionResponse(name=name, response={"output": "Rain"}, **fields)
    return types.Part(function_response=response)


def call_of(identity):
    call = types.FunctionCall(name="look", args={}, id=identity)
    return types.Part(function_call=call, thought_signature=b"sandbox")


ASKING = types.UserContent("Look!")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([ASKING, types.UserContent(response_part())], "immediately after a function call turn"),
        (
            [
                ASKING,
                types.ModelContent([call_of("c1"), call_of("c2")]),
                types.UserContent(response_part(id="c1")),
            ],
            "number of function response parts",
        ),
        (
            [ASKING, types.ModelContent(call_of("c1")), types.UserContent("Well?")],
            "number of function response parts",
        ),
        (
            [ASKING, types.ModelContent(call_of("c1")), types.UserContent(response_part(id="c2"))],
            "does not match",
        ),
        (
            [
                ASKING,
                types.ModelContent(call_of("c1")),
                types.UserContent(response_part("go", id="c1")),
            ],
            "does not match",
        ),
    ],
)
def test_responses_that_answer_no_call_are_refused(sandbox, contents, words):
    client = client_of(sandbox)
    with pytest.raises(errors.ClientError, match=words):
        client.models.generate_content(model="echo", contents=contents)


def test_logprobs_come_where_the_sdk_looks(sandbox):
    client = client_of(sandbox)
    config = {"response_logprobs": True, "logprobs": 2}
    answer = client.models.generate_content(model="echo", contents="12345678", config=config)
    result = answer.candidates[0].logprobs_result
    assert [token.token for token in result.chosen_candidates] == ["1234", "5678"]
    assert [len(top.candidates) for top in result.top_candidates] == [2, 2]


def test_logprobs_without_their_switch_are_refused(sandbox):
    client = client_of(sandbox)
    with pytest.raises(errors.ClientError, match="responseLogprobs"):
        client.models.generate_content(model="echo", contents="Hi", config={"logprobs": 2})


def test_a_schema_needs_its_type(sandbox):
    client = client_of(sandbox)
    with pytest.raises(errors.ClientError, match="responseMimeType"):
        client.models.generate_content(
            model="echo", contents="Hi", config={"response_json_schema": SCHEMA}
        )


@pytest.mark.parametrize("name", ["response_json_schema", "response_schema"])
def test_an_answer_fits_the_schema_that_was_asked_for(sandbox, name):
    client = client_of(sandbox)
    config = {"response_mime_type": "application/json", name: SCHEMA}
    answer = client.models.generate_content(model="echo", contents="Hi", config=config)
    found = json.loads(answer.text)
    assert found.keys() == {"city", "people"}
    assert (type(found["city"]), type(found["people"])) == (str, int)
    stream = client.models.generate_content_stream(model="echo", contents="Hi", config=config)
    assert json.loads("".join(chunk.text for chunk in stream)) == found


def test_json_mode_is_any_object(sandbox):
    client = client_of(sandbox)
    config = {"response_mime_type": "application/json"}
    answer = client.models.generate_content(model="echo", contents="Hi", config=config)
    assert type(json.loads(answer.text)) is dict


class TestFiles:
    """Google's file store."""

    def test_a_file_is_uploaded_and_named_in_a_prompt_by_its_uri(self, sandbox, tmp_path):
        path = tmp_path / "cat.png"
        path.write_bytes(PNG)
        client = client_of(sandbox)
        file = client.files.upload(file=path, config={"display_name": "A cat"})
        assert (file.mime_type, file.size_bytes, file.display_name) == ("image/png", 16, "A cat")
        assert file.state.value == "ACTIVE"
        answer = client.models.generate_content(model="echo", contents=["What is this?", file])
        assert answer.text == "What is this?"
        data = sandbox.journal[-1].body["contents"][0]["parts"][1]["fileData"]
        assert file.uri in data.values()

    def test_files_are_found_listed_and_deleted(self, sandbox):
        client = client_of(sandbox)
        upload = client.files.upload
        first, second = (
            upload(file=io.BytesIO(text), config={"mime_type": "text/plain"})
            for text in (b"one", b"two")
        )
        assert client.files.get(name=first.name).sha256_hash == first.sha256_hash
        assert [file.name for file in client.files.list()] == [first.name, second.name]
        client.files.delete(name=first.name)
        with pytest.raises(errors.ClientError) as caught:
            client.files.get(name=first.name)
        assert caught.value.status == "NOT_FOUND"

    def test_a_large_file_comes_in_several_pieces(self, sandbox):
        client = client_of(sandbox)
        data = bytes(9 << 20)  # the SDK sends 8 MiB at a time
        file = client.files.upload(file=io.BytesIO(data), config={"mime_type": "text/plain"})
        assert file.size_bytes == len(data)
        assert [record.method for record in sandbox.journal] == ["POST"] * 3
