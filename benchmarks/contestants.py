"""One contestant in one process: makes the calls, checks the answers, prints one line of JSON.

Started by `common.contest`; runs in the rival's venv too, so it imports nothing of ours at the top.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import sys
import threading
import time
from typing import Any

Texts = list[Any]
UNLIMITED = 10**9
FILLER = "The quick brown fox jumps over the lazy dog, and nobody asks it why it does so. " * 2


class DelugeSync:
    """`Client.map` of this library."""

    def __init__(self, options: argparse.Namespace) -> None:
        from deluge_sync import Client

        self._client = Client(
            "gpt-4.1-mini",
            api_key="benchmark",
            base_url=options.url,
            max_requests_per_minute=UNLIMITED,
            max_tokens_per_minute=UNLIMITED * 1000,
            max_concurrent_requests=options.in_flight,
            progress="none",
        )

    def __call__(self, prompts: list[str]) -> Texts:
        """The answers, in the order of the prompts."""
        return self._client.map(prompts, return_completions_only=True, max_new_tokens=64)

    def percentiles(self) -> dict[int, float]:
        """Seconds from an attempt's start to its answer, of the last run."""
        return percentiles([reply.latency for reply in self._client.last_run.responses])


class LmDeluge:
    """`process_prompts_sync` of lm-deluge, the asyncio library this one re-imagines."""

    def __init__(self, options: argparse.Namespace) -> None:
        os.environ["BENCHMARK_KEY"] = "benchmark"
        from lm_deluge import LLMClient, SamplingParams
        from lm_deluge.models import register_model

        register_model(
            id="benchmark",
            name="gpt-4.1-mini",
            api_base=options.url,
            api_key_env_var="BENCHMARK_KEY",
        )
        self._client = LLMClient(
            "benchmark",
            max_requests_per_minute=options.requests_per_minute,
            max_tokens_per_minute=options.tokens_per_minute,
            max_concurrent_requests=options.in_flight,
            sampling_params=[SamplingParams(max_new_tokens=options.max_new_tokens)],
        )
        self._latencies: list[float] = []
        self._time_calls(type(self._client))

    def _time_calls(self, kind: Any) -> None:
        single, latencies = kind.process_single_request, self._latencies

        async def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            response = await single(*arguments, **options)
            latencies.append(time.perf_counter() - start)
            return response

        kind.process_single_request = timed

    def __call__(self, prompts: list[str]) -> Texts:
        """The answers, in the order of the prompts."""
        self._latencies.clear()
        return self._client.process_prompts_sync(
            prompts, return_completions_only=True, show_progress=False
        )

    def percentiles(self) -> dict[int, float]:
        """Seconds from an attempt's start to its answer, of the last run."""
        return percentiles(self._latencies)


class BareLoop:
    """The floor: urllib3 in threads, and nothing that a library should do."""

    def __init__(self, options: argparse.Namespace) -> None:
        import urllib3

        self._threads = options.in_flight
        self._url = options.url + "/chat/completions"
        self._pool = urllib3.PoolManager(maxsize=self._threads, retries=False)
        self._latencies: list[float] = []

    def __call__(self, prompts: list[str]) -> Texts:
        """The answers, in the order of the prompts."""
        self._latencies.clear()
        texts: list[Any] = [None] * len(prompts)
        rows = enumerate(prompts)

        def work() -> None:
            for index, prompt in rows:  # next() of an enumerate is atomic
                texts[index] = self._ask(prompt)

        threads = [threading.Thread(target=work) for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return texts

    def _ask(self, prompt: str) -> str:
        message = {"role": "user", "content": prompt}
        body = {"model": "gpt-4.1-mini", "messages": [message], "max_completion_tokens": 64}
        headers = {"content-type": "application/json", "authorization": "Bearer benchmark"}
        start = time.perf_counter()
        reply = self._pool.request("POST", self._url, body=json.dumps(body), headers=headers)
        answer = json.loads(reply.data)
        self._latencies.append(time.perf_counter() - start)
        return str(answer["choices"][0]["message"]["content"])

    def percentiles(self) -> dict[int, float]:
        """Seconds from an attempt's start to its answer, of the last run."""
        return percentiles(self._latencies)


CONTESTANTS = {"deluge_sync": DelugeSync, "lm-deluge": LmDeluge, "urllib3": BareLoop}


def percentiles(seconds: list[float]) -> dict[int, float]:
    ranked = sorted(seconds)
    return {percent: ranked[len(ranked) * percent // 100] for percent in (50, 90, 99)}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(contestant: Any, options: argparse.Namespace) -> dict[str, Any]:
    prompts = [f"Prompt {number}: {options.filler}" for number in range(options.calls)]
    contestant(prompts[: options.warm_up])
    cpu, start = cpu_seconds(), time.perf_counter()
    texts = contestant(prompts)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    wrong = sum(text != prompt for text, prompt in itertools.zip_longest(texts, prompts))
    if wrong:
        raise SystemExit(f"{options.name}: {wrong} of {len(prompts)} answers are wrong")
    return {
        "seconds": seconds,
        "rate": options.calls / seconds,
        "cpu_us": cpu / options.calls * 1e6,
        "latency_ms": {name: 1e3 * value for name, value in contestant.percentiles().items()},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--filler", default=FILLER)
    parser.add_argument("--without-httptools", action="store_true")
    parser.add_argument("--core", type=int, help="stay on this core")
    parser.add_argument("--requests-per-minute", type=int, default=UNLIMITED)
    parser.add_argument("--tokens-per-minute", type=int, default=UNLIMITED * 1000)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    options = parser.parse_args()
    if options.without_httptools:
        sys.modules["httptools"] = None  # type: ignore[assignment]
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    print(json.dumps(measure(CONTESTANTS[options.name](options), options)))


if __name__ == "__main__":
    main()
