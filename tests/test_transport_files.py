"""Requests that send a file, and answers too large for memory, by both transports."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3 import Retry

from deluge_sync.cache import KeySpace
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.plain_parser import PlainParser
from deluge_sync.engine.sent_files import PIECE, SentFile
from deluge_sync.engine.session_transport import SessionTransport
from deluge_sync.signing import sign
from deluge_sync.values.errors import (
    CallCancelledError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    ResponseTooLargeError,
)
from deluge_sync.values.wire import FileBody

from .test_transport_stream import open_stream, rest, streamed
from .test_transport_tls import tunnelling
from .transport_server import (
    BEARER,
    GENEROUS,
    Server,
    answer,
    answering,
    cancel_at,
    close_all,
    fields,
    pooled,
    post,
    send,
)

LARGE = 32 << 20
BEFORE, AFTER = b"--b\r\nthe file:\r\n\r\n", b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def tls():
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(serving)
    with authority.cert_pem.tempfile() as bundle:
        yield serving, bundle


@pytest.fixture(params=["pooled", "session"])
def make(request, tls):
    """Makes a transport of each kind that trusts the test's authority."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = tls[1]

        def made(*, proxy=None, **options):
            if request.param == "pooled":
                proxies = {"https": proxy} if proxy else None
                return pooled(verify=tls[1], proxies=proxies, use_environment=False, **options)
            session.proxies = {"https": proxy} if proxy else {}
            return SessionTransport(session, **options)

        yield made
    close_all()


@pytest.fixture
def transport(make):
    return make()


@pytest.fixture
def large(tmp_path):
    return written(tmp_path, LARGE)


def written(folder, size):
    """A file of `size` bytes in which no piece is like another."""
    path = folder / "prompts.jsonl"
    with path.open("wb") as file:
        for number in range(0, size, PIECE):
            line = b"%016d" % number
            file.write((line * (PIECE // 16))[: size - number])
    return path


def posted(url, path, *, size=None, before=BEFORE, after=AFTER):
    size = path.stat().st_size if size is None else size
    return post(url, before)._replace(file=FileBody(str(path), size, after))


def whole(request):
    return request.body + Path(request.file.path).read_bytes() + request.file.after


def hashing(sock, server):
    """Answers with the length and the SHA-256 of each body, never held in memory."""
    while data := _head(sock):
        head, _, body = data.partition(b"\r\n\r\n")
        server.requests.append(head)
        size = int(dict(fields(data))["content-length"])
        digest = hashlib.sha256(body)
        left = size - len(body)
        while left > 0:
            piece = sock.recv(min(left, 1 << 20))
            if not piece:
                return
            left -= len(piece)
            digest.update(piece)
        sock.sendall(answer(b"%d %s" % (size, digest.hexdigest().encode())))


def _head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            return b""
        data += piece
    return data


def said(request):
    """What `hashing` answers to `request`."""
    body = whole(request)
    return b"%d %s" % (len(body), hashlib.sha256(body).hexdigest().encode())


def deaf(sock, server):
    """Reads a bit of the request and then nothing more."""
    sock.recv(1000)
    server.request_came.set()
    server.released.wait(GENEROUS)


# What is sent


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_large_file_arrives_whole_between_what_goes_before_and_after(
    transport, tls, large, over_tls
):
    with Server(hashing, tls=tls[0] if over_tls else None) as server:
        request = posted(server.url, large)
        expected = said(request)
        assert send(transport, request).body == expected
        assert streamed(transport, request) == (200, expected)
        assert send(transport, post(server.url, b"x")).status == 200
    assert server.connections == 1
    assert b"transfer-encoding" not in server.requests[0].lower()


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_large_file_goes_through_proxies(make, tls, large, over_tls):
    proxy = Server(tunnelling(), tls=tls[0] if over_tls else None)
    with Server(hashing, tls=tls[0]) as server, proxy:
        request = posted(server.url, large)
        assert send(make(proxy=proxy.origin), request).body == said(request)
    assert proxy.connections == 1


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1])
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"a", b""), (b"", bytes(PIECE + 5))])
def test_every_size_of_file_is_sent_with_or_without_a_frame(
    transport, tmp_path, size, before, after
):
    path = written(tmp_path, size)
    with Server(hashing) as server:
        request = posted(server.url, path, before=before, after=after)
        assert send(transport, request).body == said(request)
        assert send(transport, post(server.url, b"")).body.startswith(b"0 ")
    assert server.connections == 1


