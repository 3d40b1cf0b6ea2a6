"""What the benchmarks share: the rival's venv, contests, claims and tables."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from deluge_sync import Client

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENVS = HERE / ".venvs"

sys.path.insert(0, str(ROOT))  # a bare checkout measures itself


@dataclass(frozen=True)
class Claim:
    """One figure that was promised, and what was measured."""

    text: str
    target: str
    measured: str
    holds: bool


def client_of(url: str, in_flight: int, **options: Any) -> Client:
    """A client of the server at `url` that only `in_flight` holds back."""
    from deluge_sync import Client  # found only once the path above is set

    return Client(
        "gpt-4.1-mini",
        api_key="benchmark",
        base_url=url,
        max_requests_per_minute=1e9,
        max_tokens_per_minute=1e12,
        max_concurrent_requests=in_flight,
        progress="none",
        **options,
    )


def rival_python() -> str:
    """The Python of a venv with lm-deluge, made when first needed (it needs Python 3.10)."""
    python = VENVS / "lm-deluge" / "bin" / "python"
    if not python.exists():
        say("making a venv for lm-deluge")
        subprocess.run([sys.executable, "-m", "venv", str(VENVS / "lm-deluge")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "lm-deluge"], check=True)
    return str(python)


def python_of(contestant: str) -> str:
    return rival_python() if contestant == "lm-deluge" else sys.executable


def run_contestant(name: str, *flags: str) -> dict[str, Any]:
    """One measurement of one contestant, in a process of its own."""
    return run_json([python_of(name), str(HERE / "contestants.py"), name, *flags])


def run_json(command: Sequence[str]) -> dict[str, Any]:
    """What the command printed in its last line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def contest(
    entries: Mapping[str, Sequence[str]], rounds: int, *shared: str
) -> dict[str, dict[str, Any]]:
    """The medians of each entry: (contestant, its flags). Rounds are interleaved: A B C A B C."""
    results: dict[str, list[dict[str, Any]]] = {title: [] for title in entries}
    for turn in range(rounds):
        for title, (name, *flags) in entries.items():
            results[title].append(run_contestant(name, *shared, *flags))
            say(f"round {turn + 1}: {title}: {results[title][-1]['rate']:.0f} calls a second")
    return {title: medians(measured) for title, measured in results.items()}


def medians(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Number by number, also inside mappings."""
    return {
        name: medians([one[name] for one in measured])
        if isinstance(value, Mapping)
        else statistics.median(one[name] for one in measured)
        for name, value in measured[0].items()
    }


def contest_table(results: Mapping[str, Mapping[str, Any]], base: str = "lm-deluge") -> str:
    """Every entry, with its speed and its CPU as multiples of `base`'s."""
    heads = ["", "calls/s", f"x {base}", "CPU us/call", f"x {base}"]
    unit = results[base]
    rows = [
        [
            title,
            f"{result['rate']:,.0f}",
            f"{result['rate'] / unit['rate']:.2f}",
            f"{result['cpu_us']:.0f}",
            f"{result['cpu_us'] / unit['cpu_us']:.2f}",
            *(f"{result['latency_ms'][percent]:.1f}" for percent in ("50", "90", "99")),
            f"{result['peak_mb']:.0f}",
        ]
        for title, result in results.items()
    ]
    return table([*heads, "p50 ms", "p90 ms", "p99 ms", "peak RSS MB"], rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def claims_table(claims: Iterable[Claim]) -> str:
    heads = ["claim", "target", "measured", "holds"]
    return table(
        heads, [[c.text, c.target, c.measured, "yes" if c.holds else "**no**"] for c in claims]
    )


def report(title: str, claims: Sequence[Claim], details: str = "", json_file: str = "") -> None:
    """Print the outcome, and keep it for `run_all` where it asked for that."""
    print(f"\n## {title}\n\n{claims_table(claims)}\n")
    if details:
        print(details + "\n")
    if json_file:
        rows = [dataclasses.asdict(claim) for claim in claims]
        text = json.dumps({"title": title, "claims": rows, "details": details})
        Path(json_file).write_text(text, encoding="utf-8")


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", default="", help="write the outcome to this file too")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    return parser


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.05)
