"""Files in the providers' stores: what is sent, and that each file is sent once."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.uploads import Stored, look, upload
from deluge_sync.cache import KeySpace
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.flights import Flights
from deluge_sync.engine.lane import Lane
from deluge_sync.engine.retry import RetryPolicy
from deluge_sync.engine.transport import PooledTransport
from deluge_sync.notices import DelugeWarning
from deluge_sync.route import Route
from deluge_sync.stores.base import Store
from deluge_sync.stores.disk import DiskStore
from deluge_sync.stores.memory import MemoryStore
from deluge_sync.testing.files import form_fields
from deluge_sync.testing.http import Incoming
from deluge_sync.uploads import Uploads
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    CallCancelledError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    NotFoundError,
    PromptError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from deluge_sync.values.media import Audio, File, Image
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.secret import Credential, Secret
from deluge_sync.values.wire import HttpRequest, HttpResponse

PDF = File(b"%PDF-1.7 report", media_type="application/pdf", name="report.pdf")
PNG = Image(b"\x89PNG\r\n\x1a\n picture", media_type="image/png", detail="low")
GENEROUS = 30.0
KEYS = {
    "openai_chat": Credential("Authorization", "Bearer ", Secret("sk-key")),
    "anthropic": Credential("x-api-key", "", Secret("sk-key")),
    "gemini": Credential("x-goog-api-key", "", Secret("sk-key")),
}
WIRES = ("openai_chat", "anthropic", "gemini")


def model(wire: str, base_url: str = "https://vendor", **fields: Any) -> Model:
    provider = Provider("vendor", wire, base_url, file_store=True, **fields)
    return Model("m", provider, api_version="2026-10-21" if wire == "anthropic" else "v1")


def answered(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, json.dumps(body).encode(), 1_000.0)


def driven(flow: Any, *answers: HttpResponse) -> tuple[list[HttpRequest], Any]:
    """What a flow sends when it gets `answers`, and what it gives."""
    sent = [next(flow)]
    try:
        for answer in answers:
            sent.append(flow.send(answer))
    except StopIteration as end:
        return sent, end.value
    raise AssertionError("the flow wants more answers")


# What is sent, and how the answers are read


def test_openai_is_sent_a_form_with_the_purpose_and_the_file():
    [request], stored = driven(
        upload(PDF, model("openai_chat", "https://api.openai.com/v1", headers={"X-Project": "p"})),
        answered({"id": "file-1", "object": "file", "expires_at": 2_000}),
    )
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/files")
    kind = request.headers[0][1]
    boundary = kind.partition("boundary=")[2]
    assert request.headers == (
        ("content-type", f"multipart/form-data; boundary={boundary}"),
        ("X-Project", "p"),
    )
    assert request.body.decode().split("\r\n") == [
        f"--{boundary}",
        'Content-Disposition: form-data; name="purpose"',
        "",
        "user_data",
        f"--{boundary}",
        'Content-Disposition: form-data; name="file"; filename="report.pdf"',
        "Content-Type: application/pdf",
        "",
        "%PDF-1.7 report",
        f"--{boundary}--",
        "",
    ]
    assert stored == Stored("file-1", 2_000.0)


def test_anthropic_is_sent_a_form_with_the_file_and_the_version():
    [request], stored = driven(
        upload(PNG, model("anthropic")),
        answered({"id": "file_1", "expires_at": "1970-01-01T01:00:00.5Z"}),
    )
    assert (request.method, request.url) == ("POST", "https://vendor/v1/files")
    assert ("anthropic-version", "2026-10-21") in request.headers
    fields = form(request)
    assert set(fields) == {"file"}
    assert tuple(fields["file"]) == ("file.png", "image/png", PNG.data)
    assert stored == Stored("file_1", 3_600.5)


def test_google_is_sent_a_file_in_two_steps():
    uri = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    described = {"uri": uri, "expirationTime": "1970-01-03T00:00:00Z", "state": "ACTIVE"}
    (begin, send), stored = driven(
        upload(PDF, model("gemini")),
        answered({}, x_goog_upload_url="https://vendor/upload/v1/files?upload_id=x"),
        answered({"file": described}),
    )
    assert begin.url == "https://vendor/upload/v1/files"
    assert dict(begin.headers) == {
        "content-type": "application/json",
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": "15",
        "x-goog-upload-header-content-type": "application/pdf",
    }
    assert json.loads(begin.body) == {
        "file": {"displayName": "report.pdf", "mimeType": "application/pdf"}
    }
    assert (send.method, send.url) == ("POST", "https://vendor/upload/v1/files?upload_id=x")
    assert dict(send.headers) == {
        "x-goog-upload-command": "upload, finalize",
        "x-goog-upload-offset": "0",
    }
    assert send.body == PDF.data
    assert stored == Stored(uri, 172_800.0)


def test_the_key_goes_to_nobody_whom_the_answer_names():
    flow = upload(PDF, model("gemini", "https://gateway.example:8443/google"))
    next(flow)
    elsewhere = "https://evil.example/upload/v1/files?upload_id=x"
    assert flow.send(answered({}, x_goog_upload_url=elsewhere)).url == (
        "https://gateway.example:8443/upload/v1/files?upload_id=x"
    )


def form(request: HttpRequest) -> Any:
    headers = {name.lower(): value for name, value in request.headers}
    return form_fields(Incoming("POST", "/v1/files", headers, request.body, True))


names = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1)


@given(st.binary(min_size=1), names.filter(lambda name: name == name.strip()))
def test_every_form_holds_the_file_as_it_is(data, name):
    part = File(data, media_type="text/plain", name=name + '"\r\nX: y')
    (request,) = [next(upload(part, model("openai_chat")))]
    fields = form(request)
    assert set(fields) == {"purpose", "file"}
    assert fields["file"].data == data
    assert fields["file"].media_type == "text/plain"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (PDF, "report.pdf"),
        (File(b"x", media_type="text/plain"), "file.txt"),
        (File(b"{}", media_type="application/ld+json"), "file.json"),
        (PNG, "file.png"),
        (Image(b"\xff\xd8\xff", media_type="image/jpeg"), "file.jpg"),
    ],
)
def test_a_file_has_a_name_that_tells_its_kind(part, name):
    assert form(next(upload(part, model("openai_chat"))))["file"].name == name


def test_anthropic_gets_texts_as_plain_ones_and_names_that_it_takes():
    part = File(b"x,y", media_type="text/csv", name="a/b: <c>.csv")
    file = form(next(upload(part, model("anthropic"))))["file"]
    assert tuple(file) == ("a_b_ _c_.csv", "text/plain", b"x,y")


SOUND = Audio(b"ID3", media_type="audio/mp3")


@pytest.mark.parametrize("wire", ["openai_chat", "anthropic"])
def test_what_no_prompt_could_name_by_its_id_is_not_uploaded(wire):
    with pytest.raises(PromptError, match="takes no sound by its id"):
        upload(SOUND, model(wire))
    begin = next(upload(SOUND, model("gemini")))
    assert json.loads(begin.body)["file"]["displayName"] == "file.mp3"


def test_a_file_over_openais_limit_is_not_uploaded():
    large = File(bytes(50_000_001), media_type="application/pdf")
    with pytest.raises(PromptError, match="up to 50 MB"):
        upload(large, model("openai_chat"))


@pytest.mark.parametrize(
    ("wire", "path", "body", "stored"),
    [
        ("openai_chat", "/files/a%2Fb", {"id": "a/b"}, Stored("a/b")),
        ("anthropic", "/v1/files/a%2Fb", {"id": "a/b", "expires_at": None}, Stored("a/b")),
        ("gemini", "/v1/files/b", {"uri": "a/b", "state": "ACTIVE"}, Stored("a/b")),
        (
            "gemini",
            "/v1/files/b",
            {"uri": "a/b", "state": "PROCESSING"},
            Stored("a/b", None, False),
        ),
    ],
)
def test_a_file_can_be_looked_at(wire, path, body, stored):
    [request], seen = driven(look("a/b", model(wire)), answered(body))
    assert request[:2] == ("GET", f"https://vendor{path}")
    assert seen == stored


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_there_is_none(wire, status):
    _, seen = driven(look("a", model(wire)), answered({"error": {"message": "no"}}, status))
    assert seen is None


def test_a_file_that_google_cannot_process_is_a_bad_request():
    body = {"uri": "u", "state": "FAILED", "error": {"code": 3, "message": "damaged"}}
    with pytest.raises(BadRequestError, match="could not process the file: damaged"):
        driven(look("a", model("gemini")), answered(body))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (answered({"error": {"message": "no"}}, 401), AuthError),
        (answered({"error": {"message": "no"}}, 413), TooLongError),
        (answered({"error": {"message": "slow"}}, 429, retry_after="3"), ThrottledError),
        (answered({"error": {"message": "no"}}, 404), NotFoundError),
        (HttpResponse(503, {}, b"<html>down</html>"), TransientError),
        (HttpResponse(200, {}, b"<html>log in</html>"), DecodeError),
        (answered({}), DecodeError),
        (answered([]), DecodeError),
        (answered({"id": 7, "file": 7}), DecodeError),
    ],
)
def test_what_goes_wrong_is_the_error_that_fits(wire, answer, error):
    with pytest.raises(error) as caught:
        driven(upload(PDF, model(wire)), answer)
    assert caught.value.retry_after == (3 if error is ThrottledError else None)


@pytest.mark.parametrize("wire", ["openai_chat", "cohere_chat"])
def test_where_there_is_no_store_nothing_is_sent(wire):
    storeless = Model("m", Provider("groq", wire, "https://vendor"))
    with pytest.raises(ConfigError, match="groq has no file store"):
        upload(PDF, storeless)
    with pytest.raises(ConfigError, match="groq has no file store"):
        look("a", storeless)


def test_only_bytes_can_be_uploaded():
    with pytest.raises(PromptError, match="only a file's bytes"):
        upload(Image(url="https://a.example/b.png"), model("openai_chat"))


# Against the sandbox


def transport() -> PooledTransport:
    return PooledTransport(use_environment=False)


def route(wire: str, base_url: str, **changes: Any) -> Route:
    fields: dict[str, Any] = {
        "model": model(wire, base_url),
        "adapter": ADAPTERS[wire],
        "credentials": (KEYS[wire],),
        "lanes": (Lane("own", {"requests": None}), Lane("account", {"requests": 1e6})),
        "policy": RetryPolicy(base_seconds=0.001),
        "request_timeout": GENEROUS,
        "keys": KeySpace("owner", base_url, base_url),
        **changes,
    }
    if "transport" not in fields:
        fields["transport"] = transport()
    return Route(**fields)


def base_url(sandbox: Any, wire: str) -> str:
    return {
        "openai_chat": sandbox.base_url,
        "anthropic": sandbox.anthropic_url,
        "gemini": sandbox.gemini_url,
    }[wire]


def uploads(store: Store | None = None, **options: Any) -> Uploads:
    return Uploads(Flights(), store, **options)


def put(
    uploads: Uploads, part: Any, route: Route, *, seconds: float = GENEROUS, **options: Any
) -> Any:
    options.setdefault("cancellation", Cancellation())
    return uploads.upload(part, route, deadline=time.monotonic() + seconds, **options)


def sent(sandbox: Any) -> list[str]:
    return [record.method for record in sandbox.journal]


@pytest.mark.parametrize("wire", WIRES)
def test_a_file_comes_to_the_store_as_it_is_and_back_as_its_id(sandbox, wire):
    there = route(wire, base_url(sandbox, wire))
    document, picture = (put(uploads(), part, there) for part in (PDF, PNG))
    first, second = sandbox.files
    assert (first.name, first.media_type, first.data) == ("report.pdf", PDF.media_type, PDF.data)
    assert (second.name, second.media_type, second.data) == ("file.png", "image/png", PNG.data)
    prefix = "https://generativelanguage.googleapis.com/v1beta/" if wire == "gemini" else ""
    assert document == File(
        file_id=prefix + first.id, media_type="application/pdf", name="report.pdf"
    )
    assert picture == Image(file_id=prefix + second.id, media_type="image/png", detail="low")
    assert all(lane.in_flight == 0 for lane in there.lanes)


def test_the_openai_sdk_sends_the_same_file(sandbox):
    openai = pytest.importorskip("openai", minversion="3")
    client = openai.OpenAI(base_url=sandbox.base_url, api_key="key", max_retries=0)
    file = (PDF.name, PDF.data, PDF.media_type)
    theirs = client.files.create(file=file, purpose="user_data")
    put(uploads(), PDF, route("openai_chat", sandbox.base_url))
    assert client.files.retrieve(sandbox.files[1].id).filename == theirs.filename
    assert same_files(sandbox)


def test_the_anthropic_sdk_sends_the_same_file(sandbox):
    anthropic = pytest.importorskip("anthropic", minversion="2")
    client = anthropic.Anthropic(base_url=sandbox.anthropic_url, api_key="key", max_retries=0)
    theirs = client.files.upload(file=(PDF.name, PDF.data, PDF.media_type))
    put(uploads(), PDF, route("anthropic", sandbox.anthropic_url))
    mine = client.files.retrieve_metadata(sandbox.files[1].id)
    assert (mine.filename, mine.mime_type) == (theirs.filename, theirs.mime_type)
    assert same_files(sandbox)


def test_googles_sdk_sends_the_same_file(sandbox, tmp_path):
    genai = pytest.importorskip("google.genai", minversion="3")
    client = genai.Client(api_key="key", http_options={"base_url": sandbox.gemini_url})
    (tmp_path / PDF.name).write_bytes(PDF.data)
    client.files.upload(
        file=tmp_path / PDF.name,
        config={"mime_type": PDF.media_type, "display_name": PDF.name},
    )
    put(uploads(), PDF, route("gemini", sandbox.gemini_url))
    assert client.files.get(name=sandbox.files[1].id).display_name == PDF.name
    assert same_files(sandbox)


def same_files(sandbox: Any) -> bool:
    theirs, ours = (file._replace(id="", created_at=0, expires_at=0) for file in sandbox.files)
    return theirs == ours


@pytest.mark.parametrize(
    ("kind", "wire"), [("FileObject", "openai_chat"), ("FileMetadata", "anthropic")]
)
def test_what_the_vendors_file_models_write_is_read(kind, wire):
    package = pytest.importorskip("openai" if wire == "openai_chat" else "anthropic")
    fields = {"id": "f", "created_at": 1, "filename": "a", "expires_at": 5_000, "bytes": 1}
    more = {"object": "file", "purpose": "user_data", "status": "processed", "type": "file"}
    more.update(mime_type="text/plain", size_bytes=1)
    known = getattr(package.types, kind, None)
    if known is None:
        pytest.skip("an SDK without files")
    written = known.model_validate({**fields, **more}).model_dump_json()
    flow = look("f", model(wire))
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(200, {}, written.encode(), 1_000.0))
    assert end.value.value == Stored("f", 5_000.0)


# Once


def test_of_many_threads_with_the_same_file_one_uploads_it(sandbox):
    there, shared = route("openai_chat", sandbox.base_url), uploads()
    start = threading.Barrier(20)

    def one(_: int) -> Any:
        start.wait(GENEROUS)
        return put(shared, PDF, there)

    with ThreadPoolExecutor(20) as pool:
        parts = set(pool.map(one, range(20)))
    assert len(parts) == len(sandbox.files) == 1


def test_another_file_kind_owner_or_server_is_another_upload(sandbox):
    there, shared = route("openai_chat", sandbox.base_url), uploads()
    other = route("openai_chat", sandbox.base_url, keys=KeySpace("other", "", sandbox.base_url))
    elsewhere = route("openai_chat", sandbox.base_url, keys=KeySpace("owner", "", "elsewhere"))
    put(shared, PDF, there)
    put(shared, File(PDF.data, media_type="text/plain"), there)
    put(shared, File(PDF.data + b".", media_type=PDF.media_type), there)
    put(shared, PDF, other)
    put(shared, PDF, elsewhere)
    renamed = File(PDF.data, media_type=PDF.media_type, name="copy.pdf")
    assert put(shared, renamed, there).file_id == put(shared, PDF, there).file_id
    assert len(sandbox.files) == 5


@pytest.mark.parametrize("wire", WIRES)
def test_with_a_store_another_process_looks_and_does_not_upload(sandbox, wire, tmp_path):
    there = route(wire, base_url(sandbox, wire))
    first = DiskStore(tmp_path)
    part = put(uploads(first), PDF, there)
    first.close()
    sandbox.clear()
    second = DiskStore(tmp_path)
    later = uploads(second)
    assert put(later, PDF, there) == put(later, PDF, there) == part
    second.close()
    assert sent(sandbox) == ["GET"]


def test_a_file_that_was_deleted_at_the_vendor_is_uploaded_anew(sandbox):
    openai = pytest.importorskip("openai", minversion="3")
    there, store = route("openai_chat", sandbox.base_url), MemoryStore()
    first = put(uploads(store), PDF, there)
    openai.OpenAI(base_url=sandbox.base_url, api_key="key").files.delete(first.file_id)
    assert put(uploads(store), PDF, there).file_id != first.file_id
    assert len(sandbox.files) == 1


class Vendor:
    """A transport that gives `answers` in turn, and the last one for ever; a list of what it was
    sent. An error among them is raised.
    """

    def __init__(self, *answers: Any) -> None:
        self.requests: list[HttpRequest] = []
        self.asked = threading.Event()
        self._answers = list(answers)

    def send(self, request: HttpRequest, **_: Any) -> HttpResponse:
        self.requests.append(request)
        self.asked.set()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]


def kept(file_id: str, expires_at: float | None = None) -> HttpResponse:
    return answered({"id": file_id, "expires_at": expires_at})


def at(vendor: Vendor, wire: str = "openai_chat", **changes: Any) -> Route:
    return route(wire, "https://vendor", transport=vendor, **changes)


def test_a_file_that_the_vendor_will_soon_forget_is_uploaded_anew():
    now = [1_000.0]
    vendor = Vendor(kept("first", 5_000.0), kept("second", 9_000.0), kept("third", 9_000.0))
    store = MemoryStore()
    shared = uploads(store, wall_clock=lambda: now[0])
    ids = []
    for now[0] in (1_000.0, 4_000.0, 4_500.0, 5_500.0):
        ids.append(put(shared, PDF, at(vendor)).file_id)
    assert ids == ["first", "first", "second", "second"]
    assert put(uploads(store, wall_clock=lambda: 8_500.0), PDF, at(vendor)).file_id == "third"
    assert vendor.methods == ["POST", "POST", "POST"]


class BrokenStore(Store):
    """One whose disk is gone."""

    def get(self, key: str) -> bytes | None:
        raise OSError("the disk is gone")

    def put(self, key: str, value: bytes, **_: Any) -> None:
        raise OSError("the disk is gone")


def test_a_store_that_fails_costs_a_warning_and_no_more():
    vendor = Vendor(kept("first"))
    shared = uploads(BrokenStore())
    with pytest.warns(DelugeWarning, match="files are not remembered: the disk is gone"):
        assert put(shared, PDF, at(vendor)).file_id == "first"
    assert put(shared, PDF, at(vendor)).file_id == "first"
    assert vendor.methods == ["POST"]


class ClaimedStore(MemoryStore):
    """Another process works on every key, until `done`."""

    def __init__(self, *, done: bool = False) -> None:
        super().__init__()
        self.done = done
        self.claimed: list[str] = []
        self.key = ""
        self.looked = threading.Event()

    def claim(self, key: str) -> bool:
        self.key = key
        self.looked.set()
        if self.done:
            self.claimed.append(key)
        return self.done

    def release(self, key: str) -> None:
        self.claimed.remove(key)


def test_what_another_process_uploads_just_now_is_waited_for():
    vendor, store = Vendor(kept("theirs")), ClaimedStore()
    other = MemoryStore()
    put(uploads(other), PDF, at(Vendor(kept("theirs"))))

    def finish() -> None:
        assert store.looked.wait(GENEROUS)
        store.put(store.key, other.get(store.key) or b"")

    with ThreadPoolExecutor(1) as pool:
        finished = pool.submit(finish)
        assert put(uploads(store), PDF, at(vendor)).file_id == "theirs"
        finished.result(GENEROUS)
    assert vendor.methods == ["GET"]


def test_a_process_that_seems_to_have_stopped_is_waited_for_no_longer(monkeypatch):
    monkeypatch.setattr("deluge_sync.uploads.LONGEST_WAIT", 0.05)
    assert put(uploads(ClaimedStore()), PDF, at(Vendor(kept("ours")))).file_id == "ours"


def test_waiting_for_another_process_ends_at_the_deadline():
    with pytest.raises(DeadlineExceededError, match="another process uploaded the same file"):
        put(uploads(ClaimedStore()), PDF, at(Vendor(kept("ours"))), seconds=0.05)


@pytest.mark.parametrize("status", [200, 401])
def test_a_claim_is_given_back_however_the_upload_ends(status):
    store = ClaimedStore(done=True)
    vendor = Vendor(answered({"id": "ours", "error": None}, status))
    with suppress(AuthError):
        put(uploads(store), PDF, at(vendor))
    assert store.looked.is_set()
    assert store.claimed == []


@pytest.mark.parametrize("record", [b"", b"[]", b'{"version": 2}', b"\xff", b"null"])
@pytest.mark.filterwarnings("ignore:the cache holds a record of an uploaded file")
def test_a_record_that_cannot_be_read_is_as_none(record, monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr(store, "get", lambda _: record)
    assert put(uploads(store), PDF, at(Vendor(kept("first")))).file_id == "first"


# When it goes wrong


def test_what_may_pass_is_tried_again_from_the_start_within_the_limits():
    begun = answered({}, x_goog_upload_url="https://vendor/up?upload_id=1")
    done = answered({"file": {"uri": "u", "state": "ACTIVE"}})
    lost = ConnectionFailedError("lost")
    vendor = Vendor(HttpResponse(503, {}, b""), begun, lost, begun, done)
    there = at(vendor, "gemini")
    assert put(uploads(), PDF, there).file_id == "u"
    assert [request.url.partition("vendor")[2] for request in vendor.requests] == [
        "/upload/v1/files",
        "/upload/v1/files",
        "/up?upload_id=1",
        "/upload/v1/files",
        "/up?upload_id=1",
    ]
    assert all(lane.in_flight == 0 for lane in there.lanes)


def test_a_throttled_upload_pauses_the_lane_and_goes_on():
    slow = answered({"error": {"message": "slow down"}}, 429, retry_after="0.01")
    vendor = Vendor(slow, slow, kept("first"))
    assert put(uploads(), PDF, at(vendor)).file_id == "first"
    assert len(vendor.requests) == 3


def test_what_will_not_pass_is_not_tried_again_and_not_remembered():
    vendor = Vendor(answered({"error": {"message": "no"}}, 401), kept("first"))
    there, shared = at(vendor), uploads()
    with pytest.raises(AuthError):
        put(shared, PDF, there)
    assert put(shared, PDF, there).file_id == "first"
    assert all(lane.in_flight == 0 for lane in there.lanes)


def processing(state: str = "PROCESSING") -> HttpResponse:
    return answered({"uri": "u", "state": state, "file": {"uri": "u", "state": state}})


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("deluge_sync.uploads.FIRST_POLL", 0.001)


def test_a_file_is_given_out_when_the_vendor_is_done_with_it(impatient):
    begun = answered({}, x_goog_upload_url="https://vendor/up")
    down = HttpResponse(503, {}, b"")
    vendor = Vendor(begun, processing(), processing(), down, processing("ACTIVE"))
    assert put(uploads(), PDF, at(vendor, "gemini")).file_id == "u"
    assert vendor.methods == ["POST", "POST", "GET", "GET", "GET"]


def test_waiting_for_the_vendor_ends_at_the_deadline(impatient):
    begun = answered({}, x_goog_upload_url="https://vendor/up")
    with pytest.raises(DeadlineExceededError, match="processed a file"):
        put(uploads(), PDF, at(Vendor(begun, processing()), "gemini"), seconds=0.05)


def test_cancelling_wakes_who_waits_for_the_vendor(monkeypatch):
    monkeypatch.setattr("deluge_sync.uploads.FIRST_POLL", GENEROUS)
    cancellation = Cancellation()
    vendor = Vendor(answered({}, x_goog_upload_url="https://vendor/up"), processing())

    class Watched(Cancellation):
        def sleep(self, seconds: float) -> None:
            threading.Thread(target=cancellation.cancel).start()
            super().sleep(seconds)

    with pytest.raises(CallCancelledError):
        put(uploads(), PDF, at(vendor, "gemini"), cancellation=Watched(cancellation))


def test_a_send_that_takes_too_long_is_tried_again():
    late = DeadlineExceededError("the deadline passed while sending the request")
    vendor = Vendor(late, kept("first"))
    there = at(vendor, request_timeout=GENEROUS / 2)
    assert put(uploads(), PDF, there).file_id == "first"


def test_a_vendor_that_is_out_of_reach_ends_it_in_the_end():
    vendor = Vendor(ConnectionFailedError("no connection to vendor"))
    there = at(vendor, policy=RetryPolicy(max_attempts=3, base_seconds=0.001))
    with pytest.raises(ConnectionFailedError):
        put(uploads(), PDF, there)
    assert len(vendor.requests) == 3
