"""OpenAI's Responses at the corners: every status and code, every place a stream can be cut."""

from __future__ import annotations

import dataclasses
import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import openai_responses as adapter
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.values.deltas import TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    CallCancelledError,
    CallError,
    ConfigError,
    ConnectionFailedError,
    DecodeError,
    NotFoundError,
    PromptError,
    QuotaExhaustedError,
    RefusalError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from deluge_sync.values.media import File, Image
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import (
    Conversation,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    VendorBlock,
)
from deluge_sync.values.request import OutputFormat, PromptCache, Request
from deluge_sync.values.response import TokenLogprob, Usage
from deluge_sync.values.tool import Tool, result_of
from deluge_sync.values.wire import HttpRequest, HttpResponse

from .golden_features import FEATURES, HELLO, PNG, SCHEMA, TALK
from .test_adapter_fuzz import FEW, altered

GOLDEN = Path(__file__).parent / "golden" / "openai_responses"
PROVIDER = Provider("openai", "openai_responses", base_url="https://vendor/v1")
MODEL = Model(
    "m",
    PROVIDER,
    efforts=("none", "low", "high"),
    supports=frozenset(
        {
            "vision",
            "pdf",
            "tools",
            "forced_tool_choice",
            "json_schema",
            "reasoning",
            "prompt_caching",
            "cache_breakpoints",
            "computer_use",
        }
    ),
)
HEAD = HttpResponse(200, {"x-request-id": "req_1"}, b"")


def message(*parts, **more):
    return {"type": "message", "role": "assistant", "content": list(parts), **more}


def text(value, **more):
    return {"type": "output_text", "text": value, "annotations": [], **more}


def body(*output, status="completed", **more):
    return {"id": "resp_1", "object": "response", "status": status, "output": list(output), **more}


def decode(value, status=200):
    return adapter.decode(HEAD._replace(status=status, body=json.dumps(value).encode()), MODEL)


def failure(value, status=200):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        decode(value, status)
    return caught.value


def sent(request, model=MODEL):
    return json.loads(adapter.encode(request, model).body)


