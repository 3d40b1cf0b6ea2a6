"""The pooled transport over real sockets: the wire, keep-alive, deadlines, cancelling, secrets."""

from __future__ import annotations

import gzip
import logging
import pickle
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deluge_sync.engine import dialing
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.exchange import default_parser
from deluge_sync.engine.plain_parser import PlainParser
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
    close_all,
    closing,
    dripping,
    exposed,
    fields,
    pooled,
    post,
    send,
    silent,
)

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(params=[default_parser, PlainParser], ids=["default", "plain"])
def transport(request):
    return pooled(parser=request.param, use_environment=False)


@pytest.fixture(autouse=True)
def _nothing_stays_open():
    yield
    close_all()


def test_a_request_is_one_head_and_one_body_with_the_key_last(transport):
    with Server(answering(answer(b"hello", "X-Request-Id: 7"))) as server:
        before = time.time()
        response = send(transport, post(server.url + "?a=b%20c#part", b'{"x": 1}'))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/chat?a=b%20c HTTP/1.1"
    assert body == b'{"x": 1}'
    assert fields(server.requests[0]) == [
        ("host", f"127.0.0.1:{server.port}"),
        ("user-agent", "deluge-sync"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/json"),
        ("authorization", f"Bearer {KEY}"),
        ("content-length", "8"),
    ]
    assert (response.status, response.body) == (200, b"hello")
    assert response.headers == {"content-length": "5", "x-request-id": "7"}
    assert type(response.headers) is dict
    assert before <= response.received_at <= time.time()


def test_headers_of_the_request_replace_defaults_and_credentials_replace_both(transport):
    headers = [("user-agent", "mine"), ("authorization", "other"), ("X-A", "1"), ("x-a", "2")]
    with Server(answering(answer())) as server:
        send(transport, post(server.url, headers=headers))
    sent = fields(server.requests[0])
    assert [value for name, value in sent if name == "user-agent"] == ["mine"]
    assert [value for name, value in sent if name == "authorization"] == [f"Bearer {KEY}"]
    assert [value for name, value in sent if name == "x-a"] == ["1", "2"]


@pytest.mark.parametrize(("method", "framed"), [("GET", False), ("POST", True), ("DELETE", False)])
def test_an_empty_body_is_announced_where_one_is_expected(transport, method, framed):
    with Server(answering(answer())) as server:
        send(transport, post(server.url, b"", method=method))
    assert (("content-length", "0") in fields(server.requests[0])) is framed


def test_large_bodies_arrive_whole_in_both_directions(transport):
    body = bytes(range(256)) * 20_000

    def echo(sock, server):
        while request := server.read_request(sock):
            sock.sendall(answer(request.partition(b"\r\n\r\n")[2]))

    with Server(echo) as server:
        assert send(transport, post(server.url, body)).body == body
        assert send(transport, post(server.url, body[:70_000])).body == body[:70_000]
    assert server.connections == 1


def test_gzip_is_decoded_and_both_sizes_are_capped():
    transport = pooled(max_response_bytes=1000, use_environment=False)
    for body, fits in [(b"a" * 1000, True), (b"a" * 1001, False)]:
        packed = answer(gzip.compress(body), "Content-Encoding: gzip")
        for data in (packed, answer(body)):
            with Server(answering(data)) as server:
                if fits:
                    assert send(transport, server.url).body == body
                else:
                    with pytest.raises(ResponseTooLargeError):
                        send(transport, server.url)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ConnectionFailedError),
        (HEAD + b"Content-Length: 9\r\n\r\nshort", ConnectionFailedError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", ConnectionFailedError),
        (b"SSH-2.0-OpenSSH_9.9\r\n", DecodeError),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", DecodeError),
        (b"HTTP/1.1 101 -\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", DecodeError),
    ],
)
def test_broken_answers_are_typed_errors_that_may_be_retried(transport, data, kind):
    with Server(closing(data)) as server, pytest.raises(kind) as caught:
        send(transport, server.url)
    assert caught.value.retryable
    assert caught.value.status is None


