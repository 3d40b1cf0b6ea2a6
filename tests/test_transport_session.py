"""The transport over a user's own `requests.Session`."""

from __future__ import annotations

import base64
import gzip
import pickle
import threading
import time

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.session_transport import SessionTransport
from deluge_sync.values.errors import (
    CallCancelledError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    ResponseTooLargeError,
)
from deluge_sync.values.secret import Credential, Secret

from .transport_server import (
    BEARER,
    GENEROUS,
    KEY,
    Server,
    answer,
    answering,
    cancel_at,
    closing,
    dripping,
    exposed,
    fields,
    post,
    send,
    silent,
)

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def session():
    with requests.Session() as made:
        made.trust_env = False
        yield made


@pytest.fixture
def transport(session):
    return SessionTransport(session)


def test_the_request_and_the_answer_are_those_of_the_pooled_transport(transport):
    with Server(answering(answer(b"hello", "X-A: 1", "x-a: 2"))) as server:
        before = time.time()
        response = send(transport, post(server.url, b'{"x": 1}'))
        send(transport, post(server.url, b""))
    sent = dict(fields(server.requests[0]))
    assert server.requests[0].endswith(b'\r\n\r\n{"x": 1}')
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["accept-encoding"] == "gzip"
    assert sent["content-type"] == "application/json"
    assert dict(fields(server.requests[1]))["content-length"] == "0"
    assert (response.status, response.body) == (200, b"hello")
    assert response.headers == {"content-length": "5", "x-a": "1, 2"}
    assert before <= response.received_at <= time.time()
    assert server.connections == 1


def test_the_sessions_headers_auth_cookies_and_hooks_are_honoured(session, transport):
    seen = []
    session.headers["X-Corporate"] = "yes"
    session.auth = ("user", "password")
    session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
    with Server(answering(answer(b"", "Set-Cookie: a=b"))) as server:
        send(transport, server.url, credentials=(Credential("x-api-key", "", Secret(KEY)),))
        send(transport, server.url)
    first, second = (dict(fields(request)) for request in server.requests)
    assert first["x-corporate"] == "yes"
    assert first["authorization"] == "Basic " + base64.b64encode(b"user:password").decode()
    assert first["x-api-key"] == KEY
    assert second["cookie"] == "a=b"
    assert second["authorization"] == f"Bearer {KEY}"
    assert seen == [200, 200]


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_netrc_neither_replaces_nor_joins_a_key(session, transport, monkeypatch, tmp_path, header):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session.trust_env = True
    with Server(answering(answer())) as server:
        send(transport, server.url, credentials=(Credential(header, "", Secret(KEY)),))
    sent = dict(fields(server.requests[0]))
    assert sent[header.lower()] == KEY
    assert sent.get("authorization") in (None, KEY)


def test_the_sessions_proxies_are_used(session, transport):
    with Server(answering(answer(b"by proxy"))) as proxy:
        session.proxies["http"] = proxy.origin
        assert send(transport, "http://llm.example/v1").body == b"by proxy"
    assert proxy.requests[0].startswith(b"POST http://llm.example/v1 HTTP/1.1\r\n")


def test_redirects_are_returned_with_their_body_and_not_followed(transport):
    with Server(answering(answer())) as other:
        location = answer(b"moved", f"Location: {other.url}", status=307)
        with Server(answering(location)) as server:
            key = (Credential("x-api-key", "", Secret(KEY)),)
            response = send(transport, server.url, credentials=key)
    assert (response.status, response.body) == (307, b"moved")
    assert other.connections == 0