class TestDecode:
    """One response, by its status and items."""

    def test_a_response_that_is_still_worked_on_is_pending(self):
        for status in ("queued", "in_progress"):
            answer = decode(body(status=status, usage=None))
            assert (answer.pending, answer.response_id) == (status, "resp_1")
            assert (answer.content.parts, answer.error, answer.finish_reason) == ((), None, None)

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("max_output_tokens", "length"),
            ("max_messages", "max_messages"),
            ("steered", "steered"),
            (None, "incomplete"),
        ],
    )
    def test_an_incomplete_response_says_why_it_ended(self, reason, finish):
        details = {"reason": reason} if reason else None
        given = body(message(text("Hel")), status="incomplete", incomplete_details=details)
        answer = decode(given)
        assert (answer.content.text, answer.finish_reason, answer.error) == ("Hel", finish, None)

    def test_what_the_content_filter_stopped_is_an_error_that_was_paid_for(self):
        details = {"reason": "content_filter"}
        usage = {"input_tokens": 3, "output_tokens": 2}
        answer = decode(body(status="incomplete", incomplete_details=details, usage=usage))
        assert isinstance(answer.error, RefusalError)
        assert (answer.finish_reason, answer.usage) == ("content_filter", Usage(3, 2))

    def test_a_refusal_is_an_error_with_its_words_and_no_text(self):
        refusal = {"type": "refusal", "refusal": "I cannot help with that."}
        answer = decode(body(message(refusal)))
        assert "I cannot help" in str(answer.error)
        assert (answer.finish_reason, answer.content.text) == ("refusal", None)
        assert answer.error.request_id == "req_1"

    @pytest.mark.parametrize(
        ("code", "error", "retryable"),
        [
            ("server_error", TransientError, True),
            ("rate_limit_exceeded", ThrottledError, True),
            ("vector_store_timeout", TransientError, True),
            ("an_unknown_code", TransientError, True),
            ("invalid_prompt", BadRequestError, False),
            ("data_residency_mismatch", BadRequestError, False),
            ("bio_policy", RefusalError, False),
            ("misalignment_policy_violation", RefusalError, False),
            ("image_content_policy_violation", RefusalError, False),
            ("invalid_image", BadRequestError, False),
            ("invalid_image_format", BadRequestError, False),
            ("invalid_base64_image", BadRequestError, False),
            ("invalid_image_url", BadRequestError, False),
            ("image_too_large", BadRequestError, False),
            ("image_too_small", BadRequestError, False),
            ("image_parse_error", BadRequestError, False),
            ("invalid_image_mode", BadRequestError, False),
            ("image_file_too_large", BadRequestError, False),
            ("unsupported_image_media_type", BadRequestError, False),
            ("empty_image_file", BadRequestError, False),
            ("failed_to_download_image", BadRequestError, False),
            ("image_file_not_found", BadRequestError, False),
            ("context_length_exceeded", TooLongError, False),
            ("insufficient_quota", QuotaExhaustedError, False),
        ],
    )
    def test_a_failed_run_in_a_good_answer_is_the_error_of_its_code(self, code, error, retryable):
        given = body(status="failed", error={"code": code, "message": "It went wrong."})
        caught = failure(given)
        assert type(caught) is error
        assert (caught.retryable, caught.code, caught.status) == (retryable, code, 200)
        assert caught.request_id == "req_1"
        event = {"type": "response.failed", "response": given, "sequence_number": 4}
        with pytest.raises(error):
            adapter.fold(HEAD, MODEL).feed(ServerEvent("response.failed", json.dumps(event)))

    def test_a_prompt_that_was_flagged_is_a_refusal(self):
        words = "Your prompt was flagged as potentially violating our usage policy."
        error = {"code": "invalid_prompt", "message": words}
        assert type(failure(body(status="failed", error=error))) is RefusalError

    def test_a_failed_run_without_an_explanation_may_be_tried_again(self):
        assert type(failure(body(status="failed", error=None))) is TransientError

    def test_a_response_that_was_cancelled_at_the_vendor_is_not_tried_again(self):
        caught = failure(body(status="cancelled"))
        assert type(caught) is CallCancelledError
        assert not caught.retryable

    @pytest.mark.parametrize("status", [None, "finished", 3])
    def test_a_status_nobody_knows_cannot_be_read(self, status):
        assert type(failure(body(status=status))) is DecodeError

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (400, "invalid_value", BadRequestError),
            (400, "context_length_exceeded", TooLongError),
            (401, "invalid_api_key", AuthError),
            (404, None, NotFoundError),
            (429, "rate_limit_exceeded", ThrottledError),
            (429, "credit_balance_exhausted", QuotaExhaustedError),
            (500, None, TransientError),
            (503, "server_is_overloaded", TransientError),
        ],
    )
    def test_an_error_status_is_the_error_of_its_code(self, status, code, error):
        given = {"error": {"message": "m", "type": "t", "param": None, "code": code}}
        assert type(failure(given, status)) is error

    def test_several_messages_keep_their_order_and_phases(self):
        answer = decode(
            body(
                message(text("I look it up. "), phase="commentary"),
                message(text("It "), text("rains."), phase="final_answer"),
                message(text("!")),
            )
        )
        assert answer.content.parts == (
            Text("I look it up. ", "commentary"),
            Text("It ", "final_answer"),
            Text("rains.", "final_answer"),
            Text("!"),
        )

    def test_items_of_the_vendors_own_tools_stay_as_they_are_in_their_place(self):
        search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}
        part, new = {"type": "something_new"}, {"type": "compaction", "x": [None]}
        answer = decode(body(search, {}, message(part, text("Hi")), new))
        assert answer.content.parts == (VendorBlock(search), Text("Hi"), VendorBlock(new))
        assert answer.finish_reason == "stop"
        talk = HELLO.add(answer.content).user("And?")
        assert sent(Request(talk))["input"][1:4] == [
            search,
            {"role": "assistant", "content": "Hi"},
            new,
        ]

    def test_tool_calls_of_both_kinds_are_read_and_make_the_finish(self):
        call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
        custom = {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"}
        answer = decode(body(call, custom))
        assert answer.content.parts == (
            ToolCall("c1", "f", {"a": 1}),
            ToolCall("c2", "g", {"input": "x"}, kind="custom"),
        )
        assert answer.finish_reason == "tool_calls"

    def test_a_call_that_was_broken_off_is_not_one(self):
        call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a'}
        given = body({**call, "status": "incomplete"}, status="incomplete")
        given["incomplete_details"] = {"reason": "max_output_tokens"}
        answer = decode(given)
        assert (answer.content.parts, answer.finish_reason) == ((), "length")
        assert type(failure(body(call))) is DecodeError

    def test_reasoning_is_its_summary_or_else_its_text_with_what_is_encrypted(self):
        items = [
            {"type": "reasoning", "id": "rs_1", "summary": [{"text": "a"}, {"text": "b"}]},
            {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"text": "c"}]},
            {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": "blob"},
            {"type": "reasoning", "id": "rs_4", "summary": []},
        ]
        assert decode(body(*items)).content.parts == (
            Thinking("a\n\nb", id="rs_1"),
            Thinking("c", id="rs_2"),
            Thinking("", "blob", id="rs_3"),
        )

    def test_usage_counts_cache_writes_by_their_time_to_live(self):
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {
                "cached_tokens": 40,
                "cache_write_tokens": 30,
                "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
            },
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 4},
        }
        assert decode(body(usage=usage)).usage == Usage(100, 9, 40, 30, 4, 20)

    def test_logprobs_of_all_texts_come_in_order(self):
        def token(word):
            return {"token": word, "logprob": -1, "bytes": [], "top_logprobs": []}

        parts = [text("a", logprobs=[token("a")]), text("b", logprobs=[token("b")])]
        answer = decode(body(message(*parts)))
        assert answer.logprobs == (TokenLogprob("a", -1.0), TokenLogprob("b", -1.0))
        assert decode(body(message(text("a", logprobs=[])))).logprobs is None


