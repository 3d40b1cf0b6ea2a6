"""Each fault does on the wire what its name says."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct

import pytest

from deluge_sync.testing import Fault, Sandbox
from deluge_sync.testing.faults import KINDS

BODY = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY


def connect(sandbox: Sandbox) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", sandbox.port), timeout=5)
    client.sendall(REQUEST)
    return client


def read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """Head, and what came with it of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        assert piece, "closed before the head was whole"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def read_more(client: socket.socket, data: bytes, count: int) -> bytes:
    """`data`, and then so much that there are at least `count` bytes."""
    while len(data) < count:
        piece = client.recv(65536)
        assert piece, "closed too early"
        data += piece
    return data


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def post(sandbox: Sandbox, prompt: str = "Hello") -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    body = {"model": "echo", "messages": [{"role": "user", "content": prompt}]}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    try:
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_a_reset_comes_before_any_byte(sandbox):
    sandbox.script(["reset"])
    with connect(sandbox) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    assert sandbox.journal[0].status is None


def test_a_body_reset_comes_after_half_the_body(sandbox):
    sandbox.script(["reset_body"])
    with connect(sandbox) as client:
        head, rest = read_head(client)
        assert b"200 OK" in head
        assert read_more(client, rest, 10).startswith(b'{"id":')
        with pytest.raises(ConnectionResetError):
            read_to_end(client)


def test_a_truncated_body_is_shorter_than_announced(sandbox):
    sandbox.script(["truncated"])
    with connect(sandbox) as client:
        head, rest = read_head(client)
        announced = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(rest + read_to_end(client)) == announced // 2


def test_a_malformed_body_is_whole_http_but_no_json(sandbox):
    sandbox.script(["malformed"])
    status, headers, content = post(sandbox)
    assert (status, len(content)) == (200, int(headers["content-length"]))
    with pytest.raises(json.JSONDecodeError):
        json.loads(content)


def test_an_empty_body_is_a_200_of_no_length(sandbox):
    sandbox.script(["empty"])
    status, headers, content = post(sandbox)
    assert (status, headers["content-length"], content) == (200, "0", b"")


@pytest.mark.parametrize(("given", "status"), [(None, 502), (200, 200)])
def test_an_html_page_says_that_it_is_one(sandbox, given, status):
    sandbox.script([Fault("html", status=given)])
    answered, headers, content = post(sandbox)
    assert answered == sandbox.journal[0].status == status
    assert headers["content-type"].startswith("text/html")
    assert content.startswith(b"<html>")


def test_slow_headers_arrive_in_pieces_and_whole_in_the_end(sandbox):
    sandbox.script([Fault("slow_headers", seconds=600, size=8)])
    with connect(sandbox) as client:
        assert read_more(client, b"", 8) == b"HTTP/1.1"
    sandbox.script([Fault("slow_headers", seconds=0.001)])
    assert json.loads(post(sandbox)[2])["object"] == "chat.completion"


def test_a_dripping_body_arrives_in_pieces_and_whole_in_the_end(sandbox):
    sandbox.script([Fault("drip", seconds=0.001, size=50)])
    assert json.loads(post(sandbox)[2])["object"] == "chat.completion"
    sandbox.script([Fault("drip", seconds=600, size=3)])
    with connect(sandbox) as client:
        _, rest = read_head(client)
        assert read_more(client, rest, 3) == b'{"i'


def test_a_black_hole_takes_the_request_and_never_answers(sandbox):
    sandbox.script(["black_hole"])
    with connect(sandbox) as client:
        sandbox.wait_for(1)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    assert sandbox.journal[0].fault == "black_hole"


def test_an_oversized_body_is_good_json_of_that_size(sandbox):
    sandbox.script([Fault("oversized", size=3_000_001)])
    _, headers, content = post(sandbox)
    assert len(content) == int(headers["content-length"]) == 3_000_001
    assert json.loads(content)["object"] == "chat.completion"


def test_a_redirect_names_its_target(sandbox):
    sandbox.script([Fault("redirect", location="/v1/over/there")])
    status, headers, _ = post(sandbox)
    assert (status, headers["location"]) == (307, "/v1/over/there")


def test_a_gzip_body_is_compressed(sandbox):
    sandbox.script(["gzip"])
    _, headers, content = post(sandbox)
    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(content))["object"] == "chat.completion"


