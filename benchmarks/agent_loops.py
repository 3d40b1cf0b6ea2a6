"""Many agent loops at once, with tools that fail and a provider that throttles."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from common import Claim, arguments, client_of, report, table

from deluge_sync import AgentRound
from deluge_sync.testing import Fault, Question, Reply, Sandbox

LOOPS, ROUNDS, IN_FLIGHT = 200, 4, 32
TOOLS = 2
"""Asked for in each round but the last."""
LATENCY, TOOL_SECONDS = 0.05, 0.02
USAGE = (400, 40)
PAUSE = 0.05
"""Seconds that a 429 asks for; the whole lane waits."""


def answer(question: Question) -> Any:
    messages = question.body["messages"]
    said = sum(message["role"] == "assistant" for message in messages)
    if said == ROUNDS - 1:
        return Reply(f"done {messages[0]['content']}", usage=USAGE)
    number = int(messages[0]["content"])
    calls = [("step", {"loop": number, "number": TOOLS * said + at}) for at in range(TOOLS)]
    return Reply(tool_calls=calls, usage=USAGE)


def step(loop: int, number: int) -> str:
    """Do one step; one in ten fails."""
    time.sleep(TOOL_SECONDS)
    if (loop * TOOLS * (ROUNDS - 1) + number) % 10 == 0:
        raise OSError(f"step {number} of loop {loop} failed")
    return f"step {number} of loop {loop} done"


def main() -> None:
    options = arguments(__doc__).parse_args()
    loops = LOOPS // 4 if options.quick else LOOPS
    rounds: list[AgentRound] = []
    faults = {Fault("429", retry_after=PAUSE, retry_after_form="ms"): 0.1}
    with Sandbox(answer=answer, faults=faults, delay=LATENCY, seed=1) as server:
        client = client_of(server.base_url, IN_FLIGHT)
        start = time.monotonic()
        results = client.map_agent_loops(
            map(str, range(loops)), tools=[step], on_round=rounds.append
        )
        seconds = time.monotonic() - start
        journal, stats = server.journal, server.stats
    usage = client.usage()
    good = sum(r.completion == f"done {n}" for n, (_, r) in enumerate(results))
    served = Counter(record.status for record in journal)
    price = client.models[0].prices.cost(results[0][1].usage)
    bill = served[200] * price
    told = Counter(result.is_error for one in rounds for result in one.results)
    whole = sum(one.cost for one in rounds if one.number == ROUNDS)
    steps = loops * TOOLS * (ROUNDS - 1)
    claims = [
        Claim("loops that ended with their own answer", f"{loops}", f"{good}", good == loops),
        Claim(
            "rounds = answers in the server's journal",
            f"{loops * ROUNDS}",
            f"{len(rounds)} and {served[200]}",
            len(rounds) == served[200] == loops * ROUNDS,
        ),
        Claim(
            "attempts = requests in the journal, 429s included",
            f"{stats['requests']}",
            f"{usage.attempts} ({served[429]} of them 429)",
            usage.attempts == stats["requests"] and served[429] > 0,
        ),
        Claim(
            "cost of all loops = what the journal's answers cost",
            f"${bill:.6f}",
            f"${whole:.6f} (usage: ${usage.cost:.6f})",
            abs(whole - bill) < 1e-9 and abs(usage.cost - bill) < 1e-9,
        ),
        Claim(
            "tools run, and told to the model as failed",
            f"{steps}, {steps // 10}",
            f"{sum(told.values())}, {told[True]}",
            (sum(told.values()), told[True]) == (steps, steps // 10),
        ),
    ]
    floor = loops * (ROUNDS * LATENCY + (ROUNDS - 1) * TOOL_SECONDS) / IN_FLIGHT
    row = [
        f"{seconds:.2f}",
        f"{floor:.2f}",
        f"{served[429] * PAUSE:.2f}",
        f"{loops * ROUNDS / seconds:.0f}",
        f"{loops / seconds:.1f}",
    ]
    heads = [
        "seconds",
        "floor: latency and tools alone",
        "pauses that 429s asked for, at most",
        "rounds/s",
        "loops/s",
    ]
    title = (
        f"{loops} agent loops of {ROUNDS} rounds, {IN_FLIGHT} in flight, {TOOLS} tools a round; "
        "10 % of the tools fail, 10 % 429"
    )
    report(title, claims, table(heads, [row]), options.json)


if __name__ == "__main__":
    main()
