"""Have a model look up orders and refund one, asking before any money moves.

python examples/agent_loop.py                        # the model's side is a script; no key
python examples/agent_loop.py --model gpt-4.1-mini   # a real one; asks you on the terminal
"""

import argparse
import contextlib
from collections.abc import Iterator
from typing import Annotated, Union

from deluge_sync import AgentRound, Client, ToolCall
from deluge_sync.testing import Question, Reply, Sandbox

ORDERS = {"A-17": ("kettle", 39.0), "A-18": ("lamp", 25.5)}
TASK = "The kettle of order A-17 came broken, and the lamp of A-18 too. Refund both."


def order(number: Annotated[str, "such as A-17"]) -> dict[str, object]:
    """Look up an order."""
    item, price = ORDERS[number]
    return {"number": number, "item": item, "price": price}


def refund(number: str, amount: float) -> str:
    """Pay an order back."""
    return f"{amount:.2f} paid back for {number}"


def confirm(call: ToolCall) -> Union[bool, str]:
    """Ask before each refund."""
    if call.name != "refund":
        return True
    answer = input(f"{dict(call.arguments)} - refund? [y/N] ")
    return answer.lower() == "y" or "the clerk refused this refund"


def confirm_small(call: ToolCall) -> Union[bool, str]:
    """The same without a clerk: no more than 30."""
    return call.arguments.get("amount", 0) <= 30 or "refunds over 30 need a clerk"


def show(told: AgentRound) -> None:
    """One line for each call of the model, and one for each tool it had run."""
    print(f"round {told.number}: {told.response.completion or '(tools)'}")
    for result in told.results:
        print(
            f"  {result.name}: {'refused or failed: ' if result.is_error else ''}{result.content}"
        )


def script(question: Question) -> Reply:
    """What the sandbox's model says: look both up, refund both, report."""
    results = [m["content"] for m in question.body["messages"] if m["role"] == "tool"]
    if not results:
        return Reply(tool_calls=[("order", {"number": number}) for number in ORDERS])
    if len(results) == len(ORDERS):
        return Reply(
            tool_calls=[
                ("refund", {"number": number, "amount": price})
                for number, (_, price) in ORDERS.items()
            ]
        )
    return Reply("Here is what came of it: " + "; ".join(results[len(ORDERS) :]))


@contextlib.contextmanager
def opened(model: str) -> Iterator[Client]:
    """A client of `model`; "script" is the sandbox's."""
    if model != "script":
        with Client(model) as client:
            yield client
        return
    with (
        Sandbox(answer=script) as sandbox,
        Client("gpt-4.1-mini", base_url=sandbox.base_url, api_key="none") as client,
    ):
        yield client


def main() -> None:
    """Print the rounds and what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="script")
    options = parser.parse_args()
    with opened(options.model) as client:
        conversation, _ = client.run_agent_loop(
            TASK,
            tools=[order, refund],
            max_rounds=6,
            timeout=120,
            confirm=confirm_small if options.model == "script" else confirm,
            on_round=show,
        )
        report = client.usage()
    print(f"{len(conversation)} messages, {report.prompts} calls, ${report.cost:.6f}")


if __name__ == "__main__":
    main()
