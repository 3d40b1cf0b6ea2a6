"""How many tokens a text is: by the model's own vocabulary where tiktoken has it, else nearly so.

The approximation cuts a text into pieces of one script each and adds up what a piece and a
character of that script cost on average. These numbers were fitted to the vocabulary o200k_base on
half of our texts; `ERRORS` is what `benchmarks/token_error.py` measured on the other half, against
that vocabulary and three others: docs/tokens.md says how.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Union

from .notices import warn_once
from .values.model import Model
from .values.prompt import Conversation, Part, Text, Thinking, ToolCall, ToolResult

APPROXIMATION = "approximation"

PER_MESSAGE = 4
"""Tokens around each message: its role and its borders (OpenAI's own reckoning for its chats)."""

PER_REPLY = 3
"""Tokens that open the answer."""

PER_TOOL_CALL = 8
"""Tokens around a tool's call or its result: names of fields, braces, its id."""

LONGEST_DOWNLOAD = 20.0
"""Seconds that tiktoken may take to get a vocabulary it does not have yet."""

SLICE = 100_000
"""Characters that tiktoken is given at once: its parser runs out of stack on endless pieces."""

_UPPER, _LOWER = "A-Z\u00c0-\u00d6\u00d8-\u00de", "a-z\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff"


class Script(NamedTuple):
    """A class of characters, and what a run of them costs in tokens: by the piece and character.

    A longer run than the pattern takes at once is several pieces.
    """

    pattern: str
    per_piece: float
    per_character: float


SCRIPTS: Mapping[str, Script] = {
    "long_word": Script(rf"[A-Z]?[a-z]{{8,}}(?![{_LOWER}])", 0, 0.151),
    "word": Script(rf"[A-Z]?[a-z]+(?![{_LOWER}])|[A-Z]+(?![{_LOWER}])", 0.325, 0.14),
    "latin": Script(rf"[{_UPPER}{_LOWER}]+", 0.267, 0.313),
    "digits": Script(r"[0-9]{1,3}", 0.376, 0.416),
    "punctuation": Script(r"[!-/:-@\[-`{-~]+", 0, 0.487),
    "space": Script(r" {2,}|[\t\r\n]+[ \t\r\n]*", 1.936, 0),
    "cyrillic": Script(r"[\u0400-\u052f]+", 0.751, 0.166),
    "greek": Script(r"[\u0370-\u03ff\u1f00-\u1fff]+", 0, 0.41),
    "arabic": Script(
        r"[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefe]+", 0, 0.345
    ),
    "hebrew": Script(r"[\u0590-\u05ff]+", 0.281, 0.339),
    "indic": Script(r"[\u0900-\u0dff]+", 0, 0.382),
    "southeast": Script(r"[\u0e00-\u109f\u1780-\u17ff]+", 0, 0.408),
    "caucasus": Script(r"[\u0530-\u058f\u10a0-\u10ff]+", 0, 0.353),
    "han": Script(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+", 0.464, 0.447),
    "kana": Script(r"[\u3040-\u30ff]+", 0, 0.462),
    "hangul": Script(r"[\uac00-\ud7af\u1100-\u11ff]+", 0, 0.635),
    "other": Script(r"\S", 1.793, 0),
}
"""In the order in which they are tried. Single spaces belong to the word that follows them."""

FOREIGN = 0.1
"""Tokens more for a letter of a long word in plain letters where the language is not English."""

COMMON_WORDS = 0.12
"""The share that English prose has of the words in `_COMMON`; less of them is less English."""

PROGRAM_SIGNS = 0.8
"""Runs of punctuation for each word in a program, whose words are English too."""

FITTED = "o200k_base"
"""The vocabulary that the numbers above were fitted to."""


class Error(NamedTuple):
    """Relative errors of texts of 500 characters: the median, and what 95 % of them stay within.

    `elsewhere` is the worst 95th percentile with vocabularies that nothing was fitted to
    (cl100k_base, DeepSeek V3's, Claude 2's): there our numbers are mostly too low.
    """

    median: float
    p95: float
    elsewhere: float


ERRORS: Mapping[str, Error] = {
    "english": Error(0.05, 0.14, 0.16),
    "code": Error(0.06, 0.18, 0.21),
    "json": Error(0.04, 0.06, 0.09),
    "numbers": Error(0.01, 0.03, 0.05),
    "latin": Error(0.10, 0.25, 0.43),
    "cyrillic": Error(0.12, 0.24, 0.61),
    "greek": Error(0.09, 0.20, 0.66),
    "arabic": Error(0.16, 0.45, 0.72),
    "hebrew": Error(0.04, 0.10, 0.59),
    "indic": Error(0.06, 0.22, 0.82),
    "southeast": Error(0.16, 0.26, 0.83),
    "caucasus": Error(0.06, 0.13, 0.81),
    "chinese": Error(0.12, 0.25, 0.40),
    "japanese": Error(0.05, 0.12, 0.36),
    "korean": Error(0.09, 0.14, 0.45),
    "emoji": Error(0.02, 0.05, 0.28),
}
"""By kind of text."""

_KINDS = {
    "punctuation": "code",
    "space": "code",
    "han": "chinese",
    "kana": "japanese",
    "hangul": "korean",
    "digits": "numbers",
    "other": "emoji",
}
"""The kind of text that a script dominates, where they are not called the same."""

_NAMES = tuple(SCRIPTS)
_PIECES = re.compile("|".join(f"({script.pattern})" for script in SCRIPTS.values()))
_COMMON = re.compile(r" (?:the|of|and|to|is|in|a|for|that|be) ")


class TokenCount(NamedTuple):
    """How many tokens, how that was found, and the relative error that 95 % of texts stay within.

    `method` is "tiktoken" with a vocabulary's name, or "approximation".
    """

    tokens: int
    method: str
    error: float


def count_tokens(content: Union[str, Conversation], model: Model) -> TokenCount:
    """The tokens of a text, or of a conversation with all that is sent around its messages."""
    return Counter(model).count(content)


class Counter:
    """Counts for one model; made once for many texts."""

    def __init__(self, model: Model) -> None:
        self._encoding = _encoding(model.tokenizer)
        self._fitted = model.tokenizer == FITTED
        self.method = f"tiktoken {model.tokenizer}" if self._encoding else APPROXIMATION

    def count(self, content: Union[str, Conversation]) -> TokenCount:
        """The tokens of a text or a conversation."""
        texts = [content] if isinstance(content, str) else list(_texts(content))
        around = 0 if isinstance(content, str) else _around(content)
        if self._encoding is not None:
            exact = sum(_encoded(self._encoding, text) for text in texts)
            return TokenCount(exact + around, self.method, 0.0)
        tokens, error = 0.0, 0.0
        for text in texts:
            some, kind = approximated(text)
            tokens += some
            error += some * (kind.p95 if self._fitted else kind.elsewhere)
        return TokenCount(round(tokens) + around, self.method, error / tokens if tokens else 0.0)


def approximated(text: str) -> tuple[float, Error]:
    """The tokens of `text`, nearly, and the errors of texts of its kind."""
    pieces, characters = pieces_of(text)
    foreign = foreignness(text, pieces)
    shares = {
        name: pieces[name] * script.per_piece + characters[name] * script.per_character
        for name, script in SCRIPTS.items()
    }
    shares["long_word"] += foreign * characters["long_word"] * FOREIGN
    tokens = max(sum(shares.values()), 1.0) if text else 0.0
    return tokens, ERRORS[_kind(shares, foreign)]


def pieces_of(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """How many pieces and how many characters of each script `text` has."""
    pieces, characters = [0] * len(_NAMES), [0] * len(_NAMES)
    for match in _PIECES.finditer(text):
        script = match.lastindex - 1  # type: ignore[operator]
        start, end = match.span()
        pieces[script] += 1
        characters[script] += end - start
    return dict(zip(_NAMES, pieces)), dict(zip(_NAMES, characters))


def foreignness(text: str, pieces: Mapping[str, int]) -> float:
    """How far words in plain letters are from English: 0 for English and for programs, 1 at most.

    A short text is taken for English until there are words enough to tell.
    """
    words = pieces["word"] + pieces["long_word"] + pieces["latin"]
    if not words:
        return 0.0
    english = (len(_COMMON.findall(text)) + 1) / (COMMON_WORDS * words)
    program = pieces["punctuation"] / (PROGRAM_SIGNS * words)
    return max(0.0, 1.0 - max(english, program))


def _kind(shares: Mapping[str, float], foreign: float) -> str:
    """The kind of text that most of its tokens are of, as `ERRORS` names it."""
    name = max(shares, key=lambda name: shares[name])
    if name in ("word", "long_word"):
        return "latin" if foreign > 0.5 else "english"
    return _KINDS.get(name, name)


def _texts(conversation: Conversation) -> Iterable[str]:
    for message in conversation.messages:
        for part in message.parts:
            yield _text(part)


def _text(part: Part) -> str:
    if isinstance(part, (Text, Thinking)):
        return part.text
    if isinstance(part, ToolResult):
        return part.content
    return f"{part.name} {json.dumps(dict(part.arguments), ensure_ascii=False)}"


def _around(conversation: Conversation) -> int:
    """The tokens that are sent around the texts."""
    parts = (part for message in conversation.messages for part in message.parts)
    calls = sum(isinstance(part, (ToolCall, ToolResult)) for part in parts)
    return PER_REPLY + PER_MESSAGE * len(conversation.messages) + PER_TOOL_CALL * calls


# tiktoken, where it is installed

_encodings: dict[str, Any] = {}


def _encoding(name: str) -> Any:
    """The encoding of that name, or None: looked for once in a process."""
    if not name:
        return None
    if name not in _encodings:
        _encodings[name] = _loaded(name)
    return _encodings[name]


def _loaded(name: str) -> Any:
    """In a thread of its own: a download that hangs must not hang the program with it."""
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError:
        return None
    found: list[Any] = []
    reasons: list[str] = []

    def load() -> None:
        try:
            found.append(tiktoken.get_encoding(name))
        except Exception as error:  # whatever the download, its cache or its plug-ins raise
            reasons.append(type(error).__name__)

    thread = threading.Thread(target=load, name="deluge-sync-vocabulary", daemon=True)
    thread.start()
    thread.join(LONGEST_DOWNLOAD)
    if not found:
        reason = reasons[0] if reasons else f"none after {LONGEST_DOWNLOAD:g} s"
        warn_once(
            f"tiktoken cannot get its vocabulary {name} ({reason}): tokens are approximated; with "
            "TIKTOKEN_CACHE_DIR it reads one that was downloaded before"
        )
    return found[0] if found else None


def _encoded(encoding: Any, text: str) -> int:
    return sum(
        len(encoding.encode_ordinary(text[start : start + SLICE]))
        for start in range(0, len(text), SLICE)
    )
