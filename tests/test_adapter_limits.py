"""What rate-limit headers say."""

from __future__ import annotations

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.values.wire import HttpResponse, LimitHint

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def limits(adapter, headers):
    return ADAPTERS[adapter].limits(HttpResponse(200, headers, b"", NOW))


def openai(limit, remaining, reset, name="requests"):
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{what}-{name}": value for what, value in values.items() if value}


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_no_headers_give_no_hints(adapter):
    assert limits(adapter, {"content-type": "application/json"}) == ()


def test_openais_requests_and_tokens():
    headers = {**openai("600", "599", "100ms"), **openai("150000", "149984", "6m0s", "tokens")}
    assert limits("openai_chat", headers) == (
        LimitHint("requests", 600.0, 599.0, 0.1),
        LimitHint("tokens", 150000.0, 149984.0, 360.0),
    )


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("500us", 0.0005),
        ("2.5", 2.5),
        ("0", 0.0),
        ("7.66s", 7.66),
        ("", None),
        ("s", None),
        ("1x", None),
        ("1s!", None),
        ("soon 1s", None),
        ("-1s", None),
        ("nan", None),
    ],
)
def test_resets_are_durations_or_plain_seconds(reset, seconds):
    headers = {**openai("600", "1", None), "x-ratelimit-reset-requests": reset}
    (hint,) = limits("openai_chat", headers)
    assert hint.reset_after == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("limit", "remaining", "hints"),
    [
        ("600", None, (LimitHint("requests", 600.0, None, 1.0),)),
        (None, "0", (LimitHint("requests", None, 0.0, 1.0),)),
        ("600, 600;w=60", "5", (LimitHint("requests", 600.0, 5.0, 1.0),)),
        ("0", "0", (LimitHint("requests", None, 0.0, 1.0),)),
        ("-1", "many", ()),
        ("inf", "nan", ()),
        (None, None, ()),
    ],
)
def test_what_cannot_be_read_is_left_out(limit, remaining, hints):
    assert limits("openai_chat", openai(limit, remaining, "1s")) == hints


def test_anthropics_four_limits_with_their_instants():
    headers = {}
    for name in ("requests", "tokens", "input-tokens", "output-tokens"):
        headers[f"anthropic-ratelimit-{name}-limit"] = "1000"
        headers[f"anthropic-ratelimit-{name}-remaining"] = "999"
        headers[f"anthropic-ratelimit-{name}-reset"] = "2027-01-15T08:00:30Z"
    names = ("requests", "tokens", "input_tokens", "output_tokens")
    expected = tuple(LimitHint(name, 1000.0, 999.0, 30.0) for name in names)
    assert limits("anthropic", headers) == expected


@pytest.mark.parametrize(
    ("reset", "date", "seconds"),
    [
        ("2027-01-15T08:00:00.250Z", None, 0.25),
        ("2027-01-15t09:00:10+01:00", None, 10.0),
        ("2027-01-15T07:00:00Z", None, 0.0),
        # the server's clock goes before ours
        ("2027-01-15T08:05:10Z", "Fri, 15 Jan 2027 08:05:00 GMT", 10.0),
        ("2027-13-45T99:99:99Z", None, None),
        ("soon", None, None),
    ],
)
def test_anthropics_resets_are_read_against_a_clock(reset, date, seconds):
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-reset": reset,
    }
    (hint,) = limits("anthropic", {**headers, **({"date": date} if date else {})})
    assert hint.reset_after == (None if seconds is None else pytest.approx(seconds))
