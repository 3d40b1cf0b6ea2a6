"""One line of summary for each of 100 docstrings of Python's standard library.

By default with a real model on this machine, no key needed (pip install 'deluge-sync[local]'):

    python examples/summarise_stdlib.py

or with any other model, or with none at all:

    python examples/summarise_stdlib.py --model gpt-4.1-mini
    python examples/summarise_stdlib.py --model sandbox/echo --limit 5

The docstrings are written to stdlib_docstrings.jsonl, the answers to stdlib_summaries.jsonl, in
the folder named by --folder; what does the work between the two is `deluge-sync map`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MODULES = (
    "argparse base64 bisect calendar collections configparser contextlib copy csv dataclasses "
    "datetime decimal difflib enum fnmatch fractions functools glob gzip hashlib heapq inspect "
    "itertools json logging os pathlib pickle queue random re shlex shutil socket sqlite3 "
    "statistics string subprocess tempfile textwrap threading time traceback urllib.parse"
)
SYSTEM = "You summarise Python documentation. Answer with one short sentence."
SHORTEST, LONGEST = 120, 600


def docstrings(module_name: str) -> Iterator[tuple[str, str]]:
    """The public functions and classes of a module, by name, with their docstrings."""
    module = importlib.import_module(module_name)
    for name in sorted(getattr(module, "__all__", dir(module))):
        member = getattr(module, name)
        documented = inspect.isroutine(member) or inspect.isclass(member)
        if documented and member.__name__ == name and len(member.__doc__ or "") > SHORTEST:
            yield f"{module_name}.{name}", member.__doc__


def rows(count: int) -> list[dict[str, str]]:
    """`count` docstrings, taken from the modules in turn, each with its prompt."""
    in_turn = itertools.chain.from_iterable(
        itertools.zip_longest(*map(docstrings, MODULES.split()))
    )
    found = itertools.islice(filter(None, in_turn), count)
    return [{"name": name, "prompt": prompt(name, text)} for name, text in found]


def prompt(name: str, text: str) -> str:
    """What is asked about one docstring, of which the beginning is enough.

    Its line breaks go: a small model copies them, and one line is wanted.
    """
    text = " ".join(text.split())
    if len(text) > LONGEST:
        text = text[:LONGEST].rsplit(None, 1)[0] + " ..."
    return f"Documentation of {name}: {text}\n\nIn one short sentence, what does {name} do?"


def command(model: str, source: Path, target: Path) -> list[str]:
    """The command line that has every prompt of `source` answered into `target`."""
    return [
        *(sys.executable, "-m", "deluge_sync", "map", str(source), "-o", str(target)),
        *("--model", model, "--field", "prompt", "--system", SYSTEM),
        *("--concurrency", "2", "--max-new-tokens", "60", "--temperature", "0"),
    ]


def main() -> int:
    """Write the docstrings, have them summarised, show the first answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="local/smollm2")
    parser.add_argument("--limit", type=int, default=100, help="how many docstrings")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--show", type=int, default=10, help="how many answers are printed")
    options = parser.parse_args()
    source = options.folder / "stdlib_docstrings.jsonl"
    target = options.folder / "stdlib_summaries.jsonl"
    asked = rows(options.limit)
    source.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    code = subprocess.call(command(options.model, source, target))
    if code > 1:
        return code
    answers = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    for row, answer in itertools.islice(zip(asked, answers), options.show):
        print(f"{row['name']}: {' '.join((answer['completion'] or answer['error']).split())}")
    failed = sum(answer["error"] is not None for answer in answers)
    print(f"{len(answers)} answers in {target}, {failed} of them failed")
    return code


if __name__ == "__main__":
    sys.exit(main())