class TestEncode:
    """What is sent beside the golden files."""

    def test_system_messages_are_instructions_where_they_lead_and_items_elsewhere(self):
        talk = HELLO.assistant("Hello.").system("Now in French.").user("Again.")
        given = sent(Request(talk))
        assert given["instructions"] == "Be brief."
        assert [item["role"] for item in given["input"]] == ["user", "assistant", "system", "user"]

    def test_a_lone_system_message_is_an_item(self):
        given = sent(Request(Conversation().system("Say something.")))
        assert given["input"] == [{"role": "system", "content": "Say something."}]
        assert "instructions" not in given

    def test_an_answer_goes_back_as_it_came_without_the_thinking_of_other_vendors(self):
        parts = (
            Thinking("Theirs.", "signature"),
            Thinking("", "blob", id="rs_1"),
            Thinking("Stored.", id="rs_2"),
            Text("I look. ", "commentary"),
            ToolCall("c1", "f", {"a": 1}, "theirs"),
        )
        result = Message("tool", (ToolResult("c1", "ok"),))
        conversation = Conversation((Message.user("?"), Message("assistant", parts), result))
        assert sent(Request(conversation))["input"][1:] == [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "blob"},
            {"role": "assistant", "content": "I look. ", "phase": "commentary"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
        ]

    def test_nothing_is_kept_at_the_vendor_unless_the_call_needs_it(self):
        assert sent(Request(HELLO))["store"] is False
        assert sent(Request(HELLO, background=True))["store"] is True
        assert sent(Request(HELLO, previous_response_id="resp_1"))["store"] is True

    def test_models_that_do_not_reason_are_not_asked_for_encrypted_reasoning(self):
        plain = dataclasses.replace(MODEL, supports=frozenset())
        assert "include" not in sent(Request(HELLO), plain)
        logprobs = Request(HELLO, SamplingParams(logprobs=True))
        assert sent(logprobs, plain)["include"] == ["message.output_text.logprobs"]

    def test_a_summary_is_asked_for_with_an_effort_and_can_be_declined(self):
        high = Request(HELLO, SamplingParams(reasoning_effort="high"))
        assert sent(high)["reasoning"] == {"effort": "high", "summary": "auto"}
        none = high._replace(extra_body={"reasoning": {"summary": None}})
        assert sent(none)["reasoning"] == {"effort": "high", "summary": None}
        off = Request(HELLO, SamplingParams(reasoning_effort="none"))
        assert sent(off)["reasoning"] == {"effort": "none"}

    def test_breakpoints_stand_behind_the_last_messages_of_the_user(self):
        given = sent(Request(TALK, prompt_cache=PromptCache("last_2_user_messages", "12h")))
        marked = [
            part["text"]
            for item in given["input"]
            if isinstance(item["content"], list)
            for part in item["content"]
            if "prompt_cache_breakpoint" in part
        ]
        assert marked == ["And in French?", "In Welsh?"]
        assert given["prompt_cache_options"] == {"mode": "explicit", "ttl": "12h"}

    def test_verbosity_and_a_format_share_their_field(self):
        given = sent(Request(HELLO, SamplingParams(verbosity="low"), output=OutputFormat()))
        assert given["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}

    @pytest.mark.parametrize(
        ("request_", "words"),
        [
            (Request(HELLO, completion_window="2h"), "background=True"),
            (Request(HELLO, background=True, completion_window="3h"), "soonest, 2h, 8h"),
            (Request(HELLO, background=True, completion_window="2h", stream=True), "a stream"),
            (
                Request(
                    HELLO,
                    SamplingParams(service_tier="flex"),
                    background=True,
                    completion_window="8h",
                ),
                "service_tier",
            ),
            (Request(HELLO, continuation="t"), "continuation"),
            (Request(HELLO, prompt_cache=PromptCache("tools_only")), "system_and_tools"),
            (Request(HELLO, prompt_cache=PromptCache("last_user_message", "1h")), "30m"),
            (Request(HELLO, output=OutputFormat(SCHEMA, "a place")), "name"),
        ],
    )
    def test_options_that_cannot_be_had_are_named_before_sending(self, request_, words):
        with pytest.raises(ConfigError, match=words):
            adapter.encode(request_, MODEL)

    @pytest.mark.parametrize(
        ("feature", "lacking"),
        [("picture", "vision"), ("document", "pdf"), ("document by URL", "pdf")],
    )
    def test_media_a_model_does_not_take_name_the_field_of_its_entry(self, feature, lacking):
        model = dataclasses.replace(MODEL, supports=MODEL.supports - {lacking})
        with pytest.raises(PromptError, match=lacking):
            adapter.encode(FEATURES[feature], model)

    @pytest.mark.parametrize(
        "part",
        [
            Image(PNG, media_type="image/tiff"),
            File(b"MZ", media_type="application/octet-stream"),
            File(bytes(50_000_001), media_type="text/plain"),
        ],
    )
    def test_media_openai_does_not_take_are_named_before_sending(self, part):
        with pytest.raises(PromptError, match="OpenAI takes"):
            adapter.encode(Request(Conversation((Message("user", (part,)),))), MODEL)

    def test_a_schema_is_closed_and_softened_for_strict_mode_only(self):
        loose = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}
        loose["required"] = ["a"]
        strict = sent(Request(HELLO, output=OutputFormat(loose)))["text"]["format"]["schema"]
        assert strict == {
            "type": "object",
            "properties": {"a": {"type": "string", "description": "{minLength: 2}"}},
            "required": ["a"],
            "additionalProperties": False,
        }
        free = sent(Request(HELLO, output=OutputFormat(loose, strict=False)))
        assert free["text"]["format"]["schema"] == loose

    def test_a_schema_strict_mode_cannot_take_is_named_by_its_place(self):
        inner = {"type": "object", "properties": {"a": {"type": "string"}}}
        schema = {"type": "object", "properties": {"b": inner}, "required": ["b"]}
        with pytest.raises(ConfigError, match=r"output_schema: schema\.properties\.b: .*'a'"):
            adapter.encode(Request(HELLO, output=OutputFormat(schema)), MODEL)

    def test_a_schema_for_a_model_without_schemas_is_named_before_sending(self):
        model = dataclasses.replace(MODEL, supports=frozenset())
        with pytest.raises(ConfigError, match="json_schema"):
            adapter.encode(Request(HELLO, output=OutputFormat(SCHEMA)), model)

    def test_a_breakpoint_for_a_model_without_caching_is_named_before_sending(self):
        model = dataclasses.replace(MODEL, supports=frozenset())
        with pytest.raises(ConfigError, match="prompt_caching"):
            adapter.encode(FEATURES["cache: last user message"], model)


