"""What people see while they wait."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from deluge_sync.progress import LOG_SECONDS, Progress
from deluge_sync.stats import Report, Tally
from deluge_sync.testing import Sandbox
from deluge_sync.values.errors import TransientError
from deluge_sync.values.response import Response, Usage

from .helpers import client_for


class FakeClock:
    """Monotonic seconds that move when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def progress(style: str, clock: FakeClock, report: Report) -> Progress:
    return Progress(
        style,
        name="job",
        total=10,
        numbers=lambda: report,
        status=lambda: "3 in flight, limited by tokens",
        clock=clock,
    )


def test_without_a_terminal_one_line_is_logged_every_half_minute(caplog) -> None:
    caplog.set_level(logging.INFO, "deluge_sync")
    clock = FakeClock()
    shown = progress("auto", clock, Report(prompts=4, failed=1, cost=0.5, seconds=40))
    for clock.now in range(0, 95):
        shown.tick()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 95 // LOG_SECONDS
    assert lines[0].startswith("job: 4 of 10 done, 1 failed")
    assert "limited by tokens" in lines[0]


def test_a_short_run_logs_nothing(caplog) -> None:
    caplog.set_level(logging.INFO, "deluge_sync")
    progress("log", FakeClock(), Report(prompts=4, seconds=2)).close()
    assert not caplog.records


def test_on_a_terminal_a_bar_shows_count_tokens_cost_and_the_limit(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    clock = FakeClock()
    shown = progress("auto", clock, Report(prompts=4, input_tokens=1_000, cost=0.25))
    clock.now = 1.0
    shown.tick()
    text = sys.stderr.getvalue()
    for words in ("job", "4/10", "1,000 tokens", "$0.2500", "limited by tokens"):
        assert words in text


def test_a_bar_says_nothing_of_money_where_nobody_counts_it(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress("bar", FakeClock(), Report(prompts=4)).close()
    assert "$" not in sys.stderr.getvalue()
    assert "tokens" not in sys.stderr.getvalue().replace("limited by tokens", "")


def test_nothing_is_written_to_stdout_or_stderr_without_a_terminal(sandbox: Sandbox, capfd) -> None:
    with client_for(sandbox) as client:
        client.map(["a", "b"], progress="auto")
    assert capfd.readouterr() == ("", "")


def test_a_map_shows_a_bar_when_asked_to(sandbox: Sandbox, capfd) -> None:
    with client_for(sandbox, name="reviews") as client:
        client.map((f"p{n}" for n in range(30)), progress="bar", total=30)
    out, err = capfd.readouterr()
    assert out == ""
    assert "reviews" in err
    assert "30/30" in err


def test_a_bar_opened_over_several_batches_counts_them_all(sandbox: Sandbox, capfd) -> None:
    client = client_for(sandbox)
    client.with_limits()._settings = client.settings.__class__(
        **{**vars(client.settings), "progress": "bar"}
    )
    client.open(total=4)
    client.wait_for_all([client.submit("a"), client.submit("b")])
    client.wait_for_all([client.submit("c"), client.submit("d")])
    client.close()
    assert "4/4" in capfd.readouterr().err


def response(**facts) -> Response:
    return Response(model="m", attempts=1, **facts)


def test_a_tally_adds_up_and_tells_percentiles_within_five_percent() -> None:
    tally = Tally(Tally())
    for milliseconds in range(1, 1_001):
        tally.add(response(usage=Usage(10, 5), cost=0.01, latency=milliseconds / 1_000))
    tally.add(response(error=TransientError("no")), ["transient", "decode"])
    report = tally.report()
    assert (report.prompts, report.answered, report.failed) == (1_001, 1_000, 1)
    assert (report.input_tokens, report.output_tokens) == (10_000, 5_000)
    assert report.cost == pytest.approx(10.0)
    assert report.retries == {"transient": 1, "decode": 1}
    for percent in (50, 90, 99):
        assert report.latency_percentiles[percent] == pytest.approx(percent / 100, rel=0.06)


def test_answers_without_a_known_price_are_counted() -> None:
    tally = Tally()
    tally.add(response(usage=Usage(10, 5), cost=None))
    assert tally.report().unpriced == 1
