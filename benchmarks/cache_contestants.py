"""One contestant in one process: fills its cache on disk, or asks it for everything again.

Started by `cache_hits`; runs in the rival's venv too, so it imports nothing of ours at the top.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

UNLIMITED = 10**9
VOCABULARY = (
    "account answer balance between careful charge clearly company contract customer decision "
    "delivery describe document evening follow general however important include information "
    "invoice language machine manager meeting member message minute model money morning nothing "
    "number office often order paper payment people perhaps picture please product program "
    "question quickly reason receive report request result review sample schedule section service "
    "several simple summary system thank therefore through together toward usually version weather "
    "week whether without write yesterday"
)
WORDS = VOCABULARY.split()


def prompts(count: int) -> list[str]:
    return [f"Prompt number {number}: what does the customer want?" for number in range(count)]


def answer_to(prompt: str) -> str:
    """2 kB of text that looks like one, the same for the same prompt."""
    dice = random.Random(prompt)
    return " ".join(dice.choices(WORDS, k=300))[:2_000]


class DelugeSync:
    """`Client.map` of this library, with its cache on disk."""

    def __init__(self, home: str, url: str) -> None:
        from deluge_sync import Client

        self.client = Client(
            "gpt-4.1-mini",
            api_key="benchmark",
            base_url=url,
            cache=home,
            max_requests_per_minute=UNLIMITED,
            max_tokens_per_minute=UNLIMITED * 1000,
            max_concurrent_requests=64,
            progress="none",
        )

    def fill(self, asked: list[str]) -> None:
        """Every answer, once, from a server on this machine."""
        self.ask(asked)

    def ask(self, asked: list[str]) -> list[Any]:
        """The answers, in the order of the prompts."""
        return self.client.map(asked, return_completions_only=True)


class LmDeluge:
    """`process_prompts_sync` of lm-deluge, with its `SqliteCache`."""

    def __init__(self, home: str, url: str) -> None:
        os.environ["BENCHMARK_KEY"] = "benchmark"
        from lm_deluge import LLMClient
        from lm_deluge.cache import SqliteCache
        from lm_deluge.models import register_model

        register_model(
            id="benchmark", name="gpt-4.1-mini", api_base=url, api_key_env_var="BENCHMARK_KEY"
        )
        self.cache = SqliteCache(str(Path(home, "answers.db")))
        self.client = LLMClient(
            "benchmark",
            max_requests_per_minute=UNLIMITED,
            max_tokens_per_minute=UNLIMITED * 1000,
            max_concurrent_requests=64,
            cache=self.cache,
        )

    def fill(self, asked: list[str]) -> None:
        """Every answer, put directly: a commit that waits for the disk each time takes too long."""
        from lm_deluge import Conversation, Message, SamplingParams
        from lm_deluge.api_requests.response import APIResponse
        from lm_deluge.usage import Usage

        self.cache.conn.execute("PRAGMA synchronous=OFF")
        for number, prompt in enumerate(asked):
            question = Conversation().user(prompt)
            answer = APIResponse(
                id=number,
                model_internal="benchmark",
                prompt=question,
                sampling_params=SamplingParams(),
                status_code=200,
                is_error=False,
                error_message=None,
                usage=Usage(input_tokens=12, output_tokens=400),
                content=Message.ai(answer_to(prompt)),
            )
            self.cache.put(question, answer)
        self.cache.close()

    def ask(self, asked: list[str]) -> list[Any]:
        """The answers, in the order of the prompts."""
        return self.client.process_prompts_sync(
            asked, return_completions_only=True, show_progress=False
        )


CONTESTANTS = {"deluge_sync": DelugeSync, "lm-deluge": LmDeluge}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("step", choices=("fill", "ask"))
    parser.add_argument("--home", required=True)
    parser.add_argument("--url", default="http://127.0.0.1:9/v1")
    parser.add_argument("--prompts", type=int, required=True)
    options = parser.parse_args()
    contestant = CONTESTANTS[options.name](options.home, options.url)
    asked = prompts(options.prompts)
    if options.step == "fill":
        contestant.fill(asked)
        print("{}")
        return
    cpu, start = time.process_time(), time.perf_counter()
    texts = contestant.ask(asked)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    wrong = sum(text != answer_to(prompt) for text, prompt in zip(texts, asked))
    if wrong:
        raise SystemExit(f"{options.name}: {wrong} of {len(asked)} answers are wrong")
    count = len(asked)
    print(json.dumps({"rate": count / seconds, "cpu_us": cpu / count * 1e6, "seconds": seconds}))


if __name__ == "__main__":
    main()