def test_what_is_added_to_a_file_meanwhile_is_not_sent(transport, tmp_path):
    path = written(tmp_path, 1000)
    with Server(hashing) as server:
        request = posted(server.url, path)
        expected = said(request)
        opened = SentFile(request)
        with path.open("ab") as file:
            file.write(b"more")
        assert hashlib.sha256(opened.read()).hexdigest() == expected.split()[1].decode()
        opened.close()
        with pytest.raises(ConfigError, match="has 1,004 bytes, not the 1,000"):
            send(transport, request)


def test_a_body_with_a_file_is_read_again_from_any_place(tmp_path):
    request = posted("http://a/", written(tmp_path, 1000))
    body = whole(request)
    opened = SentFile(request)
    assert len(opened) == request.size() == len(body)
    for start in (0, 3, len(BEFORE), len(BEFORE) + 500, len(BEFORE) + 1000, len(body) - 1):
        opened.seek(start)
        piece = opened.read(7)
        assert piece == body[start : start + len(piece)] != b""
        opened.seek(start)
        assert opened.read() == body[start:]
        assert opened.tell() == len(body)
    opened.close()


# Files that cannot be sent


def _missing(path):
    path.unlink()


def _folder(path):
    path.unlink()
    path.mkdir()


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing, "cannot be read: No such file"),
        (_folder, "is not a regular file"),
        (_pipe, "is not a regular file"),
        (lambda path: path.write_bytes(b"shorter"), "has 7 bytes, not the 1,000"),
    ],
)
def test_a_file_that_is_not_as_said_is_named_before_anything_is_sent(
    transport, tmp_path, spoil, words
):
    path = written(tmp_path, 1000)
    spoil(path)
    with Server(answering(answer())) as server:
        request = posted(server.url, path, size=1000)
        for call in (send, open_stream):
            with pytest.raises(ConfigError, match=f"{path.name} {words}"):
                call(transport, request)
    assert server.connections == 0


@pytest.mark.parametrize("call", [send, streamed])
def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(transport, large, call):
    shrunk, seen = threading.Event(), []

    def reading_on(sock, server):
        left = int(dict(fields(_head(sock)))["content-length"]) - 4096
        os.truncate(large, 24 << 20)
        shrunk.set()
        while left > 0 and (piece := sock.recv(1 << 20)):
            left -= len(piece)
        seen.append(left)

    with Server(reading_on) as server:
        with pytest.raises(ConfigError, match="cut short while it was sent: it had 33,554,432"):
            call(transport, posted(server.url, large))
        until = time.monotonic() + GENEROUS
        while not seen and time.monotonic() < until:
            time.sleep(0.005)
    assert seen[0] > 7 << 20


def test_no_file_stays_open_however_the_call_ends(transport, tmp_path):
    path = written(tmp_path, 1000)
    switch = Cancellation()
    switch.cancel()
    with Server(hashing) as server:
        send(transport, posted(server.url, path))
        rest(open_stream(transport, posted(server.url, path)))
        with pytest.raises(CallCancelledError):
            send(transport, posted(server.url, path), cancellation=switch)
        with pytest.raises(CallCancelledError):
            open_stream(transport, posted(server.url, path), cancellation=switch)
        with pytest.raises(ConfigError):
            send(transport, posted("ftp://a/b", path))
    assert str(path) not in {_linked(entry) for entry in Path("/proc/self/fd").iterdir()}


def _linked(entry):
    with suppress(OSError):
        return os.readlink(entry)


# Waiting


