"""TLS, CA bundles and proxies of the pooled transport, over loopback."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import warnings

import pytest
import trustme
from urllib3.exceptions import InsecureRequestWarning

from deluge_sync.engine import trust
from deluge_sync.engine.proxies import parsed_proxy, proxy_for
from deluge_sync.values.errors import (
    CallCancelledError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
)

from .transport_server import (
    GENEROUS,
    KEY,
    Server,
    answer,
    answering,
    cancel_at,
    close_all,
    exposed,
    fields,
    pooled,
    post,
    send,
    silent,
)

LOGIN = "user:p%40ss-word"
LOGIN_HEADER = "Basic " + base64.b64encode(b"user:p@ss-word").decode()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture(autouse=True)
def _nothing_stays_open():
    yield
    close_all()


@pytest.fixture(autouse=True)
def _no_variables_of_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in trust.BUNDLE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_tls_connections_are_verified_named_kept_and_speak_http_1(server_tls, bundle):
    names = []

    def note(sock, server):
        names.append((sock.version(), sock.selected_alpn_protocol()))
        answering(answer(b"hello"))(sock, server)

    server_tls.sni_callback = lambda _sock, name, _context: names.append(name)
    try:
        with Server(note, tls=server_tls) as server:
            transport = pooled(verify=bundle)
            for _ in range(3):
                assert send(transport, server.url).body == b"hello"
    finally:
        server_tls.sni_callback = None
    assert server.connections == 1
    assert names[0] == "localhost"
    assert names[1][1] != "h2"


def test_large_bodies_pass_through_tls(server_tls, bundle):
    body = bytes(range(256)) * 4_000

    def echo(sock, server):
        while request := server.read_request(sock):
            sock.sendall(answer(request.partition(b"\r\n\r\n")[2]))

    with Server(echo, tls=server_tls) as server:
        transport = pooled(verify=bundle)
        assert send(transport, post(server.url, body)).body == body
        assert send(transport, post(server.url, b"x")).body == b"x"
    assert server.connections == 1


@pytest.mark.parametrize("variable", trust.BUNDLE_VARIABLES)
def test_the_bundle_comes_from_the_environment(server_tls, bundle, monkeypatch, variable):
    monkeypatch.setenv(variable, bundle)
    with Server(answering(answer()), tls=server_tls) as server:
        assert send(pooled(), server.url).status == 200


def test_an_unknown_authority_is_refused_for_good_with_the_likely_fix(server_tls):
    expected = pytest.raises(ConnectionFailedError, match="REQUESTS_CA_BUNDLE")
    with Server(answering(answer()), tls=server_tls) as server, expected as caught:
        send(pooled(), server.url)
    assert not caught.value.retryable
    assert not server.requests
    assert KEY not in exposed(caught.value)


def test_a_certificate_for_another_host_is_refused(authority, bundle):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    expected = pytest.raises(ConnectionFailedError, match="not trusted")
    with Server(answering(answer()), tls=context) as server, expected as caught:
        send(pooled(verify=bundle), server.url)
    assert not caught.value.retryable
    assert not server.requests


def test_verify_false_connects_and_warns_once_a_process(server_tls, monkeypatch):
    monkeypatch.setattr(trust, "_warned", False)
    recording = warnings.catch_warnings(record=True)
    with Server(answering(answer()), tls=server_tls) as server, recording as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert send(pooled(verify=False), server.url).status == 200
    messages = [str(w.message) for w in caught if w.category is InsecureRequestWarning]
    assert len(messages) == 1
    assert messages[0].startswith("verify=False")


def test_a_bundle_that_is_missing_or_no_bundle_is_a_config_error(tmp_path, monkeypatch):
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for path in (str(tmp_path / "missing.pem"), str(junk)):
        with pytest.raises(ConfigError, match="verify: cannot use the CA bundle"):
            send(pooled(verify=path), "https://localhost:1/")
        monkeypatch.setenv("SSL_CERT_FILE", path)
        with pytest.raises(ConfigError, match="SSL_CERT_FILE: cannot use the CA bundle"):
            send(pooled(), "https://localhost:1/")


def test_a_server_without_tls_is_refused_for_good_with_the_likely_fix(bundle):
    def plain(sock, _server):
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 400 -\r\n\r\n")

    with Server(plain) as server, pytest.raises(ConnectionFailedError, match="http://") as caught:
        send(pooled(verify=bundle), f"https://localhost:{server.port}/")
    assert not caught.value.retryable


def test_a_handshake_that_never_ends_ends_at_the_deadline_or_by_a_cancel(bundle):
    def mute(_sock, server):
        server.released.wait(GENEROUS)

    transport = pooled(verify=bundle, connect_timeout=5 * GENEROUS)
    with Server(mute) as server:
        url = f"https://localhost:{server.port}/"
        with pytest.raises(DeadlineExceededError, match="while connecting"):
            send(transport, url, seconds=0.3)
        switch = cancel_at(server.connection_came)
        with pytest.raises(CallCancelledError):
            send(transport, url, seconds=5 * GENEROUS, cancellation=switch)
    assert not transport._open


def test_waiting_for_a_tls_answer_ends_at_the_deadline_or_by_a_cancel(server_tls, bundle):
    transport = pooled(verify=bundle)
    with Server(silent, tls=server_tls) as server:
        with pytest.raises(DeadlineExceededError, match="waiting for the first byte"):
            send(transport, server.url, seconds=0.5)
        switch = cancel_at(server.request_came)
        with pytest.raises(CallCancelledError):
            send(transport, server.url, seconds=5 * GENEROUS, cancellation=switch)


# Proxies


def tunnelling(status=200, *, login=None):
    """A handler that is an HTTP proxy for CONNECT."""

    def handle(sock, server):
        request = server.read_request(sock)
        target = request.split()[1].decode()
        if login and dict(fields(request)).get("proxy-authorization") != login:
            sock.sendall(answer(b"who are you?", status=407))
            return
        if status != 200:
            sock.sendall(answer(b"no", status=status))
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as onward:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, sock), daemon=True)
            back.start()
            pump(sock, onward)
            back.join()

    return handle


def pump(source, target):
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass
    for sock in (source, target):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def test_https_goes_through_a_tunnel_that_never_sees_the_key(server_tls, bundle, monkeypatch):
    proxy = Server(tunnelling(login=LOGIN_HEADER))
    with Server(answering(answer(b"hi")), tls=server_tls) as server, proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@127.0.0.1:{proxy.port}")
        transport = pooled(verify=bundle)
        for _ in range(2):
            assert send(transport, server.url).body == b"hi"
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
    assert KEY.encode() not in b"".join(proxy.requests)
    assert "proxy-authorization" not in dict(fields(server.requests[0]))


def test_https_goes_through_a_proxy_that_speaks_tls_itself(server_tls, bundle):
    proxy = Server(tunnelling(), tls=server_tls)
    with Server(answering(answer(b"hi")), tls=server_tls) as server, proxy:
        transport = pooled(verify=bundle, proxies={"https": proxy.origin})
        for _ in range(2):
            assert send(transport, server.url).body == b"hi"
        assert (proxy.connections, server.connections) == (1, 1)


def test_a_call_through_two_layers_of_tls_can_be_cancelled_and_has_a_deadline(server_tls, bundle):
    with Server(silent, tls=server_tls) as server, Server(tunnelling(), tls=server_tls) as proxy:
        transport = pooled(verify=bundle, proxies={"https": proxy.origin})
        with pytest.raises(DeadlineExceededError):
            send(transport, server.url, seconds=0.5)
        switch = cancel_at(server.request_came)
        with pytest.raises(CallCancelledError):
            send(transport, server.url, seconds=5 * GENEROUS, cancellation=switch)


@pytest.mark.parametrize("over_tls", [False, True])
def test_plain_http_is_handed_to_the_proxy_with_its_whole_url(server_tls, bundle, over_tls):
    tls = server_tls if over_tls else None
    with Server(answering(answer(b"by proxy")), tls=tls) as proxy:
        url = proxy.origin.replace("://", f"://{LOGIN}@")
        transport = pooled(verify=bundle, proxies={"http": url})
        for _ in range(2):
            assert send(transport, "http://llm.example:8080/v1?x=1").body == b"by proxy"
    line = proxy.requests[0].split(b"\r\n")[0]
    assert line == b"POST http://llm.example:8080/v1?x=1 HTTP/1.1"
    assert dict(fields(proxy.requests[0]))["host"] == "llm.example:8080"
    assert dict(fields(proxy.requests[0]))["proxy-authorization"] == LOGIN_HEADER
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("status", "retryable", "words"),
    [(407, False, "user:password@host"), (403, False, "answered 403"), (502, True, "502")],
)
def test_a_proxy_that_refuses_is_named_and_its_password_is_not(status, retryable, words):
    with Server(tunnelling(status)) as proxy:
        proxies = {"https": f"http://{LOGIN}@127.0.0.1:{proxy.port}"}
        with pytest.raises(ConnectionFailedError, match=words) as caught:
            send(pooled(proxies=proxies), "https://localhost:1/")
    assert caught.value.retryable is retryable
    assert f"127.0.0.1:{proxy.port}" in str(caught.value)
    assert caught.value.status is None
    for secret in ("p%40ss-word", "p@ss-word", LOGIN_HEADER, KEY):
        assert secret not in exposed(caught.value)


def test_a_proxy_that_drips_its_answer_ends_at_the_deadline():
    def drip(sock, server):
        server.read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
        while not server.released.wait(0.01):
            sock.sendall(b"a")

    with Server(drip) as proxy:
        transport = pooled(proxies={"https": f"127.0.0.1:{proxy.port}"})
        with pytest.raises(DeadlineExceededError, match="the proxy 127"):
            send(transport, "https://localhost:1/", seconds=0.3)


def test_a_proxy_that_sends_more_than_its_answer_is_refused():
    with Server(answering(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")) as proxy:
        transport = pooled(proxies={"https": f"http://127.0.0.1:{proxy.port}"})
        with pytest.raises(ConnectionFailedError):
            send(transport, "https://localhost:1/")


def test_a_proxy_that_cannot_be_found_is_not_retried(monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        ConnectionFailedError, match=r"proxy proxy\.invalid:3128 .*HTTPS_PROXY"
    ) as e:
        send(pooled(proxies={"all": "http://proxy.invalid:3128"}), "https://localhost/")
    assert not e.value.retryable


def test_no_proxy_is_obeyed(server_tls, bundle, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.org, localhost")
    with Server(answering(answer()), tls=server_tls) as server:
        assert send(pooled(verify=bundle), server.url).status == 200


@pytest.mark.parametrize(
    ("url", "environment", "proxies", "expected"),
    [
        ("https://a.example/", {}, None, None),
        ("https://a.example/", {"HTTPS_PROXY": "http://p:1"}, None, ("http", "p", 1)),
        ("https://a.example/", {"https_proxy": "p:1"}, None, ("http", "p", 1)),
        ("https://a.example/", {"ALL_PROXY": "https://p"}, None, ("https", "p", 443)),
        ("https://a.example/", {"HTTP_PROXY": "http://p:1"}, None, None),
        ("http://a.example/", {"HTTP_PROXY": "http://p"}, None, ("http", "p", 80)),
        ("http://10.1.2.3/", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, None, None),
        ("http://x.a.example/", {"HTTP_PROXY": "http://p", "NO_PROXY": ".a.example"}, None, None),
        ("http://a.example/", {"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, None, None),
        ("https://a.example/", {"HTTPS_PROXY": "http://p:1"}, {"https": "q:2"}, ("http", "q", 2)),
        ("https://a.example/", {"HTTPS_PROXY": "http://p:1"}, {"https": None}, None),
        ("https://a.example/", {"HTTPS_PROXY": "http://p:1"}, {"https": ""}, None),
        ("https://a.example/", {}, {"https://a.example": "q:2", "all": "r:3"}, ("http", "q", 2)),
        ("https://b.example/", {}, {"https://a.example": "q:2", "all": "r:3"}, ("http", "r", 3)),
        ("https://a.example/", {"HTTPS_PROXY": "http://[::1]:1"}, None, ("http", "::1", 1)),
    ],
)
def test_proxies_are_chosen_as_requests_chooses_them(
    monkeypatch, url, environment, proxies, expected
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url, proxies)
    assert (found and found[:3]) == expected
    assert proxy_for(url, proxies, use_environment=False) == (found if proxies else None)


def test_the_proxys_login_is_taken_from_its_url_and_not_shown():
    proxy = parsed_proxy(f"http://{LOGIN}@p:1")
    assert proxy.authorization is not None
    assert proxy.authorization.reveal() == LOGIN_HEADER
    assert LOGIN_HEADER not in repr(proxy)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://user:hunter2@p:1080", "'socks5' are not supported here"),
        ("http://user:hunter2@p:99999", "malformed"),
        ("http://", "malformed"),
    ],
)
def test_proxies_that_cannot_be_used_are_config_errors_without_the_password(url, words):
    with pytest.raises(ConfigError, match=words) as caught:
        send(pooled(proxies={"https": url}), "https://localhost:1/")
    assert "hunter2" not in exposed(caught.value)


def test_the_context_is_made_at_the_first_tls_connection_only(monkeypatch):
    made = []
    monkeypatch.setattr(trust, "create_urllib3_context", lambda **_: made.append(1))
    with Server(answering(answer())) as server, warnings.catch_warnings():
        send(pooled(), server.url)
    assert not made
