"""The sandbox reads HTTP/1.1 strictly, however the bytes arrive."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.testing.http import HttpError, RequestReader

SIZED = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello"
CHUNKED = (
    b"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;note=x\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)
BARE = b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n"


def read_all(*pieces: bytes, max_body: int = 1000):
    reader = RequestReader(max_body)
    requests = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            requests.append(request)
    return requests


@given(st.lists(st.integers(0, len(SIZED + CHUNKED + BARE)), max_size=12))
def test_pipelined_requests_are_read_the_same_however_they_are_split(cuts):
    data = SIZED + CHUNKED + BARE
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in zip(edges, edges[1:])]
    requests = read_all(*pieces)
    assert [(request.target, request.body) for request in requests] == [
        ("/a", b"hello"),
        ("/b", b"hello"),
        ("/c", b""),
    ]
    assert requests[0].headers == {"host": "h", "content-length": "5", "x-a": "1, 2"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        (b"GET /\r\nHost: h\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 70_000, 431),
    ],
)
def test_what_is_not_strict_http_is_refused_with_its_status(data, status):
    with pytest.raises(HttpError) as caught:
        read_all(data)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
    ],
)
def test_connections_are_kept_as_http_says(head, kept):
    assert read_all(head)[0].keep_alive is kept


def exchange(sandbox, data: bytes) -> bytes:
    """Send `data` and read until the server closes."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as client:
        client.sendall(data)
        received = b""
        while piece := client.recv(65536):
            received += piece
        return received


@pytest.mark.sandbox(delay=0.001)
def test_pipelined_requests_are_answered_in_order_even_with_delays(sandbox):
    last = b"GET /_sandbox/stats HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answers = exchange(sandbox, 3 * b"GET /v1/models/a HTTP/1.1\r\nHost: h\r\n\r\n" + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 4
    assert answers.endswith(b"}")
    assert b'"requests":3' in answers.split(b"\r\n\r\n")[-1]


def test_a_request_that_is_not_http_gets_an_error_and_a_closed_connection(sandbox):
    answer = exchange(sandbox, b"hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in answer
    assert sandbox.stats["protocol_errors"] == 1


def test_a_client_that_waits_for_it_gets_a_100(sandbox):
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as client:
        client.sendall(head)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
