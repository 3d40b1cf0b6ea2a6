"""Run every benchmark and write what they measured into docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from common import HERE, ROOT, arguments, rival_python, say, table

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
SCRIPTS = (
    "throughput",
    "latency_bound",
    "memory",
    "batch_memory",
    "import_cost",
    "limiter",
    "faults",
    "deadlines",
    "cache_hits",
    "store_puts",
    "streaming",
    "embeddings",
    "agent_loops",
    "routing",
)


def run(name: str, *flags: str) -> dict[str, Any] | None:
    """What one benchmark reports; None when it ended without a report."""
    say(f"== {name}")
    with tempfile.TemporaryDirectory() as home:
        kept = Path(home, "outcome.json")
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(kept), *flags]
        done = subprocess.run(command)
        if done.returncode or not kept.exists():
            say(f"{name} failed with exit code {done.returncode}")
            return None
        return dict(json.loads(kept.read_text(encoding="utf-8")))


def machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    rival = subprocess.run(
        [rival_python(), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        check=True,
    )
    versions = {
        row["name"].lower().replace("_", "-"): row["version"] for row in json.loads(rival.stdout)
    }
    load = os.getloadavg()[2]
    return (
        f"Measured on {date.today()}: {os.cpu_count()} cores ({cpu}), {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, lm-deluge "
        f"{versions.get('lm-deluge', '?')}; load of the 15 minutes before: {load:.1f}."
    )


def section(outcome: dict[str, Any]) -> str:
    rows = [
        [claim["text"], claim["target"], claim["measured"], "yes" if claim["holds"] else "**no**"]
        for claim in outcome["claims"]
    ]
    parts = [f"### {outcome['title']}", table(["claim", "target", "measured", "holds"], rows)]
    return "\n\n".join([*parts, outcome["details"]]).rstrip()


def write(text: str) -> None:
    """Put `text` between the page's markers."""
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, help="print these, write nothing")
    options = parser.parse_args()
    facts = machine()
    flags = ["--quick"] if options.quick else []
    outcomes = [run(name, *flags) for name in options.only or SCRIPTS]
    complete = [outcome for outcome in outcomes if outcome is not None]
    if not options.only and not options.quick:
        write("\n\n".join([facts, *map(section, complete)]))
    missed = [claim for outcome in complete for claim in outcome["claims"] if not claim["holds"]]
    say(f"{len(missed)} claims do not hold, {len(outcomes) - len(complete)} benchmarks failed")
    sys.exit(bool(missed or len(complete) < len(outcomes)))


if __name__ == "__main__":
    main()
