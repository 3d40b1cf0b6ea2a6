"""Batches at each vendor: what is sent, what the vendor's SDK says to it, and how all that comes
back is read.

The golden files (`golden/batches_*.json`) hold what is sent, and of each state and each line of
results what was received, and what it is read as.
"""

from __future__ import annotations

import functools
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS, BATCHES
from deluge_sync.adapters.batch_calls import MOST_PAGES
from deluge_sync.values.batch import BatchState, ResultLine
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    CallCancelledError,
    CallError,
    ConfigError,
    DecodeError,
    NotFoundError,
    ThrottledError,
    TransientError,
)
from deluge_sync.values.model import BatchApi, Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import Conversation, Message
from deluge_sync.values.request import Request
from deluge_sync.values.wire import FileBody, HttpRequest, HttpResponse

from .test_adapter_sdks import sdk, typed
from .test_uploads import answered, driven, form

GOLDEN = Path(__file__).parent / "golden"
WIRES = tuple(BATCHES)
LIVE = {
    "openai": "openai_chat",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "mistral": "openai_chat",
}
BASES = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "mistral": "https://api.mistral.ai/v1",
}
FILE = FileBody("/spool/job-1.0", 1_000)
NAME = "job-1.0"
SINCE = 1_700_000_000.0


def model_of(wire: str, base_url: str = "", adapter: str = "", **fields: Any) -> Model:
    provider = Provider(
        "vendor",
        adapter or LIVE[wire],
        base_url or BASES[wire],
        batch=BatchApi(wire, 100, 1_000_000),
        **fields,
    )
    return Model("m", provider)


def call(wire: str, text: str = "Hi", model: Model | None = None, **options: Any) -> HttpRequest:
    model = model or model_of(wire)
    request = Request(Conversation((Message.user(text),)), **options)
    return ADAPTERS[model.provider.adapter].encode(request, model)


def line_of(wire: str, **options: Any) -> dict[str, Any]:
    return json.loads(BATCHES[wire].line("a-1", call(wire, **options), model_of(wire)))


def golden(wire: str) -> dict[str, Any]:
    return json.loads(golden_text(wire))


@functools.lru_cache
def golden_text(wire: str) -> str:
    return (GOLDEN / f"batches_{wire}.json").read_text("utf-8")


def whole(request: HttpRequest, data: bytes) -> bytes:
    """The body of a request as it is sent, with `data` as what the file holds."""
    assert request.file is not None
    return request.body + data + request.file.after


# Golden files


def plain_request(request: HttpRequest) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
    }
    if request.file is None:
        shown["body"] = json.loads(request.body) if request.body else None
    else:
        shown["body"] = [request.body.decode(), "(file)", request.file.after.decode()]
    return shown


def plain_state(state: BatchState) -> dict[str, Any]:
    return json.loads(json.dumps({**state._asdict(), "counts": state.counts._asdict()}))


def plain_error(error: CallError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": error.message,
        "code": error.code,
        "status": error.status,
        "retryable": error.retryable,
    }


def plain_result(wire: str, result: ResultLine) -> dict[str, Any]:
    """A line, and what the live adapter makes of the response in it."""
    shown: dict[str, Any] = {"custom_id": result.custom_id}
    if result.error is not None:
        shown["error"] = plain_error(result.error)
    if result.response is not None:
        shown["status"] = result.response.status
        shown["headers"] = dict(result.response.headers)
        try:
            answer = ADAPTERS[LIVE[wire]].decode(result.response, model_of(wire))
            shown["text"] = "".join(part.text for part in answer.content.parts)
        except CallError as error:
            shown["decoded"] = plain_error(error)
    return shown


def as_golden(wire: str, received: dict[str, Any]) -> dict[str, Any]:
    """What a golden file is to hold, made of what it says has been received."""
    batches, model = BATCHES[wire], model_of(wire)
    shared = batches.shared(call(wire), model)
    uploads = []
    if batches.UPLOADS:
        flow = batches.upload(FILE, NAME, model)
        uploads.append(next(flow))
        if wire == "gemini":
            uploads.append(flow.send(answered({}, x_goog_upload_url="https://else/up?id=1")))
    states, results = {}, {}
    for name, case in received["states"].items():
        _, state = driven(batches.look("id", model), answered(case["received"]))
        states[name] = {"received": case["received"], "read": plain_state(state)}
    for name, case in received["results"].items():
        result = batches.result(json.dumps(case["received"]).encode(), model)
        results[name] = {"received": case["received"], "read": plain_result(wire, result)}
    return {
        "line": line_of(wire),
        "upload": [plain_request(request) for request in uploads],
        "create": plain_request(next(batches.create(FILE, "file-in", NAME, shared, model))),
        "states": states,
        "results": results,
    }


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("part", ["line", "upload", "create", "states", "results"])
def test_what_is_sent_and_read_is_as_the_golden_file_shows(wire: str, part: str) -> None:
    assert as_golden(wire, golden(wire))[part] == golden(wire)[part]