def test_a_reset_connection_is_a_connection_error(transport):
    def reset(sock, server):
        server.read_request(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with Server(reset) as server, pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1"):
        send(transport, server.url)


def test_nobody_listening_is_a_connection_error(transport):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match="refused") as caught:
        send(transport, f"http://127.0.0.1:{port}/")
    assert caught.value.retryable


def test_a_name_that_does_not_exist_is_a_connection_error(transport, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(dialing.socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectionFailedError, match=r"llm\.invalid:80 cannot be resolved"):
        send(transport, "http://llm.invalid/")


def test_the_next_address_is_tried_when_one_does_not_answer(transport, monkeypatch):
    with Server(answering(answer())) as server:
        loopback = socket.getaddrinfo("127.0.0.1", server.port, 0, socket.SOCK_STREAM)
        refused = [(*kind, ("127.0.0.2", server.port)) for *kind, _ in loopback]
        monkeypatch.setattr(dialing.socket, "getaddrinfo", lambda *_: refused + loopback)
        assert send(transport, f"http://localhost:{server.port}/").status == 200


def test_an_early_answer_to_a_body_that_was_not_read_counts(transport):
    def too_large(sock, _server):
        sock.recv(1000)
        sock.sendall(answer(b"too large", "Connection: close", status=413))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1_000_000):
            pass

    with Server(too_large) as server:
        assert send(transport, post(server.url, bytes(3_000_000))).status == 413


# Keep-alive


def test_calls_one_after_the_other_share_a_connection(transport):
    with Server(answering(answer())) as server:
        for _ in range(5):
            send(transport, server.url)
            send(transport, post(server.origin + "/elsewhere"), credentials=())
    assert (server.connections, len(server.requests)) == (1, 10)


def test_threads_share_connections_without_mixing_up_answers(transport):
    def echo(sock, server):
        while request := server.read_request(sock):
            sock.sendall(answer(request.partition(b"\r\n\r\n")[2]))

    with Server(echo) as server, ThreadPoolExecutor(8) as pool:
        bodies = [b"%d" % number for number in range(400)]
        answers = pool.map(lambda body: send(transport, post(server.url, body)).body, bodies)
        assert list(answers) == bodies
    assert server.connections <= 8


@pytest.mark.parametrize(
    "data",
    [
        answer(b"ok", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        answer() + b"x",
        answer() + answer(b"of another prompt"),
    ],
)
def test_a_connection_is_not_used_again_when_the_answer_forbids_or_spoils_it(transport, data):
    with Server(answering(data)) as server:
        for _ in range(3):
            assert send(transport, server.url).body == b"ok"
    assert server.connections == 3


def test_a_connection_that_the_server_closed_while_idle_is_not_used(transport):
    closed = threading.Event()

    def once(sock, server):
        server.read_request(sock)
        sock.sendall(answer())
        sock.shutdown(socket.SHUT_RDWR)
        closed.set()

    with Server(once) as server:
        for _ in range(3):
            closed.clear()
            send(transport, server.url)
            assert closed.wait(GENEROUS)
    assert (server.connections, len(server.requests)) == (3, 3)


def test_bytes_that_come_while_idle_spoil_the_connection(transport):
    spoilt = threading.Event()

    def babbling(sock, server):
        while server.read_request(sock):
            sock.sendall(answer())
            server.request_came.clear()
            server.request_came.wait(0.05)
            sock.sendall(answer(b"of another prompt"))
            spoilt.set()

    with Server(babbling) as server:
        for _ in range(2):
            spoilt.clear()
            assert send(transport, server.url).body == b"ok"
            assert spoilt.wait(GENEROUS)
    assert server.connections == 2


def test_a_request_lost_on_a_kept_connection_is_an_error_and_not_sent_again(transport):
    def once(sock, server):
        server.read_request(sock)
        sock.sendall(answer())
        server.read_request(sock)

    with Server(once) as server:
        send(transport, server.url)
        with pytest.raises(ConnectionFailedError, match="waiting for the first byte"):
            send(transport, server.url)
    assert len(server.requests) == 2


def test_connections_idle_for_too_long_are_closed_and_not_used():
    now = [1000.0]
    transport = pooled(idle_seconds=30, clock=lambda: now[0], use_environment=False)
    with Server(answering(answer())) as server:
        for _ in range(3):
            transport.send(
                post(server.url), credentials=(), deadline=1e6, cancellation=Cancellation()
            )
            now[0] += 31
    assert server.connections == 3
    assert len(transport._open) == 1


def test_no_more_idle_connections_are_kept_than_said():
    transport = pooled(most_idle=2, use_environment=False)
    together = threading.Barrier(5)

    def all_at_once(sock, server):
        while server.read_request(sock):
            together.wait(GENEROUS)
            sock.sendall(answer())

    with Server(all_at_once) as server, ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: send(transport, server.url), range(5)))
        assert len(transport._open) == 2