@pytest.mark.parametrize("over_tls", [False, True])
def test_the_deadline_ends_the_sending_of_a_file(transport, tls, large, over_tls):
    with Server(deaf, tls=tls[0] if over_tls else None) as server:
        for call in (send, open_stream):
            with pytest.raises(DeadlineExceededError, match="while sending the request"):
                call(transport, posted(server.url, large), seconds=0.3)


@pytest.mark.parametrize("over_tls", [False, True])
def test_cancelling_ends_the_sending_of_a_file(transport, tls, large, over_tls):
    with Server(deaf, tls=tls[0] if over_tls else None) as server:
        for call in (send, open_stream):
            switch = cancel_at(server.request_came)
            with pytest.raises(CallCancelledError):
                call(
                    transport, posted(server.url, large), seconds=5 * GENEROUS, cancellation=switch
                )


def test_a_server_that_dies_while_a_file_is_sent_is_a_connection_error(transport, large):
    def dying(sock, _server):
        sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with Server(dying) as server, pytest.raises(ConnectionFailedError) as caught:
        send(transport, posted(server.url, large))
    assert caught.value.retryable


# Answers that come early


def refusing(*headers, body=b"no"):
    """A handler that answers 413 as soon as it has the head, closes, and reads what is left."""

    def handle(sock, server):
        _head(sock)
        sock.sendall(answer(body, *headers, status=413))
        if not isinstance(sock, ssl.SSLSocket):  # its method would drop the TLS state
            sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass

    return handle


@pytest.mark.parametrize("over_tls", [False, True])
def test_an_answer_that_comes_before_the_file_is_sent_counts(transport, tls, large, over_tls):
    handler = refusing("Connection: close")
    with Server(handler, tls=tls[0] if over_tls else None) as server:
        assert send(transport, posted(server.url, large)).status == 413
        assert streamed(transport, posted(server.url, large)) == (413, b"no")


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_file_that_is_refused_is_sent_no_further_and_its_connection_not_used_again(
    tls, tmp_path, over_tls
):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(8 << 30)  # sparse: to send it all would take longer than the test may
    read = []

    def counting(sock, server):
        _head(sock)
        sock.sendall(answer(b"no", status=401))
        read.append(0)
        while piece := sock.recv(1 << 20):
            read[-1] += len(piece)

    transport = pooled(verify=tls[1], use_environment=False)
    with Server(counting, tls=tls[0] if over_tls else None) as server:
        request = posted(server.url, path)
        assert send(transport, request).status == 401
        assert streamed(transport, request) == (401, b"no")
        stream = open_stream(transport, request)
        stream.close()
        assert (stream.head.status, server.connections) == (401, 3)
        assert not transport._open
    assert max(read) < 1 << 30
    close_all()


def test_an_early_answer_without_a_length_ends_with_the_connection(large):
    def old(sock, _server):
        _head(sock)
        sock.sendall(b"HTTP/1.0 413 -\r\n\r\ntoo large")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass

    with Server(old) as server:
        response = send(pooled(use_environment=False), posted(server.url, large))
    assert (response.status, response.body) == (413, b"too large")
    close_all()


def test_an_informational_answer_does_not_stop_a_file(large):
    def continuing(sock, server):
        data = _head(sock)
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = int(dict(fields(data))["content-length"]) - len(data.partition(b"\r\n\r\n")[2])
        while left > 0:
            left -= len(sock.recv(1 << 20))
        sock.sendall(answer(b"all of it"))

    with Server(continuing) as server:
        request = posted(server.url, large)
        assert send(pooled(use_environment=False), request).body == b"all of it"
    close_all()


def test_the_rest_of_an_early_answer_does_not_make_its_connection_usable(large):
    head_read, sent = threading.Event(), threading.Event()

    def in_two(sock, server):
        _head(sock)
        sock.sendall(b"HTTP/1.1 401 -\r\nContent-Length: 2\r\n\r\n")
        head_read.wait(GENEROUS)
        sock.sendall(b"no")
        sent.set()
        server.released.wait(GENEROUS)

    transport = pooled(use_environment=False)
    with Server(in_two) as server:
        stream = open_stream(transport, posted(server.url, large))
        head_read.set()
        assert sent.wait(GENEROUS)
        stream.close()
        assert stream.head.status == 401
        assert not transport._open
    close_all()