# The vendors' SDKs


def test_openais_types_know_what_we_send_and_write_what_we_read() -> None:
    create = sdk("openai.types.batch_create_params").BatchCreateParams
    batch = sdk("openai.types").Batch
    chat = sdk("openai.types.chat.completion_create_params").CompletionCreateParamsNonStreaming
    kept = golden("openai")
    assert typed(create, kept["create"]["body"]) == kept["create"]["body"]
    assert typed(chat, kept["line"]["body"]) == kept["line"]["body"]
    for case in kept["states"].values():
        batch.model_validate(case["received"])


def test_groqs_types_know_what_we_send_and_write_what_we_read() -> None:
    groq = pytest.importorskip("groq.types")
    groq_create = pytest.importorskip("groq.types.batch_create_params").BatchCreateParams
    kept = golden("openai")
    assert typed(groq_create, kept["create"]["body"]) == kept["create"]["body"]
    for case in kept["states"].values():
        groq.BatchCreateResponse.model_validate(case["received"])


def test_anthropics_types_know_a_batch_as_it_is_streamed_and_write_what_we_read() -> None:
    create = sdk("anthropic.types.messages.batch_create_params").BatchCreateParams
    messages = sdk("anthropic.types.messages")
    batches, model = BATCHES["anthropic"], model_of("anthropic")
    lines = [batches.line(f"a-{n}", call("anthropic", f"{n}\n"), model) for n in range(3)]
    request = next(
        batches.create(FILE, None, NAME, batches.shared(call("anthropic"), model), model)
    )
    body = json.loads(whole(request, batches.BETWEEN.join(lines)))
    assert [line["custom_id"] for line in body["requests"]] == ["a-0", "a-1", "a-2"]
    assert typed(create, body) == body
    for case in golden("anthropic")["states"].values():
        messages.MessageBatch.model_validate(case["received"])
    for case in golden("anthropic")["results"].values():
        messages.MessageBatchIndividualResponse.model_validate(case["received"])


def test_googles_sdk_makes_the_same_creation_and_reads_the_same_states() -> None:
    sdk("google.genai")
    types = pytest.importorskip("google.genai.types")
    theirs = pytest.importorskip("google.genai.batches")
    client = pytest.importorskip("google.genai").Client(api_key="k")._api_client
    config = types.CreateBatchJobConfig(display_name=NAME)
    source = types.BatchJobSource(file_name="files/in")
    wanted = theirs._CreateBatchJobParameters_to_mldev(
        client, {"model": "m", "src": source, "config": config}
    )
    batches, model = BATCHES["gemini"], model_of("gemini")
    shared = batches.shared(call("gemini"), model)
    flow = batches.create(FILE, "files/in", NAME, shared, model)
    sent = next(flow)
    assert json.loads(sent.body) == {"batch": wanted["batch"]}
    assert sent.url.endswith(f"/v1/{wanted['_url']['model']}:batchGenerateContent")
    for case in golden("gemini")["states"].values():
        job = types.BatchJob.model_validate(theirs._BatchJob_from_mldev(case["received"]))
        read = case["read"]
        assert (job.name, job.display_name) == (read["id"], read["name"])
        assert job.done == read["ended"]
        destination = job.dest.file_name if job.dest else None
        if destination is not None:
            assert read["results"] == [destination]


def test_googles_types_know_what_a_line_asks_for() -> None:
    sdk("google.genai")
    types = pytest.importorskip("google.genai.types")
    for content in line_of("gemini")["request"]["contents"]:
        parsed = types.Content.model_validate(content)
        assert parsed.model_dump(by_alias=True, exclude_none=True, mode="json") == content


