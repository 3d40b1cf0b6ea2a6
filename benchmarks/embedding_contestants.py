"""One contestant in one process: embeds the texts, checks the vectors, prints one line of JSON.

Started by `embeddings.py`; runs in the rival's venv too, so it imports nothing of ours at the top.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL = "text-embedding-3-small"
BATCH = 256
UNLIMITED = 10**9


def deluge_sync(options: argparse.Namespace, *, numpy: bool) -> Callable[[list[str]], Any]:
    from deluge_sync import Client

    client = Client(
        MODEL,
        api_key="benchmark",
        base_url=options.url,
        max_requests_per_minute=UNLIMITED,
        max_tokens_per_minute=UNLIMITED * 1000,
        max_concurrent_requests=options.in_flight,
        progress="none",
    )
    return lambda texts: client.embed(texts, numpy=numpy)


def lm_deluge(options: argparse.Namespace) -> Callable[[list[str]], Any]:
    """With its own batch size (64) and all it may have in flight."""
    os.environ["OPENAI_API_KEY"] = "benchmark"
    from lm_deluge import embed

    build = embed._build_request

    def to_the_server(*given: Any) -> Any:
        _, headers, payload = build(*given)
        return options.url + "/embeddings", headers, payload  # it has no option for it

    embed._build_request = to_the_server

    def run(texts: list[str]) -> Any:
        responses = asyncio.run(
            embed.embed_parallel_async(
                texts,
                MODEL,
                max_requests_per_minute=UNLIMITED,
                max_tokens_per_minute=UNLIMITED * 1000,
                max_concurrent_requests=options.in_flight,
                show_progress=False,
            )
        )
        return embed.stack_results(responses)

    return run


def bare(options: argparse.Namespace, *, decoding: bool) -> Callable[[list[str]], Any]:
    """urllib3 in threads, sending the bodies that we send."""
    import numpy
    import urllib3

    pool = urllib3.PoolManager(maxsize=options.in_flight, retries=False)
    headers = {"content-type": "application/json", "authorization": "Bearer benchmark"}

    def run(texts: list[str]) -> Any:
        begins = iter(range(0, len(texts), BATCH))
        lock = threading.Lock()
        rows: list[Any] = [None] * len(texts)

        def work() -> None:
            while True:
                with lock:
                    begin = next(begins, None)
                if begin is None:
                    return
                body = {"model": MODEL, "input": texts[begin : begin + BATCH]}
                body["encoding_format"] = "base64"
                sent = json.dumps(body, separators=(",", ":")).encode()
                reply = pool.request(
                    "POST", options.url + "/embeddings", body=sent, headers=headers
                )
                if not decoding:
                    rows[begin] = len(reply.data)
                    continue
                for item in json.loads(reply.data)["data"]:
                    packed = base64.b64decode(item["embedding"])
                    rows[begin + item["index"]] = numpy.frombuffer(packed, "float32")

        threads = [threading.Thread(target=work) for _ in range(options.in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return numpy.stack(rows) if decoding else rows

    return run


CONTESTANTS: dict[str, Callable[[argparse.Namespace], Callable[[list[str]], Any]]] = {
    "lists": lambda options: deluge_sync(options, numpy=False),
    "matrix": lambda options: deluge_sync(options, numpy=True),
    "lm-deluge": lm_deluge,
    "urllib3": lambda options: bare(options, decoding=False),
    "urllib3-decoding": lambda options: bare(options, decoding=True),
}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--texts", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    texts = [f"Text {number}: the fox jumps over the dog" for number in range(options.texts)]
    run = CONTESTANTS[options.name](options)
    run(texts[: 4 * BATCH])
    before, cpu, start = resident(), cpu_seconds(), time.perf_counter()
    vectors = run(texts)
    seconds, cpu, grown = time.perf_counter() - start, cpu_seconds() - cpu, peak() - before
    if len(vectors) != len(texts):
        raise SystemExit(f"{options.name}: {len(vectors)} vectors for {len(texts)} texts")
    if options.name != "urllib3":
        # The server gives the vector at index n of an answer n as its first number.
        size = 64 if options.name == "lm-deluge" else BATCH
        wrong = sum(round(float(row[0])) != n % size for n, row in enumerate(vectors))
        if wrong:
            raise SystemExit(f"{options.name}: {wrong} vectors are wrong")
    size = getattr(vectors, "nbytes", 0)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "growth": grown / size if size else 0.0}))


if __name__ == "__main__":
    main()
