"""Classify a list of reviews from a plain script; failures are rows, not exceptions.

python examples/script.py --model gpt-4.1-mini
"""

import argparse

from deluge_sync import Client

REVIEWS = [
    "Arrived a day early and works perfectly.",
    "The handle broke after a week.",
    "It is a kettle. It boils water.",
]


def main() -> None:
    """Print one word for each review."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sandbox/echo")
    options = parser.parse_args()

    client = Client(options.model, max_new_tokens=10, temperature=0)
    prompts = [f"Answer with one word, positive, negative or neutral: {text}" for text in REVIEWS]
    for review, reply in zip(REVIEWS, client.map(prompts, timeout=60)):
        print(f"{reply.completion or reply.error!r:60}  <- {review}")
    report = client.usage()
    print(f"{report.answered} answered, {report.failed} failed, ${report.cost:.6f}")


if __name__ == "__main__":
    main()