def test_mistrals_types_know_what_we_send_and_write_what_we_read() -> None:
    models = pytest.importorskip("mistralai.client.models")
    kept = golden("mistral")
    sent = models.CreateBatchJobRequest.model_validate(kept["create"]["body"])
    assert sent.model_dump(mode="json") == kept["create"]["body"]
    parsed = models.BatchRequest.model_validate(kept["line"])
    assert parsed.model_dump(mode="json") == kept["line"]
    for case in kept["states"].values():
        models.BatchJob.model_validate(case["received"])


SDK_CALLS = {
    "openai": {
        "look": lambda client: client.batches.retrieve("b1"),
        "cancel": lambda client: client.batches.cancel("b1"),
        "find": lambda client: client.batches.list(limit=100),
        "find_upload": lambda client: client.files.list(purpose="batch", order="desc", limit=1_000),
        "download": lambda client: client.files.content("f1"),
    },
    "anthropic": {
        "look": lambda client: client.messages.batches.retrieve("b1"),
        "cancel": lambda client: client.messages.batches.cancel("b1"),
        "find": lambda client: client.messages.batches.list(limit=100),
    },
    "gemini": {
        "look": lambda client: client.batches.get(name="batches/b1"),
        "cancel": lambda client: client.batches.cancel(name="batches/b1"),
        "find": lambda client: client.batches.list(config={"page_size": 100}),
        "find_upload": lambda client: client.files.list(config={"page_size": 100}),
        "download": lambda client: client.files.download(file="files/f1"),
    },
}


def sdk_client(wire: str, transport: Any, httpx: Any) -> Any:
    if wire == "openai":
        client = httpx.Client(transport=transport)
        return sdk("openai").OpenAI(api_key="k", http_client=client, max_retries=0)
    if wire == "anthropic":
        client = httpx.Client(transport=transport)
        return sdk("anthropic").Anthropic(api_key="k", http_client=client, max_retries=0)
    sdk("google.genai")
    options = {"client_args": {"transport": transport}}
    return pytest.importorskip("google.genai").Client(api_key="k", http_options=options)


def our_call(wire: str, what: str) -> HttpRequest:
    batches, model = BATCHES[wire], model_of(wire)
    if what == "download":
        return batches.download("f1", model)
    if what == "find":
        return next(batches.find(NAME, SINCE, model))
    if what == "find_upload":
        return next(batches.find_upload(NAME, model))
    return next(getattr(batches, what)("batches/b1" if wire == "gemini" else "b1", model))


@pytest.mark.parametrize(
    ("wire", "what"), [(wire, what) for wire, calls in SDK_CALLS.items() for what in calls]
)
def test_a_call_goes_where_the_vendors_sdk_sends_it(wire: str, what: str) -> None:
    httpx = pytest.importorskip("httpx2")
    seen = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return httpx.Response(404, json={"error": {"message": "gone"}})

    client = sdk_client(wire, httpx.MockTransport(answer), httpx)
    with pytest.raises(Exception, match="gone"):
        list(SDK_CALLS[wire][what](client) or ())
    ours = our_call(wire, what)
    theirs = httpx.URL(str(seen[0].url))
    assert ours.method == seen[0].method
    assert httpx.URL(ours.url).copy_with(query=None) == theirs.copy_with(query=None)
    assert dict(httpx.URL(ours.url).params) == dict(theirs.params)


# Lines


@pytest.mark.parametrize(
    ("base_url", "adapter", "url"),
    [
        ("https://api.openai.com/v1", "openai_chat", "/v1/chat/completions"),
        ("https://api.openai.com/v1", "openai_responses", "/v1/responses"),
        ("https://api.groq.com/openai/v1", "openai_chat", "/v1/chat/completions"),
        ("http://127.0.0.1:9/sandbox/v1", "openai_chat", "/v1/chat/completions"),
    ],
)
def test_a_line_names_the_endpoint_as_the_vendor_knows_it(
    base_url: str, adapter: str, url: str
) -> None:
    model = model_of("openai", base_url, adapter)
    request = call("openai", model=model)
    made = BATCHES["openai"].line("a", request, model)
    assert json.loads(made)["url"] == url
    assert made.endswith(b'"body":' + request.body + b"}")
    assert BATCHES["openai"].shared(request, model) == (url, "m")