# A session's own ways


def test_a_server_that_pauses_for_longer_than_connecting_may_take_gets_the_file(large):
    def pausing(sock, server):
        server.released.wait(0.5)
        hashing(sock, server)

    with requests.Session() as session, Server(pausing) as server:
        session.trust_env = False
        request = posted(server.url, large)
        response = send(SessionTransport(session, connect_timeout=0.1), request)
    assert response.body == said(request)


def test_retries_and_challenges_of_a_session_send_the_file_from_its_beginning(tmp_path):
    path = written(tmp_path, 3 * PIECE)
    challenge = 'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth"'

    def demanding(sock, server):
        data = _head(sock)
        body = data.partition(b"\r\n\r\n")[2]
        while len(body) < int(dict(fields(data))["content-length"]):
            body += sock.recv(1 << 20)
        server.requests.append(body)
        statuses = {1: 503, 2: 401}
        status = statuses.get(len(server.requests), 200)
        extra = (challenge, "Connection: close") if status == 401 else ("Connection: close",)
        sock.sendall(answer(b"ok", *extra, status=status))

    with requests.Session() as session, Server(demanding) as server:
        session.trust_env = False
        session.auth = HTTPDigestAuth("user", "password")
        retries = Retry(total=3, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
        session.mount("http://", HTTPAdapter(max_retries=retries))
        request = posted(server.url, path)
        response = send(SessionTransport(session), request, credentials=())
    expected = hashlib.sha256(whole(request)).digest()
    assert [hashlib.sha256(body).digest() for body in server.requests] == [expected] * 3
    assert response.status == 200


# Signatures, cache keys and estimates


def test_a_request_with_a_file_is_neither_signed_nor_given_a_key_by_part_of_its_body(tmp_path):
    request = posted("https://a/b", written(tmp_path, 10))
    with pytest.raises(ConfigError, match=r"prompts\.jsonl cannot be sent"):
        sign(request, None, "bedrock", "us-east-1")
    with pytest.raises(ConfigError, match="file"):
        KeySpace("owner", "https://a", "https://a").key(request)


# Large answers


@pytest.mark.parametrize("parser", [None, PlainParser])
def test_a_pooled_streams_own_cap_is_over_with_its_answer(parser):
    transport = pooled(parser=parser, max_response_bytes=1000, use_environment=False)
    with Server(answering(answer(b"a" * 5000))) as server:
        stream = open_stream_capped(transport, server.url, 5000)
        assert len(rest(stream)) == 5000
        with pytest.raises(ResponseTooLargeError, match="1,000"):
            send(transport, server.url)
        assert server.connections == 1
    close_all()


def open_stream_capped(transport, url, max_bytes):
    return transport.stream(
        post(url),
        credentials=BEARER,
        deadline=time.monotonic() + GENEROUS,
        silence=GENEROUS,
        cancellation=Cancellation(),
        max_bytes=max_bytes,
    )


def chunked(body):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def zipped(body):
    return answer(gzip.compress(body), "Content-Encoding: gzip")


@pytest.mark.parametrize("framed", [answer, chunked, zipped])
def test_a_stream_may_have_a_higher_or_a_lower_cap_than_its_transport(make, framed):
    transport = make(max_response_bytes=2000)
    with Server(answering(framed(b"a" * 3000))) as server:
        assert len(rest(open_stream_capped(transport, server.url, 3000))) == 3000
        for most, said_most in ((2999, "2,999"), (None, "2,000")):
            with pytest.raises(ResponseTooLargeError, match=said_most):
                rest(open_stream_capped(transport, server.url, most))
    with Server(answering(framed(b"a" * 1500))) as server:
        assert len(rest(open_stream_capped(transport, server.url, None))) == 1500
        with pytest.raises(ResponseTooLargeError, match="1,499"):
            rest(open_stream_capped(transport, server.url, 1499))
