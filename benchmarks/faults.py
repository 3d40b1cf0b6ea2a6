"""Nothing is lost, swapped or miscounted when two answers of five are faults."""

from __future__ import annotations

import time
from collections import Counter

from common import Claim, arguments, client_of, report, table
from sandbox_process import SandboxProcess

FAULTS = [
    ({"kind": "429"}, 0.2),
    ({"kind": "500"}, 0.1),
    ({"kind": "reset"}, 0.05),
    ({"kind": "malformed"}, 0.05),
]
IN_FLIGHT = 256
ATTEMPTS = 12
"""A quarter of the attempts that are not throttled fail: with the default of 5, one call in a
thousand would be given up."""


def main() -> None:
    options = arguments(__doc__).parse_args()
    total = 1_000 if options.quick else 10_000
    prompts = [f"Prompt number {number}" for number in range(total)]
    with SandboxProcess(faults=FAULTS, keep_bodies=False) as server:
        client = client_of(server.base_url, IN_FLIGHT, max_attempts=ATTEMPTS)
        start = time.monotonic()
        responses = client.map(prompts)
        seconds = time.monotonic() - start
        stats, journal = server.stats(), server.journal()
    usage = client.usage()
    good = sum(r.completion == prompt for r, prompt in zip(responses, prompts))
    ordered = [r.index for r in responses] == list(range(total))
    counted = sum(r.attempts for r in responses)
    per_prompt = Counter(record["prompt"] for record in journal)
    same = sum(per_prompt[prompt] == r.attempts for r, prompt in zip(responses, prompts))
    kinds = Counter(r.error.kind for r in responses if r.error is not None)
    claims = [
        Claim("answers, each its own prompt's", f"{total:,}", f"{good:,}", good == total),
        Claim("order of the prompts", "kept", "kept" if ordered else "broken", ordered),
        Claim(
            "attempts counted = the server's journal",
            f"{stats['requests']:,}",
            f"{counted:,} (usage: {usage.attempts:,})",
            counted == usage.attempts == stats["requests"],
        ),
        Claim("prompts whose own attempts agree too", f"{total:,}", f"{same:,}", same == total),
    ]
    rows = [
        [
            f"{seconds:.1f}",
            f"{total / seconds:.0f}",
            str(stats["faults"]),
            str(dict(usage.retries)),
            str(dict(kinds) or "none"),
        ]
    ]
    heads = ["seconds", "answers/s", "faults sent", "retries by reason", "failed calls"]
    title = (
        f"{total:,} prompts, {IN_FLIGHT} in flight; 20 % 429, 10 % 500, 5 % resets, 5 % malformed"
    )
    report(title, claims, table(heads, rows), options.json)


if __name__ == "__main__":
    main()