def test_texts_to_be_embedded_can_be_lines_where_the_vendor_says_so() -> None:
    for wire in ("openai", "mistral"):
        request = HttpRequest("POST", BASES[wire] + "/embeddings", (), b'{"model":"m","input":"x"}')
        made = json.loads(BATCHES[wire].line("a", request, model_of(wire)))
        assert made["body"]["input"] == "x"
        assert BATCHES[wire].shared(request, model_of(wire))[0] == "/v1/embeddings"
    request = HttpRequest("POST", BASES["gemini"] + "/v1/models/m:batchEmbedContents", (), b"{}")
    with pytest.raises(ConfigError, match="no batches for"):
        BATCHES["gemini"].line("a", request, model_of("gemini"))


@pytest.mark.parametrize("wire", WIRES)
def test_a_call_to_another_endpoint_cannot_be_a_line(wire: str) -> None:
    request = call(wire)._replace(url=BASES[wire] + "/v1/other")
    with pytest.raises(ConfigError, match="no batches for /"):
        BATCHES[wire].line("a", request, model_of(wire))


@pytest.mark.parametrize("wire", ["openai", "anthropic", "mistral"])
@pytest.mark.parametrize("field", ["stream", "background"])
def test_what_needs_a_connection_cannot_be_a_line(wire: str, field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}: true"):
        line_of(wire, extra_body={field: True})
    assert line_of(wire, extra_body={field: False})
    assert line_of(wire, text=f'"{field}": true')


def test_googles_streams_cannot_be_lines() -> None:
    with pytest.raises(ConfigError, match="streamGenerateContent"):
        line_of("gemini", stream=True)


