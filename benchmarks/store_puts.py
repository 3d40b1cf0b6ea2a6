"""The disk store: what a put costs a worker, what is lost, how fast answers are looked up."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common import ROOT, Claim, arguments, report, say

from deluge_sync.stores.disk import DiskStore

THREADS = 64
PROCESSES = 4
SIZE = 8 << 30

WORDS = ("the", "answer", "of", "a", "model", "is", "text", "in", "which", "words", "come", "again")


def answer(number: int) -> bytes:
    """About 2 kB of text, no two the same."""
    chance = random.Random(number)
    return " ".join(chance.choice(WORDS) + str(chance.randrange(99)) for _ in range(320)).encode()


def key_of(process: int, thread: int, number: int) -> str:
    return hashlib.sha256(b"%d %d %d" % (process, thread, number)).hexdigest()


def write(path: str, process: int, puts: int) -> None:
    """One of the processes: `THREADS` threads put, and time each put."""
    store = DiskStore(path, size_limit=SIZE)
    times: list[list[float]] = [[] for _ in range(THREADS)]
    start = threading.Barrier(THREADS + 1)
    texts = [answer(number) for number in range(200)]

    def work(thread: int) -> None:
        keys = [key_of(process, thread, number) for number in range(puts)]
        start.wait()
        for number, key in enumerate(keys):
            began = time.perf_counter()
            store.put(key, texts[number % 200] + key.encode())
            times[thread].append(time.perf_counter() - began)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for worker in workers:
        worker.start()
    start.wait()
    began, files = time.perf_counter(), 0
    for worker in workers:
        while worker.is_alive():
            files = max(files, len(os.listdir("/proc/self/fd")))
            worker.join(0.1)
    store.flush()
    seconds = time.perf_counter() - began
    flat = sorted(1000 * one for some in times for one in some)
    print(
        json.dumps(
            {
                "p50": flat[len(flat) // 2],
                "p99": flat[len(flat) * 99 // 100],
                "most": flat[-1],
                "files": files,
                "seconds": seconds,
            }
        )
    )


def puts(path: str, count: int) -> list[Claim]:
    say(f"{PROCESSES} processes x {THREADS} threads x {count} puts")
    command = [sys.executable, __file__, "--write", path, "--puts", str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen(
            [*command, "--process", str(process)], stdout=subprocess.PIPE, env=environment
        )
        for process in range(PROCESSES)
    ]
    done = [json.loads(writer.communicate()[0].splitlines()[-1]) for writer in writers]
    p99, files = max(one["p99"] for one in done), max(one["files"] for one in done)
    seconds = max(one["seconds"] for one in done)
    store = DiskStore(path, size_limit=SIZE)
    wanted = PROCESSES * THREADS * count
    found = 0
    for process in range(PROCESSES):
        for thread in range(THREADS):
            keys = [key_of(process, thread, number) for number in range(count)]
            found += len(store.get_many(keys))
    store.close()
    what = f"{PROCESSES} processes x {THREADS} threads x {count:,} puts of 2 kB"
    middle = max(one["p50"] for one in done)
    worst = max(one["most"] for one in done)
    return [
        Claim(f"{what}: lost", "0", f"{wanted - found:,} of {wanted:,}", found == wanted),
        Claim(
            f"{what}: put p99 as seen by the worker (worst process)",
            "<= 30 ms",
            f"{p99:.2f} ms (p50 {middle:.2f}, most {worst:.0f})",
            p99 <= 30,
        ),
        Claim(f"{what}: open files", f"<= {THREADS + 20}", str(files), files <= THREADS + 20),
        Claim(f"{what}: written a second", "(figure)", f"{wanted / seconds:,.0f}", True),
    ]


def lookups(path: str, count: int) -> Claim:
    say(f"{count:,} lookups")
    store = DiskStore(path, size_limit=SIZE)
    keys = [key_of(99, 0, number) for number in range(count)]
    for number, key in enumerate(keys):
        store.put(key, answer(number))
    store.flush()
    began = time.perf_counter()
    found = sum(len(store.get_many(keys[at : at + 256])) for at in range(0, count, 256))
    rate = found / (time.perf_counter() - began)
    store.close()
    return Claim(
        f"{count:,} lookups of 2 kB answers, 256 at once, a second",
        ">= 60,000",
        f"{rate:,.0f}, {found:,} found",
        rate >= 60_000 and found == count,
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--write", default="")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--puts", type=int, default=0)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.process, options.puts)
        return
    with tempfile.TemporaryDirectory() as folder:
        claims = [
            lookups(str(Path(folder, "lookups")), 20_000 if options.quick else 100_000),
            *puts(str(Path(folder, "puts")), options.puts or (250 if options.quick else 2_500)),
        ]
    report("Disk store", claims, "", options.json)


if __name__ == "__main__":
    main()
