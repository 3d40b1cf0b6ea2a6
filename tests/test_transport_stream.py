"""Streams over real sockets, by both transports: pieces as they come, and every way to end."""

from __future__ import annotations

import gc
import gzip
import logging
import pickle
import socket
import ssl
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests
import trustme
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.exchange import BodyDecoder, default_parser
from deluge_sync.engine.plain_parser import PlainParser
from deluge_sync.engine.session_transport import SessionTransport
from deluge_sync.values.errors import (
    CallCancelledError,
    CallError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    ResponseTooLargeError,
    TransientError,
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

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = OK + b"Content-Length: 9\r\n\r\n"
PIECES = (b"one", b"two", b"six")


@pytest.fixture(params=["pooled", "pooled, plain parser", "session"])
def make(request):
    """Makes a transport of each kind, with options both have."""
    with requests.Session() as session:
        session.trust_env = False

        def made(**options):
            if request.param == "session":
                return SessionTransport(session, **options)
            plain = request.param.endswith("parser")
            parser = PlainParser if plain else default_parser
            return pooled(parser=parser, use_environment=False, **options)

        yield made
    close_all()


@pytest.fixture
def transport(make):
    return make()


def open_stream(
    transport,
    request,
    *,
    seconds=GENEROUS,
    silence=GENEROUS,
    credentials=BEARER,
    cancellation=None,
):
    """`transport.stream` with a deadline in so many seconds."""
    return transport.stream(
        request if not isinstance(request, str) else post(request),
        credentials=credentials,
        deadline=time.monotonic() + seconds,
        silence=silence,
        cancellation=cancellation or Cancellation(),
    )


def rest(stream):
    """What is left of the body; the stream is closed."""
    try:
        return b"".join(iter(stream.read, b""))
    finally:
        stream.close()


def streamed(transport, request, **options):
    """Status and body of a whole stream."""
    stream = open_stream(transport, request, **options)
    return stream.head.status, rest(stream)


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Steps:
    """A handler that sends one of `pieces` at each `next`, then closes; `cut` is set as soon as it
    sees its connection closed, or at its end.
    """

    def __init__(self, *pieces):
        self.cut = threading.Event()
        self.sent = threading.Event()
        self._pieces = pieces
        self._turns = threading.Semaphore(0)

    def next(self):
        self._turns.release()

    def __call__(self, sock, server):
        server.read_request(sock)
        for piece in self._pieces:
            if not self._turns.acquire(timeout=GENEROUS):
                return
            sock.sendall(piece)
        self.sent.set()

    def then_listen(self, sock, server):
        """The same, but wait for the other side to close."""
        self(sock, server)
        sock.settimeout(GENEROUS)
        with suppress(ConnectionResetError):
            assert sock.recv(10) == b""
        self.cut.set()


FRAMED = {
    "chunked": (CHUNKED, *map(chunk, PIECES), b"0\r\n\r\n"),
    "one chunk": (CHUNKED + b"9\r\n", *PIECES, b"\r\n0\r\n\r\n"),
    "length": (LENGTH, *PIECES),
    "until the end": (OK + b"\r\n", *PIECES),
}

# Pieces


@pytest.mark.parametrize("name", FRAMED)
def test_the_head_and_every_piece_are_given_as_soon_as_they_come(transport, name):
    steps = Steps(*FRAMED[name])
    steps.next()
    with Server(steps) as server:
        before = time.time()
        stream = open_stream(transport, server.url)
        assert (stream.head.status, stream.head.body) == (200, b"")
        assert before <= stream.head.received_at <= time.time()
        for piece in PIECES:
            steps.next()
            assert stream.read() == piece
        steps.next()
        assert stream.read() == b""
        assert stream.read() == b""
        stream.close()
        stream.close()


def test_the_request_is_that_of_send_but_for_the_compression_it_asks_for(transport):
    with Server(answering(answer(b"hello", "X-A: 1", "x-a: 2"))) as server:
        stream = open_stream(transport, post(server.url, b'{"x": 1}'))
        assert rest(stream) == b"hello"
        send(transport, post(server.url, b'{"x": 1}'))
    assert stream.head.headers == {"content-length": "5", "x-a": "1, 2"}
    asked, plain = (dict(fields(request)) for request in server.requests)
    assert asked.pop("accept-encoding") == "identity"
    assert plain.pop("accept-encoding") == "gzip"
    assert asked == plain
    assert asked["authorization"] == f"Bearer {KEY}"


def test_a_compression_that_the_request_asks_for_itself_is_left_alone(transport):
    with Server(answering(answer())) as server:
        streamed(transport, post(server.url, headers=[("accept-encoding", "br")]))
    assert dict(fields(server.requests[0]))["accept-encoding"] == "br"


def test_bytes_that_come_with_the_head_are_the_first_piece(transport):
    with Server(answering(answer(b"hello"))) as server:
        stream = open_stream(transport, server.url)
        assert stream.read() == b"hello"
        assert stream.read() == b""
        stream.close()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (answer(b'{"error": 1}', "Retry-After: 2", status=500), (500, b'{"error": 1}')),
        (answer(b"moved", "Location: http://127.0.0.1:1/", status=307), (307, b"moved")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (answer(b""), (200, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"x"), (200, b"x")),
    ],
)
def test_every_status_gives_its_head_and_its_body(transport, data, expected):
    with Server(answering(data)) as server:
        assert streamed(transport, server.url) == expected
        assert streamed(transport, server.url) == expected
    assert server.connections == 1


