"""Limits: never over, hardly under, settled against real use, learned, and followed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from common import Claim, arguments, report, run_contestant, say, table
from sandbox_process import SandboxProcess

from deluge_sync import Client
from deluge_sync.testing import Sandbox

LIMIT = 600
WINDOW = 60.0
KEY = "benchmark"


def client(base_url: str, in_flight: int, **limits: float | None) -> Client:
    return Client(
        "gpt-4.1-mini",
        api_key=KEY,
        base_url=base_url,
        max_concurrent_requests=in_flight,
        progress="none",
        **limits,
    )


def widest(times: Sequence[float]) -> int:
    """The most requests in any sliding minute."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most


def ask_for(seconds: float, clients: Sequence[Client], threads: int) -> None:
    """Each client is asked by that many threads, all the time."""
    end = time.monotonic() + seconds

    def work(one: Client) -> None:
        while time.monotonic() < end:
            future = one.submit("How many?", max_new_tokens=16)
            try:
                future.result(max(end - time.monotonic(), 0.01))
            except Exception:  # the run is over
                future.cancel()

    workers = [
        threading.Thread(target=work, args=(one,)) for one in clients for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one in clients:
        one.close()


def sends(sandbox: Sandbox) -> tuple[list[float], int]:
    """Seconds of the requests since the first one, and how many were answered 429."""
    journal = sandbox.journal
    first = journal[0].at
    return [record.at - first for record in journal], sum(r.status == 429 for r in journal)


def given_limit(seconds: float) -> list[Claim]:
    """(a) 3 Clients x 8 threads, 600 requests a minute on both sides."""
    say(f"given limit: {seconds:.0f} s")
    with Sandbox(requests_per_minute=LIMIT, delay=0.05, keep_bodies=False) as sandbox:
        clients = [
            client(sandbox.base_url, 8, max_requests_per_minute=LIMIT, max_tokens_per_minute=1e9)
            for _ in range(3)
        ]
        ask_for(seconds, clients, 8)
        times, refused = sends(sandbox)
    most = widest(times)
    first = sum(at < WINDOW for at in times) / LIMIT
    what = f"600/min given, 3 clients x 8 threads, {seconds:.0f} s"
    return [
        Claim(f"{what}: most in any sliding 60 s", "<= 600", str(most), most <= LIMIT),
        Claim(
            f"{what}: of the limit used in the first 60 s", ">= 97 %", f"{first:.1%}", first >= 0.97
        ),
        Claim(f"{what}: answered 429", "0", str(refused), refused == 0),
    ]


def settled_tokens(rival_calls: int) -> list[Claim]:
    """(b) 10 real tokens a call, 512 reserved, 20,000 tokens a minute."""
    say("settled reservations")
    with SandboxProcess(tokens=[5, 5], keep_bodies=False) as server:
        ours = client(
            server.base_url, 64, max_requests_per_minute=1e6, max_tokens_per_minute=20_000
        )
        start = time.monotonic()
        replies = ours.map(["Hi"] * 600, max_new_tokens=512)
        seconds = time.monotonic() - start
        good = sum(not reply.is_error for reply in replies)
        flags = (
            f"--url {server.base_url} --calls {rival_calls} --in-flight 64 --filler= "
            "--requests-per-minute 1000000 --tokens-per-minute 20000 --max-new-tokens 512"
        )
        rival = run_contestant("lm-deluge", *flags.split())["seconds"]
    what = "calls of 10 tokens, 512 reserved, 20,000 tokens/min"
    return [
        Claim(
            f"600 {what}",
            "seconds",
            f"{seconds:.1f} s, {good} answered",
            seconds < 30 and good == 600,
        ),
        Claim(f"{rival_calls} {what}: lm-deluge", "(comparison)", f"{rival:.1f} s", True),
    ]


def learned_limit(seconds: float) -> list[Claim]:
    """(c) No limits given; the server allows 600 a minute and says so."""
    say(f"learned limit: {seconds:.0f} s")
    with Sandbox(requests_per_minute=LIMIT, delay=0.05, keep_bodies=False) as sandbox:
        learner = client(
            sandbox.base_url, 24, max_requests_per_minute=None, max_tokens_per_minute=None
        )
        ask_for(seconds, [learner], 24)
        times, refused = sends(sandbox)
    admitted = (sum(at < WINDOW for at in times) - refused) / LIMIT
    share = refused / len(times)
    what = f"no limits given, server says 600/min, {seconds:.0f} s"
    return [
        Claim(f"{what}: used in the first 60 s", ">= 95 %", f"{admitted:.1%}", admitted >= 0.95),
        Claim(
            f"{what}: answered 429",
            "<= 1 %",
            f"{share:.2%} ({refused} of {len(times)})",
            share <= 0.01,
        ),
    ]


def halved_limit() -> tuple[list[Claim], str]:
    """(d) The same, with the limit halved after 15 s."""
    say("halved limit: 30 s")
    halved_after = 15.0
    with Sandbox(requests_per_minute=LIMIT, delay=0.05, keep_bodies=False) as sandbox:
        learner = client(
            sandbox.base_url, 24, max_requests_per_minute=None, max_tokens_per_minute=None
        )
        moments: list[float] = []

        def halve() -> None:
            moments.append(time.monotonic())
            sandbox.set_limits(requests_per_minute=LIMIT / 2)

        timer = threading.Timer(halved_after, halve)
        timer.start()
        ask_for(30, [learner], 24)
        journal = sandbox.journal
    ages = [record.at - moments[0] for record in journal]
    refused = sum(record.status == 429 for record in journal)
    before = sum(-10 <= age < 0 for age in ages) / 10
    after = sum(2 <= age < 12 for age in ages) / 10
    row = [str(sum(second <= age < second + 1 for age in ages)) for second in range(-5, 12)]
    details = table([f"{second:+d} s" for second in range(-5, 12)], [row])
    claim = Claim(
        "limit halved in mid-run: sends/s from 2 s to 12 s after",
        "<= 5, and not 0",
        f"{before:.1f} before, {after:.1f} after, {refused} x 429",
        0 < after <= 5.3,
    )
    return [claim], "Sends in each second around the moment the limit is halved:\n\n" + details


def main() -> None:
    options = arguments(__doc__).parse_args()
    halved, details = halved_limit()
    claims = [
        *given_limit(65 if options.quick else 90),
        *settled_tokens(10 if options.quick else 60),
        *learned_limit(65),
        *halved,
    ]
    report("Limits", claims, details, options.json)


if __name__ == "__main__":
    main()