def test_bodies_are_decoded_and_both_sizes_are_capped(session):
    transport = SessionTransport(session, max_response_bytes=1000)
    bomb = answer(gzip.compress(b"a" * 1001), "Content-Encoding: gzip")
    redirect = answer(b"a" * 1001, "Location: /elsewhere", status=302)
    for data in (bomb, answer(b"a" * 1001), redirect, HEAD + b"\r\n" + b"a" * 1001):
        with Server(closing(data)) as server, pytest.raises(ResponseTooLargeError):
            send(transport, server.url)
    whole = answer(gzip.compress(b"a" * 1000), "Content-Encoding: gzip")
    with Server(answering(whole)) as server:
        assert send(transport, server.url).body == b"a" * 1000


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ConnectionFailedError),
        (HEAD + b"Content-Length: 9\r\n\r\nshort", ConnectionFailedError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", ConnectionFailedError),
        (b"nonsense", ConnectionFailedError),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", DecodeError),
    ],
)
def test_failures_are_typed_and_hold_no_secret(transport, data, kind):
    with Server(closing(data)) as server, pytest.raises(kind) as caught:
        send(transport, server.url)
    assert caught.value.retryable
    assert KEY not in exposed(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message


@pytest.mark.parametrize(
    ("handler", "phase"),
    [
        (silent, "while waiting for the head of the answer"),
        (dripping(HEAD + b"X-A: "), "while waiting for the head of the answer"),
        (
            dripping(HEAD, b"Content-Length: 99999\r\n\r\n"),
            r"while reading the body, [\d,]+ bytes so far",
        ),
        (dripping(HEAD, b"\r\n"), r"while reading the body, [\d,]+ bytes so far"),
        (dripping(HEAD, b"Transfer-Encoding: chunked\r\n\r\nffff\r\n"), "while reading the body"),
    ],
)
def test_deadlines_are_total_and_say_what_was_waited_for(transport, handler, phase):
    started = time.monotonic()
    with Server(handler) as server, pytest.raises(DeadlineExceededError, match=phase) as caught:
        send(transport, server.url, seconds=0.2)
    assert time.monotonic() - started < 2
    assert KEY not in exposed(caught.value)


@pytest.mark.parametrize("handler", [silent, closing(HEAD + b"\r\nhalf")])
def test_cancelling_wakes_a_call_that_waits(transport, handler):
    half = threading.Event()

    def waiting(sock, server):
        server.read_request(sock)
        if handler is not silent:
            sock.sendall(HEAD + b"\r\nhalf of the answ")
        half.set()
        server.released.wait(GENEROUS)

    with Server(waiting) as server, pytest.raises(CallCancelledError):
        send(transport, server.url, seconds=5 * GENEROUS, cancellation=cancel_at(half))


def test_closing_wakes_calls_in_flight_and_cancels_later_ones_but_spares_the_session(
    session, transport
):
    with Server(silent) as server:
        stopper = threading.Thread(
            target=lambda: server.request_came.wait(GENEROUS) and transport.close()
        )
        stopper.start()
        with pytest.raises(CallCancelledError):
            send(transport, server.url, seconds=5 * GENEROUS)
        stopper.join()
    with Server(answering(answer())) as server:
        with pytest.raises(CallCancelledError):
            send(transport, server.url)
        assert session.get(server.url).status_code == 200


def test_a_cancelled_call_is_not_sent(transport):
    switch = Cancellation()
    switch.cancel()
    with Server(answering(answer())) as server, pytest.raises(CallCancelledError):
        send(transport, server.url, cancellation=switch)
    assert server.connections == 0


def test_the_session_stays_usable_by_its_owner(session, transport):
    session.mount("http://", HTTPAdapter(pool_maxsize=2))
    with Server(answering(answer(b"mine"))) as server:
        for _ in range(3):
            assert send(transport, server.url).body == b"mine"
            assert session.get(server.url).content == b"mine"
    assert server.connections == 1


def test_adapters_that_are_not_requests_own_work_too(session, transport):
    class Canned(BaseAdapter):
        def send(self, request, **_kwargs):
            response = requests.Response()
            response.status_code = 200
            response.headers["X-A"] = request.headers["Authorization"][:6]
            response.request = request
            response.url = request.url
            return response

        def close(self):
            pass

    session.mount("corporate://", Canned())
    session.mount("http://llm.example", Canned())
    response = send(transport, "http://llm.example/v1")
    assert (response.status, response.body, response.headers) == (200, b"", {"x-a": "Bearer"})


def test_what_the_session_cannot_send_is_a_config_error(session, transport):
    session.adapters.clear()
    with pytest.raises(ConfigError, match="InvalidSchema"):
        send(transport, "http://llm.example/v1")
    with pytest.raises(ConfigError, match="malformed"):
        send(transport, "nonsense")
    with pytest.raises(ConfigError, match="'X-A' holds a line break"):
        send(transport, post("http://llm.example/", headers=[("X-A", "a\r\nB: c")]))
    bad = (Credential("x-api-key", "", Secret(KEY + "\n")),)
    with pytest.raises(ConfigError, match="strip the white space") as caught:
        send(transport, "http://llm.example/", credentials=bad)
    assert KEY not in exposed(caught.value)


def test_nobody_listening_is_a_connection_error(transport):
    with Server(silent) as server:
        pass
    with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1") as caught:
        send(transport, server.url)
    assert caught.value.retryable
    assert KEY not in exposed(caught.value)


def test_no_repr_shows_the_secret(transport):
    assert KEY not in repr(transport) + repr(vars(transport)) + repr(BEARER)
