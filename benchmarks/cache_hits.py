"""Warm hits of the cache a second, with answers of 2 kB, against lm-deluge's SqliteCache."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cache_contestants import answer_to
from common import HERE, Claim, arguments, medians, python_of, report, run_json, say, table

from deluge_sync import Client
from deluge_sync.testing import Sandbox

OURS, RIVAL = "deluge_sync", "lm-deluge"


def run(name: str, step: str, home: Path, *flags: str) -> dict[str, float]:
    script = str(HERE / "cache_contestants.py")
    folder = home / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return run_json([python_of(name), script, name, step, "--home", str(folder), *flags])


def seconds_for_180_hits_at_120_a_minute() -> float:
    with tempfile.TemporaryDirectory() as home, Sandbox() as sandbox:
        prompts = [f"prompt {number}" for number in range(180)]
        options = {"base_url": sandbox.base_url, "api_key": "k", "progress": "none"}
        with Client("gpt-4.1-mini", cache=home, max_requests_per_minute=None, **options) as first:
            first.map(prompts)
        client = Client("gpt-4.1-mini", cache=home, max_requests_per_minute=120, **options)
        client.map(prompts)
        client.close()
        done = client.last_run
        assert done is not None
        assert done.cached == len(prompts)
        return done.seconds


def main() -> None:
    options = arguments(__doc__).parse_args()
    count, rounds = (10_000, 2) if options.quick else (100_000, 3)
    results: dict[str, list[dict[str, float]]] = {OURS: [], RIVAL: []}
    with tempfile.TemporaryDirectory() as home:
        with Sandbox(answer=lambda asked: answer_to(asked.prompt), keep_bodies=False) as sandbox:
            # Stopped before the hits are measured: whatever is called for then is an error.
            flags = "--prompts", str(count), "--url", sandbox.base_url
            for name in results:
                say(f"filling the cache of {name}")
                run(name, "fill", Path(home), *flags)
        for turn in range(rounds):
            for name, measured in results.items():
                measured.append(run(name, "ask", Path(home), *flags))
                say(f"round {turn + 1}: {name}: {measured[-1]['rate']:,.0f} hits a second")
    ours, rival = (medians(measured) for measured in results.values())
    few = seconds_for_180_hits_at_120_a_minute()
    times = ours["rate"] / rival["rate"]
    claims = [
        Claim("hits a second", ">= 20,000", f"{ours['rate']:,.0f}", ours["rate"] >= 20_000),
        Claim("hits a second", ">= 5 x lm-deluge's SqliteCache", f"{times:.1f} x", times >= 5),
        Claim("180 hits at a limit of 120 a minute", "< 0.2 s", f"{few:.3f} s", few < 0.2),
    ]
    rows = [
        [name, f"{found['rate']:,.0f}", f"{found['cpu_us']:.0f}"]
        for name, found in ((OURS, ours), (RIVAL, rival))
    ]
    details = table(["", "hits/s", "CPU us/hit"], rows)
    title = f"Cache: {count:,} warm hits of 2 kB through `map`, median of {rounds} rounds"
    report(title, claims, details, options.json)


if __name__ == "__main__":
    main()
