"""Gemini's streams: no part is ever passed off as the whole, and nothing of the whole is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.values.deltas import TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    CallError,
    ConnectionFailedError,
    DecodeError,
    QuotaExhaustedError,
    RefusalError,
    ThrottledError,
    TransientError,
)
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import Conversation, Message, Text, Thinking, ToolCall, VendorBlock
from deluge_sync.values.request import Request
from deluge_sync.values.response import TokenLogprob, Usage
from deluge_sync.values.wire import HttpResponse

from .test_adapter_fuzz import FEW, SEEDS, altered

GEMINI = ADAPTERS["gemini"]
MODEL = Model("m", Provider("google", "gemini", base_url="https://vendor"))
HEAD = HttpResponse(200, {"content-type": "text/event-stream"}, b"")
SIGNED = {"thoughtSignature": "c2ln"}
CALL = {"functionCall": {"id": "c1", "name": "look", "args": {"at": "Bonn"}}}


def chunk(*parts, finish=None, usage=None, **candidate):
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}, **candidate}
    if finish is not None:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], "responseId": "r1"}
    if usage is not None:
        body["usageMetadata"] = usage
    return body


def counts(prompt, candidates, thoughts=0):
    return {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
    }


def text(words, **more):
    return {"text": words, **more}


CHUNKS = [
    chunk(text("Hm.", thought=True), usage=counts(9, 0, 2)),
    chunk(text("Grüß"), usage=counts(9, 1, 2)),
    chunk(text(" dich 🌍")),
    chunk(CALL),
    chunk(text("", thoughtSignature="c2ln"), finish="STOP", usage=counts(9, 7, 2)),
]
UNAVAILABLE = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}


def wire(chunks):
    return [f"data: {json.dumps(body, ensure_ascii=False)}\r\n\r\n".encode() for body in chunks]


def run(pieces):
    """Deltas and answer of a stream that comes in those pieces and then ends."""
    reader, fold, deltas = EventReader(), GEMINI.fold(HEAD, MODEL), []
    for piece in pieces:
        for event in reader.feed(piece):
            deltas += fold.feed(event)
    for event in reader.finish():
        deltas += fold.feed(event)
    return deltas, fold.answer()


def answer_of(*chunks):
    return run(wire(chunks))[1]


def refused(pieces):
    with pytest.raises(CallError) as caught:
        run(pieces)
    return caught.value


def test_the_deltas_are_what_the_answer_is_made_of():
    deltas, answer = run(wire(CHUNKS))
    assert deltas == [
        ThinkingDelta("Hm."),
        UsageDelta(Usage(9, 2, 0, 0, 2)),
        TextDelta("Grüß"),
        UsageDelta(Usage(9, 3, 0, 0, 2)),
        TextDelta(" dich 🌍"),
        ToolCallDelta(0, '{"at": "Bonn"}', "c1", "look"),
        UsageDelta(Usage(9, 9, 0, 0, 2)),
    ]
    assert answer.content.parts == (
        Thinking("Hm."),
        Text("Grüß dich 🌍"),
        ToolCall("c1", "look", {"at": "Bonn"}),
        Text(""),
        Thinking("c2ln", redacted=True),
    )
    assert (answer.finish_reason, answer.response_id) == ("tool_calls", "r1")
    assert answer.usage == Usage(9, 9, 0, 0, 2)


def test_the_answer_is_the_same_however_the_packets_were_cut():
    data = b"".join(wire(CHUNKS))
    whole = run([data])
    for size in (1, 2, 3, 7, 100):
        assert run([data[at : at + size] for at in range(0, len(data), size)]) == whole


def test_a_stream_that_ends_early_is_no_answer_wherever_it_is_cut():
    data = b"".join(wire(CHUNKS))
    assert run([data])
    for at in range(len(data) - 1):  # a CR alone ends a line too
        error = refused([data[:at]])
        assert isinstance(error, (ConnectionFailedError, DecodeError))
        assert error.retryable


@pytest.mark.parametrize("before", range(len(CHUNKS) + 1))
@pytest.mark.parametrize("form", ["event", "bare", "bare list", "bare, spread over lines"])
def test_an_error_in_a_stream_is_raised_wherever_it_comes(before, form):
    error = {
        "event": f"data: {json.dumps(UNAVAILABLE)}\n\n",
        "bare": json.dumps(UNAVAILABLE),
        "bare list": json.dumps([UNAVAILABLE], indent=2) + "\n",
        "bare, spread over lines": json.dumps(UNAVAILABLE, indent=2).replace("\n", "\r\n"),
    }[form]
    data = b"".join([*wire(CHUNKS[:before]), error.encode()])
    for size in (1, 5, len(data)):
        caught = refused([data[at : at + size] for at in range(0, len(data), size)])
        assert type(caught) is TransientError
        assert caught.code == "UNAVAILABLE"
        assert "Overloaded." in caught.message


def test_a_bare_error_that_breaks_off_is_no_answer_even_after_a_whole_one():
    bare = json.dumps(UNAVAILABLE, indent=2).encode()
    for at in range(1, len(bare)):
        assert refused([*wire(CHUNKS), bare[:at]]).retryable


@pytest.mark.parametrize(
    ("error", "kind", "wait"),
    [
        (
            {
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"@type": "x.RetryInfo", "retryDelay": "34s"}],
            },
            ThrottledError,
            34.0,
        ),
        (
            {"code": 429, "details": [{"violations": [{"quotaId": "RequestsPerDay"}]}]},
            QuotaExhaustedError,
            None,
        ),
        ({"code": 401, "status": "UNAUTHENTICATED"}, AuthError, None),
        ({"code": 500, "status": "INTERNAL"}, TransientError, None),
    ],
)
def test_an_error_in_a_stream_knows_whether_to_try_again(error, kind, wait):
    caught = refused([json.dumps({"error": error}).encode()])
    assert type(caught) is kind
    assert caught.retry_after == wait


def test_a_fold_is_never_done_as_nothing_but_the_bodys_end_is_the_end():
    fold = GEMINI.fold(HEAD, MODEL)
    for body in CHUNKS:
        fold.feed(ServerEvent("", json.dumps(body)))
        assert not fold.done


def test_usage_that_follows_the_reason_is_the_final_one():
    usage = {"usageMetadata": counts(9, 4), "responseId": "r1"}
    answer = answer_of(chunk(text("Hi"), finish="STOP", usage=counts(9, 1)), usage)
    assert (answer.usage, answer.finish_reason) == (Usage(9, 4), "stop")


def test_a_chunk_without_usage_leaves_the_usage_as_it_was():
    deltas, answer = run(wire([chunk(text("a"), usage=counts(9, 4)), chunk(finish="STOP")]))
    assert deltas == [TextDelta("a"), UsageDelta(Usage(9, 4))]
    assert answer.usage == Usage(9, 4)


def test_a_reason_that_text_follows_was_not_the_end():
    """Gateways give one with empty chunks, and older models with every chunk."""
    early = [chunk(finish="STOP"), chunk(text("Hel")), chunk(text("lo"))]
    assert isinstance(refused(wire(early)), ConnectionFailedError)
    assert answer_of(*early, chunk(finish="STOP")).content.text == "Hello"
    each = [chunk(text("Hel"), finish="STOP"), chunk(text("lo"), finish="STOP")]
    assert answer_of(*each).content.text == "Hello"


@pytest.mark.parametrize("late", [chunk(), chunk(text("")), chunk(text("", thoughtSignature="c2"))])
def test_empty_chunks_and_signatures_may_follow_the_reason(late):
    answer = answer_of(chunk(text("Hi"), finish="MAX_TOKENS"), late)
    assert (answer.content.text, answer.finish_reason) == ("Hi", "length")


def test_signatures_go_back_on_the_parts_they_came_on():
    parts = [
        text("Hm.", thought=True, thoughtSignature="czA="),
        text("Let me"),
        text(" look.", thoughtSignature="czE="),
        {**CALL, "thoughtSignature": "czI="},
        text("", thoughtSignature="czM="),
    ]
    answer = answer_of(*map(chunk, parts), chunk(finish="STOP"))
    turns = (Message.user("?"), answer.content, Message.user("!"))
    body = json.loads(GEMINI.encode(Request(Conversation(turns)), MODEL).body)
    assert body["contents"][1] == {"role": "model", "parts": parts}


def test_calls_without_ids_get_one_each():
    call = {"functionCall": {"name": "look"}}
    other = {"executableCode": {"code": "1"}}
    answer = answer_of(chunk(other, call), chunk(call, call), chunk(finish="STOP"))
    calls = answer.content.tool_calls
    assert [call.name for call in calls] == ["look"] * 3
    assert len({call.id for call in calls}) == 3


def test_calls_are_numbered_over_all_chunks():
    deltas, _ = run(wire([chunk(CALL), chunk(CALL, CALL), chunk(finish="STOP")]))
    assert [delta.number for delta in deltas] == [0, 1, 2]


def test_what_is_unknown_is_passed_over():
    parts = ({"newPart": 1}, {"functionCall": None, "toolCall": None}, {})
    deltas, answer = run(
        wire([{}, {"modelStatus": {}}, chunk(*parts), chunk(text("Hi"), finish="STOP", news=1)])
    )
    assert deltas == [TextDelta("Hi")]
    assert answer.content.parts == (Text("Hi"),)


def test_what_the_vendors_own_tools_did_keeps_its_place_and_goes_back_as_it_came():
    parts = [
        {"text": "Let me count."},
        {"executableCode": {"id": "e1", "language": "PYTHON", "code": "1 + 1"}, **SIGNED},
        {"codeExecutionResult": {"id": "e1", "outcome": "OUTCOME_OK", "output": "2"}},
        {"text": "Now I look."},
        {"toolCall": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"q": "two"}}, **SIGNED},
        {"toolResponse": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "response": {"a": 1}}},
        {"text": "It is two."},
    ]
    streamed = answer_of(*map(chunk, parts), chunk(finish="STOP"))
    whole = GEMINI.decode(
        HttpResponse(200, {}, json.dumps(chunk(*parts, finish="STOP")).encode()), MODEL
    )
    kinds = [type(part) for part in streamed.content.parts]
    assert kinds == [Text, VendorBlock, VendorBlock, Text, VendorBlock, VendorBlock, Text]
    assert streamed.content == whole.content
    turns = (Message.user("?"), streamed.content.coming_over("gemini"), Message.user("!"))
    body = json.loads(GEMINI.encode(Request(Conversation(turns)), MODEL).body)
    assert body["contents"][1] == {"role": "model", "parts": parts}


@pytest.mark.parametrize(
    ("word", "kind", "again"),
    [
        ("UNEXPECTED_TOOL_CALL", BadRequestError, False),
        ("TOO_MANY_TOOL_CALLS", BadRequestError, False),
        ("MISSING_THOUGHT_SIGNATURE", BadRequestError, False),
        ("MALFORMED_FUNCTION_CALL", DecodeError, True),
    ],
)
def test_what_goes_wrong_with_tools_is_an_error_that_knows_whether_to_try_again(word, kind, again):
    last = chunk(text("So:"), finish=word)
    last["candidates"][0]["finishMessage"] = "Said the model."
    last["usageMetadata"] = {"promptTokenCount": 9, "candidatesTokenCount": 4}
    if again:
        error = refused(wire([last]))
    else:
        answer = answer_of(last)
        error = answer.error
        assert (answer.finish_reason, answer.usage.output_tokens) == (word.lower(), 4)
    assert (type(error), error.retryable, error.code) == (kind, again, word)
    assert "Said the model." in error.message


def test_of_several_candidates_the_first_is_read():
    other = chunk(text("Other"), finish="STOP")
    other["candidates"][0]["index"] = 1
    assert isinstance(refused(wire([chunk(text("Hi")), other])), ConnectionFailedError)
    assert answer_of(chunk(text("Hi"), finish="STOP"), other).content.text == "Hi"


def test_a_blocked_prompt_is_a_refusal_that_may_cost():
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": "No."}
    answer = answer_of({"promptFeedback": feedback, "usageMetadata": counts(9, 0)})
    assert isinstance(answer.error, RefusalError)
    assert (answer.error.code, answer.finish_reason) == ("SAFETY", "content_filter")
    assert "No." in answer.error.message
    assert answer.usage == Usage(9)


def test_what_is_said_of_a_prompt_that_is_not_blocked_is_no_end():
    feedback = {"promptFeedback": {"safetyRatings": []}}
    assert isinstance(refused(wire([feedback, chunk(text("Hi"))])), ConnectionFailedError)


def test_an_answer_that_the_filter_stops_is_a_refusal_with_what_had_come():
    answer = answer_of(chunk(text("Once")), chunk(finish="RECITATION", finishMessage="A song."))
    assert answer.content.text == "Once"
    assert isinstance(answer.error, RefusalError)
    assert "A song." in answer.error.message
    blocked = answer_of(chunk(text("Once")), {"promptFeedback": {"blockReason": "SAFETY"}})
    assert isinstance(blocked.error, RefusalError)


def test_a_part_of_a_long_answer_says_how_to_go_on():
    answer = answer_of(
        chunk(text("a"), continuationToken="b25l"),
        chunk(text("b"), finish="CONTINUATION", continuationToken="dHdv"),
    )
    assert (answer.finish_reason, answer.continuation) == ("continuation", "dHdv")
    whole = answer_of(chunk(text("a"), continuationToken="b25l"), chunk(finish="STOP"))
    assert whole.continuation is None


def test_a_checkpoint_is_no_end():
    only = wire([chunk(text("a"), continuationToken="b25l")])
    assert isinstance(refused(only), ConnectionFailedError)


def test_logprobs_are_those_of_all_chunks():
    def result(token, value):
        return {"chosenCandidates": [{"token": token, "logProbability": value}]}

    answer = answer_of(
        chunk(text("a"), logprobsResult=result("a", -0.5)),
        chunk(text("b"), finish="STOP", logprobsResult=result("b", None)),
    )
    assert answer.logprobs == (TokenLogprob("a", -0.5), TokenLogprob("b", 0.0))


def test_the_tier_that_served_is_in_the_head():
    fold = GEMINI.fold(HEAD._replace(headers={"x-gemini-service-tier": "standard"}), MODEL)
    fold.feed(ServerEvent("", json.dumps(CHUNKS[-1])))
    assert fold.answer().service_tier == "standard"


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        '"text"',
        '{"candidates": 5}',
        '{"candidates": [5]}',
        '{"candidates": [{"content": {"parts": [5]}}]}',
        '{"candidates": [{"content": {"parts": [{"text": 5}]}}]}',
        '{"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}',
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_an_event_that_cannot_be_read_is_an_error(data, bare):
    fold = GEMINI.fold(HEAD, MODEL)
    with pytest.raises(DecodeError):
        fold.feed(ServerEvent("", data, bare=bare))


LOGPROB = {"token": "a", "logProbability": -0.5}
SEED = json.loads(json.dumps(SEEDS["gemini"]))
SEED["candidates"][0]["logprobsResult"] = {
    "chosenCandidates": [LOGPROB],
    "topCandidates": [{"candidates": [LOGPROB]}],
}


@FEW
@given(chunks=st.lists(altered(SEED), min_size=1, max_size=3))
def test_any_altered_chunk_is_read_or_refused(chunks):
    fold = GEMINI.fold(HEAD, MODEL)
    try:
        for body in chunks:
            fold.feed(ServerEvent("", json.dumps(body)))
        answer = fold.answer()
    except CallError:
        return
    assert answer.finish_reason
    turns = (Message.user("?"), answer.content, Message.user("!"))
    GEMINI.encode(Request(Conversation(turns)), MODEL)


@pytest.mark.parametrize("value", ["1" + "0" * 400, "-1" + "0" * 400, "NaN", "-Infinity", '"a"'])
def test_a_logprob_that_is_no_number_is_none_of_the_answers_trouble(value):
    body = json.dumps(chunk(text("a"), finish="STOP", logprobsResult={"chosenCandidates": [0]}))
    body = body.replace("[0]", '[{"token": "a", "logProbability": ' + value + "}]")
    fold = GEMINI.fold(HEAD, MODEL)
    fold.feed(ServerEvent("", body))
    assert fold.answer().logprobs == (TokenLogprob("a", 0.0),)


def test_ten_thousand_deltas_are_one_text():
    chunks = [chunk(text("word "))] * 10_000
    answer = answer_of(*chunks, chunk(finish="STOP"))
    assert answer.content.parts == (Text("word " * 10_000),)


def test_a_stream_of_one_chunk_reads_as_a_whole_answer_does():
    whole = chunk(text("Hm.", thought=True), text("Hi"), CALL, finish="STOP", usage=counts(9, 4, 1))
    decoded = GEMINI.decode(HttpResponse(200, {}, json.dumps(whole).encode()), MODEL)
    assert answer_of(whole) == decoded
