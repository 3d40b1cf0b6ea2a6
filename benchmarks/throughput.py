"""Calls a second and CPU a call, 64 in flight, against a server that answers at once."""

from __future__ import annotations

from common import Claim, arguments, contest, contest_table, report
from nginx import Nginx

FAST, PLAIN, RIVAL, FLOOR = (
    "deluge_sync with [fast]",
    "deluge_sync without",
    "lm-deluge",
    "bare urllib3 loop",
)
FAST_HELD, RIVAL_HELD = f"{FAST}, on one core", f"{RIVAL}, on one core"
"""Held on one core, a process is spared what the scheduler does to threads that take turns: moving
them from core to core. It shows how much of the figures above is that and how much is work."""

ENTRIES = {
    FAST: ["deluge_sync"],
    PLAIN: ["deluge_sync", "--without-httptools"],
    RIVAL: ["lm-deluge"],
    FLOOR: ["urllib3"],
    FAST_HELD: ["deluge_sync", "--core", "1"],
    RIVAL_HELD: ["lm-deluge", "--core", "1"],
}


def main() -> None:
    options = arguments(__doc__).parse_args()
    calls, rounds = (3_000, 2) if options.quick else (20_000, 5)
    with Nginx() as server:
        flags = f"--url {server.base_url} --calls {calls} --in-flight 64 --warm-up 500"
        results = contest(ENTRIES, rounds, *flags.split())
    fast, plain, rival, floor = (results[title] for title in (FAST, PLAIN, RIVAL, FLOOR))
    speed, cpu = fast["rate"] / rival["rate"], fast["cpu_us"] / rival["cpu_us"]
    share = plain["rate"] / floor["rate"]
    held, rival_held = results[FAST_HELD], results[RIVAL_HELD]
    speed_held = held["rate"] / rival_held["rate"]
    cpu_held = held["cpu_us"] / rival_held["cpu_us"]
    claims = [
        Claim("calls a second with [fast]", ">= 2 x lm-deluge", f"{speed:.2f} x", speed >= 2),
        Claim("CPU a call with [fast]", "<= 0.6 x lm-deluge", f"{cpu:.2f} x", cpu <= 0.6),
        Claim("calls a second without", ">= 0.67 x bare urllib3", f"{share:.2f} x", share >= 2 / 3),
        Claim("calls a second, both on one core", "(comparison)", f"{speed_held:.2f} x", True),
        Claim("CPU a call, both on one core", "(comparison)", f"{cpu_held:.2f} x", True),
    ]
    title = f"Throughput: 64 in flight, no delay, {calls:,} calls, median of {rounds} rounds"
    report(title, claims, contest_table(results), options.json)


if __name__ == "__main__":
    main()
