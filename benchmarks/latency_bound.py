"""How near to the ideal 1,280 calls a second: 256 in flight, each answered after 200 ms."""

from __future__ import annotations

from common import Claim, arguments, contest, contest_table, report
from nginx import Nginx

IN_FLIGHT, DELAY_MS = 256, 200
IDEAL = IN_FLIGHT * 1000 / DELAY_MS
OURS = "deluge_sync with [fast]"
ENTRIES = {
    OURS: ["deluge_sync"],
    "deluge_sync without": ["deluge_sync", "--without-httptools"],
    "lm-deluge": ["lm-deluge"],
    "bare urllib3 loop": ["urllib3"],
}


def main() -> None:
    options = arguments(__doc__).parse_args()
    calls, rounds = (2_560, 2) if options.quick else (12_800, 5)
    with Nginx(delay_ms=DELAY_MS) as server:
        flags = f"--url {server.base_url} --calls {calls} --in-flight {IN_FLIGHT} --warm-up 512"
        results = contest(ENTRIES, rounds, *flags.split())
    claims = []
    for title, target in ((OURS, 0.92), ("lm-deluge", None), ("bare urllib3 loop", None)):
        share = results[title]["rate"] / IDEAL
        aim = f">= {target:.0%}" if target else "(comparison)"
        claims.append(
            Claim(
                f"of the ideal 1,280/s: {title}",
                aim,
                f"{share:.1%}",
                target is None or share >= target,
            )
        )
    title = f"256 in flight, 200 ms: {calls:,} calls, median of {rounds} rounds"
    report(title, claims, contest_table(results), options.json)


if __name__ == "__main__":
    main()