@pytest.mark.parametrize("wire", WIRES)
def test_headers_that_would_be_lost_are_named(wire: str) -> None:
    with pytest.raises(ConfigError, match="X-Region would be lost"):
        line_of(wire, extra_headers={"X-Region": "eu", "traceparent": "00-1-2-01"})
    assert line_of(wire, extra_headers={"Idempotency-Key": "1", "traceparent": "00-1-2-01"})
    model = model_of(wire, headers={"X-Region": "eu"})
    request = call(wire, model=model)
    assert BATCHES[wire].line("a", request, model)
    created = next(
        BATCHES[wire].create(FILE, "f", NAME, BATCHES[wire].shared(request, model), model)
    )
    assert ("X-Region", "eu") in created.headers


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", ["", "a b", "é", "a" * 65, 'a"'])
def test_an_id_that_vendors_do_not_take_is_refused(wire: str, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the id"):
        BATCHES[wire].line(name, call(wire), model_of(wire))


@pytest.mark.parametrize("wire", WIRES)
@given(
    name=st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True),
    text=st.text(),
    extra=st.dictionaries(
        st.text(min_size=1).filter(lambda key: key not in ("stream", "background", "model")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
        max_size=3,
    ),
)
def test_a_line_is_one_line_and_holds_the_call_and_its_id(
    wire: str, name: str, text: str, extra: dict[str, Any]
) -> None:
    batches, model = BATCHES[wire], model_of(wire)
    request = call(wire, "x" + text, extra_body=extra)
    made = batches.line(name, request, model)
    assert b"\n" not in made
    assert b"\r" not in made
    assert batches.custom_id(made) == name
    held = json.loads(made)
    assert held.get("custom_id", held.get("key")) == name
    body = json.loads(request.body)
    if wire == "mistral":
        del body["model"]
    assert body in held.values()


@pytest.mark.parametrize("wire", WIRES)
def test_line_feeds_between_values_do_not_break_a_line(wire: str) -> None:
    body = b'{\n  "model": "m",\r\n  "messages": []\n}'
    request = call(wire)._replace(body=body)
    made = BATCHES[wire].line("a", request, model_of(wire))
    assert b"\n" not in made
    assert b"\r" not in made
    assert BATCHES[wire].custom_id(made) == "a"
    assert json.loads(made)


@given(st.binary())
def test_what_is_no_line_has_no_id(line: bytes) -> None:
    with pytest.raises(DecodeError):
        BATCHES["openai"].custom_id(line)


def test_mistrals_line_has_no_model_and_its_job_has_the_one_that_was_asked_for() -> None:
    batches, model = BATCHES["mistral"], model_of("mistral")
    other = call("mistral", extra_body={"model": "other"})
    assert "model" not in json.loads(batches.line("a", other, model))["body"]
    created = next(batches.create(FILE, "f", NAME, batches.shared(other, model), model))
    assert json.loads(created.body)["model"] == "other"
    assert batches.shared(other, model) != batches.shared(call("mistral"), model)


def test_mistrals_job_has_the_window_of_the_entry() -> None:
    provider = Provider("v", base_url="https://v/v1", batch=BatchApi("mistral", 1, 1, window="7d"))
    batches, model = BATCHES["mistral"], Model("m", provider)
    shared = batches.shared(call("mistral"), model)
    created = next(batches.create(FILE, "f", NAME, shared, model))
    assert json.loads(created.body)["timeout_hours"] == 168


def test_anthropics_version_and_betas_go_with_the_creation() -> None:
    batches = BATCHES["anthropic"]
    model = model_of("anthropic", headers={"anthropic-beta": "ours"})
    plain = call("anthropic")
    beta = call("anthropic", extra_headers={"Anthropic-Beta": "a,b"}, model=model)
    assert batches.line("a", beta, model)
    assert batches.shared(beta, model) != batches.shared(plain, model)
    created = next(batches.create(FILE, None, NAME, batches.shared(beta, model), model))
    assert {key.lower(): value for key, value in created.headers}["anthropic-beta"] == "a,b"
    old = Model("m", model.provider, legacy_api_version="2023-06-01")
    warm = call("anthropic", model=old, params=SamplingParams(temperature=0.5))
    created = next(batches.create(FILE, None, NAME, batches.shared(warm, old), old))
    assert ("anthropic-version", "2023-06-01") in created.headers
    assert batches.shared(warm, old) != batches.shared(plain, old)


def test_claude_at_other_clouds_has_no_batches_of_this_kind() -> None:
    base = model_of("anthropic")
    model = Model("m", base.provider, path="/model/{id}/invoke", version_field="anthropic_version")
    with pytest.raises(ConfigError):
        BATCHES["anthropic"].line("a", call("anthropic", model=model), model)


# Uploads


@pytest.mark.parametrize("wire", ["openai", "mistral"])
def test_a_file_is_streamed_in_a_form_that_its_lines_cannot_break(wire: str) -> None:
    data = b'{"a":"--deluge-sync-"}\n{"b":"\\r\\n--"}'
    batches = BATCHES[wire]
    file = FileBody("/spool/x", len(data))
    [request], file_id = driven(
        batches.upload(file, 'a"b', model_of(wire)), answered({"id": "file-1"})
    )
    assert file_id == "file-1"
    assert request.url == BASES[wire] + "/files"
    assert request.file is not None
    assert request.file[:2] == file[:2]
    [kind] = [value for key, value in request.headers if key == "content-type"]
    boundary = kind.partition("boundary=")[2]
    assert len(boundary) <= 70
    fields = form(request._replace(body=whole(request, data)))
    assert fields["purpose"].data == b"batch"
    assert tuple(fields["file"]) == ("a%22b.jsonl", "application/jsonl", data)


def test_googles_file_is_streamed_to_where_it_says_but_at_our_server() -> None:
    data = FileBody("/spool/x", 7, b"tail")
    model = model_of("gemini", "https://gateway")
    (begin, send), file_id = driven(
        BATCHES["gemini"].upload(data, NAME, model),
        answered({}, x_goog_upload_url="https://elsewhere/upload/v1/files?upload_id=x"),
        answered({"file": {"name": "files/abc", "uri": "https://g/v1/files/abc"}}),
    )
    assert ("x-goog-upload-header-content-length", "11") in begin.headers
    assert (send.url, send.file) == ("https://gateway/upload/v1/files?upload_id=x", data)
    assert file_id == "files/abc"


def test_google_may_refuse_a_file() -> None:
    flow = BATCHES["gemini"].upload(FILE, NAME, model_of("gemini"))
    answers = (
        answered({}, x_goog_upload_url="https://g/up"),
        answered({"file": {"name": "files/a", "state": "FAILED", "error": {"message": "no"}}}),
    )
    with pytest.raises(BadRequestError, match="could not process the file: no"):
        driven(flow, *answers)


def test_anthropic_has_no_files_to_find() -> None:
    flow = BATCHES["anthropic"].find_upload(NAME, model_of("anthropic"))
    with pytest.raises(StopIteration) as end:
        next(flow)
    assert end.value.value is None
    with pytest.raises(ConfigError):
        next(BATCHES["anthropic"].upload(FILE, NAME, model_of("anthropic")))


def listed_file(wire: str, name: str, file_id: str, at: int) -> dict[str, Any]:
    if wire == "gemini":
        return {"name": file_id, "displayName": name, "createTime": f"2023-11-14T00:00:0{at}Z"}
    return {"id": file_id, "filename": f"{name}.jsonl", "created_at": at}


def page_of(wire: str, entries: list[Any], *, more: bool, field: str = "files") -> HttpResponse:
    if wire == "gemini":
        return answered({field: entries, **({"nextPageToken": "t/2"} if more else {})})
    last = entries[-1].get("id") if entries else None
    return answered({"data": entries, "has_more": more, "last_id": last})


@pytest.mark.parametrize("wire", ["openai", "gemini", "mistral"])
def test_an_upload_is_found_again_by_its_name_on_whatever_page(wire: str) -> None:
    flow = BATCHES[wire].find_upload(NAME, model_of(wire))
    others = [listed_file(wire, "other", f"o{n}", 1) for n in range(100)]
    ours = [listed_file(wire, NAME, "old", 2), listed_file(wire, NAME, "new", 5)]
    sent, found = driven(
        flow, page_of(wire, others, more=True), page_of(wire, [None, *ours], more=True)
    )
    assert found == "new"
    query = sent[1].url.partition("?")[2]
    assert {"openai": "after=o99", "gemini": "pageToken=t%2F2", "mistral": "page=1&"}[wire] in query


@pytest.mark.parametrize("wire", ["openai", "gemini", "mistral"])
def test_an_upload_that_is_not_there_is_not_found(wire: str) -> None:
    entries = [listed_file(wire, "other", "o", 1)]
    sent, found = driven(
        BATCHES[wire].find_upload(NAME, model_of(wire)), page_of(wire, entries, more=False)
    )
    assert (len(sent), found) == (1, None)


def test_a_list_that_never_ends_is_given_up_rather_than_taken_for_one_without_ours() -> None:
    flow = BATCHES["openai"].find_upload(NAME, model_of("openai"))
    page = page_of("openai", [listed_file("openai", "other", "o", 1)], more=True)
    with pytest.raises(CallError, match=f"more than {MOST_PAGES} pages"):
        driven(flow, *[page] * MOST_PAGES)


# Batches


def listed_batch(wire: str, name: str, batch_id: str, ago: int = 0) -> dict[str, Any]:
    body = json.loads(json.dumps(next(iter(golden(wire)["states"].values()))["received"]))
    if wire == "gemini":
        body["name"] = batch_id
        body["metadata"]["displayName"] = name
        body["metadata"]["createTime"] = f"2023-11-14T{22 - ago:02}:13:20Z"
    else:
        body["id"] = batch_id
        body["metadata"] = {"deluge_sync": name}
        at = 1_700_000_000 - 3_600 * ago
        body["created_at"] = f"2023-11-14T{22 - ago:02}:13:20Z" if wire == "anthropic" else at
    return body


@pytest.mark.parametrize("wire", ["openai", "gemini", "mistral"])
def test_a_batch_is_found_again_by_its_name_and_only_the_newest(wire: str) -> None:
    others = [listed_batch(wire, "other", f"o{n}") for n in range(100)]
    ours = [listed_batch(wire, NAME, "new"), listed_batch(wire, NAME, "old")]
    sent, found = driven(
        BATCHES[wire].find(NAME, SINCE, model_of(wire)),
        page_of(wire, others, more=True, field="operations"),
        page_of(wire, ours, more=True, field="operations"),
    )
    assert [state.id for state in found] == ["new"]
    assert len(sent) == 2


@pytest.mark.parametrize("wire", ["openai", "gemini", "anthropic"])
def test_looking_for_a_batch_ends_with_pages_older_than_it(wire: str) -> None:
    old = [listed_batch(wire, "other", f"o{n}", ago=3) for n in range(100)]
    sent, found = driven(
        BATCHES[wire].find(NAME, SINCE, model_of(wire)),
        page_of(wire, old, more=True, field="operations"),
    )
    assert (len(sent), found) == (1, [])


def test_mistral_is_asked_for_newer_jobs_only_with_room_for_its_clock() -> None:
    request = next(BATCHES["mistral"].find(NAME, SINCE, model_of("mistral")))
    assert "created_after=2023-11-14T22%3A03%3A20%2B00%3A00" in request.url
    assert "order_by=-created" in request.url


def test_anthropic_gives_every_batch_since_then_as_they_have_no_names() -> None:
    first = [listed_batch("anthropic", "", f"n{n}") for n in range(2)]
    second = [listed_batch("anthropic", "", "n2"), listed_batch("anthropic", "", "old", ago=1)]
    sent, found = driven(
        BATCHES["anthropic"].find(NAME, SINCE, model_of("anthropic")),
        page_of("anthropic", first, more=True),
        page_of("anthropic", second, more=False),
    )
    assert [state.id for state in found] == ["n0", "n1", "n2"]
    assert sent[1].url.endswith("limit=100&after_id=n1")
    assert not BATCHES["anthropic"].NAMED


@pytest.mark.parametrize("wire", WIRES)
def test_a_batch_that_the_vendor_does_not_have_is_not_found(wire: str) -> None:
    for flow in (
        BATCHES[wire].look("x", model_of(wire)),
        BATCHES[wire].cancel("x", model_of(wire)),
    ):
        with pytest.raises(NotFoundError):
            driven(flow, answered({"error": {"message": "no such batch", "code": 404}}, 404))


@pytest.mark.parametrize("wire", WIRES)
def test_a_good_answer_without_a_batch_is_a_decode_error(wire: str) -> None:
    for body in ({}, [], {"id": 3}, {"id": "x"}, {"name": []}):
        with pytest.raises(DecodeError):
            driven(BATCHES[wire].look("x", model_of(wire)), answered(body))


@pytest.mark.parametrize("wire", WIRES)
def test_cancelling_gives_the_state_and_leaves_one_that_has_ended_as_it_is(wire: str) -> None:
    states = golden(wire)["states"]
    going = "running" if wire in ("gemini", "mistral") else "in progress"
    ended = "cancelled in part" if wire == "anthropic" else "cancelled"
    cancel = BATCHES[wire].cancel
    refused = answered({"error": {"message": "it has ended", "code": 400}}, 400)
    sent, state = driven(
        cancel("x", model_of(wire)), answered({}), answered(states[going]["received"])
    )
    assert [request.method for request in sent] == ["POST", "GET"]
    assert not state.ended
    _, state = driven(cancel("x", model_of(wire)), refused, answered(states[ended]["received"]))
    assert state.ended
    with pytest.raises(BadRequestError, match="it has ended"):
        driven(cancel("x", model_of(wire)), refused, answered(states[going]["received"]))
    with pytest.raises(TransientError):
        driven(cancel("x", model_of(wire)), answered({}, 503))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (429, ThrottledError)])
