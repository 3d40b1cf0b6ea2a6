"""Files fetched by us: what is asked of whom, and what is taken. Over real local servers."""

from __future__ import annotations

import errno
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync import Conversation, Message, PromptError
from deluge_sync import fetching as module
from deluge_sync.engine import trust
from deluge_sync.engine.addresses import is_loopback, is_public
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.fetching import Fetcher
from deluge_sync.values.errors import CallCancelledError, DeadlineExceededError
from deluge_sync.values.media import Audio, File, Image

from .transport_server import (
    GENEROUS,
    Server,
    answer,
    answering,
    cancel_at,
    dripping,
    fields,
    silent,
)

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
PDF = b"%PDF-1.7 document"
WAV = b"RIFF\x00\x00\x00\x00WAVEsound"
LONG_FILE = b"HTTP/1.1 200 -\r\nContent-Length: 1000\r\n\r\n"
SECRET = "sig=do-not-log-me"

getaddrinfo = socket.getaddrinfo


@pytest.fixture(autouse=True)
def _no_variables_of_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in trust.BUNDLE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.example").configure_cert(context)
    return context


@pytest.fixture
def bundle(authority, tmp_path):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def get(part: Any, *, seconds: float = GENEROUS, cancellation: Any = None, **options: Any) -> Any:
    """`part` fetched from this machine, where nothing else is said."""
    fetcher = Fetcher(**{"allow_loopback": True, **options})
    return fetcher.fetched(
        part,
        deadline=time.monotonic() + seconds,
        cancellation=cancellation or Cancellation(),
    )


def image(server: Any, path: str = "/a.png", **fields: Any) -> Image:
    return Image(url=server.origin + path, fetch=True, **fields)