def test_large_bodies_arrive_whole(transport):
    body = bytes(range(256)) * 4_000
    framed = CHUNKED + b"".join(chunk(body[i : i + 999]) for i in range(0, len(body), 999))
    with Server(answering(answer(body), framed + b"0\r\n\r\n")) as server:
        for _ in range(3):
            assert streamed(transport, post(server.url, body)) == (200, body)
    assert server.connections == 1


def test_an_early_answer_to_a_body_that_was_not_read_counts():
    def too_large(sock, _server):
        sock.recv(1000)
        sock.sendall(answer(b"too large", "Connection: close", status=413))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1_000_000):
            pass

    with Server(too_large) as server:
        assert streamed(pooled(), post(server.url, bytes(3_000_000))) == (413, b"too large")
    close_all()


# Keeping the connection


def test_a_connection_is_used_again_after_a_stream_that_was_read_to_its_end(transport):
    data = CHUNKED + chunk(b"hello") + b"0\r\n\r\n"
    with Server(answering(data)) as server:
        for _ in range(3):
            assert streamed(transport, server.url) == (200, b"hello")
            assert send(transport, server.url).body == b"hello"
    assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        answer(b"ok", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        answer() + b"x",
        answer() + answer(b"of another prompt"),
    ],
)
def test_a_connection_is_not_used_again_when_the_answer_forbids_or_spoils_it(data):
    with Server(answering(data)) as server:
        for _ in range(3):
            assert streamed(pooled(), server.url) == (200, b"ok")
    close_all()
    assert server.connections == 3


def test_a_stream_that_was_read_leaves_nothing_to_interrupt(transport):
    switch = Cancellation()
    with Server(answering(answer())) as server:
        streamed(transport, server.url, cancellation=switch)
        assert not switch._interrupters
        switch.cancel()
        assert streamed(transport, server.url) == (200, b"ok")
    assert server.connections == 1


def test_a_connection_is_used_again_when_the_end_of_the_body_came_before_the_close():
    transport = pooled(use_environment=False)
    turn, sent = threading.Semaphore(0), threading.Semaphore(0)

    def handle(sock, server):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while server.read_request(sock):
            sock.sendall(CHUNKED + chunk(b"data: [DONE]"))
            assert turn.acquire(timeout=GENEROUS)
            sock.sendall(b"0\r\n\r\n")
            sent.release()

    with Server(handle) as server:
        for _ in range(3):
            stream = open_stream(transport, server.url)
            assert stream.read() == b"data: [DONE]"
            turn.release()
            assert sent.acquire(timeout=GENEROUS)
            stream.close()
    assert server.connections == 1
    close_all()


@pytest.mark.parametrize("name", FRAMED)
def test_closing_early_cuts_the_connection_at_once(transport, name):
    steps = Steps(*FRAMED[name][:2])
    steps.next()
    steps.next()
    with Server(steps.then_listen) as server:
        stream = open_stream(transport, server.url)
        assert stream.read() == PIECES[0]
        stream.close()
        assert steps.cut.wait(GENEROUS)
        with pytest.raises(CallCancelledError):
            stream.read()
        stream.close()
    assert nothing_is_open(transport)


