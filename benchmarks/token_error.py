"""The approximation of tokens against real vocabularies, by kind of text.

    python benchmarks/token_error.py [--fit] [--encoding cl100k_base] [--tokenizer tokenizer.json]

Texts: Django's translations (what is fitted is in conf/, what is measured in contrib/), docstrings
and sources of Python's standard library and of Django (every other file), and, where no such text
was at hand, made-up JSON, tables of numbers and emoji. Each is cut into texts of 500 characters.
"""

from __future__ import annotations

import argparse
import ast
import collections
import gettext
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from common import ROOT, VENVS, Claim, arguments, report, say, table

from deluge_sync import tokens

SIZE = 500
MOST = 400  # texts of one source
NEEDS = ("django", "bpe-openai", "tokenizers", "numpy", "scipy")
SPEED = 5.0  # MB a second

LANGUAGES = {
    "latin": "de fr es it pt nl sv da nb fi pl cs sk sl hr hu ro lt lv et tr az id vi ca gl eu sw "
    "sq is cy ga af",
    "cyrillic": "ru uk be bg sr mk kk ky mn tg",
    "greek": "el",
    "arabic": "ar fa ur ug ckb",
    "hebrew": "he",
    "indic": "hi bn mr ne ta te kn ml pa",
    "southeast": "th km my",
    "caucasus": "ka hy",
    "chinese": "zh_Hans zh_Hant",
    "japanese": "ja",
    "korean": "ko",
}
WEIGHTS = {"de": 4, "fr": 4, "es": 6, "pt": 4, "it": 3, "nl": 2, "pl": 2, "id": 2, "vi": 2, "tr": 2,
           "ru": 6, "uk": 2, "ar": 6, "fa": 3, "hi": 3, "zh_Hans": 3}  # fmt: skip
"""What is written more counts for more in the fit; others count 1."""

Count = Callable[[str], int]