def names_lead_to(monkeypatch: pytest.MonkeyPatch, *answers: list[tuple[str, int]]) -> list[str]:
    """Let look-ups give `answers` in turn, and the last one for ever; gives the names asked for."""
    asked: list[str] = []
    left = list(answers)

    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [info for ip, to in found for info in getaddrinfo(ip, to, 0, socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


# What is asked, and what comes of it


def test_a_picture_is_fetched_with_one_plain_request_and_takes_the_place_of_its_url():
    with Server(answering(answer(PNG))) as server:
        part = get(image(server, f"/dir/a.png?{SECRET}", detail="low"))
    assert part == Image(data=PNG, media_type="image/png", detail="low")
    head = server.requests[0].split(b"\r\n")[0]
    assert head == f"GET /dir/a.png?{SECRET} HTTP/1.1".encode()
    assert fields(server.requests[0]) == [
        ("host", f"127.0.0.1:{server.port}"),
        ("user-agent", module.USER_AGENT),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
    ]


@pytest.mark.parametrize(
    ("part", "path", "body", "expected"),
    [
        (Image, "/a", PNG, Image(data=PNG, media_type="image/png")),
        (Audio, "/a", WAV, Audio(data=WAV, media_type="audio/wav")),
        (File, "/a%20b.pdf?x=.txt", PDF, File(PDF, media_type="application/pdf", name="a b.pdf")),
        (File, "/a%0d%0ab.pdf", PDF, File(PDF, media_type="application/pdf")),
        (File, "/..%2f..%2fetc.pdf", PDF, File(PDF, media_type="application/pdf")),
        (File, "/a.png", PNG, File(PNG, media_type="image/png", name="a.png")),
        (File, "/a.csv", b"x,y", File(b"x,y", media_type="text/csv", name="a.csv")),
        (File, "/", "né".encode(), File("né".encode(), media_type="text/plain")),
    ],
)
def test_what_a_file_is_its_content_says(part, path, body, expected):
    with Server(answering(answer(body, "Content-Type: application/octet-stream"))) as server:
        assert get(part(url=server.origin + path, fetch=True)) == expected


@pytest.mark.parametrize(
    ("promised", "body", "kind"),
    [
        ("image/jpg", b"\xff\xd8\xff...", "image/jpeg"),
        ("application/pdf", PDF, "application/pdf"),
        ("application/json", b"{}", "application/json"),
        ("text/markdown; charset=utf-8", b"# x", "text/markdown"),
    ],
)
def test_the_promised_type_may_be_written_as_people_write_it(promised, body, kind):
    with Server(answering(answer(body))) as server:
        part = get(File(url=server.url, fetch=True, media_type=promised))
    assert part.media_type == kind


@pytest.mark.parametrize(
    ("part", "promised", "body", "said"),
    [
        (Image, "", b"<html>Please log in</html>", "not a picture"),
        (Image, "", PDF, "application/pdf, not a picture"),
        (Image, "image/png", b"GIF89a...", "image/gif, not image/png"),
        (Audio, "", PNG, "image/png, not a sound"),
        (File, "application/pdf", b"<html>Please log in</html>", "not application/pdf"),
        (File, "", b"PK\x03\x04\x00\x00", "an unknown kind of file, not a PDF"),
        (File, "", b"\xff\xfe\x00", "an unknown kind of file"),
        (File, "", WAV, "audio/wav, not a PDF"),
        (Image, "", b"", "the file is empty"),
    ],
)
def test_what_is_not_what_was_promised_is_refused(part, promised, body, said):
    with Server(answering(answer(body))) as server, pytest.raises(PromptError, match=said):
        get(part(url=f"{server.url}?{SECRET}", fetch=True, media_type=promised))


def test_a_part_that_is_not_to_be_fetched_is_left_alone():
    part = Image(url="https://pictures.example/a.png")
    assert get(part) is part


# Who is asked


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_an_address_that_is_not_public_is_refused_however_it_is_written(host, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect_ex", forbidden)
    with Server(answering(answer(PNG))) as server:
        url = f"https://{host}:{server.port}/a.png?{SECRET}"
        with pytest.raises(PromptError) as caught:
            Fetcher().fetched(
                Image(url=url, fetch=True), deadline=in_time(), cancellation=Cancellation()
            )
    assert host.strip("[]") in str(caught.value)
    assert SECRET not in str(caught.value)
    assert server.connections == 0


def forbidden(*_: Any) -> int:
    raise AssertionError("nothing may be connected to")


def in_time() -> float:
    return time.monotonic() + GENEROUS


ipv4 = st.ip_addresses(v=4)
special4 = st.one_of(
    *(
        st.ip_addresses(network=network)
        for network in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16")
    )
)


@given(st.one_of(ipv4, special4))
def test_an_ipv4_address_is_as_public_in_every_other_spelling(address):
    plain = is_public(str(address))
    for spelling in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(spelling) == plain
        assert is_loopback(spelling) == address.is_loopback
    for spelling in (f"::{address}", f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::"):
        assert not is_public(spelling)


@given(st.one_of(ipv4, special4, st.ip_addresses(v=6)))
def test_only_what_python_calls_global_is_public(address):
    if is_public(str(address)):
        plain = getattr(address, "ipv4_mapped", None) or address
        assert plain.is_global
        assert not plain.is_multicast


@given(st.ip_addresses(network=ipaddress.ip_network("2a00::/12")), st.text(max_size=5))
def test_an_address_with_a_scope_or_anything_else_is_not_public(address, more):
    assert is_public(str(address))
    assert not is_public(f"{address}%{more}")


def test_a_name_that_leads_elsewhere_the_second_time_is_looked_up_once(monkeypatch):
    asked = names_lead_to(monkeypatch, [("8.8.8.8", 443)], [("127.0.0.1", 443)])
    tried: list[Any] = []

    def refuse(_: Any, address: Any) -> int:
        tried.append(address)
        return errno.ECONNREFUSED

    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    part = Image(url=f"https://pictures.example/a.png?{SECRET}", fetch=True)
    with pytest.raises(PromptError, match=r"pictures\.example.*refused") as caught:
        Fetcher().fetched(part, deadline=in_time(), cancellation=Cancellation())
    assert SECRET not in str(caught.value)
    assert asked == ["pictures.example"]
    assert tried == [("8.8.8.8", 443)]


def test_the_looked_at_address_is_connected_to_under_the_name_of_the_url(
    monkeypatch, server_tls, bundle
):
    names = []
    server_tls.sni_callback = lambda _sock, name, _context: names.append(name)
    try:
        with Server(answering(answer(PNG)), tls=server_tls) as server, Server(silent) as other:
            asked = names_lead_to(
                monkeypatch, [("127.0.0.1", server.port)], [("127.0.0.1", other.port)]
            )
            part = Image(url=f"https://pictures.example:{server.port}/a.png", fetch=True)
            assert get(part, trust=trust.Trust(bundle)).data == PNG
            assert other.connections == 0
    finally:
        server_tls.sni_callback = None
    assert asked == names == ["pictures.example"]
    assert fields(server.requests[0])[0] == ("host", f"pictures.example:{server.port}")


def test_a_certificate_for_another_name_is_refused(monkeypatch, server_tls, bundle):
    with Server(answering(answer(PNG)), tls=server_tls) as server:
        names_lead_to(monkeypatch, [("127.0.0.1", server.port)])
        part = Image(url=f"https://other.example:{server.port}/a.png", fetch=True)
        with pytest.raises(PromptError, match=r"certificate of other\.example"):
            get(part, trust=trust.Trust(bundle))
    assert server.requests == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch):
    names_lead_to(monkeypatch, [("8.8.8.8", 443), ("10.0.0.1", 443)])
    monkeypatch.setattr(socket.socket, "connect_ex", forbidden)
    with pytest.raises(PromptError, match=r"10\.0\.0\.1 is not on the public Internet"):
        get(Image(url="https://pictures.example/a.png", fetch=True))


def test_plain_http_is_for_this_machine_and_only_where_the_caller_allows_it(monkeypatch):
    part = Image(url="http://pictures.example/a.png", fetch=True)
    monkeypatch.setattr(socket.socket, "connect_ex", forbidden)
    with pytest.raises(PromptError, match=r"pictures\.example.*https only"):
        get(part, allow_loopback=False)
    names_lead_to(monkeypatch, [("8.8.8.8", 80)])
    with pytest.raises(PromptError, match=r"8\.8\.8\.8"):
        get(part)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    with Server(answering(answer(PNG))) as other:
        location = f"Location: {other.origin}/?{SECRET}"
        moved = answer(PNG, location, status=status)
        said = f"{status}: redirects are not followed"
        with Server(answering(moved)) as server, pytest.raises(PromptError, match=said) as caught:
            get(image(server))
        assert other.connections == 0
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [201, 204, 206, 403, 404, 500])
def test_any_status_but_200_is_no_file(status):
    said = rf"127\.0\.0\.1.*answered {status}"
    refused = answer(PNG, status=status)
    with Server(answering(refused)) as server, pytest.raises(PromptError, match=said):
        get(image(server))


def test_where_a_proxy_is_configured_nothing_is_fetched_past_it_or_through_it(monkeypatch):
    with Server(answering(answer(PNG))) as server, Server(answering(answer(PNG))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        with pytest.raises(PromptError, match=r"127\.0\.0\.1.*through a proxy"):
            get(image(server))
        with pytest.raises(PromptError, match="through a proxy"):
            get(image(server), use_environment=False, proxies={"all": proxy.origin})
        assert (server.connections, proxy.connections) == (0, 0)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert get(image(server)).data == PNG


@pytest.mark.parametrize("url", ["https://user:password@pictures.example/", "https://[::1/a"])
def test_a_url_that_cannot_be_used_is_named_without_its_secrets(url):
    with pytest.raises(PromptError, match="cannot be fetched") as caught:
        get(Image(url=url, fetch=True))
    assert "password@" not in str(caught.value)


# How much, and how long


@pytest.mark.parametrize(
    "sent",
    [
        answer(PNG + bytes(2_000)),
        b"HTTP/1.1 200 -\r\nContent-Length: 99999999999\r\n\r\n" + PNG,
        b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n" + b"800\r\n" + PNG + bytes(2_000),
        answer(gzip.compress(PNG + bytes(1_000_000)), "Content-Encoding: gzip"),
    ],
    ids=["length", "claimed", "chunked", "gzip"],
)
def test_a_file_over_the_cap_is_refused(sent, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1_200)
    said = r"127\.0\.0\.1.*larger than 1,200 bytes"
    with Server(answering(sent)) as server, pytest.raises(PromptError, match=said):
        get(image(server))


def test_a_file_that_drips_is_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr(module, "MOST_SECONDS", 0.2)
    said = r"127\.0\.0\.1.*longer than 0\.2 s"
    with Server(dripping(LONG_FILE)) as server, pytest.raises(PromptError, match=said):
        get(image(server))


def test_the_calls_deadline_holds_for_the_whole_fetch():
    with Server(dripping(LONG_FILE)) as server, pytest.raises(DeadlineExceededError):
        get(image(server), seconds=0.1)


def test_a_file_that_is_cut_short_is_refused():
    def cut(sock, server):
        server.read_request(sock)
        sock.sendall(LONG_FILE + PNG)

    with Server(cut) as server, pytest.raises(PromptError, match="not complete"):
        get(image(server))


def test_cancelling_wakes_a_fetch():
    with Server(silent) as server, pytest.raises(CallCancelledError):
        get(image(server), cancellation=cancel_at(server.request_came))


class StuckResolver:
    """A look-up that never ends, until the test does."""

    def __init__(self, monkeypatch):
        self.asked, self.released = threading.Event(), threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, *_):
        self.asked.set()
        self.released.wait(GENEROUS)
        raise socket.gaierror(socket.EAI_AGAIN, "stuck")


@pytest.fixture
def resolver(monkeypatch):
    stuck = StuckResolver(monkeypatch)
    yield stuck
    stuck.released.set()


def test_cancelling_wakes_a_look_up_that_hangs(resolver):
    with pytest.raises(CallCancelledError):
        get(
            Image(url="https://pictures.example/", fetch=True),
            cancellation=cancel_at(resolver.asked),
        )


def test_a_look_up_that_hangs_ends_at_the_deadline(resolver):
    with pytest.raises(DeadlineExceededError):
        get(Image(url="https://pictures.example/", fetch=True), seconds=0.1)


def test_a_look_up_that_hangs_is_given_up_in_the_end(resolver, monkeypatch):
    monkeypatch.setattr(module, "MOST_SECONDS", 0.1)
    with pytest.raises(PromptError, match=r"pictures\.example"):
        get(Image(url="https://pictures.example/", fetch=True))


def test_a_name_that_does_not_exist_is_a_bad_prompt(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PromptError, match=r"pictures\.example.*cannot be resolved"):
        get(Image(url="https://pictures.example/", fetch=True))


# Whole conversations


def all_of(conversation: Conversation) -> Conversation:
    fetcher = Fetcher(allow_loopback=True)
    return fetcher.fetch_all(conversation, deadline=in_time(), cancellation=Cancellation())


def test_in_a_conversation_each_url_is_fetched_once():
    with Server(answering(answer(PNG))) as server:
        url = f"{server.origin}/a.png"
        asked = (
            Conversation()
            .system("Look closely.")
            .add(Message.user("Which?").add_image(url, fetch=True).add_image(url, fetch=True))
            .add(Message.user("And this?").add_file(url, fetch=True).add_image(url))
        )
        found = all_of(asked)
        assert len(server.requests) == 1
    assert found.messages[0] == asked.messages[0]
    assert [part.data for part in found.messages[1].parts[1:]] == [PNG, PNG]
    assert found.messages[2].parts[1] == File(PNG, media_type="image/png", name="a.png")
    assert found.messages[2].parts[2] == Image(url=url)


def test_a_conversation_with_nothing_to_fetch_is_given_back_as_it_is():
    asked = Conversation().user("Hello").add(Message.user("?").add_image("https://a.example/b.png"))
    assert all_of(asked) is asked
