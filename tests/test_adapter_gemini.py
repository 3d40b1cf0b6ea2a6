"""What Gemini is sent, beside the golden files: addresses, media, and what it has no form for."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deluge_sync.adapters import gemini, gemini_media
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.media import Audio, File, Image
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import Conversation, Message, Text
from deluge_sync.values.request import OutputFormat, PromptCache, Request

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PDF = b"%PDF-1.7\n"
HELLO = Conversation().user("Hello")
EYES = frozenset({"vision", "pdf", "audio_in", "json_schema"})


def model(base_url="https://vendor", **changes):
    return Model("m", Provider("google", "gemini", base_url), supports=EYES, **changes)


MODEL = model()


def sent(request, model=MODEL):
    return json.loads(gemini.encode(request, model).body)


def part_of(media, model=MODEL):
    message = Message("user", (Text("What is this?"), media))
    return sent(Request(Conversation((message,))), model)["contents"][0]["parts"][1]


def refusal_of(media, model=MODEL):
    with pytest.raises(PromptError) as caught:
        part_of(media, model)
    return caught.value.message


@pytest.mark.parametrize(
    ("base_url", "changes", "address"),
    [
        ("https://vendor/", {}, "https://vendor/v1/models/m:streamGenerateContent?alt=sse"),
        (
            "https://vendor",
            {"api_version": "v1beta"},
            "https://vendor/v1beta/models/m:streamGenerateContent?alt=sse",
        ),
        (
            "https://proxy?team=a",
            {},
            "https://proxy/v1/models/m:streamGenerateContent?team=a&alt=sse",
        ),
        (
            "https://eu-aiplatform/v1beta1/projects/p/locations/eu/publishers/google",
            {"api_version": ""},
            "https://eu-aiplatform/v1beta1/projects/p/locations/eu/publishers/google/models/m"
            ":streamGenerateContent?alt=sse",
        ),
    ],
)
def test_a_stream_has_an_address_of_its_own_and_the_same_body(base_url, changes, address):
    chosen = model(base_url, **changes)
    plain, streamed = (gemini.encode(Request(HELLO, stream=on), chosen) for on in (False, True))
    assert streamed.url == address
    assert ":generateContent" in plain.url
    assert "alt=sse" not in plain.url
    assert plain.body == streamed.body


@pytest.mark.parametrize(("tokens", "needs"), [(None, False), (32_768, False), (32_769, True)])
def test_what_may_be_longer_than_a_plain_answer_needs_a_stream(tokens, needs):
    request = Request(HELLO, SamplingParams(max_new_tokens=tokens))
    assert gemini.needs_stream(request, MODEL) is needs


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"background": True}, "use_responses_api"),
        ({"completion_window": "2h"}, "completion_window"),
        ({"previous_response_id": "r1"}, "previous_response_id"),
    ],
)
def test_an_option_without_a_form_is_named_with_what_to_do_instead(option, word):
    with pytest.raises(ConfigError, match=word) as caught:
        gemini.encode(Request(HELLO, **option), MODEL)
    assert "google/m" in caught.value.message


def test_of_a_prompt_cache_nothing_is_sent_as_google_caches_by_itself():
    asking = Request(HELLO, prompt_cache=PromptCache("last_user_message", "1h"))
    assert sent(asking) == sent(Request(HELLO))


def test_an_output_format_stands_beside_the_parameters_and_extra_body_wins():
    request = Request(
        HELLO,
        SamplingParams(temperature=0.5),
        output=OutputFormat(),
        extra_body={"generationConfig": {"responseMimeType": "text/x.enum"}},
    )
    assert sent(request)["generationConfig"] == {
        "temperature": 0.5,
        "responseMimeType": "text/x.enum",
    }


@pytest.mark.parametrize(
    ("file_id", "uri"),
    [
        ("abc", "https://vendor/v1/files/abc"),
        ("files/abc", "https://vendor/v1/files/abc"),
        ("https://other/v1beta/files/abc", "https://other/v1beta/files/abc"),
        ("gs://bucket/cat.png", "gs://bucket/cat.png"),
    ],
)
def test_a_stored_file_is_named_by_its_uri(file_id, uri):
    part = part_of(Image(file_id=file_id, media_type="image/png"))
    assert part == {"fileData": {"mimeType": "image/png", "fileUri": uri}}


def test_vertex_keeps_no_files_but_in_google_cloud_storage():
    vertex = model(api_version="")
    assert "gs://" in refusal_of(Image(file_id="abc", media_type="image/png"), vertex)


@pytest.mark.parametrize(
    ("media", "kind"),
    [
        (Image(url="https://example.com/a/cat.JPG?size=3#top"), "image/jpeg"),
        (File(url="https://example.com/report.pdf"), "application/pdf"),
        (Audio(url="https://example.com/song.mp3"), "audio/mp3"),
        (Image(url="https://example.com/cat.png", media_type="image/webp"), "image/webp"),
    ],
)
def test_the_type_behind_a_url_is_given_or_told_by_its_name(media, kind):
    assert part_of(media)["fileData"]["mimeType"] == kind


@pytest.mark.parametrize(
    ("media", "word"),
    [
        (Image(url="https://example.com/cat"), "media_type"),
        (Image(file_id="abc"), "media_type"),
        (Image(b"GIF89a", media_type="image/gif"), "image/gif"),
        (File(b"x", media_type="application/zip"), "application/zip"),
        (Audio(b"x", media_type="audio/midi"), "audio/midi"),
    ],
)
def test_media_that_are_not_taken_are_named(media, word):
    assert word in refusal_of(media)


@pytest.mark.parametrize(
    ("media", "word"),
    [
        (Image(PNG, media_type="image/png"), "vision"),
        (File(PNG, media_type="image/png"), "vision"),
        (Image(url="https://example.com/cat.png"), "vision"),
        (File(PDF, media_type="application/pdf"), "pdf"),
        (Audio(b"RIFF", media_type="audio/wav"), "audio_in"),
    ],
)
def test_a_model_without_the_ability_is_told_which_word_its_entry_lacks(media, word):
    blind = dataclasses.replace(MODEL, supports=EYES - {word})
    assert f"'{word}'" in refusal_of(media, blind)


@pytest.mark.parametrize("kind", ["text/csv", "text/markdown", "application/json"])
def test_text_files_need_no_ability(kind):
    blind = dataclasses.replace(MODEL, supports=frozenset())
    part = part_of(File(b"a", media_type=kind), blind)
    assert part == {"inlineData": {"mimeType": kind, "data": "YQ=="}}


def test_files_that_are_too_much_for_one_request_are_named_before_sending(monkeypatch):
    monkeypatch.setattr(gemini_media, "MOST_INLINE", 47)
    picture = Image(PNG, media_type="image/png")  # 24 characters of base64
    assert part_of(picture)
    two = Message("user", (picture, picture))
    with pytest.raises(PromptError, match="file_id"):
        gemini.encode(Request(Conversation((two,))), MODEL)
    apart = Conversation((Message("user", (picture,)), Message.assistant("A"), two))
    with pytest.raises(PromptError, match="file_id"):
        gemini.encode(Request(apart), MODEL)


def test_a_pdf_has_a_limit_of_its_own(monkeypatch):
    monkeypatch.setattr(gemini_media, "MOST_PDF", len(PDF) - 1)
    assert "PDF" in refusal_of(File(PDF, media_type="application/pdf"))


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_media_are_the_users_to_give(role):
    hello, picture = Message.user("Hi"), Message(role, (Image(PNG, media_type="image/png"),))
    for messages in ((hello, picture), (picture, hello)):
        with pytest.raises(PromptError, match=role):
            gemini.encode(Request(Conversation(messages)), MODEL)


def asking(schema, **options):
    return Request(HELLO, output=OutputFormat(schema, **options))


def test_a_schema_is_closed_where_it_is_strict_and_left_as_it_is_where_not():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    config = sent(asking(schema))["generationConfig"]
    assert config["responseJsonSchema"] == {**schema, "additionalProperties": False}
    loose = sent(asking(schema, strict=False))["generationConfig"]
    assert loose["responseJsonSchema"] == schema


def test_a_schema_that_is_not_taken_is_named_with_its_place():
    schema = {"type": "object", "properties": {"a": {"enum": [None, 1]}}, "required": ["a"]}
    with pytest.raises(ConfigError, match=r"schema\.properties\.a: "):
        sent(asking(schema))


def test_a_model_without_schemas_is_told_so():
    plain = dataclasses.replace(MODEL, supports=frozenset())
    with pytest.raises(ConfigError, match="json_schema"):
        sent(asking({"type": "object"}), plain)
    assert sent(asking(None), plain)
