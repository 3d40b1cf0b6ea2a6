"""What a stream costs: its first delta's way to the caller, and 10,000 small deltas in a row.

The server runs in a process of its own and writes what OpenAI Chat does, one HTTP chunk an event.
For the first figure each delta says when it was written, at the pace of a model. For the second
they come one by one, so that each is waited for, and once more all at once, which no model does:
what is left then is the parsing. The floor is urllib3's loop over the same bytes, parsing nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from common import ROOT, Claim, arguments, medians, report, run_json, say, table

STREAMS = 64
DELTAS = 10_000
PACED = 40
PACE = 0.02
"""Seconds between two deltas of a paced stream: 50 tokens a second."""
APART = 0.000_2
"""Seconds between two of the 10,000: long enough for each to be read, and waited for, alone."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
KEY, MODEL = "benchmark", "gpt-4.1-mini"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Go on."}], "stream": True}


# The server


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One chunk of a completion, in one chunk of HTTP."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    fields = {
        "id": "chatcmpl-C5h4VYQkNhLFAD5aOXUSaHlkw5VHq",
        "object": "chat.completion.chunk",
        "created": 1763800000,
        "model": "gpt-4.1-mini-2025-04-14",
        "service_tier": "default",
        "system_fingerprint": "fp_3f58d112f7",
        "choices": [choice],
        "usage": None,
        "obfuscation": "kX2mPq",
    }
    data = b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


FIRST = event({"role": "assistant", "content": ""})
END = event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection; the path says how the stream is written."""
    deltas = [event({"content": f" word{number % 100}"}) for number in range(DELTAS)]
    whole = b"".join([HEAD, FIRST, *deltas, END])
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            if head.startswith(b"POST /paced/"):
                await pace(writer)
            elif head.startswith(b"POST /apart/"):
                for piece in (HEAD + FIRST, *deltas, END):
                    writer.write(piece)
                    due = time.perf_counter() + APART
                    while time.perf_counter() < due:  # asyncio's own clock is too coarse
                        await asyncio.sleep(0)
            else:
                writer.write(whole)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def pace(writer: asyncio.StreamWriter) -> None:
    """Deltas of which each is the moment it was written, in ns of the monotonic clock."""
    writer.write(HEAD + FIRST)
    await asyncio.sleep(random.uniform(0.05, 0.3))
    for _ in range(PACED):
        writer.write(event({"content": str(time.monotonic_ns())}))
        await asyncio.sleep(PACE)
    writer.write(END)


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


# The contestants


def our_client(url: str) -> Any:
    from deluge_sync import Client

    return Client(
        MODEL,
        api_key=KEY,
        base_url=url,
        max_requests_per_minute=1e9,
        max_tokens_per_minute=1e12,
        max_concurrent_requests=STREAMS,
        progress="none",
    )


def by_client(url: str) -> Callable[[], Iterator[str]]:
    """`client.stream_chat`: the whole of it."""
    client = our_client(url)

    def deltas() -> Iterator[str]:
        for piece in client.stream_chat("Go on."):
            if isinstance(piece, str):
                yield piece

    return deltas


def by_transport(url: str) -> Callable[[], Iterator[str]]:
    """`Transport.stream` alone: the body's bytes as they come."""
    from deluge_sync.engine.cancellation import Cancellation
    from deluge_sync.engine.transport import PooledTransport
    from deluge_sync.values.wire import HttpRequest

    transport = PooledTransport()
    request = HttpRequest("POST", url + "/chat/completions", (), json.dumps(BODY).encode())

    def deltas() -> Iterator[str]:
        stream = transport.stream(
            request,
            credentials=(),
            deadline=time.monotonic() + 60,
            silence=60,
            cancellation=Cancellation(),
        )
        try:
            while stream.read():
                yield ""
        finally:
            stream.close()

    return deltas


def by_events(url: str) -> Callable[[], Iterator[str]]:
    """`EventReader` over bytes that are there already, 16 kB at a time."""
    from deluge_sync.adapters.sse import EventReader

    whole = b"".join(body_of(url))

    def deltas() -> Iterator[str]:
        reader = EventReader()
        for at in range(0, len(whole), 16_384):
            for found in reader.feed(whole[at : at + 16_384]):
                yield found.data

    return deltas


def by_urllib3(url: str) -> Callable[[], Iterator[str]]:
    """The floor: pieces of the body, not even looked at."""

    def deltas() -> Iterator[str]:
        for _ in body_of(url):
            yield ""

    return deltas


def body_of(url: str) -> Iterator[bytes]:
    import urllib3

    if url not in _pools:
        _pools[url] = urllib3.PoolManager(maxsize=STREAMS, retries=False)
    response = _pools[url].request(
        "POST", url + "/chat/completions", body=json.dumps(BODY), preload_content=False
    )
    yield from response.stream()
    response.release_conn()


_pools: dict[str, Any] = {}


def stamps_of_urllib3(url: str) -> Callable[[], Iterator[str]]:
    """The same loop, with just enough parsing to read the moment in each delta."""

    def deltas() -> Iterator[str]:
        for piece in body_of(url):
            text = piece.partition(b'"content":"')[2].partition(b'"')[0]
            if text:
                yield text.decode()

    return deltas


