"""The sandbox answers in events, one write each, and breaks them off as it is told."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading

import pytest

from deluge_sync.adapters.sse import EventReader
from deluge_sync.testing import Fault, Sandbox
from deluge_sync.testing.faults import KINDS

from .test_sandbox_faults import read_head, read_more, read_to_end
from .test_sandbox_sdks import openai_client

PROMPT = "Grüße aus Köln 🌍"
BODY = {"model": "echo", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
OF_STREAMS = sorted(kind for kind in KINDS if kind.startswith("stream_"))


def connect(sandbox: Sandbox, **fields: object) -> socket.socket:
    body = json.dumps({**BODY, **fields}).encode()
    client = socket.create_connection(("127.0.0.1", sandbox.port), timeout=5)
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    return client


def post(sandbox: Sandbox, **fields: object) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps({**BODY, **fields}), headers)
    answer = connection.getresponse()
    try:
        return answer, answer.read()
    except http.client.IncompleteRead as error:
        return answer, error.partial
    finally:
        connection.close()


def events(body: bytes) -> list[str]:
    reader = EventReader()
    return [event.data for event in [*reader.feed(body), *reader.finish()]]


def text(body: bytes) -> str:
    given = events(body)
    chunks = [json.loads(data) for data in given[: given.index("[DONE]")]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


GOOD = 6  # a role, three pieces of the text, the finish reason, [DONE]


def test_a_stream_is_chunked_events_that_end_with_done(sandbox):
    answer, body = post(sandbox)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["x-request-id"]
    assert len(events(body)) == GOOD + 1
    assert events(body)[-1] == "[DONE]"
    assert text(body) == PROMPT
    assert b": null" not in body
    assert b'"usage"' not in body


def test_usage_comes_where_it_is_asked_for(sandbox):
    *others, last, _ = events(post(sandbox, stream_options={"include_usage": True})[1])
    assert all(json.loads(data)["usage"] is None for data in others)
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"]["total_tokens"] > 0


def test_each_event_is_a_chunk_of_its_own(sandbox):
    with connect(sandbox) as client:
        _, body = read_head(client)
        while not body.endswith(b"0\r\n\r\n"):
            body = read_more(client, body, len(body) + 1)
    *chunks, _, _ = body.split(b"\n\n\r\n")
    assert all(b"\r\ndata: {" in chunk or chunk.startswith(b"e\r\n") for chunk in chunks)


def test_the_next_request_goes_over_the_same_connection(sandbox):
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    headers = {"Content-Type": "application/json"}
    for _ in range(3):
        connection.request("POST", "/v1/chat/completions", json.dumps(BODY), headers)
        assert text(connection.getresponse().read()) == PROMPT
    assert sandbox.stats["connections"] == 1
    connection.close()


def test_events_wait_for_their_delay():
    asked: list[str] = []

    def pause(question) -> float:
        asked.append(question.prompt)
        return 600.0 if len(asked) == 3 else 0.0

    with Sandbox(event_delay=pause) as sandbox, connect(sandbox) as client:
        _, body = read_head(client)
        while body.count(b"data: ") < 3:
            body = read_more(client, body, len(body) + 1)
        assert not select.select([client], [], [], 0)[0]
        assert sandbox.stats["in_flight"] == 1
    assert asked == [PROMPT] * 3


def test_a_client_that_leaves_in_the_middle_is_counted():
    left = threading.Event()

    def pause(question) -> float:
        return 0.001 if left.is_set() else 600.0

    with Sandbox(event_delay=pause) as sandbox:
        with connect(sandbox) as client:
            read_more(client, read_head(client)[1], 10)
        left.set()
        for _ in range(200):
            if sandbox.stats["disconnects"]:
                break
            post(sandbox, stream=False)
        assert sandbox.stats["disconnects"] == 1


def test_refusals_are_plain_json(sandbox):
    sandbox.script(["429"])
    answer, body = post(sandbox)
    assert (answer.status, answer.headers["content-type"]) == (429, "application/json")
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    answer, body = post(sandbox, temperature=7)
    assert (answer.status, json.loads(body)["error"]["param"]) == (400, "temperature")


@pytest.mark.sandbox(tokens_per_minute=1000, clock=lambda: 0.0)
def test_streams_draw_from_the_limits(sandbox):
    answer, _ = post(sandbox, max_tokens=100)
    assert answer.headers["x-ratelimit-remaining-tokens"] == "992"


@pytest.mark.parametrize("after", range(GOOD + 1))
def test_a_stream_ends_in_good_form_after_so_many_events(sandbox, after):
    sandbox.script([Fault("stream_end", after=after)])
    with connect(sandbox) as client:
        _, body = read_head(client)
        while not body.endswith(b"0\r\n\r\n"):
            body = read_more(client, body, len(body) + 1)
        assert body.count(b"data: ") == after


@pytest.mark.parametrize("after", range(GOOD + 1))
def test_a_stream_is_cut_without_the_end_of_its_body(sandbox, after):
    sandbox.script([Fault("stream_cut", after=after)])
    with connect(sandbox) as client:
        body = read_head(client)[1] + read_to_end(client)
    assert body.count(b"data: ") == after
    assert not body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("after", range(1, GOOD + 1))
def test_a_stream_is_reset_after_so_many_events(sandbox, after):
    sandbox.script([Fault("stream_reset", after=after)])
    with connect(sandbox) as client:
        _, body = read_head(client)
        while body.count(b"\n\n\r\n") < after:
            body = read_more(client, body, len(body) + 1)
        with pytest.raises(ConnectionResetError):
            read_to_end(client)
    assert body.count(b"data: ") == after


def test_a_stream_falls_silent_after_so_many_events(sandbox):
    sandbox.script([Fault("stream_black_hole", after=2)])
    with connect(sandbox) as client:
        _, body = read_head(client)
        while body.count(b"\n\n\r\n") < 2:
            body = read_more(client, body, len(body) + 1)
        assert not select.select([client], [], [], 0)[0]
    assert body.count(b"data: ") == 2


@pytest.mark.parametrize("after", range(GOOD + 1))
def test_one_event_of_a_stream_is_cut_json(sandbox, after):
    sandbox.script([Fault("stream_malformed", after=after)])
    given = events(post(sandbox)[1])
    assert len(given) == GOOD + 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(given[after])
    assert all(json.loads(data) for data in [*given[:after], *given[after + 1 : -1]])


@pytest.mark.parametrize("after", range(GOOD + 1))
def test_the_vendors_error_comes_in_place_of_the_rest(sandbox, after):
    openai = pytest.importorskip("openai")
    fault = Fault("stream_error", after=after, status=503, message="Enough.", code="my_code")
    sandbox.script([fault, fault])
    assert len(events(post(sandbox)[1])) == after + 1
    assert sandbox.journal[0].status == 200
    with pytest.raises(openai.APIError, match="Enough") as caught:
        list(
            openai_client(sandbox).chat.completions.create(
                model="echo", messages=BODY["messages"], stream=True
            )
        )
    assert caught.value.code == "my_code"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("stream_bytes"),
        Fault("stream_bytes", size=7),
        Fault("chunked"),
        Fault("stream_crlf"),
        Fault("stream_comments"),
        Fault("drip", size=50, seconds=0),
        Fault("delay", seconds=0.001),
        Fault("close"),
        Fault("oversized", size=20_000),
    ],
    ids=str,
)
def test_a_stream_may_come_in_any_form_and_say_the_same(sandbox, fault):
    sandbox.script([fault, fault])
    assert text(post(sandbox)[1]) == PROMPT
    stream = openai_client(sandbox).chat.completions.create(
        model="echo", messages=BODY["messages"], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == PROMPT


def test_the_forms_are_what_their_names_say(sandbox):
    sandbox.script(["stream_crlf", "stream_comments"])
    assert b"}\r\n\r\ndata: [DONE]\r\n\r\n" in post(sandbox)[1]
    assert post(sandbox)[1].count(b": keep-alive\n\n") == GOOD + 1
    sandbox.script(["stream_bytes"])
    with connect(sandbox) as client:
        assert read_more(client, read_head(client)[1], 18).startswith(
            b"1\r\nd\r\n1\r\na\r\n1\r\nt\r\n"
        )


@pytest.mark.parametrize("kind", OF_STREAMS)
def test_faults_of_streams_leave_other_answers_alone(sandbox, kind):
    sandbox.script([Fault(kind, after=1)])
    answer, body = post(sandbox, stream=False)
    assert answer.status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == PROMPT
    assert sandbox.journal[0].fault == kind


@pytest.mark.parametrize("kind", sorted(set(OF_STREAMS) - {"stream_black_hole"}))
def test_after_a_broken_stream_the_next_one_is_whole(sandbox, kind):
    sandbox.script([Fault(kind, after=2)])
    with connect(sandbox):
        sandbox.wait_for(1)
    assert text(post(sandbox)[1]) == PROMPT


def test_a_slow_reader_of_a_long_stream_holds_up_nobody_else():
    with Sandbox(answer="x" * 200_000) as sandbox, connect(sandbox) as client:
        sandbox.wait_for(1)
        assert post(sandbox, stream=False)[0].status == 200
        body = read_head(client)[1]
        while not body.endswith(b"0\r\n\r\n"):
            body = read_more(client, body, len(body) + 1)
        assert body.count(b'"content":"xxxx"') == 50_000


class TestOpenAI:
    """openai 3.x."""

    def test_a_stream_is_accumulated_into_a_whole_completion(self, sandbox):
        prompt = 'Hi [[sandbox:think Hm.]] [[sandbox:call look {"at": [1]}]] [[sandbox:call go {}]]'
        messages = [{"role": "user", "content": prompt}]
        completions = openai_client(sandbox).chat.completions
        with completions.stream(
            model="echo",
            messages=messages,
            logprobs=True,
            top_logprobs=2,
            service_tier="flex",
            stream_options={"include_usage": True},
        ) as stream:
            final = stream.get_final_completion()
        whole = completions.create(model="echo", messages=messages)
        choice = final.choices[0]
        assert choice.message.content == whole.choices[0].message.content == "Hi"
        assert choice.message.reasoning_content == "Hm."
        assert [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
        assert [call.function.name for call in choice.message.tool_calls] == ["look", "go"]
        assert json.loads(choice.message.tool_calls[0].function.arguments) == {"at": [1]}
        assert choice.finish_reason == whole.choices[0].finish_reason == "tool_calls"
        assert [one.token for one in choice.logprobs.content] == ["Hi"]
        assert len(choice.logprobs.content[0].top_logprobs) == 2
        assert final.usage == whole.usage
        assert final.service_tier == "flex"
