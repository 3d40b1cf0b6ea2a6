"""The openai SDK and our side of Responses: its types take our bodies, its client our sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from deluge_sync.adapters import openai_responses as adapter
from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.testing.answers import Finished, Question
from deluge_sync.testing.responses_answers import events, response
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.request import Request
from deluge_sync.values.response import Usage

from .golden_features import FEATURES, HELLO, get_weather, now
from .test_adapter_sdks import sdk, type_adapter, typed
from .test_golden import model_of

GOLDEN = sorted((Path(__file__).parent / "golden" / "openai_responses").glob("*.json"))
MODEL = model_of("openai_responses")
TURNS = [
    {"role": "user", "content": "One"},
    {"role": "assistant", "content": "Two"},
    {"role": "user", "content": "Three"},
]
golden_files = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def contents(path):
    return json.loads(path.read_text("utf-8"))


def is_known(model):
    """Whether every field at every depth of `model` is one its class has."""
    if isinstance(model, (list, tuple)):
        return all(is_known(inner) for inner in model)
    fields = getattr(type(model), "model_fields", None)
    if fields is None:
        return True
    known = not model.model_extra
    return known and all(is_known(getattr(model, name)) for name in fields)


def check_response(body):
    parsed = sdk("openai.types.responses").Response.model_validate(body)
    assert is_known(parsed)
    return parsed


def check_event(data):
    """`data` is an event of its type, with all that this type requires and nothing else."""
    kind = sdk("openai.types.responses").ResponseStreamEvent
    parsed = type_adapter(kind).validate_python(data)
    assert parsed.type == data["type"]
    assert is_known(parsed)


@golden_files
def test_the_sdks_types_know_every_field_we_send(path):
    params = sdk("openai.types.responses.response_create_params")
    body = contents(path)["sent"]
    streaming = body.get("stream", False)
    kind = "ResponseCreateParamsStreaming" if streaming else "ResponseCreateParamsNonStreaming"
    assert typed(getattr(params, kind), body) == body


@golden_files
def test_what_the_golden_files_receive_is_what_the_sdks_models_know(path):
    golden = contents(path)
    if "received" in golden:
        check_response(golden["received"])
    for number, (name, data) in enumerate(golden.get("stream", ())):
        check_event(data)
        assert (data["type"], data["sequence_number"]) == (name, number)


@pytest.mark.parametrize("finish", ["stop", "length", "refusal", "content_filter", "failed"])
@pytest.mark.parametrize("background", [False, True])
def test_what_the_sandbox_writes_is_what_the_sdks_models_know(finish, background):
    body = {
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "reasoning": {"effort": "low", "summary": "auto"},
        "background": background,
    }
    question = Question("w", "m", "Hi", None, (), 1, None, (), body)
    calls = [("look", {"at": 1})]
    finished = Finished("Hello, you.", "Hm, hm.", finish, None, calls, Usage(5, 4, 2, 2, 1, 1))
    check_response(response(question, finished, 0, 1.5))
    for event in events(question, finished, 0, 1.5):
        check_event(event)


def test_calls_of_every_kind_are_what_the_sdks_models_know():
    body = {"tools": [{"type": "custom", "name": "write"}, {"type": "computer"}]}
    question = Question("w", "m", "Hi", None, (), 1, None, (), body)
    actions = {"actions": [{"type": "wait"}], "pending_safety_checks": [{"id": "sc"}]}
    calls = [("look", {"at": 1}), ("write", {"input": "x"}), ("computer", actions)]
    finished = Finished("", None, "tool_calls", None, calls, Usage(5, 4))
    parsed = check_response(response(question, finished, 0, 1.5))
    kinds = ["function_call", "custom_tool_call", "computer_call"]
    assert [item.type for item in parsed.output] == kinds
    for event in events(question, finished, 0, 1.5):
        check_event(event)


def test_the_sdks_client_asks_by_id_in_the_same_words_as_we_do():
    with Sandbox() as sandbox:
        client = openai_client(sandbox)
        begun = client.responses.create(model="m", input="Hi", background=True, stream=True)
        identity = next(iter(begun)).response.id
        raw = client.responses.with_raw_response
        include = ["reasoning.encrypted_content", "message.output_text.logprobs"]
        request = Request(HELLO, SamplingParams(logprobs=True))
        for theirs, ours in (
            (raw.retrieve(identity, include=include), adapter.poll(identity, request, MODEL)),
            (
                raw.retrieve(
                    identity,
                    include=include,
                    stream=True,
                    starting_after=2,
                    include_obfuscation=False,
                ),
                adapter.follow(identity, 2, request, MODEL),
            ),
            (raw.cancel(identity), adapter.cancel(identity, request, MODEL)),
        ):
            sent, wanted = theirs.http_request, urlsplit(ours.url)
            url = urlsplit(str(sent.url))
            assert (sent.method, url.path) == (ours.method, "/v1" + wanted.path)
            assert parse_qs(url.query) == parse_qs(wanted.query)


def openai_client(sandbox: Sandbox, **options):
    openai = sdk("openai")
    options = {"api_key": "key", "max_retries": 0, **options}
    return openai.OpenAI(base_url=sandbox.base_url, **options)


class TestCreate:
    """`responses.create`."""

    def test_a_conversation_is_answered_with_the_last_user_text(self, sandbox):
        answer = openai_client(sandbox).responses.create(
            model="echo", instructions="Be brief.", input=TURNS
        )
        assert (answer.output_text, answer.status, answer.model) == ("Three", "completed", "echo")
        assert sandbox.journal[0].prompt == "Three"
        assert sandbox.journal[0].wire == "openai_responses"

    def test_a_token_limit_makes_the_answer_incomplete(self, sandbox):
        answer = openai_client(sandbox).responses.create(
            model="echo", input="abcdefghijkl", max_output_tokens=2
        )
        assert (answer.output_text, answer.status) == ("abcdefgh", "incomplete")
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert answer.usage.output_tokens == 2

    def test_tools_refusals_and_thinking_come_where_the_sdk_looks(self):
        replies = [
            Reply(tool_calls=[("look", {"at": [1]})]),
            Reply("No.", finish="refusal"),
            Reply("Yes.", thinking="Hm."),
        ]
        with Sandbox(answer=replies) as sandbox:
            client = openai_client(sandbox)
            called, refused, thought = [
                client.responses.create(model="any", input=TURNS, reasoning={"summary": "auto"})
                for _ in replies
            ]
        assert json.loads(called.output[0].arguments) == {"at": [1]}
        assert refused.output[0].content[0].refusal == "No."
        assert thought.output[0].summary[0].text == "Hm."
        assert thought.output_text == "Yes."

    def test_an_object_of_a_schema_is_parsed_by_the_sdk(self):
        pydantic = pytest.importorskip("pydantic")
        place = pydantic.create_model("Place", city=(str, ...))
        with Sandbox(answer='{"city": "Bonn"}') as sandbox:
            answer = openai_client(sandbox).responses.parse(
                model="any", input="Where?", text_format=place
            )
        assert answer.output_parsed.city == "Bonn"

    def test_json_is_answered_where_it_is_asked_for(self, sandbox):
        pydantic = pytest.importorskip("pydantic")
        place = pydantic.create_model("Place", city=(str, ...), people=(int, ...))
        responses = openai_client(sandbox).responses
        answer = responses.parse(model="echo", input="Where?", text_format=place)
        assert isinstance(answer.output_parsed, place)
        wanted = {"format": {"type": "json_object"}}
        answer = responses.create(model="echo", input="In JSON.", text=wanted)
        assert json.loads(answer.output_text) == {"answer": "In JSON."}

    def test_reasoning_goes_back_as_it_came_and_changed_reasoning_is_refused(self):
        openai = sdk("openai")
        with Sandbox(answer=[Reply("Yes.", thinking="Hm."), "Again"]) as sandbox:
            client = openai_client(sandbox)
            first = client.responses.create(model="any", input="One", store=False)
            items = [item.model_dump(exclude_none=True) for item in first.output]
            turn = {"role": "user", "content": "Two"}
            again = client.responses.create(model="any", input=[*items, turn], store=False)
            assert again.output_text == "Again"
            blob = items[0]["encrypted_content"]
            items[0]["encrypted_content"] = blob[:-4] + "AAAA"
            with pytest.raises(openai.BadRequestError) as caught:
                client.responses.create(model="any", input=[*items, turn])
        assert caught.value.code == "invalid_encrypted_content"

    def test_tokens_are_counted_without_an_answer(self, sandbox):
        counted = openai_client(sandbox).responses.input_tokens.count(model="m", input="x" * 9)
        assert (counted.input_tokens, counted.object) == (3, "response.input_tokens")

    @pytest.mark.parametrize(
        ("fault", "error", "code"),
        [
            (Fault("401"), "AuthenticationError", "invalid_api_key"),
            (Fault("429"), "RateLimitError", "rate_limit_exceeded"),
            (Fault("quota"), "RateLimitError", "insufficient_quota"),
            (Fault("500"), "InternalServerError", None),
        ],
    )
    def test_each_error_raises_its_own_class(self, sandbox, fault, error, code):
        openai = sdk("openai")
        sandbox.script([fault])
        with pytest.raises(getattr(openai, error)) as caught:
            openai_client(sandbox).responses.create(model="echo", input="Hi")
        assert caught.value.code == code

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"seed": 1}, "seed"),
            ({"stop": ["x"]}, "stop"),
            ({"messages": []}, "messages"),
            ({"max_tokens": 5}, "max_tokens"),
            ({"text": {"verbosity": "loud"}}, "text.verbosity"),
            ({"text": {"format": {"type": "json"}}}, "text.format.type"),
            ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
            ({"reasoning": {"budget": 1}}, "reasoning.budget"),
            ({"include": ["all"]}, "include[0]"),
            ({"background": True, "store": False}, "store"),
            (
                {"background_options": {"completion_window": "2h"}},
                "background_options.completion_window",
            ),
            ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
            ({"input": [{"type": "new"}]}, "input[0].type"),
            (
                {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
                "input[0].content[0].type",
            ),
            ({"text": {"format": {"type": "json_object"}}}, "input"),
            (
                {
                    "text": {
                        "format": {
                            "type": "json_schema",
                            "name": "a",
                            "schema": {"type": "object", "properties": {}},
                            "strict": True,
                        }
                    }
                },
                "text.format.schema",
            ),
            (
                {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
                "input[0].content[0]",
            ),
            (
                {
                    "input": [
                        {
                            "role": "user",
                            "content": [{"type": "input_file", "file_data": "JVBERi0="}],
                        }
                    ]
                },
                "input[0].content[0].file_data",
            ),
            (
                {"input": [{"type": "function_call", "call_id": "1", "name": "f"}]},
                "input[0].arguments",
            ),
        ],
    )
    def test_what_the_api_does_not_take_is_refused_by_its_path(self, sandbox, body, param):
        openai = sdk("openai")
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client(sandbox).responses.create(model="echo", input="Hi", extra_body=body)
        assert caught.value.param == param


class TestStream:
    """`stream=True` and `responses.stream`."""

    def test_the_deltas_are_the_answer_and_the_last_event_holds_it(self, sandbox):
        stream = openai_client(sandbox).responses.create(
            model="echo", input="Hello, you.[[sandbox:think Hm.]]", stream=True
        )
        seen = list(stream)
        deltas = [event.delta for event in seen if event.type == "response.output_text.delta"]
        assert "".join(deltas) == "Hello, you." == seen[-1].response.output_text
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        assert [seen[0].type, seen[1].type] == ["response.created", "response.in_progress"]
        assert not any(getattr(event, "obfuscation", None) for event in seen)

    def test_the_sdks_own_accumulator_arrives_at_the_same_answer(self):
        reply = Reply("Hello.", thinking="Hm.", tool_calls=[("look", {"at": 1})])
        with Sandbox(answer=reply) as sandbox:
            manager = openai_client(sandbox).responses.stream(
                model="any", input="Hi", reasoning={"summary": "auto"}
            )
            with manager as stream:
                final = stream.get_final_response()
        assert final.output_text == "Hello."
        assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]

    def test_an_error_in_the_middle_is_an_event_to_the_sdk(self, sandbox):
        sandbox.script([Fault("stream_error", after=3, status=429)])
        stream = openai_client(sandbox).responses.create(model="echo", input="Hi", stream=True)
        last = list(stream)[-1]
        assert (last.type, last.code) == ("error", "rate_limit_exceeded")


class TestTools:
    """Two rounds of them, as the SDK's own client makes them."""

    @pytest.mark.parametrize("streamed", [False, True])
    def test_the_sdks_client_gets_through_two_rounds_with_our_tools(self, streamed):
        calls = [("get_weather", {"city": "Bonn", "days": 2}), ("now", {})]
        replies = [Reply("Let me look.", thinking="Hm.", tool_calls=calls), "Rain."]
        run = {"get_weather": get_weather, "now": now}
        with Sandbox(answer=replies) as sandbox:
            items, answer = rounds(sandbox, our_tools("tools"), streamed, lambda call: {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": run[call.name](**json.loads(call.arguments)),
            })  # fmt: skip
        assert [item.get("type") for item in items] == [
            None,
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
        ]
        assert items[-2]["output"] == "Rain in Bonn for 2 days"
        assert answer.output_text == "Rain."

    @pytest.mark.parametrize("streamed", [False, True])
    def test_the_sdks_client_clicks_and_shows_what_it_sees(self, streamed):
        action = {"type": "click", "button": "left", "x": 1, "y": 2}
        check = {"id": "sc_1", "code": "x", "message": "Look."}
        arguments = {"actions": [action], "pending_safety_checks": [check]}
        replies = [Reply(tool_calls=[("computer", arguments)]), "Done."]
        shot = {"type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="}
        with Sandbox(answer=replies) as sandbox:
            tools = our_tools("computer, OpenAI's")
            items, answer = rounds(sandbox, tools, streamed, lambda call: {
                "type": "computer_call_output",
                "call_id": call.call_id,
                "output": shot,
                "acknowledged_safety_checks": [c.to_dict() for c in call.pending_safety_checks],
            })  # fmt: skip
        assert items[1]["actions"] == [action]
        assert answer.output_text == "Done."

    @pytest.mark.parametrize("streamed", [False, True])
    def test_a_custom_tools_call_is_its_text(self, streamed):
        tool = {"type": "custom", "name": "write"}
        replies = [Reply(tool_calls=[("write", {"input": "x = 1"})]), "Done."]
        with Sandbox(answer=replies) as sandbox:
            items, answer = rounds(sandbox, [tool], streamed, lambda call: {
                "type": "custom_tool_call_output", "call_id": call.call_id, "output": "ok",
            })  # fmt: skip
        assert (items[1]["input"], answer.output_text) == ("x = 1", "Done.")