def test_closing_before_the_first_read_cuts_the_connection_at_once(transport):
    steps = Steps(CHUNKED)
    steps.next()
    with Server(steps.then_listen) as server:
        open_stream(transport, server.url).close()
        assert steps.cut.wait(GENEROUS)
    assert nothing_is_open(transport)


def test_a_stream_that_is_dropped_cuts_its_connection(transport):
    steps = Steps(CHUNKED)
    steps.next()
    with Server(steps.then_listen) as server:
        stream = open_stream(transport, server.url)
        del stream
        gc.collect()
        assert steps.cut.wait(GENEROUS)
    assert nothing_is_open(transport)


def nothing_is_open(transport):
    open_ones = getattr(transport, "_open", None)
    return not (transport._flights if open_ones is None else open_ones)


# Answers that are cut short or broken


def ending(sock, server, data):
    server.read_request(sock)
    sock.sendall(data)


@pytest.mark.parametrize(
    "whole",
    [
        CHUNKED + chunk(b"hello") + chunk(b"you") + b"0\r\n\r\n",
        CHUNKED + chunk(b"hello") + b"0\r\nX-Sum: 1\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\nhello",
    ],
    ids=["chunked", "trailers", "length"],
)
def test_an_answer_cut_at_any_byte_is_a_connection_error(transport, whole):
    cuts = iter(range(len(whole)))
    with Server(lambda sock, server: ending(sock, server, whole[: next(cuts)])) as server:
        for _ in range(len(whole)):
            with pytest.raises(ConnectionFailedError) as caught:
                streamed(transport, server.url)
            assert caught.value.retryable
            assert caught.value.may_have_been_sent
    assert nothing_is_open(transport)


def test_a_connection_that_is_reset_in_the_middle_is_a_connection_error(transport):
    steps = Steps(CHUNKED + chunk(b"one"))

    def reset(sock, server):
        steps(sock, server)
        steps.next()
        server.request_came.clear()
        server.request_came.wait(0.05)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    steps.next()
    with Server(reset) as server:
        stream = open_stream(transport, server.url)
        with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1"):
            rest(stream)


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", (DecodeError, ConnectionFailedError)),
        (CHUNKED + b"xyz\r\nhello", (DecodeError, ConnectionFailedError)),
        (OK + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc", DecodeError),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", DecodeError),
    ],
)
def test_broken_answers_are_typed_errors(transport, data, kinds):
    with Server(closing(data)) as server, pytest.raises(kinds) as caught:
        streamed(transport, server.url)
    assert caught.value.retryable


def test_nobody_listening_is_a_connection_error_of_a_request_that_was_not_sent(make):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match="refused"):
        open_stream(make(), f"http://127.0.0.1:{port}/")
    with pytest.raises(ConnectionFailedError) as caught:
        open_stream(pooled(), f"http://127.0.0.1:{port}/")
    assert not caught.value.may_have_been_sent


def test_what_cannot_be_sent_is_a_config_error(transport):
    with pytest.raises(ConfigError, match="malformed"):
        open_stream(transport, "nonsense")
    bad = (Credential("x-api-key", "", Secret(KEY + "\n")),)
    with pytest.raises(ConfigError, match="strip the white space") as caught:
        open_stream(transport, "http://127.0.0.1:1/", credentials=bad)
    assert KEY not in exposed(caught.value)


# Encodings and caps


def deflated(data, window_bits, *, level=9):
    """Pieces of a compressed stream, flushed after each of `data`."""
    packer = zlib.compressobj(level, zlib.DEFLATED, window_bits)
    pieces = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in data]
    return [*pieces[:-1], pieces[-1] + packer.flush()]


@pytest.mark.parametrize(
    ("coding", "window_bits"), [("gzip", 31), ("deflate", 15), ("Deflate", -15), ("x-gzip", 31)]
)
def test_compressed_pieces_are_given_as_soon_as_they_come(transport, coding, window_bits):
    head = CHUNKED[:-2] + b"Content-Encoding: %s\r\n\r\n" % coding.encode()
    steps = Steps(*map(chunk, deflated(PIECES, window_bits)), b"0\r\n\r\n")
    with Server(lambda sock, server: (sock.sendall(head), steps(sock, server))) as server:
        stream = open_stream(transport, server.url)
        for piece in PIECES:
            steps.next()
            assert stream.read() == piece
        steps.next()
        assert rest(stream) == b""