FLOOR = "bare urllib3 loop"
CONTESTANTS: dict[str, Callable[[str], Callable[[], Iterator[str]]]] = {
    "client.stream_chat": by_client,
    "client.stream_chat, without httptools": by_client,
    FLOOR: by_urllib3,
    "of ours: the transport": by_transport,
    "of ours: the events": by_events,
}
STAMPS = {"client.stream_chat": by_client, FLOOR: stamps_of_urllib3}


# What is measured, each in a process of its own


def cost(name: str, url: str, streams: int) -> dict[str, float]:
    """Microseconds a delta, by the wall and of CPU; the best of `streams`, after one to warm up."""
    deltas = CONTESTANTS[name](url)
    walls, cpus = [], []
    for _ in range(1 + streams):
        wall, cpu = time.perf_counter(), time.process_time()
        count = sum(1 for _ in deltas())
        walls.append((time.perf_counter() - wall) / DELTAS * 1e6)
        cpus.append((time.process_time() - cpu) / DELTAS * 1e6)
        if name.startswith("client") and count != DELTAS:
            raise SystemExit(f"{name}: {count} deltas")
    return {"wall": min(walls[1:]), "cpu": min(cpus[1:])}


def first_delta(name: str, url: str) -> dict[str, float]:
    """Milliseconds from the server's write to the caller, over `STREAMS` threads at once."""
    deltas = STAMPS[name](url + "/paced/v1")
    first: list[float] = []
    later: list[float] = []

    def work() -> None:
        for turn in range(4):
            late = [(time.monotonic_ns() - int(text)) / 1e6 for text in deltas()]
            if len(late) != PACED:
                raise SystemExit(f"{name}: {len(late)} deltas")
            if turn:  # the first stream opens the connection and imports
                first.append(late[0])
                later.extend(late[1:])

    threads = [threading.Thread(target=work) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(first) != 3 * STREAMS:
        raise SystemExit(f"{name}: {len(first)} streams of {3 * STREAMS} came through")
    ranked = sorted(first)
    return {
        "p50": statistics.median(ranked),
        "p90": ranked[len(ranked) * 9 // 10],
        "p99": ranked[len(ranked) * 99 // 100],
        "later": statistics.median(later),
    }


def measured(what: str, names: list[str], url: str, rounds: int) -> dict[str, dict[str, Any]]:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            command = [sys.executable, __file__, "--measure", what, "--contestant", name]
            results[name].append(run_json([*command, "--url", url]))
            say(f"round {turn + 1}: {what}: {name}: {results[name][-1]}")
    return {name: medians(values) for name, values in results.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--measure", choices=("first", "apart", "burst"))
    parser.add_argument("--contestant", default="")
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.measure:
        if options.contestant.endswith("without httptools"):
            sys.modules["httptools"] = None  # type: ignore[assignment]
        if options.measure == "first":
            got = first_delta(options.contestant, options.url)
        else:
            streams = 2 if options.measure == "apart" else 10
            got = cost(options.contestant, f"{options.url}/{options.measure}/v1", streams)
        print(json.dumps(got))
    else:
        compare(rounds=2 if options.quick else 5, json_file=options.json)


def compare(*, rounds: int, json_file: str) -> None:
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        latency = measured("first", list(STAMPS), url, rounds)
        apart = measured("apart", list(CONTESTANTS)[:3], url, rounds)
        burst = measured("burst", list(CONTESTANTS), url, rounds)
    finally:
        server.terminate()
        server.wait(10)
    first = latency["client.stream_chat"]["p50"]
    claims = [
        Claim(f"first delta, {STREAMS} open, median", "< 2 ms", f"{first:.2f} ms", first < 2),
        *cost_claims(apart, burst),
    ]
    late = [
        [name, *(f"{got[key]:.2f}" for key in ("p50", "p90", "p99", "later"))]
        for name, got in latency.items()
    ]
    details = (
        table(["ms to the caller", "p50", "p90", "p99", "later deltas, p50"], late),
        cost_table("us a delta, one by one", apart),
        cost_table("us a delta, all at once", burst),
    )
    title = f"Streams: {STREAMS} open at 50 deltas a second; {DELTAS:,} deltas in a row"
    report(title, claims, "\n\n".join(details), json_file)


def cost_claims(apart: dict[str, Any], burst: dict[str, Any]) -> Iterator[Claim]:
    for words, measure, results in (
        (f"{DELTAS:,} deltas one by one, CPU", "cpu", apart),
        (f"{DELTAS:,} deltas all at once", "wall", burst),
    ):
        ratio = results["client.stream_chat"][measure] / results[FLOOR][measure]
        yield Claim(words, "<= 1.5 x bare urllib3", f"{ratio:.2f} x", ratio <= 1.5)


def cost_table(words: str, results: dict[str, Any]) -> str:
    floor = results[FLOOR]
    rows = [
        [name, f"{got['wall']:.1f}", f"{got['cpu']:.1f}", f"{got['cpu'] / floor['cpu']:.2f}"]
        for name, got in results.items()
    ]
    return table([words, "wall", "CPU", f"CPU x {FLOOR}"], rows)


if __name__ == "__main__":
    main()
