"""Memory and time of a batch job of a million prompts, from a generator to responses.

The sandbox is in a process of its own; only the process that submits, and reads, is measured.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from common import Claim, arguments, report, say, table
from memory import resident_mb
from sandbox_process import SandboxProcess

from deluge_sync import Client
from deluge_sync.batch import job as jobs
from deluge_sync.batch.spool import written_down

BATCH = 50_000
MOST_MB = 100.0


class Meter:
    """The most RSS (VmHWM) and the seconds of each phase, and bytes on disk after it."""

    def __init__(self, folder: Path, total: int) -> None:
        self._folder = folder
        self._total = total
        self.base = resident_mb()
        self.growth = 0.0
        self.rows: list[list[str]] = []
        self._begin()

    def phase(self, name: str) -> float:
        """A phase has ended; gives its microseconds for each prompt."""
        seconds, grown = time.monotonic() - self._since, most_resident_mb() - self.base
        self.growth = max(self.growth, grown)
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        disk = sum(path.stat().st_size for path in files) / 2**20
        each = seconds / self._total * 1e6
        self.rows.append([name, f"{seconds:.1f}", f"{each:.0f}", f"{grown:+.1f}", f"{disk:,.0f}"])
        say(f"{name}: {seconds:.1f} s, {grown:+.1f} MB, {disk:,.0f} MB on disk")
        self._begin()
        return each

    def _begin(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the most RSS is what it is now
        self._since = time.monotonic()


def most_resident_mb() -> float:
    """The most RSS since it was last set back."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(url: str, folder: Path, total: int) -> tuple[Meter, float, float]:
    """The meter, and microseconds for each prompt to the disk and for each response."""
    client = Client(
        "gpt-4.1-mini",
        api_key="benchmark",
        base_url=url,
        batch_folder=folder,
        progress="none",
        request_timeout=600,
    )
    client.submit_batch_job(["warm up"]).wait()
    meter = Meter(folder, total)
    written: list[float] = []

    def writing(*given: Any) -> dict[str, Any]:
        spooled = written_down(*given)
        written.append(meter.phase("prompts written down"))
        return spooled

    jobs.written_down = writing  # type: ignore[assignment]
    prompts = (prompt(number) for number in range(total))
    job = client.submit_batch_job(prompts, batch_size=BATCH)
    meter.phase("uploaded and submitted")
    job.wait()
    meter.phase("waited for, results fetched")
    count = 0
    for response in job.results():
        if response.completion != prompt(count):
            raise SystemExit(f"response {count} is {response!r}")
        count += 1
    read = meter.phase("responses read")
    if count != total:
        raise SystemExit(f"{count} responses of {total}")
    return meter, written[0], read


def prompt(number: int) -> str:
    return f"Prompt {number}: the quick brown fox."


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    options = parser.parse_args()
    total = 50_000 if options.quick else options.prompts
    with (
        tempfile.TemporaryDirectory() as folder,
        SandboxProcess(keep_bodies=False, max_body=1 << 30) as server,
    ):
        start = time.monotonic()
        meter, written, read = run(server.base_url, Path(folder), total)
        seconds = time.monotonic() - start
    growth = meter.growth
    claims = [
        Claim("growth of the process", f"<= {MOST_MB:.0f} MB", f"{growth:.1f} MB",
              growth <= MOST_MB),
        Claim("a prompt to the disk", "< 100 us", f"{written:.0f} us", written < 100),
        Claim("a response from the disk", "< 150 us", f"{read:.0f} us", read < 150),
    ]  # fmt: skip
    heads = ["phase", "seconds", "us each", "most RSS, MB more", "MB on disk"]
    title = f"A batch job of {total:,} prompts in batches of {BATCH:,}: {seconds:.0f} s"
    report(title, claims, table(heads, meter.rows), options.json)


if __name__ == "__main__":
    main()