@pytest.mark.parametrize("body", [b"", b"0"])
def test_an_empty_body_needs_no_encoding_and_a_truncated_one_is_an_error(transport, body):
    packed = gzip.compress(body)
    coding = "Content-Encoding: gzip"
    with Server(answering(answer(b"", coding), answer(packed[:-1], coding))) as server:
        assert streamed(transport, server.url) == (200, b"")
        with pytest.raises(DecodeError, match="not proper gzip"):
            streamed(transport, server.url)


@given(
    body=st.binary(max_size=300),
    cuts=st.sets(st.integers(0, 400)),
    kind=st.sampled_from(["gzip", "two members", "deflate", "bare deflate", "identity"]),
)
def test_decoding_is_the_same_wherever_the_body_is_cut(body, cuts, kind):
    packed = {
        "gzip": gzip.compress(body),
        "two members": gzip.compress(body[:100]) + gzip.compress(body[100:]),
        "deflate": zlib.compress(body),
        "bare deflate": zlib.compress(body)[2:-4],
        "identity": body,
    }[kind]
    coding = {"two members": "gzip", "bare deflate": "deflate"}.get(kind, kind)
    decoder = BodyDecoder(coding, 300)
    edges = [0, *sorted(cut for cut in cuts if cut < len(packed)), len(packed)]
    assert b"".join(decoder.feed(packed[a:b]) for a, b in zip(edges, edges[1:])) == body
    decoder.finish()


def test_both_sizes_are_capped(make):
    transport = make(max_response_bytes=1000)
    coding = "Content-Encoding: gzip"
    fitting = [answer(b"a" * 1000), answer(gzip.compress(b"a" * 1000), coding)]
    too_large = [
        answer(b"a" * 1001),
        answer(b"a" * 1001, "Location: /elsewhere", status=302),
        answer(gzip.compress(b"a" * 1001), coding),
        CHUNKED + chunk(b"a" * 900) + chunk(b"a" * 101) + b"0\r\n\r\n",
        OK + b"\r\n" + b"a" * 1001,
    ]
    for data in fitting:
        with Server(answering(data)) as server:
            assert streamed(transport, server.url) == (200, b"a" * 1000)
    for data in too_large:
        with Server(closing(data)) as server, pytest.raises(ResponseTooLargeError):
            streamed(transport, server.url)


# Deadlines and silence


WAITS = {
    "no head": (silent, "while waiting for the (first byte|head) of the answer"),
    "half a head": (
        lambda sock, server: (sock.sendall(OK + b"X-A: b"), silent(sock, server)),
        "while (reading|waiting for) the head",
    ),
    "no body": (
        lambda sock, server: (sock.sendall(CHUNKED), silent(sock, server)),
        "while reading the body, 0 bytes so far",
    ),
    "half a body": (
        lambda sock, server: (sock.sendall(LENGTH + b"half"), silent(sock, server)),
        "while reading the body, 4 bytes so far",
    ),
    "until the end": (
        lambda sock, server: (sock.sendall(OK + b"\r\nhalf"), silent(sock, server)),
        "while reading the body, 4 bytes so far",
    ),
}


@pytest.mark.parametrize("name", WAITS)
def test_silence_is_an_error_that_may_be_retried_and_says_so(transport, name):
    handler, where = WAITS[name]
    words = pytest.raises(TransientError, match=f"nothing came for 0.2 s {where}")
    with Server(handler) as server, words as caught:
        streamed(transport, server.url, silence=0.2)
    assert type(caught.value) is TransientError
    assert nothing_is_open(transport)


@pytest.mark.parametrize("name", WAITS)
def test_the_deadline_ends_every_wait_that_silence_would_not(transport, name):
    handler, where = WAITS[name]
    words = pytest.raises(DeadlineExceededError, match=f"the deadline passed {where}")
    with Server(handler) as server, words:
        streamed(transport, server.url, seconds=0.2)
    assert nothing_is_open(transport)


