"""Many agent loops at once: under load, with tools that use the client, and when it all ends."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest

from deluge_sync import AgentRound
from deluge_sync.testing import Fault, Question, Reply, Sandbox

from ..helpers import client_for, start

LOOPS, ROUNDS, IN_FLIGHT = 200, 4, 32


def steps(question: Question) -> Any:
    """Asks for two tools in each round but the fourth."""
    messages = question.body["messages"]
    said = sum(message["role"] == "assistant" for message in messages)
    if said == ROUNDS - 1:
        return Reply(f"done {messages[0]['content']}", usage=(100, 10))
    number = int(messages[0]["content"])
    calls = [("step", {"loop": number, "number": 2 * said + at}) for at in (0, 1)]
    return Reply(tool_calls=calls, usage=(100, 10))


def test_200_loops_all_end_and_add_up_to_the_servers_journal() -> None:
    rounds: list[AgentRound] = []

    def step(loop: int, number: int) -> str:
        """Do a step; one in ten fails."""
        if (loop * 6 + number) % 10 == 0:
            raise OSError(f"step {number} of {loop}")
        return f"{loop}/{number}"

    throttled = Fault("429", retry_after=0.02, retry_after_form="ms")
    with Sandbox(answer=steps, faults={throttled: 0.1}, seed=5) as sandbox:
        client = client_for(sandbox, max_concurrent_requests=IN_FLIGHT)
        results = client.map_agent_loops(
            map(str, range(LOOPS)), tools=[step], on_round=rounds.append
        )
        journal = sandbox.journal
    assert [response.completion for _, response in results] == [f"done {n}" for n in range(LOOPS)]
    answered = [record for record in journal if record.status == 200]
    assert len(answered) == len(rounds) == client.usage().prompts == LOOPS * ROUNDS
    assert client.usage().attempts == len(journal)
    told = Counter(result.is_error for one in rounds for result in one.results)
    assert told == {True: LOOPS * 6 // 10, False: LOOPS * 6 - LOOPS * 6 // 10}
    whole = {one.index: one.cost for one in rounds if one.number == ROUNDS}
    price = client.models[0].prices.cost(results[0][1].usage)
    assert sum(whole.values()) == pytest.approx(price * len(answered))
    assert client.usage().cost == pytest.approx(price * len(answered))


@pytest.mark.parametrize("method", ["map", "complete", "submit", "imap"])
@pytest.mark.parametrize("way", ["map_agent_loops", "submit_agent_loop"])
def test_all_loops_may_wait_for_tools_that_use_the_same_client(method: str, way: str) -> None:
    together = threading.Barrier(8, timeout=60)

    def answer(question: Question) -> Any:
        last = question.body["messages"][-1]
        if last["role"] == "tool":
            return last["content"]
        if last["content"].startswith("inner"):
            return last["content"].upper()
        return Reply(tool_calls=[("fan_out", {"topic": last["content"]})])

    with Sandbox(answer=answer) as sandbox:
        client = client_for(sandbox, max_concurrent_requests=8)

        def fan_out(topic: str) -> str:
            """Ask many at once."""
            together.wait()  # every loop waits for its tool now
            prompts = [f"inner {topic} {n}" for n in range(10)]
            if method == "complete":
                texts = [client.complete(prompt).completion for prompt in prompts]
            elif method == "submit":
                futures = [client.submit(prompt) for prompt in prompts]
                texts = [future.result(60).completion for future in futures]
            elif method == "imap":
                texts = [reply.completion for reply in client.imap(prompts)]
            else:
                texts = client.map(prompts, return_completions_only=True)
            return " ".join(texts)

        topics = [f"t{n}" for n in range(8)]
        if way == "map_agent_loops":
            results = client.map_agent_loops(topics, tools=[fan_out])
        else:
            futures = [client.submit_agent_loop(topic, tools=[fan_out]) for topic in topics]
            results = [future.result(60) for future in futures]
    for topic, (_, response) in zip(topics, results):
        assert response.completion == " ".join(f"INNER {topic.upper()} {n}" for n in range(10))


def test_loops_whose_tools_map_loops_of_their_own_all_end() -> None:
    def answer(question: Question) -> Any:
        last = question.body["messages"][-1]
        if last["role"] == "tool":
            return last["content"]
        return Reply(tool_calls=[("delegate", {"depth": int(last["content"])})])

    with Sandbox(answer=answer) as sandbox:
        client = client_for(sandbox, max_concurrent_requests=2)

        def delegate(depth: int) -> str:
            """Have three more do it."""
            if depth == 0:
                return "x"
            results = client.map_agent_loops([str(depth - 1)] * 3, tools=[delegate])
            return "".join(response.completion or "" for _, response in results)

        results = client.map_agent_loops(["2"] * 4, tools=[delegate])
    assert [response.completion for _, response in results] == ["x" * 9] * 4


SETUP = """
import os, sys, threading, time
from deluge_sync import Client, Tool
client = Client(
    "gpt-4.1-mini", base_url=sys.argv[1], api_key="k", max_concurrent_requests=32,
    max_requests_per_minute=1e9, max_tokens_per_minute=1e9, progress="none",
)
waiting = []
def wait():
    waiting.append(1)
    while True:
        time.sleep(3600)
