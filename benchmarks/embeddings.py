"""Texts embedded a second against a server that answers at once, and memory as a NumPy matrix."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from common import HERE as BENCHMARKS
from common import Claim, arguments, report, rival_python, run_json, say, table
from nginx import EmbeddingNginx

LIST, MATRIX, RIVAL, BARE, DECODING = (
    "deluge_sync, lists",
    "deluge_sync, NumPy",
    "lm-deluge",
    "bare urllib3 loop, bodies read",
    "bare urllib3 loop, decoded to NumPy",
)
CONTESTANTS = {
    LIST: "lists",
    MATRIX: "matrix",
    RIVAL: "lm-deluge",
    BARE: "urllib3",
    DECODING: "urllib3-decoding",
}
MOST_MEMORY = 1.5


def measured(url: str, contestant: str, texts: int, in_flight: int) -> dict[str, Any]:
    """One measurement of one contestant, in a process of its own."""
    python = rival_python() if contestant == "lm-deluge" else sys.executable
    flags = f"--url {url} --texts {texts} --in-flight {in_flight}"
    script = str(BENCHMARKS / "embedding_contestants.py")
    return run_json([python, script, contestant, *flags.split()])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--in-flight", type=int, default=16)
    options = parser.parse_args()
    texts, rounds = (20_000, 2) if options.quick else (100_000, 5)
    results: dict[str, list[dict[str, Any]]] = {title: [] for title in CONTESTANTS}
    with EmbeddingNginx(options.dimensions) as server:
        for turn in range(rounds):
            for title, name in CONTESTANTS.items():
                result = measured(server.base_url, name, texts, options.in_flight)
                results[title].append(result)
                say(f"round {turn + 1}: {title}: {result['seconds']:.2f} s")
    best = {title: min(one["seconds"] for one in every) for title, every in results.items()}
    growth = statistics.median(one["growth"] for one in results[MATRIX])
    rival, bare, decoding = (best[title] / best[MATRIX] for title in (RIVAL, BARE, DECODING))
    rival_lists = best[RIVAL] / best[LIST]
    claims = [
        Claim("texts a second, NumPy", ">= 3 x lm-deluge", f"{rival:.2f} x", rival >= 3),
        Claim(
            "texts a second, lists", ">= 3 x lm-deluge", f"{rival_lists:.2f} x", rival_lists >= 3
        ),
        Claim(
            "time, NumPy, of a bare loop that decodes too",
            "<= 1.3 x",
            f"{1 / decoding:.2f} x",
            1 / decoding <= 1.3,
        ),
        Claim(
            "time, NumPy, of a bare loop that only reads bodies",
            "<= 1.3 x",
            f"{1 / bare:.2f} x",
            1 / bare <= 1.3,
        ),
        Claim(
            "peak memory over the start's, by the matrix's size",
            f"<= {MOST_MEMORY} x",
            f"{growth:.2f} x",
            growth <= MOST_MEMORY,
        ),
    ]
    rows = [
        [
            title,
            f"{best[title]:.2f}",
            f"{texts / best[title]:,.0f}",
            f"{min(one['cpu'] for one in every):.2f}",
        ]
        for title, every in results.items()
    ]
    report(
        f"Embeddings: {texts:,} short texts, {options.dimensions} dimensions, "
        f"{options.in_flight} in flight, best of {rounds}",
        claims,
        table(["", "seconds", "texts/s", "CPU s"], rows),
        options.json,
    )


if __name__ == "__main__":
    main()