@pytest.mark.parametrize(
    "first",
    [OK + b"X-A: ", LENGTH[:-5] + b"99999\r\n\r\n", OK + b"\r\n", CHUNKED + b"ffff\r\n"],
    ids=["head", "length", "until the end", "chunk"],
)
def test_a_server_that_is_never_silent_is_left_at_the_deadline(transport, first):
    started = time.monotonic()
    with Server(dripping(first)) as server, pytest.raises(DeadlineExceededError):
        streamed(transport, server.url, seconds=0.3, silence=0.2)
    assert time.monotonic() - started < GENEROUS / 2


def test_silence_is_measured_anew_for_each_wait(transport):
    def slow(sock, server):
        for piece in FRAMED["chunked"]:
            server.released.wait(0.1)
            sock.sendall(piece)

    with Server(slow) as server:
        assert streamed(transport, server.url, silence=0.35) == (200, b"onetwosix")


def test_a_deadline_in_the_past_sends_nothing(transport):
    with Server(answering(answer())) as server, pytest.raises(DeadlineExceededError):
        open_stream(transport, server.url, seconds=-1)
    assert not server.requests


@pytest.mark.parametrize("readers", ["main", "worker"])
def test_a_stream_may_be_read_by_another_thread_than_opened_it(transport, readers):
    steps = Steps(CHUNKED + chunk(b"one"))
    steps.next()
    with Server(steps.then_listen) as server, ThreadPoolExecutor(1) as pool:

        def elsewhere(work, *arguments, **options):
            return pool.submit(work, *arguments, **options).result(GENEROUS)

        def here(work, *arguments, **options):
            return work(*arguments, **options)

        opens, reads = (elsewhere, here) if readers == "main" else (here, elsewhere)
        stream = opens(open_stream, transport, server.url, silence=0.2)
        assert reads(stream.read) == b"one"
        with pytest.raises(TransientError, match=r"nothing came for 0\.2 s"):
            reads(stream.read)


# Cancelling


def test_cancelling_wakes_who_waits_for_the_head(transport):
    with Server(silent) as server:
        switch = cancel_at(server.request_came)
        with pytest.raises(CallCancelledError):
            open_stream(transport, server.url, seconds=5 * GENEROUS, cancellation=switch)
    assert nothing_is_open(transport)


@pytest.mark.parametrize("name", FRAMED)
def test_cancelling_wakes_who_waits_for_a_piece_and_cuts_the_connection(transport, name):
    steps = Steps(*FRAMED[name][:2])
    switch = cancel_at(steps.sent)
    steps.next()
    steps.next()
    with Server(steps.then_listen) as server:
        stream = open_stream(
            transport, server.url, seconds=5 * GENEROUS, silence=5 * GENEROUS, cancellation=switch
        )
        with pytest.raises(CallCancelledError):
            rest(stream)
        assert steps.cut.wait(GENEROUS)
    assert nothing_is_open(transport)


def test_cancelling_between_two_reads_cuts_the_connection_at_once(transport):
    switch = Cancellation()
    steps = Steps(CHUNKED + chunk(b"one"), chunk(b"two"))
    steps.next()
    with Server(steps.then_listen) as server:
        stream = open_stream(transport, server.url, cancellation=switch)
        assert stream.read() == b"one"
        steps.next()
        assert steps.sent.wait(GENEROUS)
        switch.cancel()
        assert steps.cut.wait(GENEROUS)
        with pytest.raises(CallCancelledError):
            stream.read()
    assert nothing_is_open(transport)


def test_a_cancelled_stream_is_not_sent(transport):
    switch = Cancellation()
    switch.cancel()
    with Server(answering(answer())) as server, pytest.raises(CallCancelledError):
        open_stream(transport, server.url, cancellation=switch)
    assert server.connections == 0


def test_closing_the_transport_wakes_streams_and_cancels_later_ones(transport):
    steps = Steps(CHUNKED)
    steps.next()
    with Server(steps.then_listen) as server:
        stream = open_stream(transport, server.url)
        closer = threading.Thread(target=transport.close)
        closer.start()
        with pytest.raises(CallCancelledError):
            rest(stream)
        closer.join(GENEROUS)
        assert steps.cut.wait(GENEROUS)
        with pytest.raises(CallCancelledError):
            open_stream(transport, server.url)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("fatal", [b"HTTP/1.1", b"one"], ids=["head", "body"])