tools = [Tool("wait", run=wait)]
"""


@pytest.fixture
def asking() -> Any:
    """A provider whose model asks for the tool `wait`, and never answers what begins with "bad"."""
    with Sandbox(answer=Reply(tool_calls=[("wait", {})])) as sandbox:
        sandbox.script([Fault("black_hole", match="bad", times=100_000)])
        yield sandbox


UNTIL_ALL_WAIT = """
while len(waiting) < 16 or not client._workers().routes.status().startswith("16 "):
    time.sleep(0.01)
"""


def test_ctrl_c_ends_all_loops_at_once(asking: Sandbox) -> None:
    script = f"""
def watch():
    {UNTIL_ALL_WAIT.strip().replace(chr(10), chr(10) + "    ")}
    print("now", flush=True)
threading.Thread(target=watch, daemon=True).start()
try:
    client.map_agent_loops(["good", "bad"] * 500, tools=tools)
except KeyboardInterrupt:
    names = lambda: [t.name for t in threading.enumerate() if "loop" in t.name]
    until = time.monotonic() + 5
    while names() and time.monotonic() < until:
        time.sleep(0.01)
    print(names())
    raise
"""
    process = start(asking, SETUP + script)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    interrupted_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - interrupted_at < 2
    assert (process.returncode, out) == (-signal.SIGINT, "[]\n")
    assert err.count("Traceback") <= 2  # the interrupt's own


def test_ctrl_c_ends_a_loop_that_waits_for_a_tool(asking: Sandbox) -> None:
    script = """
def watch():
    while not waiting:
        time.sleep(0.01)
    print("now", flush=True)
threading.Thread(target=watch, daemon=True).start()
client.run_agent_loop("good", tools=tools)
"""
    process = start(asking, SETUP + script)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=2)
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "client.close()", "del futures"])
def test_an_exit_with_loops_under_way_neither_hangs_nor_prints(
    asking: Sandbox, ending: str
) -> None:
    script = f"""
futures = [client.submit_agent_loop(p, tools=tools) for p in ["good", "bad"] * 16]
futures += [client.submit_agent_loop(p, tools=tools) for p in ["good", "bad"] * 100]
{UNTIL_ALL_WAIT}
print("now", flush=True)
{ending}
"""
    process = start(asking, SETUP + script)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    ended_at = time.monotonic()
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - ended_at < 2
    assert (process.returncode, out, err) == (0, "", "")


def test_a_thread_that_waits_for_a_loop_at_exit_is_told_of_its_end(asking: Sandbox) -> None:
    script = """
future = client.submit_agent_loop("good", tools=tools)
def work():
    print(type(future.exception()).__name__, flush=True)
threading.Thread(target=work).start()
while not waiting:
    time.sleep(0.01)
"""
    process = start(asking, SETUP + script)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "CallCancelledError\n", "")


def test_tools_that_never_return_hold_up_neither_their_loops_nor_others() -> None:
    gate = threading.Event()

    def answer(question: Question) -> Any:
        last = question.body["messages"][-1]
        return last["content"] if last["role"] == "tool" else Reply(tool_calls=[("stuck", {})])

    def stuck() -> None:
        """Never come back."""
        gate.wait(120)

    with Sandbox(answer=answer) as sandbox:
        client = client_for(sandbox, max_concurrent_requests=8)
        results = client.map_agent_loops(["Go"] * 100, tools=[stuck], tool_timeout=0.05)
        left = client._here.stragglers.count()
        gate.set()
    told = Counter(response.completion for _, response in results)
    assert sum(told.values()) == 100
    assert told["Error: the tool did not finish within 0.05 s"] == left
    assert told["Error: not run: too many tools that timed out still run"] == 100 - left
    assert 64 <= left < 64 + 8
