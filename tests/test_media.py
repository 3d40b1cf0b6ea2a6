"""Pictures, sound and documents: what they hold, and what is said of them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from deluge_sync import Audio, Conversation, File, Image, Message, PromptError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
HEIC = b"\x00\x00\x00\x18ftypheic" + bytes(8)


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("source", [PNG, data_url(PNG, "image/png")], ids=["bytes", "data URL"])
def test_a_picture_is_known_by_its_bytes(source: object) -> None:
    part = Message.user("What is it?").add_image(source).parts[1]
    assert part == Image(PNG, media_type="image/png")


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n")
    part = Message.user("Sum it up.").add_file(path).parts[1]
    assert part == File(b"a,b\n", media_type="text/csv", name="table.csv")


def test_apples_pictures_are_pictures() -> None:
    assert Message.user("?").add_image(HEIC).parts[1].media_type == "image/heic"


def test_other_names_of_a_kind_mean_the_same() -> None:
    assert Message.user("?").add_image(b"\xff\xd8\xff", media_type="image/jpg").parts[1] == Image(
        b"\xff\xd8\xff", media_type="image/jpeg"
    )
    assert Message.user("?").add_audio(b"ID3", media_type="audio/mpeg").parts[1] == Audio(
        b"ID3", media_type="audio/mp3"
    )


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (data_url(b"<html>", "image/png"), {}, "said to be image/png, but holds something else"),
        (b"%PDF-1.7", {"media_type": "image/png"}, "but holds application/pdf"),
        (b"<html>", {}, "not a picture"),
        (b"", {}, "empty"),
        ("cat.png", {}, "never opened as a path"),
        ("file:///etc/passwd", {}, "never opened as a path"),
        ("data:image/png,plain", {}, "data URL must look like"),
        ("data:image/png;base64,%%%", {}, "not proper base64"),
        (Path("/nonexistent/cat.png"), {}, "cannot be read"),
        (7, {}, "not int"),
    ],
)
def test_what_is_no_picture_is_named_when_it_is_added(
    source: object, options: dict, said: str
) -> None:
    with pytest.raises(PromptError, match=said):
        Message.user("What is it?").add_image(source, **options)


def test_a_part_has_one_source() -> None:
    with pytest.raises(PromptError, match="exactly one"):
        Image(PNG, "https://example.com/cat.png", media_type="image/png")
    with pytest.raises(PromptError, match="exactly one"):
        File()


def test_openais_parts_in_lists_of_dicts_are_understood() -> None:
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": data_url(PNG, "image/png"), "detail": "low"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    (message,) = Conversation.of([{"role": "user", "content": content}]).messages
    assert message.parts[1] == Image(PNG, media_type="image/png", detail="low")
    assert message.parts[2] == File(file_id="file-1")
    for bad in ({"type": "image_url"}, {"type": "image_url", "image_url": {"url": "cat.png"}}):
        with pytest.raises(PromptError, match="message 0"):
            Conversation.of([{"role": "user", "content": [bad]}])
