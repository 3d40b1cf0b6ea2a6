"""Several models: one that refuses everybody and heals, and two limits used together."""

from __future__ import annotations

import threading
import time
from collections import Counter

from common import Claim, arguments, report, say

from deluge_sync import Client
from deluge_sync.engine.breaker import LONGEST_INTERVAL
from deluge_sync.testing import Fault, Sandbox

WINDOW = 60.0
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
    refusals = Fault("401", times=1_000_000)
    with Sandbox(keep_bodies=False) as sick, Sandbox(keep_bodies=False) as well:
        client = client_of(
            {"sick": sick, "well": well},
            "uniform",
            max_requests_per_minute=1e9,
            max_tokens_per_minute=1e12,
        )
        sick.script([refusals])
        began = time.monotonic()
        healed_at = began + seconds
        timer = threading.Timer(seconds, sick._faults.clear)
        timer.start()
        outcomes = []
        while time.monotonic() < healed_at + LONGEST_INTERVAL + 10:
            response = client.map(["Are you well?"])[0]
            outcomes.append((time.monotonic() - healed_at, response))
            time.sleep(0.025)
        refused = sum(record.status == 401 for record in sick.journal)
    errors = sum(response.is_error for _, response in outcomes)
    back = min((at for at, one in outcomes if one.model == "sick/sick"), default=float("inf"))
    after = [one.model for at, one in outcomes if at > back]
    share = after.count("sick/sick") / max(len(after), 1)
    what = f"model A answers 401 for {seconds:.0f} s, uniform weights"
    return [
        Claim(f"{what}: errors that callers see", "0", f"{errors} of {len(outcomes)}", not errors),
        Claim(
            f"{what}: back after it healed",
            f"<= {LONGEST_INTERVAL:g} s",
            f"{back:.1f} s",
            back <= LONGEST_INTERVAL,
        ),
        Claim(f"{what}: its share from then on", "about 50 %", f"{share:.0%}", 0.4 < share < 0.6),
        Claim(f"{what}: requests it refused", "a few", str(refused), refused <= 12),
    ]


def together(own: float | None) -> list[Claim]:
    """600 and 1,200 requests a minute, all the time for a minute."""
    say(f"600 and 1,200 a minute, own limit {own}")
    servers = {
        name: Sandbox(requests_per_minute=limit, delay=0.05, keep_bodies=False)
        for name, limit in LIMITS.items()
    }
    with servers["small"], servers["large"]:
        named = {} if own is None else {"max_requests_per_minute": own}
        client = client_of(servers, "dynamic", max_tokens_per_minute=1e12, **named)
        began = time.monotonic()
        answered: Counter[str] = Counter()
        for response in client.imap(["How many?"] * 4_000, ordered=False, max_new_tokens=16):
            if time.monotonic() - began >= WINDOW:
                break
            answered[response.model] += not response.is_error
        refused = sum(r.status == 429 for server in servers.values() for r in server.journal)
    total = sum(answered.values())
    what = f'600 and 1,200 a minute, "dynamic", own limit {"none" if own is None else f"{own:g}"}'
    return [
        Claim(
            f"{what}: answered in a minute",
            ">= 1,710",
            f"{total:,} ({dict(answered)})",
            total >= 0.95 * sum(LIMITS.values()),
        ),
        Claim(f"{what}: refused by the servers' count", "0", str(refused), refused == 0),
    ]


def main() -> None:
    options = arguments(__doc__).parse_args()
    claims = [*together(None), *together(1_800), *heals(15 if options.quick else 60)]
    report("Routing", claims, "", options.json)


if __name__ == "__main__":
    main()
