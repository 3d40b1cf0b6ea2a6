"""Memory of `imap` over a long generator, and how far ahead of the answers it is read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from common import Claim, arguments, client_of, report, say, table
from nginx import Nginx

from deluge_sync import Client

IN_FLIGHT = 64


class Source:
    """A generator of prompts that knows how many were taken from it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for number in range(self.total):
            self.read += 1
            yield f"Prompt {number}: the quick brown fox jumps over the lazy dog."


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(client: Client, total: int) -> tuple[dict[int, float], int]:
    """RSS in MB at each whole per cent of the answers, and the farthest reading ahead."""
    source, resident, farthest = Source(total), {}, 0
    step = total // 100
    for number, response in enumerate(client.imap(source, max_new_tokens=64)):
        response.raise_for_error()
        if response.index != number:
            raise SystemExit(f"answer {number} is that of prompt {response.index}")
        farthest = max(farthest, source.read - number)
        if (number + 1) % step == 0:
            resident[(number + 1) // step] = resident_mb()
            if (number + 1) % (10 * step) == 0:
                say(f"{number + 1:,} answers, {resident_mb():.1f} MB")
    return resident, farthest


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    options = parser.parse_args()
    total = 50_000 if options.quick else options.prompts
    with Nginx() as server:
        client = client_of(server.base_url, IN_FLIGHT)
        start = time.monotonic()
        resident, farthest = run(client, total)
        seconds = time.monotonic() - start
    warm = resident[1]
    growth = max(resident.values()) - warm
    late = resident[100] - resident[50]
    claims = [
        Claim("growth after the first 1 %", "<= 60 MB", f"{growth:.1f} MB", growth <= 60),
        Claim("growth in the second half", "flat (<= 5 MB)", f"{late:+.1f} MB", late <= 5),
        Claim(
            "read ahead of the answers",
            f"<= 2 x {IN_FLIGHT}",
            str(farthest),
            farthest <= 2 * IN_FLIGHT,
        ),
    ]
    rows = [[f"{resident[percent]:.1f}" for percent in (1, 10, 25, 50, 75, 100)]]
    heads = ["RSS MB at 1 %", "10 %", "25 %", "50 %", "75 %", "100 %"]
    title = f"imap over {total:,} prompts: {seconds:.0f} s, {total / seconds:,.0f} a second"
    report(title, claims, table(heads, rows), options.json)


if __name__ == "__main__":
    main()
