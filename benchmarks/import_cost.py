"""What `import` costs over bare Python: seconds and memory, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys

from common import ROOT, Claim, arguments, medians, report, rival_python, run_json, table

PROBE = """
import json, os, sys, time
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before, start = resident(), time.perf_counter()
exec(sys.argv[1])
print(json.dumps({"ms": 1e3 * (time.perf_counter() - start), "mb": resident() - before}))
"""
OURS = "import deluge_sync"
READY = "from deluge_sync import Client; Client('gpt-4.1-mini')"
STATEMENTS = (OURS, READY, "import lm_deluge", "import openai", "import requests")


def measure(statement: str, runs: int) -> dict[str, float] | None:
    """Medians of `runs` processes, or None where the module is not installed."""
    python = rival_python() if "lm_deluge" in statement else sys.executable
    command = [python, "-c", PROBE, statement]
    # The first run writes the .pyc files and is not counted.
    first = subprocess.run(command, capture_output=True, env={"PYTHONPATH": str(ROOT)})
    if first.returncode:
        return None
    return medians([run_json(command) for _ in range(runs)])


def main() -> None:
    options = arguments(__doc__).parse_args()
    runs = 5 if options.quick else 15
    results = {statement: measure(statement, runs) for statement in STATEMENTS}
    claims = []
    for statement in (OURS, READY):
        cost = results[statement]
        assert cost is not None, json.dumps(results)
        measured = f"{cost['ms']:.0f} ms, {cost['mb']:.1f} MB"
        claims.append(
            Claim(
                f"`{statement}`",
                "<= 150 ms, <= 30 MB",
                measured,
                cost["ms"] <= 150 and cost["mb"] <= 30,
            )
        )
    rows = [
        [f"`{statement}`", f"{cost['ms']:.0f}", f"{cost['mb']:.1f}"]
        for statement, cost in results.items()
        if cost is not None
    ]
    title = f"Import: medians of {runs} fresh processes, .pyc files warm"
    report(title, claims, table(["statement", "ms", "RSS MB"], rows), options.json)


if __name__ == "__main__":
    main()