def test_errors_of_every_flow_are_the_errors_they_are_live(
    wire: str, status: int, kind: type[CallError]
) -> None:
    batches, model = BATCHES[wire], model_of(wire)
    flows = [
        batches.create(FILE, "f", NAME, batches.shared(call(wire), model), model),
        batches.find(NAME, SINCE, model),
        batches.look("x", model),
    ]
    if batches.UPLOADS:
        flows += [batches.upload(FILE, NAME, model), batches.find_upload(NAME, model)]
    for flow in flows:
        with pytest.raises(kind):
            driven(flow, answered({"error": {"message": "no", "code": status}}, status))


# Results


@pytest.mark.parametrize(
    ("base_url", "given", "url"),
    [
        (
            "https://api.anthropic.com",
            "https://api.anthropic.com/v1/messages/batches/b/results",
            "https://api.anthropic.com/v1/messages/batches/b/results",
        ),
        (
            "https://gateway/anthropic",
            "https://api.anthropic.com/v1/messages/batches/b/results?x=1",
            "https://gateway/anthropic/v1/messages/batches/b/results?x=1",
        ),
        ("https://gateway", "https://thief/results", "https://gateway/results"),
        ("https://gateway", "http://u:p@thief/v1/r", "https://gateway/v1/r"),
    ],
)
def test_the_key_goes_to_our_own_server_wherever_results_are_said_to_be(
    base_url: str, given: str, url: str
) -> None:
    request = BATCHES["anthropic"].download(given, model_of("anthropic", base_url))
    assert (request.method, request.url) == ("GET", url)