def our_tools(feature):
    """The tools of a golden request, as our adapter writes them."""
    return json.loads(adapter.encode(FEATURES[feature], MODEL).body)["tools"]


def rounds(sandbox, tools, streamed, answer_to):
    """What the SDK's client sends in its last round, and the answer to that."""
    items = [{"role": "user", "content": "What is the weather in Bonn?"}]
    responses = openai_client(sandbox).responses
    while True:
        options = {"model": "m", "input": items, "tools": tools, "store": False}
        if streamed:
            answer = list(responses.create(**options, stream=True))[-1].response
        else:
            answer = responses.create(**options)
        check_response(answer.to_dict())
        calls = [item for item in answer.output if item.type.endswith("_call")]
        if not calls:
            return items, answer
        items = [*items, *(item.to_dict() for item in answer.output), *map(answer_to, calls)]


class TestKept:
    """Background, `retrieve`, `cancel`, `delete` and conversations by id."""

    @pytest.mark.sandbox(background_polls=3)
    def test_a_run_in_the_background_is_queued_then_works_then_is_done(self, sandbox):
        responses = openai_client(sandbox).responses
        begun = responses.create(model="echo", input="Hi", background=True)
        assert (begun.status, begun.output) == ("queued", [])
        looks = [responses.retrieve(begun.id) for _ in range(3)]
        assert [look.status for look in looks] == ["in_progress", "in_progress", "completed"]
        assert looks[-1].output_text == "Hi"

    @pytest.mark.sandbox(background_polls=1, background_seconds=3600)
    def test_a_run_takes_the_seconds_it_was_told_to(self, sandbox):
        responses = openai_client(sandbox).responses
        begun = responses.create(model="echo", input="Hi", background=True)
        assert responses.retrieve(begun.id).status == "in_progress"
        assert responses.cancel(begun.id).status == "cancelled"
        assert responses.retrieve(begun.id).status == "cancelled"

    def test_a_background_stream_goes_on_after_any_event(self, sandbox):
        responses = openai_client(sandbox).responses
        whole = list(responses.create(model="echo", input="Hi", background=True, stream=True))
        identity = whole[0].response.id
        assert whole[1].type == "response.queued"
        for number in range(len(whole)):
            rest = list(responses.retrieve(identity, stream=True, starting_after=number))
            assert rest == whole[number + 1 :]

    def test_only_what_is_kept_is_there_to_be_asked_after(self, sandbox):
        openai = sdk("openai")
        responses = openai_client(sandbox).responses
        forgotten = responses.create(model="echo", input="Hi", store=False)
        kept = responses.create(model="echo", input="Hi")
        assert responses.retrieve(kept.id).output_text == "Hi"
        responses.delete(kept.id)
        for identity in (forgotten.id, kept.id, "resp_never"):
            with pytest.raises(openai.NotFoundError):
                responses.retrieve(identity)

    def test_only_what_runs_in_the_background_can_be_cancelled_or_streamed(self, sandbox):
        openai = sdk("openai")
        responses = openai_client(sandbox).responses
        kept = responses.create(model="echo", input="Hi")
        with pytest.raises(openai.BadRequestError, match="background"):
            responses.cancel(kept.id)
        with pytest.raises(openai.BadRequestError, match="background"):
            responses.retrieve(kept.id, stream=True)

    def test_encrypted_reasoning_is_kept_but_given_only_to_who_asks(self, sandbox):
        responses = openai_client(sandbox).responses
        kept = responses.create(model="echo", input="Hi[[sandbox:think Hm.]]")
        assert responses.retrieve(kept.id).output[0].encrypted_content is None
        asked = responses.retrieve(kept.id, include=["reasoning.encrypted_content"])
        assert asked.output[0].encrypted_content == kept.output[0].encrypted_content

    def test_a_poll_can_fail_like_any_request(self, sandbox):
        openai = sdk("openai")
        responses = openai_client(sandbox).responses
        begun = responses.create(model="echo", input="Hi", background=True)
        sandbox.script([Fault("503", match="Hi")])
        with pytest.raises(openai.InternalServerError):
            responses.retrieve(begun.id)
        assert responses.retrieve(begun.id).status == "completed"

    def test_a_conversation_goes_on_by_the_id_of_its_last_response(self, sandbox):
        responses = openai_client(sandbox).responses
        first = responses.create(model="echo", input="Hello there")
        second = responses.create(model="echo", input="More", previous_response_id=first.id)
        assert second.previous_response_id == first.id
        assert second.usage.input_tokens == first.usage.total_tokens + 1
