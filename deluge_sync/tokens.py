"""How many tokens a text is: by the model's own vocabulary where tiktoken has it, else nearly so.

The approximation cuts a text into pieces of one script each and adds up what a piece and a
character of that script cost on average. These numbers were fitted to the vocabulary o200k_base on
half of our texts; `ERRORS` is what `benchmarks/token_error.py` measured on the other half, against
that vocabulary and three others: docs/tokens.md says how.
"""

from __future__ import annotations

import functools
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
_SIGNS = r"!-/:-@\[-`{-~"
_BEFORE = rf"[ \t{_SIGNS}]?"
"""A space or a sign before a word is one piece with it, as it is in the vocabularies."""


class Script(NamedTuple):
    """A class of characters, and what a run of them costs in tokens: by the piece and character.

    A longer run than the pattern takes at once is several pieces.
    """

    pattern: str
    per_piece: float
    per_character: float


SCRIPTS: Mapping[str, Script] = {
    "word": Script(
        rf"{_BEFORE}[A-Z]?[a-z]{{1,7}}(?![{_LOWER}])|{_BEFORE}[A-Z]+(?![{_LOWER}])", 0.71, 0.047
    ),
    "long_word": Script(rf"{_BEFORE}[A-Z]?[a-z]+(?![{_LOWER}])", 0.362, 0.082),
    "latin": Script(rf"{_BEFORE}[{_UPPER}{_LOWER}]+", 0, 0.366),
    "digits": Script(r"[0-9]{1,3}", 0.341, 0.306),
    "punctuation": Script(rf" ?[{_SIGNS}]+[\r\n]*", 0.875, 0),
    "cyrillic": Script(rf"{_BEFORE}[\u0400-\u052f]+", 1.012, 0.133),
    "greek": Script(rf"{_BEFORE}[\u0370-\u03ff\u1f00-\u1fff]+", 0, 0.385),
    "arabic": Script(
        rf"{_BEFORE}[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefe]+", 0, 0.326
    ),
    "hebrew": Script(rf"{_BEFORE}[\u0590-\u05ff]+", 0.492, 0.289),
    "indic": Script(rf"{_BEFORE}[\u0900-\u0dff]+", 0, 0.36),
    "southeast": Script(rf"{_BEFORE}[\u0e00-\u109f\u1780-\u17ff]+", 0.178, 0.402),
    "caucasus": Script(rf"{_BEFORE}[\u0530-\u058f\u10a0-\u10ff]+", 0, 0.342),
    "han": Script(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+", 0, 0.582),
    "kana": Script(r"[\u3040-\u30ff]+", 0, 0.509),
    "hangul": Script(rf"{_BEFORE}[\uac00-\ud7af\u1100-\u11ff]+", 0, 0.591),
    "marks": Script(r"[\u00a0-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uffef]", 1.18, 0),
    "space": Script(r"\s*[\r\n]+|\s+(?!\S)|\s+", 1.904, 0),
    "other": Script(r"\S", 1.205, 0),
}
"""In the order in which they are tried."""

FOREIGN = 0.149
"""Tokens more for a letter of a long word in plain letters where the language is not English."""

COMMON_WORDS = 0.08
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
    "english": Error(0.04, 0.12, 0.18),
    "code": Error(0.05, 0.16, 0.19),
    "json": Error(0.01, 0.03, 0.05),
    "numbers": Error(0.01, 0.02, 0.05),
    "latin": Error(0.10, 0.27, 0.44),
    "cyrillic": Error(0.12, 0.23, 0.61),
    "greek": Error(0.09, 0.20, 0.65),
    "arabic": Error(0.16, 0.43, 0.71),
    "hebrew": Error(0.04, 0.09, 0.57),
    "indic": Error(0.07, 0.19, 0.82),
    "southeast": Error(0.16, 0.23, 0.82),
    "caucasus": Error(0.05, 0.12, 0.79),
    "chinese": Error(0.11, 0.20, 0.38),
    "japanese": Error(0.05, 0.15, 0.37),
    "korean": Error(0.09, 0.18, 0.42),
    "emoji": Error(0.02, 0.04, 0.28),
}
"""By kind of text."""

_KINDS = {
    "punctuation": "code",
    "space": "code",
    "marks": "emoji",
    "han": "chinese",
    "kana": "japanese",
    "hangul": "korean",
    "digits": "numbers",
    "other": "emoji",
}
"""The kind of text that a script dominates, where they are not called the same."""

_NAMES = tuple(SCRIPTS)
_COMMON = " (?:the|of|and|to|that|for|with) "


@functools.lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Of the pieces, and of common English words; not at import, compiling takes milliseconds."""
    pieces = "|".join(f"({script.pattern})" for script in SCRIPTS.values())
    return re.compile(pieces), re.compile(_COMMON)


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
    pieces, characters = [0] * (len(_NAMES) + 1), [0] * (len(_NAMES) + 1)
    for match in _patterns()[0].finditer(text):
        script: Any = match.lastindex  # from 1 on
        start, end = match.span()
        pieces[script] += 1
        characters[script] += end - start
    return dict(zip(_NAMES, pieces[1:])), dict(zip(_NAMES, characters[1:]))


def foreignness(text: str, pieces: Mapping[str, int]) -> float:
    """How far words in plain letters are from English: 0 for English and for programs, 1 at most.

    A short text is taken for English until there are words enough to tell.
    """
    words = pieces["word"] + pieces["long_word"] + pieces["latin"]
    if not words:
        return 0.0
    english = (len(_patterns()[1].findall(text)) + 1) / (COMMON_WORDS * words)
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
    if isinstance(part, ToolCall):
        return f"{part.name} {json.dumps(dict(part.arguments), ensure_ascii=False)}"
    return ""


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
