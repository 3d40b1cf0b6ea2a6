"""Answer a list of reviews as a batch job: at half the price, within a day.

Start it as often as you like, from cron for example: the first run submits, the next ones go on
with the same job, and one that is killed is taken up where it was.

python examples/batch_job.py --model gpt-4.1-mini
"""

import argparse
from datetime import date

from deluge_sync import Client, DeadlineExceededError

REVIEWS = [
    "Arrived a day early and works perfectly.",
    "The handle broke after a week.",
    "It is a kettle. It boils water.",
]


def main() -> None:
    """Print one word for each review, or how far the job is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sandbox/echo")
    parser.add_argument("--job-id", default=f"reviews-{date.today()}")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait this time")
    options = parser.parse_args()

    client = Client(options.model, max_new_tokens=10, temperature=0)
    prompts = [f"Answer with one word, positive, negative or neutral: {text}" for text in REVIEWS]
    job = client.submit_batch_job(prompts, job_id=options.job_id)
    try:
        status = job.wait(options.timeout)
    except DeadlineExceededError as error:
        print(error)
        return
    for review, reply in zip(REVIEWS, job.results()):
        print(f"{reply.completion or reply.error!r:60}  <- {review}")
    if status.failed:
        job.resubmit_failed()
        print(f"{status.failed} submitted again: start this once more")


if __name__ == "__main__":
    main()