def test_interrupts_close_the_connection_and_pass_through(kind, fatal):
    class Interrupted(PlainParser):
        def feed_data(self, data):
            if fatal in data:
                raise kind
            super().feed_data(data)

    transport = pooled(parser=Interrupted, use_environment=False)
    steps = Steps(CHUNKED, chunk(b"one"))
    steps.next()

    def read_all():
        try:
            stream = open_stream(transport, server.url)
        finally:
            steps.next()
        rest(stream)

    with Server(steps.then_listen) as server:
        with pytest.raises(kind):
            read_all()
        assert steps.cut.wait(GENEROUS)
    assert nothing_is_open(transport)
    close_all()


# Secrets


FAILING = {
    "no head": (silent, TransientError),
    "no body": (WAITS["no body"][0], TransientError),
    "cut head": (closing(OK), ConnectionFailedError),
    "cut body": (closing(CHUNKED + chunk(b"one")), ConnectionFailedError),
    "malformed": (closing(b"nonsense"), CallError),
    "too large": (closing(OK + b"Content-Length: 999999999\r\n\r\n"), CallError),
    "damaged": (closing(answer(b"abc", "Content-Encoding: gzip")), DecodeError),
}


@pytest.mark.parametrize("name", FAILING)
def test_errors_hold_no_secret_anywhere_and_pickle(transport, name, caplog, capfd):
    handler, kind = FAILING[name]
    caplog.set_level(logging.DEBUG, logger="deluge_sync")
    with Server(handler) as server, pytest.raises(kind) as caught:
        streamed(transport, server.url, silence=0.1)
    assert KEY not in exposed(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert KEY not in caplog.text + "".join(capfd.readouterr())


# TLS, proxies, adapters


def test_streams_pass_through_tls_and_are_cut_at_once(tmp_path):
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(bundle)
        for transport in (pooled(verify=str(bundle)), SessionTransport(session)):
            steps = Steps(CHUNKED, chunk(b"one"), chunk(b"two"))
            steps.next()
            with Server(steps.then_listen, tls=context) as server:
                stream = open_stream(transport, server.url)
                for piece in (b"one", b"two"):
                    steps.next()
                    assert stream.read() == piece
                stream.close()
                assert steps.cut.wait(GENEROUS)
            with Server(silent, tls=context) as server:
                with pytest.raises(TransientError, match=r"nothing came for 0\.2 s"):
                    open_stream(transport, server.url, silence=0.2)
                switch = cancel_at(server.request_came)
                with pytest.raises(CallCancelledError):
                    open_stream(transport, server.url, cancellation=switch)
            with Server(answering(answer(b"hi")), tls=context) as server:
                assert streamed(transport, server.url) == (200, b"hi")
                assert streamed(transport, server.url) == (200, b"hi")
            assert server.connections == 1
    close_all()


def test_a_proxy_is_handed_streams_too():
    with Server(answering(answer(b"by proxy"))) as proxy:
        transport = pooled(proxies={"http": proxy.origin})
        assert streamed(transport, "http://llm.example/v1") == (200, b"by proxy")
    assert proxy.requests[0].startswith(b"POST http://llm.example/v1 HTTP/1.1\r\n")
    close_all()


def test_adapters_that_are_not_requests_own_stream_what_they_have():
    class Canned(BaseAdapter):
        def send(self, request, *, stream=False, timeout=None, **_kwargs):
            assert stream
            assert timeout[1] <= 1.5
            response = requests.Response()
            response.status_code = 200
            response.url, response.request = request.url, request
            response.raw = self
            return response

        def __init__(self):
            super().__init__()
            self._left = [b"hel", b"lo"]

        def read(self, _size):
            return self._left.pop(0) if self._left else b""

        def close(self):
            pass

    with requests.Session() as session:
        session.mount("http://llm.example", Canned())
        transport = SessionTransport(session)
        stream = open_stream(transport, "http://llm.example/v1", silence=1.5)
        assert [*iter(stream.read, b"")] == [b"hel", b"lo"]
        stream.close()
