"""Counting tokens: the approximation where there is no vocabulary, tiktoken where there is one."""

from __future__ import annotations

import sys
import threading
import time
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync import notices, tokens
from deluge_sync.catalog import Catalog
from deluge_sync.tokens import APPROXIMATION, ERRORS, SCRIPTS, count_tokens
from deluge_sync.values.errors import DelugeWarning
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import Conversation, Message, ToolCall, ToolResult

PLAIN = Model("m", Provider("vendor"))
KNOWN = Model("m", Provider("vendor"), tokenizer="o200k_base")


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No vocabulary of another test, and no warning that was given already."""
    monkeypatch.setattr(tokens, "_encodings", {})
    monkeypatch.setattr(notices, "_told", set())
    monkeypatch.setitem(sys.modules, "tiktoken", None)


def install(monkeypatch: pytest.MonkeyPatch, get_encoding: Any) -> None:
    fake = types.ModuleType("tiktoken")
    fake.get_encoding = get_encoding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiktoken", fake)


class Bytes:
    """An encoding whose tokens are bytes."""

    longest = 0

    def encode_ordinary(self, text: str) -> bytes:
        Bytes.longest = max(Bytes.longest, len(text))
        return text.encode()


# What o200k_base makes of these, counted with bpe-openai 0.1.4.
REAL = [
    ("english", 28, "It was a bright cold day in April, and the clocks were striking thirteen. "
     "The people of the town looked at the sky and wondered."),
    ("latin", 35, "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in "
     "seinem Bett zu einem ungeheueren Ungeziefer verwandelt."),
    ("cyrillic", 25, "Все счастливые семьи похожи друг на друга, каждая несчастливая семья "  # noqa: RUF001
     "несчастлива по-своему."),
    ("arabic", 17, "كان يا ما كان في قديم الزمان ملك عظيم يحكم بلادا واسعة"),
    ("chinese", 18, "我们今天去公园散步,天气非常好,阳光明媚。"),
    ("japanese", 32, "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"),
    ("korean", 18, "안녕하세요. 오늘은 날씨가 참 좋네요. 같이 산책할까요?"),
    ("indic", 14, "भारत एक विशाल देश है जहाँ अनेक भाषाएँ बोली जाती हैं।"),
    ("code", 29, "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n    "
     "print(add(i, i * 2))\n"),
    ("numbers", 19, "1234567, 89.01, 2025-11-22, 42"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "real", "text"), REAL, ids=[kind for kind, *_ in REAL])
def test_a_sentence_of_each_kind_is_counted_about_right(kind: str, real: int, text: str) -> None:
    count = count_tokens(text, KNOWN)
    assert count.method == APPROXIMATION
    # One sentence, of literature at that: further off than software's texts of 500 characters.
    assert count.tokens == pytest.approx(real, rel=0.45)


def test_an_unknown_vocabulary_is_given_the_larger_error() -> None:
    text = REAL[0][2]
    assert count_tokens(text, KNOWN).error == ERRORS["english"].p95
    assert count_tokens(text, PLAIN).error == ERRORS["english"].elsewhere


def test_an_empty_text_has_no_tokens_and_any_other_has_one() -> None:
    assert count_tokens("", PLAIN).tokens == 0
    assert count_tokens(".", PLAIN).tokens == 1
    assert count_tokens("a", PLAIN).tokens == 1


def test_every_script_has_a_kind_with_a_stated_error() -> None:
    for name in SCRIPTS:
        shares = dict.fromkeys(SCRIPTS, 0.0)
        shares[name] = 1.0
        assert tokens._kind(shares, 0.0) in ERRORS


@given(st.text())
def test_any_text_has_a_count_and_none_is_more_than_two_tokens_a_character(text: str) -> None:
    count = count_tokens(text, PLAIN)
    assert 0 <= count.tokens <= 2 * len(text)
    assert 0 <= count.error < 1


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_lone_surrogate_is_counted_like_any_character(before: str, after: str) -> None:
    assert count_tokens(before + "\ud800" + after, PLAIN).tokens > 0


def test_messages_cost_tokens_around_their_texts() -> None:
    one = count_tokens(Conversation().user("Hello there"), PLAIN).tokens
    two = count_tokens(Conversation().user("Hello there").assistant(""), PLAIN).tokens
    assert one == count_tokens("Hello there", PLAIN).tokens + tokens.PER_MESSAGE + tokens.PER_REPLY
    assert two == one + tokens.PER_MESSAGE


def test_tool_calls_and_their_results_are_counted() -> None:
    asked = Message("assistant", (ToolCall("1", "weather", {"city": "Bern"}),))
    told = Message("tool", (ToolResult("1", "It rains."),))
    count = count_tokens(Conversation((asked, told)), PLAIN).tokens
    around = tokens.PER_REPLY + 2 * (tokens.PER_MESSAGE + tokens.PER_TOOL_CALL)
    texts = count_tokens('weather {"city": "Bern"}', PLAIN), count_tokens("It rains.", PLAIN)
    assert count == pytest.approx(sum(one.tokens for one in texts) + around, abs=1)


def test_tiktoken_counts_where_it_has_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get_encoding(name: str) -> Bytes:
        asked.append(name)
        return Bytes()

    install(monkeypatch, get_encoding)
    assert count_tokens("Grüße", KNOWN) == (7, "tiktoken o200k_base", 0.0)
    assert count_tokens("x", KNOWN).tokens == 1
    assert count_tokens("x", PLAIN).method == APPROXIMATION
    assert asked == ["o200k_base"]


def test_an_endless_text_is_given_to_tiktoken_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda name: Bytes())
    assert count_tokens("a" * 250_000, KNOWN).tokens == 250_000
    assert Bytes.longest == tokens.SLICE


def test_a_download_that_fails_is_told_once_and_approximated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get_encoding(name: str) -> Any:
        raise OSError("no network")

    install(monkeypatch, get_encoding)
    with pytest.warns(DelugeWarning, match="tiktoken cannot get its vocabulary o200k_base"):
        assert count_tokens("Hello", KNOWN).method == APPROXIMATION
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_tokens("Hello", KNOWN).method == APPROXIMATION


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_download_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    install(monkeypatch, lambda name: hanging.wait(60))
    monkeypatch.setattr(tokens, "LONGEST_DOWNLOAD", 0.01)
    with pytest.warns(DelugeWarning, match="none after"):
        assert count_tokens("Hello", KNOWN).method == APPROXIMATION


def test_a_million_characters_of_one_kind_take_no_more_than_their_length() -> None:
    """A pattern that backtracks would take minutes."""
    begin = time.monotonic()
    for text in ("a" * 10**6, "é" * 10**6, "A" * 10**6, " " * 10**6, "a" * 10**6 + "é"):
        count_tokens(text, PLAIN)
    assert time.monotonic() - begin < 60


def test_models_of_openai_name_the_vocabulary_that_tiktoken_gives_them() -> None:
    catalog = Catalog.builtin()
    for name, tokenizer in (
        ("gpt-4.1-mini", "o200k_base"),
        ("gpt-5.2", "o200k_base"),
        ("azure/gpt-4.1-mini", "o200k_base"),
        ("groq/openai/gpt-oss-120b", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-6.1-sol", ""),
        ("claude-opus-5-5", ""),
    ):
        assert catalog.model(name).tokenizer == tokenizer, name