def test_redirects_are_returned_not_followed(transport):
    with Server(answering(answer())) as other:
        location = answer(b"", f"Location: {other.url}", status=307)
        with Server(answering(location)) as server:
            key = (Credential("x-api-key", "", Secret(KEY)),)
            response = send(transport, server.url, credentials=key)
    assert (response.status, response.headers["location"]) == (307, other.url)
    assert other.connections == 0


def test_neither_netrc_nor_cookies_are_used(transport, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(answering(answer(b"", "Set-Cookie: a=b"))) as server:
        send(transport, server.url, credentials=())
        send(transport, server.url)
    assert "authorization" not in dict(fields(server.requests[0]))
    assert dict(fields(server.requests[1]))["authorization"] == f"Bearer {KEY}"
    assert "cookie" not in dict(fields(server.requests[1]))


# Deadlines


@pytest.mark.parametrize(
    ("handler", "phase"),
    [
        (silent, "while waiting for the first byte of the answer"),
        (dripping(), "while reading the head of the answer|not a proper"),
        (dripping(b"HTTP/1.1 200 OK\r\nX-A: "), "while reading the head of the answer"),
        (
            dripping(HEAD, b"Content-Length: 99999\r\n\r\n"),
            r"while reading the body, [\d,]+ bytes so far",
        ),
        (dripping(HEAD, b"\r\n"), r"while reading the body, [\d,]+ bytes so far"),
        (
            dripping(HEAD, b"Transfer-Encoding: chunked\r\n\r\nffff\r\n"),
            r"reading the body, [\d,]+ bytes",
        ),
    ],
)
def test_deadlines_are_total_and_say_what_was_waited_for(transport, handler, phase):
    started = time.monotonic()
    with Server(handler) as server, pytest.raises(Exception, match=phase) as caught:
        send(transport, server.url, seconds=0.2)
    assert caught.type in (DeadlineExceededError, DecodeError)
    assert time.monotonic() - started < 2
    assert not transport._open


def test_a_server_that_does_not_read_is_left_at_the_deadline(transport):
    def deaf(_sock, server):
        server.released.wait(GENEROUS)

    with Server(deaf) as server, pytest.raises(DeadlineExceededError, match="while sending"):
        send(transport, post(server.url, bytes(30_000_000)), seconds=0.2)


@pytest.fixture
def black_hole():
    """An address that takes no connection: a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(8):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.append(sock)
        yield f"http://127.0.0.1:{address[1]}/"
        for sock in waiting:
            sock.close()


def test_connecting_ends_at_the_deadline(transport, black_hole):
    with pytest.raises(DeadlineExceededError, match=r"while connecting to 127\.0\.0\.1"):
        send(transport, black_hole, seconds=0.2)


def test_connecting_ends_at_its_own_timeout_which_may_be_retried(black_hole):
    transport = pooled(connect_timeout=0.1, use_environment=False)
    with pytest.raises(ConnectionFailedError, match=r"no connection to .* within 0.1 s") as caught:
        send(transport, black_hole)
    assert caught.value.retryable


def test_a_deadline_in_the_past_sends_nothing(transport):
    with Server(answering(answer())) as server:
        with pytest.raises(DeadlineExceededError):
            send(transport, server.url, seconds=-1)
        send(transport, server.url)
        with pytest.raises(DeadlineExceededError):
            send(transport, server.url, seconds=-1)
    assert len(server.requests) == 1


def test_an_answer_slower_than_the_socket_timeout_but_in_time_is_taken(transport):
    def slow(sock, server):
        server.read_request(sock)
        server.released.wait(0.25)
        sock.sendall(answer(b"late"))

    with Server(slow) as server:
        assert send(transport, server.url, seconds=0.3 * 4 / 3).body == b"late"


# Cancelling


def test_cancelling_wakes_a_call_that_waits_for_its_answer(transport):
    with Server(silent) as server:
        switch = cancel_at(server.request_came)
        with pytest.raises(CallCancelledError):
            send(transport, server.url, seconds=5 * GENEROUS, cancellation=switch)
    assert not transport._open


def test_cancelling_wakes_a_call_that_connects(black_hole):
    switch = Cancellation()
    transport = pooled(connect_timeout=5 * GENEROUS, use_environment=False)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(send, transport, black_hole, seconds=5 * GENEROUS, cancellation=switch)
        while not transport._open:
            pass
        switch.cancel()
        with pytest.raises(CallCancelledError):
            future.result(GENEROUS)


def test_an_endless_body_cut_by_a_cancel_is_not_taken_for_an_answer(transport):
    half = threading.Event()

    def endless(sock, server):
        server.read_request(sock)
        sock.sendall(HEAD + b"\r\nhalf of the answ")
        half.set()
        server.released.wait(GENEROUS)

    with Server(endless) as server, pytest.raises(CallCancelledError):
        send(transport, server.url, seconds=5 * GENEROUS, cancellation=cancel_at(half))


def test_a_cancelled_call_is_not_sent(transport):
    switch = Cancellation()
    switch.cancel()
    with Server(answering(answer())) as server, pytest.raises(CallCancelledError):
        send(transport, server.url, cancellation=switch)
    assert server.connections == 0


def test_a_call_that_is_done_leaves_nothing_to_interrupt(transport):
    switch = Cancellation()
    with Server(answering(answer())) as server:
        send(transport, server.url, cancellation=switch)
        assert not switch._interrupters
        switch.cancel()
        send(transport, server.url)
    assert server.connections == 1


def test_a_cancel_as_the_answer_arrives_keeps_the_answer_but_not_the_connection(transport):
    class Late(Cancellation):
        def discard(self, interrupter):
            self.cancel()
            super().discard(interrupter)

    with Server(answering(answer(b"paid for"))) as server:
        assert send(transport, server.url, cancellation=Late()).body == b"paid for"
    assert not transport._open


def test_closing_wakes_calls_in_flight_closes_idle_ones_and_cancels_later_ones(transport):
    ended = threading.Event()

    def first_answers(sock, server):
        server.read_request(sock)
        if len(server.requests) == 1:
            sock.sendall(answer())
            assert sock.recv(10) == b""
            ended.set()
        else:
            server.released.wait(GENEROUS)

    with Server(first_answers) as server, ThreadPoolExecutor(1) as pool:
        send(transport, server.url)
        idle = next(iter(transport._open))
        transport._idle[idle.endpoint].clear()
        server.request_came.clear()
        future = pool.submit(send, transport, server.url, seconds=5 * GENEROUS)
        assert server.request_came.wait(GENEROUS)
        transport._idle[idle.endpoint].append(idle)
        transport.close()
        assert ended.wait(GENEROUS)
        with pytest.raises(CallCancelledError):
            future.result(GENEROUS)
        with pytest.raises(CallCancelledError):
            send(transport, server.url)
    assert not transport._open


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_close_the_connection_and_pass_through(kind):
    class Interrupted:
        def __init__(self, reader):
            pass

        def feed_data(self, data):
            raise kind

    transport = pooled(parser=Interrupted, use_environment=False)
    with Server(answering(answer())) as server, pytest.raises(kind):
        send(transport, server.url)
    assert not transport._open


# What cannot be sent, and secrets


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("X-A", "a\r\nX-B: b")], "'X-A' holds a line break"),
        ([("X-A", "a\nb")], "'X-A' holds a line break"),
        ([("X-A", "a\0b")], "'X-A' holds a line break or a NUL"),
        ([("X-A\r\nX-B", "b")], "is not the name of an HTTP header"),
        ([("X A", "b")], "is not the name of an HTTP header"),
        ([("", "b")], "is not the name of an HTTP header"),
        ([("X-A", "\u20ac")], "'X-A' holds characters that HTTP headers cannot"),
        ([("Content-Length", "3")], "'Content-Length' is set by the transport"),
        ([("transfer-encoding", "chunked")], "'transfer-encoding' is set by the transport"),
    ],
)
def test_headers_that_would_break_the_request_are_refused(transport, headers, words):
    with Server(answering(answer())) as server, pytest.raises(ConfigError, match=words):
        send(transport, post(server.url, headers=headers))
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "ftp://127.0.0.1/",
        "http://",
        "http:///path",
        "http://a b/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1\r\nX-A: b/",
        "http://user:password@127.0.0.1/",
    ],
)
def test_urls_that_are_not_plain_http_urls_are_refused(transport, url):
    with pytest.raises(ConfigError, match="URL") as caught:
        send(transport, url)
    assert "password@" not in str(caught.value)


def test_line_breaks_in_a_path_are_escaped_and_methods_are_checked(transport):
    with Server(answering(answer())) as server:
        send(transport, server.origin + "/a b\r\nX-A: c?d=\r\n\xe9")
        with pytest.raises(ConfigError, match="not an HTTP method"):
            send(transport, post(server.url, method="GET / HTTP/1.1\r\nX-A: b\r\n"))
    line = server.requests[0].split(b"\r\n")[0]
    assert line == b"POST /a%20b%0D%0AX-A:%20c?d=%0D%0A%C3%A9 HTTP/1.1"
    assert "x-a" not in dict(fields(server.requests[0]))


def test_a_key_with_a_line_break_is_refused_without_being_shown(transport):
    bad = (Credential("x-api-key", "", Secret(KEY + "\n")),)
    with pytest.raises(ConfigError, match="strip the white space") as caught:
        send(transport, "http://127.0.0.1:1/", credentials=bad)
    assert KEY not in exposed(caught.value)


FAILING = {
    "silent": (silent, DeadlineExceededError),
    "dripping": (dripping(HEAD, b"\r\n"), DeadlineExceededError),
    "closed": (closing(b""), ConnectionFailedError),
    "truncated": (closing(HEAD + b"Content-Length: 9\r\n\r\n"), ConnectionFailedError),
    "malformed": (closing(b"nonsense"), DecodeError),
    "too large": (closing(HEAD + b"Content-Length: 999999999\r\n\r\n"), ResponseTooLargeError),
}


@pytest.mark.parametrize("name", FAILING)
def test_errors_hold_no_secret_anywhere_and_pickle(transport, name, caplog, capfd):
    handler, kind = FAILING[name]
    caplog.set_level(logging.DEBUG)
    with Server(handler) as server, pytest.raises(kind) as caught:
        send(transport, server.url, seconds=0.2)
    assert KEY not in exposed(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert KEY not in caplog.text + "".join(capfd.readouterr())


def test_no_repr_of_the_transports_parts_shows_the_secret(transport):
    with Server(answering(answer())) as server:
        send(transport, server.url)
        parts = [transport, *transport._plans.values(), *transport._open]
        assert KEY not in "".join(map(repr, [*parts, transport._plans, vars(transport), BEARER]))
        for plan in transport._plans.values():
            assert KEY not in repr(plan.head.rendered(b"{}", 2))


def test_rendered_heads_are_shared_by_like_calls_and_bounded(transport):
    with Server(answering(answer())) as server:
        for _ in range(3):
            send(transport, server.url)
        assert len(transport._plans) == 1
        for number in range(300):
            send(transport, post(server.url, headers=[("X-Number", str(number))]))
        assert len(transport._plans) <= 256
    assert dict(fields(server.requests[-1]))["x-number"] == "299"