def test_a_chunked_body_comes_in_chunks_of_that_size(sandbox):
    sandbox.script([Fault("chunked", size=10)])
    with connect(sandbox) as client:
        head, rest = read_head(client)
        assert b"transfer-encoding: chunked" in head
        assert b"content-length" not in head
        assert read_more(client, rest, 15).startswith(b'a\r\n{"id":"cha\r\n')
    sandbox.script(["chunked"])
    assert json.loads(post(sandbox)[2])["object"] == "chat.completion"


def test_early_hints_come_before_the_answer(sandbox):
    sandbox.script(["early_hints"])
    with connect(sandbox) as client:
        head, rest = read_head(client)
        assert head.startswith(b"HTTP/1.1 103 Early Hints\r\n")
        while b"\r\n\r\n" not in rest:
            rest += client.recv(65536)
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_close_ends_the_connection_after_a_good_answer(sandbox):
    sandbox.script(["close"])
    with connect(sandbox) as client:
        head, rest = read_head(client)
        assert b"connection: close" in head
        assert json.loads(rest + read_to_end(client))["object"] == "chat.completion"


def test_delay_puts_off_a_good_answer(sandbox):
    sandbox.script([Fault("delay", seconds=600), None])
    with connect(sandbox) as late:
        sandbox.wait_for(1)
        assert post(sandbox)[0] == 200
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(1)


@pytest.mark.parametrize("status", ["400", "403", "413", "422", "500", "503", "504", "529"])
def test_a_status_comes_in_the_vendors_error_body(sandbox, status):
    sandbox.script([Fault(status, message="Told so.", code="my_code", headers={"x-extra": "1"})])
    answered, headers, content = post(sandbox)
    assert answered == int(status)
    assert json.loads(content)["error"]["message"] == "Told so."
    assert json.loads(content)["error"]["code"] == "my_code"
    assert headers["x-extra"] == "1"


@pytest.mark.parametrize(
    ("fault", "header", "value"),
    [
        (Fault("429", retry_after=2), "retry-after", "2"),
        (Fault("429", retry_after=0.05), "retry-after", "0.05"),
        (Fault("503", retry_after=0.25, retry_after_form="ms"), "retry-after-ms", "250"),
    ],
)
def test_retry_after_is_sent_in_the_form_asked_for(sandbox, fault, header, value):
    sandbox.script([fault])
    assert post(sandbox)[1][header] == value


def test_retry_after_may_be_a_date_or_left_out(sandbox):
    sandbox.script([Fault("429", retry_after=30, retry_after_form="date"), Fault("429")])
    assert post(sandbox)[1]["retry-after"].endswith(" GMT")
    assert post(sandbox)[1]["retry-after"] is None


def test_quota_is_told_apart_from_too_fast(sandbox):
    sandbox.script(["quota"])
    status, headers, content = post(sandbox)
    assert (status, headers["retry-after"]) == (429, None)
    assert json.loads(content)["error"]["type"] == "insufficient_quota"


def test_the_script_is_followed_in_order_and_lets_through_where_it_says_so(sandbox):
    sandbox.script([Fault("500", times=2), None, "503"])
    assert sandbox.pending_faults == 4
    assert [post(sandbox)[0] for _ in range(5)] == [500, 500, 200, 503, 200]
    assert [record.fault for record in sandbox.journal] == ["500", "500", None, "503", None]


def test_a_fault_with_a_match_waits_for_its_prompt(sandbox):
    sandbox.script([Fault("500", match="apple"), Fault("503")])
    assert [post(sandbox, text)[0] for text in ("pear", "pear", "an apple")] == [503, 200, 500]


def test_random_faults_repeat_with_their_seed():
    chances = {"429": 0.3, Fault("500", message="x"): 0.2, "empty": 0.1}
    runs = []
    for _ in range(2):
        with Sandbox(faults=chances, seed=7) as sandbox:
            for _ in range(40):
                post(sandbox)
            runs.append([record.fault for record in sandbox.journal])
    assert runs[0] == runs[1]
    assert {"429", "500", "empty", None} == set(runs[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "explode"},
        {"kind": "299"},
        {"kind": "429", "retry_after_form": "weeks"},
        {"kind": "drip", "size": 0},
        {"kind": "500", "times": 0},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match=r"fault|retry_after_form|size|times"):
        Fault(**wrong)
    with pytest.raises(ValueError, match="chances"):
        Sandbox(faults={"500": 0.7, "429": 0.7})


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"black_hole", "drip", "slow_headers"}))
def test_after_any_fault_the_next_request_is_answered(sandbox, kind):
    sandbox.script([Fault(kind, seconds=0.001, size=100)])
    with connect(sandbox) as client:
        sandbox.wait_for(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert post(sandbox)[0] == 200