class TestById:
    """The requests about a response that is kept."""

    def test_their_methods_and_paths_are_those_of_the_api(self):
        azure = dataclasses.replace(
            MODEL, provider=dataclasses.replace(PROVIDER, base_url="https://r/openai/v1?v=1")
        )
        poll = adapter.poll("resp_1", FEATURES["logprobs"], MODEL)
        assert (poll.method, poll.body) == ("GET", b"")
        assert poll.url.startswith("https://vendor/v1/responses/resp_1?include")
        follow = urlsplit(adapter.follow("resp_1", 7, Request(HELLO), azure).url)
        assert follow.path == "/openai/v1/responses/resp_1"
        query = parse_qs(follow.query)
        assert (query["v"], query["stream"], query["starting_after"]) == (["1"], ["true"], ["7"])
        first = adapter.follow("resp_1", None, Request(HELLO), MODEL)
        assert "starting_after" not in first.url
        cancel = adapter.cancel("resp_1", Request(HELLO, extra_headers={"x": "y"}), MODEL)
        url = "https://vendor/v1/responses/resp_1/cancel"
        assert cancel == HttpRequest("POST", url, (("x", "y"),), b"")

    @pytest.mark.parametrize("identity", ["", "..", "a/b", "a?b", "a b", "a#b", "a%2f", "ä"])
    def test_what_cannot_be_an_id_never_gets_into_a_path(self, identity):
        with pytest.raises(ConfigError, match="not the id"):
            adapter.poll(identity, Request(HELLO), MODEL)