@pytest.mark.parametrize("url", ["https://[x", "http://a]b/v1/x"])
def test_an_address_that_is_none_is_a_decode_error(url: str) -> None:
    upload = BATCHES["gemini"].upload(FILE, NAME, model_of("gemini"))
    next(upload)
    with pytest.raises(DecodeError, match="not a URL"):
        upload.send(answered({}, x_goog_upload_url=url))
    look = BATCHES["anthropic"].look("b", model_of("anthropic"))
    next(look)
    with pytest.raises(DecodeError, match="not a URL"):
        look.send(answered({"id": "b", "processing_status": "ended", "results_url": url}))


@pytest.mark.parametrize("wire", WIRES)
def test_a_name_of_results_stays_one_part_of_the_path(wire: str) -> None:
    if wire != "anthropic":
        url = BATCHES[wire].download("a?b#c", model_of(wire)).url
        assert "a%3Fb%23c" in url


def test_an_expired_request_may_be_sent_again_and_a_cancelled_one_was_called_off() -> None:
    lines = {wire: golden(wire)["results"] for wire in ("openai", "anthropic")}
    for wire, cases in lines.items():
        read = BATCHES[wire].result
        expired = read(json.dumps(cases["expired"]["received"]).encode(), model_of(wire)).error
        assert expired is not None
        assert (expired.code, expired.retryable) == ("batch_expired", True)
        cancelled = read(json.dumps(cases["cancelled"]["received"]).encode(), model_of(wire)).error
        assert isinstance(cancelled, CallCancelledError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("code", "message", "status_code", "body", "type")), inner
        )
    ),
    max_leaves=6,
)
FIELDS = (
    "custom_id", "key", "metadata", "response", "error", "result", "status", "id",
)  # fmt: skip


