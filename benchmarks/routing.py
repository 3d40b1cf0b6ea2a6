"""Several models: one that refuses everybody and heals, and two limits used together."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing

from common import Claim, arguments, report, say

from deluge_sync import Client
from deluge_sync.engine.breaker import LONGEST_INTERVAL
from deluge_sync.testing import Fault, Sandbox

CALLS_AFTER = 400
"""Calls after it is back that its share is counted of."""

LIMITS = {"small": 600, "large": 1_200}


def client_of(servers: dict[str, Sandbox], weights: str, **options: object) -> Client:
    config = {
        "providers": {
            name: {"adapter": "openai_chat", "base_url": server.base_url, "key_env": []}
            for name, server in servers.items()
        },
        "models": {name: {"id": name, "provider": name} for name in servers},
    }
    for name in servers:
        if weights == "dynamic":
            config["providers"][name]["requests_per_minute"] = LIMITS[name]
    return Client(list(servers), config=config, model_weights=weights, progress="none", **options)


def heals(seconds: float) -> list[Claim]:
    """Model A answers 401 for so long; calls come all the time, at about 40 a second."""
    say(f"401 for {seconds:.0f} s, then well")
    with Sandbox(keep_bodies=False) as sick, Sandbox(keep_bodies=False) as well:
        client = client_of(
            {"sick": sick, "well": well},
            "uniform",
            max_requests_per_minute=1e9,
            max_tokens_per_minute=1e12,
        )
        sick.script([Fault("401", times=1_000_000)])
        healed_at = time.monotonic() + seconds
        back, errors, asked = float("inf"), 0, 0
        after: list[str] = []
        while len(after) < CALLS_AFTER and time.monotonic() < healed_at + LONGEST_INTERVAL + 10:
            if sick.pending_faults and time.monotonic() >= healed_at:
                sick.clear_faults()
            response = client.map(["Are you well?"])[0]
            asked += 1
            errors += response.is_error
            if back < float("inf"):
                after.append(response.model)
            elif response.model == "sick/sick":
                back = time.monotonic() - healed_at
            time.sleep(0.025)
        refused = sum(record.status == 401 for record in sick.journal)
    share = after.count("sick/sick") / max(len(after), 1)
    what = f"model A answers 401 for {seconds:.0f} s, uniform weights"
    return [
        Claim(f"{what}: errors that callers see", "0", f"{errors} of {asked:,}", not errors),
        Claim(
            f"{what}: back after it healed",
            f"<= {LONGEST_INTERVAL:g} s",
            f"{back:.1f} s",
            back <= LONGEST_INTERVAL,
        ),
        Claim(f"{what}: its share from then on", "about 50 %", f"{share:.0%}", 0.4 < share < 0.6),
        Claim(f"{what}: requests it refused", "a few", str(refused), refused <= 12),
    ]


def together(seconds: float, own: float | None) -> list[Claim]:
    """600 and 1,200 requests a minute, all the time for so long."""
    say(f"600 and 1,200 a minute for {seconds:.0f} s, own limit {own}")
    servers = {
        name: Sandbox(requests_per_minute=limit, delay=0.05, keep_bodies=False)
        for name, limit in LIMITS.items()
    }
    with servers["small"], servers["large"]:
        named = {} if own is None else {"max_requests_per_minute": own}
        client = client_of(servers, "dynamic", max_tokens_per_minute=1e12, **named)
        began = time.monotonic()
        answered: Counter[str] = Counter()
        responses = client.imap(["How many?"] * 4_000, ordered=False, max_new_tokens=16)
        with closing(responses):
            for response in responses:
                if time.monotonic() - began >= seconds:
                    break
                answered[response.model] += not response.is_error
        refused = sum(r.status == 429 for server in servers.values() for r in server.journal)
    total, target = sum(answered.values()), 0.95 * sum(LIMITS.values()) * seconds / 60
    what = f'600 and 1,200 a minute, "dynamic", own limit {"none" if own is None else f"{own:g}"}'
    return [
        Claim(
            f"{what}: answered in {seconds:.0f} s",
            f">= {target:,.0f}",
            f"{total:,} ({dict(answered)})",
            total >= target,
        ),
        Claim(f"{what}: refused by the servers' count", "0", str(refused), refused == 0),
    ]


def main() -> None:
    """With `--quick` the window is too short for a server's limit of a minute to be met."""
    options = arguments(__doc__).parse_args()
    window, outage = (10, 5) if options.quick else (60, 60)
    claims = [*together(window, None), *together(window, 1_800), *heals(outage)]
    report("Routing", claims, "", options.json)


if __name__ == "__main__":
    main()