def golden_events(feature):
    golden = json.loads((GOLDEN / f"{feature}.json").read_text("utf-8"))
    return [ServerEvent(name, json.dumps(data)) for name, data in golden["stream"]]


def fed(events):
    fold = adapter.fold(HEAD, MODEL)
    return fold, [delta for event in events for delta in fold.feed(event)]


STREAMS = (
    "stream",
    "stream with tool calls",
    "stream with thinking",
    "computer, OpenAI's",
    "mcp_server",
)
streams = pytest.mark.parametrize("feature", STREAMS)


class TestFold:
    """Streams, whole and broken."""

    @streams
    def test_a_stream_cut_at_any_event_is_never_an_answer(self, feature):
        events = golden_events(feature)
        for cut in range(len(events)):
            fold, _ = fed(events[:cut])
            assert not fold.done
            with pytest.raises(ConnectionFailedError):
                fold.answer()
        fold, _ = fed(events)
        assert fold.done

    @streams
    def test_an_event_that_is_cut_in_itself_cannot_be_read(self, feature):
        events = golden_events(feature)
        for at, event in enumerate(events):
            fold, _ = fed(events[:at])
            with pytest.raises(DecodeError):
                fold.feed(event._replace(data=event.data[: len(event.data) // 2]))

    @streams
    def test_an_error_after_any_event_is_raised_as_what_it_is(self, feature):
        events = golden_events(feature)
        error = {"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None}
        nested = {"error": {"code": "server_error", "message": "m"}}
        bare = ServerEvent("", json.dumps(nested), bare=True)
        for cut in range(len(events)):
            with pytest.raises(ThrottledError):
                fed([*events[:cut], ServerEvent("error", json.dumps(error))])
            with pytest.raises(TransientError):
                fed([*events[:cut], bare])

    @streams
    def test_deltas_joined_are_the_answer(self, feature):
        fold, deltas = fed(golden_events(feature))
        answer = fold.answer()
        said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        thought = "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
        assert (said, thought) == (answer.content.text or "", answer.content.thinking or "")
        calls = {}
        for delta in deltas:
            if isinstance(delta, ToolCallDelta):
                begun = calls.setdefault(delta.number, [delta.id, delta.name, ""])
                begun[2] += delta.arguments
        joined = [(i, name, json.loads(a)) for i, name, a in calls.values()]
        asked = [(call.id, call.name, call.arguments) for call in answer.content.tool_calls]
        assert joined == asked
        assert deltas[-1] == UsageDelta(answer.usage)

    @FEW
    @given(data=st.data(), feature=st.sampled_from(STREAMS))
    def test_any_altered_event_is_read_or_refused(self, data, feature):
        golden = json.loads((GOLDEN / f"{feature}.json").read_text("utf-8"))["stream"]
        at = data.draw(st.integers(0, len(golden) - 1))
        golden[at] = [golden[at][0], data.draw(altered(golden[at][1]))]
        try:
            fold, deltas = fed([ServerEvent(name, json.dumps(body)) for name, body in golden])
            answer = fold.answer()
        except CallError:
            return
        for delta in deltas:
            json.dumps(delta, allow_nan=False).encode()
        sent(Request(HELLO.add(answer.content)))

    def test_unknown_events_and_a_closing_done_are_passed_over(self):
        known = golden_events("stream")
        new = {"type": "response.something.new", "sequence_number": 99, "delta": 3}
        others = [ServerEvent(new["type"], json.dumps(new)), ServerEvent("", "[DONE]")]
        fold, deltas = fed([event for one in known for event in (others[0], one)] + others)
        assert fold.answer().content.text == "Hello."
        assert [delta for delta in deltas if isinstance(delta, TextDelta)] == [
            TextDelta("Hel"),
            TextDelta("lo."),
        ]

    def test_the_fold_knows_where_it_stands(self):
        fold, _ = fed([])
        assert (fold.response_id, fold.sequence_number) == (None, None)
        fold, _ = fed(golden_events("stream")[:4])
        assert (fold.response_id, fold.sequence_number) == ("resp_1", 3)

    def test_a_stream_that_goes_on_from_the_middle_has_the_whole_answer_at_its_end(self):
        fold, _ = fed(golden_events("stream with thinking")[9:])
        whole, _ = fed(golden_events("stream with thinking"))
        assert fold.answer() == whole.answer()

    def test_the_last_event_may_be_an_incomplete_response(self):
        given = body(message(text("Hel")), status="incomplete")
        given["incomplete_details"] = {"reason": "max_output_tokens"}
        event = {"type": "response.incomplete", "response": given}
        fold, _ = fed([ServerEvent("response.incomplete", json.dumps(event))])
        assert (fold.answer().finish_reason, fold.answer().content.text) == ("length", "Hel")

    def test_a_last_event_with_a_response_that_still_runs_cannot_be_read(self):
        event = {"type": "response.completed", "response": body(status="in_progress")}
        with pytest.raises(DecodeError):
            fed([ServerEvent("response.completed", json.dumps(event))])

    def test_a_custom_tools_text_arrives_as_the_json_it_is_decoded_to(self):
        item = {"type": "custom_tool_call", "call_id": "c1", "name": "g", "input": 'say "ü"\n'}
        where = {"output_index": 2}
        kind = "response.custom_tool_call_input"
        events = [
            {"type": "response.output_item.added", **where, "item": {**item, "input": ""}},
            {"type": f"{kind}.delta", **where, "delta": 'say "'},
            {"type": f"{kind}.delta", **where, "delta": 'ü"\n'},
            {"type": f"{kind}.done", **where, "input": item["input"]},
            {"type": "response.completed", "response": body(item)},
        ]
        fold, deltas = fed([ServerEvent(event["type"], json.dumps(event)) for event in events])
        arguments = "".join(d.arguments for d in deltas if isinstance(d, ToolCallDelta))
        assert json.loads(arguments) == fold.answer().content.tool_calls[0].arguments
        assert deltas[0] == ToolCallDelta(2, '{"input":"', "c1", "g")


def exchange(sandbox, http):
    """Send `http` to the sandbox; the answer's status, headers and body, as far as it came."""
    url = http.url.replace("https://vendor", sandbox.url)
    asked = urllib.request.Request(url, http.body or None, dict(http.headers), method=http.method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as reply:
            return HttpResponse(reply.status, dict(reply.headers.items()), reply.read())
    except urllib.error.HTTPError as reply:
        with reply:
            return HttpResponse(reply.code, dict(reply.headers.items()), reply.read())


def ask(sandbox, conversation, **options):
    request = Request(conversation, **options)
    return adapter.decode(exchange(sandbox, adapter.encode(request, MODEL)), MODEL)


def feed(fold, reply):
    reader = EventReader()
    return [d for e in reader.feed(reply.body) + reader.finish() for d in fold.feed(e)]


def fed_or_read(sandbox, request):
    """The answer to `request`, streamed or whole, marked as ours as the client marks it."""
    reply = exchange(sandbox, adapter.encode(request, MODEL))
    if not request.stream:
        answer = adapter.decode(reply, MODEL)
    else:
        assert reply.status == 200, reply.body
        fold = adapter.fold(HEAD, MODEL)
        feed(fold, reply)
        answer = fold.answer()
    return answer._replace(content=answer.content.coming_over("openai_responses"))


class TestAgainstTheSandbox:
    """Bytes out, bytes in."""

    @pytest.mark.parametrize("feature", sorted(path.stem for path in GOLDEN.glob("*.json")))
    def test_every_golden_request_is_taken(self, feature):
        request = FEATURES[feature]
        with Sandbox(answer="Hello.") as sandbox:
            if request.previous_response_id is not None:
                first = ask(sandbox, HELLO, previous_response_id=None, background=True)
                request = request._replace(previous_response_id=first.response_id)
            if feature == "thinking and tools echoed":  # its seal is not the sandbox's
                request = request._replace(conversation=HELLO)
            if feature == "json mode":  # OpenAI wants the word in the prompt
                request = request._replace(conversation=HELLO.user("In JSON."))
            reply = exchange(sandbox, adapter.encode(request, MODEL))
        assert reply.status == 200, reply.body

    def test_thinking_goes_back_sealed_and_a_changed_seal_is_refused(self):
        with Sandbox(answer=[Reply("Hi", thinking="Hm."), "Again", "Never"]) as sandbox:
            answer = ask(sandbox, HELLO, params=SamplingParams(reasoning_effort="high"))
            thinking, _ = answer.content.parts
            assert thinking.text == "Hm."
            talk = HELLO.add(answer.content).user("And?")
            assert ask(sandbox, talk).content.text == "Again"
            forged = dataclasses.replace(thinking, signature="A" + thinking.signature[1:])
            talk = HELLO.add(Message("assistant", (forged, Text("Hi")))).user("And?")
            with pytest.raises(BadRequestError) as caught:
                ask(sandbox, talk)
        assert caught.value.code == "invalid_encrypted_content"

    def test_a_tool_turn_is_completed_by_its_result(self):
        with Sandbox(answer=[Reply(tool_calls=[("f", {"a": 1})]), "Done"]) as sandbox:
            answer = ask(sandbox, HELLO)
            assert answer.finish_reason == "tool_calls"
            call = answer.content.tool_calls[0]
            talk = HELLO.add(answer.content, Message("tool", (ToolResult(call.id, "ok"),)))
            assert ask(sandbox, talk).content.text == "Done"
            with pytest.raises(BadRequestError, match="No tool call found"):
                ask(sandbox, HELLO.add(Message("tool", (ToolResult("c9", "ok"),))))

    def test_a_tool_turn_the_vendor_keeps_is_completed_by_its_result_alone(self):
        with Sandbox(answer=[Reply(tool_calls=[("f", {})]), "Wait", "Done"]) as sandbox:
            answer = ask(sandbox, HELLO, extra_body={"store": True})
            result = Message("tool", (ToolResult(answer.content.tool_calls[0].id, "ok"),))
            before = answer.response_id
            before = ask(sandbox, HELLO, previous_response_id=before).response_id
            last = ask(sandbox, Conversation((result,)), previous_response_id=before)
        assert last.content.text == "Done"

    @pytest.mark.parametrize("streamed", [False, True])
    def test_calls_of_every_kind_are_completed_by_their_results(self, streamed):
        click = {"type": "click", "button": "left", "x": 1, "y": 2}
        seen = {"actions": [click], "pending_safety_checks": [{"id": "sc_1"}]}
        calls = [("look", {"at": 1}), ("write", {"input": 'say "ü"'}), ("computer", seen)]
        tools = ({"type": "custom", "name": "write"}, {"type": "computer"}, Tool("look"))
        request = Request(HELLO, tools=tools, stream=streamed)
        with Sandbox(answer=[Reply("Look.", thinking="Hm.", tool_calls=calls), "Done"]) as sandbox:
            answer = fed_or_read(sandbox, request)
            kinds = [(call.name, call.arguments, call.kind) for call in answer.content.tool_calls]
            assert kinds == [
                ("look", {"at": 1}, None),
                ("write", {"input": 'say "ü"'}, "custom"),
                ("computer", seen, "computer"),
            ]
            results = [
                dataclasses.replace(
                    result_of(Image(PNG, media_type="image/png"), call),
                    acknowledged=call.arguments.get("pending_safety_checks", ()),
                )
                for call in answer.content.tool_calls
            ]
            talk = HELLO.add(answer.content).with_tool_results(*results)
            again = fed_or_read(sandbox, request._replace(conversation=talk))
        assert again.content.text == "Done"

    def test_a_run_in_the_background_is_polled_to_its_end(self):
        request = Request(HELLO, SamplingParams(reasoning_effort="high"), background=True)
        reply = Reply("Hi", thinking="Hm.")
        with Sandbox(answer=reply, background_polls=3) as sandbox:
            answer = adapter.decode(exchange(sandbox, adapter.encode(request, MODEL)), MODEL)
            states = [answer.pending]
            poll = adapter.poll(answer.response_id, request, MODEL)
            sandbox.script([None, "500"])
            while answer.pending:
                try:
                    answer = adapter.decode(exchange(sandbox, poll), MODEL)
                    states.append(answer.pending)
                except TransientError:
                    states.append("failed poll")
        assert states == ["queued", "in_progress", "failed poll", None]
        assert answer.content.text == "Hi"
        assert answer.content.parts[0].signature is not None

    def test_a_cancelled_run_says_so_and_an_unknown_one_is_not_found(self):
        request = Request(HELLO, background=True)
        with Sandbox() as sandbox:
            answer = ask(sandbox, HELLO, background=True)
            for ask_for in (adapter.cancel, adapter.poll, adapter.cancel):
                reply = exchange(sandbox, ask_for(answer.response_id, request, MODEL))
                with pytest.raises(CallCancelledError):
                    adapter.decode(reply, MODEL)
            with pytest.raises(NotFoundError):
                adapter.decode(exchange(sandbox, adapter.poll("resp_9", request, MODEL)), MODEL)

    def test_a_broken_stream_of_the_background_goes_on_where_it_stood_at_every_event(self):
        request = Request(HELLO, background=True, stream=True)
        with Sandbox(answer="Hello, world.") as sandbox:
            whole = adapter.fold(HEAD, MODEL)
            deltas = feed(whole, exchange(sandbox, adapter.encode(request, MODEL)))
            for cut in range(1, whole.sequence_number + 1):
                sandbox.script([Fault("stream_end", after=cut)])
                fold = adapter.fold(HEAD, MODEL)
                first = feed(fold, exchange(sandbox, adapter.encode(request, MODEL)))
                assert not fold.done
                assert fold.sequence_number == cut - 1
                http = adapter.follow(fold.response_id, fold.sequence_number, request, MODEL)
                assert first + feed(fold, exchange(sandbox, http)) == deltas
                assert fold.answer().content == whole.answer().content

    def test_a_conversation_the_vendor_keeps_goes_on_by_its_id(self):
        with Sandbox(answer=["One", "Two"]) as sandbox:
            kept = ask(sandbox, HELLO, background=True)
            ask(sandbox, Conversation().user("And?"), previous_response_id=kept.response_id)
            turns = sandbox.journal[1].body["input"]
            assert turns == [{"role": "user", "content": "And?"}]
            with pytest.raises(BadRequestError) as caught:
                ask(sandbox, HELLO, previous_response_id="resp_9")
        assert caught.value.code == "previous_response_not_found"

    @pytest.mark.parametrize(
        ("finish", "error"),
        [
            ("failed", TransientError),
            ("failed:rate_limit_exceeded", ThrottledError),
            ("failed:bio_policy", RefusalError),
        ],
    )
    def test_a_run_told_to_fail_fails_with_its_code_whole_or_in_events(self, finish, error):
        with Sandbox(answer=Reply("Hi", finish=finish)) as sandbox:
            with pytest.raises(error):
                ask(sandbox, HELLO)
            http = adapter.encode(Request(HELLO, stream=True), MODEL)
            with pytest.raises(error):
                feed(adapter.fold(HEAD, MODEL), exchange(sandbox, http))