def texts(half: str) -> Iterator[tuple[str, str, str]]:
    """(kind, source, text) of one half, "fit" or "test"."""
    chance = random.Random(half)
    for kind, source, whole in sources(half, chance):
        pieces = [whole[at : at + SIZE] for at in range(0, len(whole) - SIZE // 2, SIZE)]
        for piece in chance.sample(pieces, min(len(pieces), MOST)):
            yield kind, source, piece


def sources(half: str, chance: random.Random) -> Iterator[tuple[str, str, str]]:
    for kind, names in LANGUAGES.items():
        for name in names.split():
            yield kind, name, "\n".join(new for _, new in translations(name, half))
    yield "english", "interface", "\n".join(old for old, _ in translations("de", half))
    code = list(python_files(half))
    yield "english", "docstrings", "\n\n".join(text for file in code for text in docstrings(file))
    yield "code", "Python, JavaScript, CSS", "\n".join([*code, *static_files(half)])
    yield "json", "made up", "\n".join(record(chance, number) for number in range(400))
    yield "numbers", "made up", "\n".join(row(chance) for _ in range(1_500))
    yield "emoji", "made up", "".join(symbol(chance) for _ in range(8_000))


def django_folder() -> Path:
    import django

    return Path(django.__file__).parent


def translations(language: str, half: str) -> Iterator[tuple[str, str]]:
    """English and translated messages; the catalogs that are fitted are not those measured."""
    pattern = "conf/locale" if half == "fit" else "contrib/*/locale"
    for path in sorted(django_folder().glob(f"{pattern}/{language}/LC_MESSAGES/django.mo")):
        with path.open("rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        for key, translated in catalog.items():
            english = key if isinstance(key, str) else key[0]
            if english and translated != english:
                yield english, translated


def python_files(half: str) -> Iterator[str]:
    library, django = Path(os.__file__).parent, django_folder()
    paths = [p for part in (".", "asyncio", "email") for p in sorted((library / part).glob("*.py"))]
    yield from every_other([*paths, *sorted((django / "db").rglob("*.py"))], half)


def static_files(half: str) -> Iterator[str]:
    static = django_folder() / "contrib" / "admin" / "static" / "admin"
    yield from every_other(
        [*sorted(static.glob("js/*.js")), *sorted(static.glob("css/*.css"))], half
    )


def every_other(paths: list[Path], half: str) -> Iterator[str]:
    for path in paths[half == "test" :: 2]:
        yield path.read_text(encoding="utf-8", errors="ignore")


def docstrings(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node) or ""
            if len(text) > 200 and ">>>" not in text:
                yield text


WORDS = """
alice bob carol delta name value status active order item product price total city street country
email phone description quick brown river mountain
""".split()  # noqa: SIM905


def record(chance: random.Random, number: int) -> str:
    day = f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
    value = {
        "id": chance.randrange(10**6),
        "user_name": chance.choice(WORDS),
        "tags": chance.sample(WORDS, 3),
        "price": round(chance.random() * 1_000, 2),
        "created_at": f"{day}T{chance.randrange(24):02}:{chance.randrange(60):02}:00Z",
        "is_active": chance.random() < 0.5,
        "address": {"city": chance.choice(WORDS), "zip": str(chance.randrange(10_000, 99_999))},
    }
    return json.dumps(value, indent=2 if number % 2 else None)


def row(chance: random.Random) -> str:
    kinds = (
        lambda: str(chance.randrange(10 ** chance.randrange(1, 9))),
        lambda: f"{chance.random() * 1_000:.2f}",
        lambda: f"{chance.random():.6f}",
        lambda: f"2025-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
    )
    return ",".join(chance.choice(kinds)() for _ in range(6))


def symbol(chance: random.Random) -> str:
    first, last = chance.choice(
        [(0x1F600, 0x1F645), (0x1F300, 0x1F321), (0x1F400, 0x1F43F), (0x1F680, 0x1F6A0)]
    )
    plain = chance.choice(["✅", "⭐", "→", "•", "…", "─", "█", "❤️", "☀️"])
    picture = plain if chance.random() < 0.2 else chr(chance.randrange(first, last))
    return picture + chance.choice(["", "", " "])


def counter(options: argparse.Namespace) -> Count:
    if options.tokenizer:
        from tokenizers import Tokenizer

        judge = Tokenizer.from_file(options.tokenizer)
        return lambda text: len(judge.encode(text, add_special_tokens=False).ids)
    import bpe_openai

    encoding = bpe_openai.get_encoding(options.encoding)
    return lambda text: len(encoding.encode_ordinary(text))


def measured(count: Count) -> dict[str, dict[str, Any]]:
    """By kind: the number of texts, characters a token, and the errors."""
    errors: dict[str, list[float]] = collections.defaultdict(list)
    lengths: dict[str, list[float]] = collections.defaultdict(list)
    for kind, _, text in texts("test"):
        real = count(text)
        errors[kind].append(tokens.approximated(text)[0] / real - 1)
        lengths[kind].append(len(text) / real)
    return {
        kind: {
            "texts": len(some),
            "characters": statistics.mean(lengths[kind]),
            "bias": statistics.median(some),
            "median": statistics.median(map(abs, some)),
            "p95": statistics.quantiles(map(abs, some), n=20, method="inclusive")[-1],
        }
        for kind, some in errors.items()
    }


def speed() -> float:
    """MB of UTF-8 a second, over all the texts measured."""
    some = [text for *_, text in texts("test")]
    begin = time.perf_counter()
    for text in some:
        tokens.approximated(text)
    return sum(len(text.encode()) for text in some) / (time.perf_counter() - begin) / 1e6


def fit(count: Count) -> None:
    """Print what `SCRIPTS` should say: least squares of the relative error, none below zero."""
    import numpy
    from scipy.optimize import nnls

    some = list(texts("fit"))
    kinds = collections.Counter(kind for kind, *_ in some)
    rows, goals = [], []
    for kind, source, text in some:
        pieces, characters = tokens.pieces_of(text)
        foreign = tokens.foreignness(text, pieces) * characters["long_word"]
        row = [number for name in tokens.SCRIPTS for number in (pieces[name], characters[name])]
        weight = (WEIGHTS.get(source, 1) / kinds[kind]) ** 0.5 / count(text)
        rows.append([weight * number for number in (*row, foreign)])
        goals.append(weight * count(text))
    found = nnls(numpy.array(rows), numpy.array(goals))[0]
    for at, name in enumerate(tokens.SCRIPTS):
        print(f"{name:12} {found[2 * at]:.3f} {found[2 * at + 1]:.3f}")
    print(f"{'foreign':12} {found[-1]:.3f}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--encoding", default="o200k_base")
    parser.add_argument("--tokenizer", default="", help="a tokenizer.json instead")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    count = counter(options)
    if options.fit:
        fit(count)
        return
    results = measured(count)
    rate = speed()
    claims = [
        Claim("approximation, one thread", f"{SPEED} MB/s", f"{rate:.1f} MB/s", rate >= SPEED)
    ]
    if options.encoding == "o200k_base" and not options.tokenizer:
        claims += [
            Claim(
                f"stated error, {kind}",
                " / ".join(f"{number:.0%}" for number in tokens.ERRORS[kind][:2]),
                f"{result['median']:.1%} / {result['p95']:.1%}",
                result["p95"] <= tokens.ERRORS[kind].p95,
            )
            for kind, result in results.items()
        ]
    rows = [
        [
            kind,
            str(one["texts"]),
            f"{one['characters']:.2f}",
            *(f"{one[name]:+.1%}" if name == "bias" else f"{one[name]:.1%}"
              for name in ("bias", "median", "p95")),
        ]
        for kind, one in results.items()
    ]  # fmt: skip
    heads = ["kind", "texts", "characters a token", "bias", "median error", "95th percentile"]
    report("Tokens without a tokenizer", claims, table(heads, rows), options.json)


def in_a_venv() -> None:
    """Run this file again where its packages are, made when first needed."""
    python = VENVS / "token-error" / "bin" / "python"
    if not python.exists():
        say("making a venv for the tokenizers")
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *NEEDS], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    sys.exit(subprocess.run([str(python), *sys.argv], env=environment, check=False).returncode)


if __name__ == "__main__":
    if importlib.util.find_spec("bpe_openai") and importlib.util.find_spec("django"):
        main()
    else:
        in_a_venv()