@pytest.mark.parametrize("wire", WIRES)
@given(value=st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_any_json_is_a_result_or_a_decode_error(wire: str, value: Any) -> None:
    check_result(wire, json.dumps(value).encode())


@pytest.mark.parametrize("wire", WIRES)
@given(data=st.data())
def test_any_altered_line_is_a_result_or_a_decode_error(wire: str, data: Any) -> None:
    cases = [case["received"] for case in golden(wire)["results"].values()]
    line = data.draw(st.sampled_from(cases))
    inner: Any = line
    while type(inner) is dict and inner and data.draw(st.booleans()):
        outer, name = inner, data.draw(st.sampled_from(sorted(inner)))
        inner = inner[name]
        outer[name] = data.draw(JSON) if data.draw(st.booleans()) else inner
    check_result(wire, json.dumps(line).encode())


@pytest.mark.parametrize("wire", WIRES)
@given(line=st.binary())
def test_any_bytes_are_a_result_or_a_decode_error(wire: str, line: bytes) -> None:
    check_result(wire, line)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"custom_id":' + b"9" * 5_000 + b"}", b"NaN"])
def test_a_line_made_to_break_readers_is_a_decode_error(wire: str, line: bytes) -> None:
    with pytest.raises(DecodeError):
        BATCHES[wire].result(line, model_of(wire))


def check_result(wire: str, line: bytes) -> None:
    try:
        result = BATCHES[wire].result(line, model_of(wire))
    except DecodeError as error:
        told = error.message
    else:
        told = ""
        check_read(wire, result)
    assert len(told) < 600


def check_read(wire: str, result: ResultLine) -> None:
    assert type(result.custom_id) is str
    assert (result.response is None) != (result.error is None)
    assert result.error is None or isinstance(result.error, CallError)
    if result.response is not None:
        with suppress(CallError):
            ADAPTERS[LIVE[wire]].decode(result.response, model_of(wire))


@pytest.mark.parametrize("wire", WIRES)
def test_a_line_that_cannot_be_read_is_not_told_whole(wire: str) -> None:
    secret = "sk-abcdefgh12345678"
    line = json.dumps({"custom_id": 1, "x": f"{secret} " + "prompt " * 50}).encode()
    with pytest.raises(DecodeError) as caught:
        BATCHES[wire].result(line, model_of(wire))
    assert secret not in caught.value.message
    assert caught.value.message.count("prompt") <= 5


@pytest.mark.parametrize("wire", WIRES)
@given(value=st.dictionaries(st.text(), JSON) | JSON)
def test_any_json_is_a_state_or_a_call_error(wire: str, value: Any) -> None:
    try:
        driven(BATCHES[wire].look("x", model_of(wire)), answered(value))
    except CallError:
        pass


@pytest.mark.parametrize("wire", WIRES)
@given(data=st.data())
def test_any_altered_state_is_a_state_or_a_call_error(wire: str, data: Any) -> None:
    cases = [case["received"] for case in golden(wire)["states"].values()]
    body = data.draw(st.sampled_from(cases))
    holder = body
    if wire == "gemini" and data.draw(st.booleans()):
        holder = body["metadata"]
    holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(JSON)
    try:
        _, state = driven(BATCHES[wire].look("x", model_of(wire)), answered(body))
    except CallError:
        return
    assert state.ended or not state.results
