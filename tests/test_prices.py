"""What an answer costs: bills reckoned by hand from the vendors' price rules, and the ceiling."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS
from deluge_sync.catalog import Catalog
from deluge_sync.values.model import Prices
from deluge_sync.values.plain import usage_from_plain
from deluge_sync.values.response import Usage
from deluge_sync.values.wire import HttpResponse

CATALOG = Catalog.builtin()

OPENAI = {
    "prompt_tokens": 100_000,
    "completion_tokens": 8_000,
    "total_tokens": 108_000,
    "prompt_tokens_details": {
        "cached_tokens": 60_000,
        "cache_write_tokens": 20_000,
        "cache_write_tokens_details": {"ttl_30m_tokens": 15_000, "ttl_12h_tokens": 5_000},
    },
    "completion_tokens_details": {"reasoning_tokens": 6_000},
}
OPENAI_LONG = {
    "prompt_tokens": 300_000,
    "completion_tokens": 2_000,
    "prompt_tokens_details": {"cached_tokens": 100_000, "cache_write_tokens": 40_000},
}
OPENAI_OLD = {
    "prompt_tokens": 10_000,
    "completion_tokens": 500,
    "prompt_tokens_details": {"cached_tokens": 8_000},
}
ANTHROPIC = {
    "input_tokens": 1_000,
    "cache_read_input_tokens": 50_000,
    "cache_creation_input_tokens": 30_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 20_000, "ephemeral_1h_input_tokens": 10_000},
    "output_tokens": 4_000,
    "output_tokens_details": {"thinking_tokens": 3_000},
}
ANTHROPIC_LONG = {
    "input_tokens": 20_000,
    "cache_read_input_tokens": 100_000,
    "cache_creation_input_tokens": 10_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 10_000},
    "output_tokens": 1_000,
}
GEMINI = {
    "promptTokenCount": 50_000,
    "cachedContentTokenCount": 40_000,
    "candidatesTokenCount": 1_000,
    "thoughtsTokenCount": 2_000,
}
GEMINI_LONG = {
    "promptTokenCount": 250_000,
    "cachedContentTokenCount": 150_000,
    "candidatesTokenCount": 3_000,
    "thoughtsTokenCount": 7_000,
}
DEEPSEEK = {
    "prompt_tokens": 100_000,
    "prompt_cache_hit_tokens": 80_000,
    "prompt_cache_miss_tokens": 20_000,
    "completion_tokens": 5_000,
}
XAI = {  # its completion_tokens leave reasoning out
    "prompt_tokens": 10_000,
    "completion_tokens": 1_000,
    "total_tokens": 11_500,
    "prompt_tokens_details": {"cached_tokens": 5_000},
    "completion_tokens_details": {"reasoning_tokens": 500},
}

BILLS: list[tuple[str, dict[str, Any], bool, float]] = [
    # 20k x 2 + 60k x 0.1 + 15k x 2.5 + 5k x 5 + 8k x 10, per million
    ("openai/gpt-6.1-sol", OPENAI, False, 0.1885),
    ("openai/gpt-6.1-sol", OPENAI, True, 0.09425),
    # 160k x 4 + 100k x 0.2 + 40k x 5 + 2k x 15
    ("openai/gpt-6.1-sol", OPENAI_LONG, False, 0.89),
    ("openai/gpt-6.1-sol", OPENAI_LONG, True, 0.445),
    # 2k x 0.4 + 8k x 0.1 + 500 x 1.6
    ("openai/gpt-4.1-mini", OPENAI_OLD, False, 0.0024),
    # 1k x 4 + 50k x 0.2 + 20k x 5 + 10k x 8 + 4k x 20
    ("anthropic/claude-opus-5-5", ANTHROPIC, False, 0.274),
    ("anthropic/claude-opus-5-5", ANTHROPIC, True, 0.137),
    # 20k x 0.5 + 100k x 0.05 + 10k x 1 + 1k x 2.5
    ("anthropic/claude-haiku-5-5", ANTHROPIC_LONG, False, 0.0275),
    ("anthropic/claude-haiku-5-5", ANTHROPIC_LONG, True, 0.01375),
    # 10k x 1.25 + 40k x 0.125 + 3k x 10
    ("google/gemini-2.5-pro", GEMINI, False, 0.0475),
    # 100k x 2.5 + 150k x 0.25 + 10k x 15; a batch halves all but the cached input
    ("google/gemini-2.5-pro", GEMINI_LONG, False, 0.4375),
    ("google/gemini-2.5-pro", GEMINI_LONG, True, 0.2375),
    # 20k x 0.3 + 80k x 0.006 + 5k x 1.2
    ("deepseek/deepseek-v4-flash", DEEPSEEK, False, 0.01248),
    # 5k x 2 + 5k x 0.5 + 1.5k x 6; a batch is 20 % off
    ("xai/grok-4.7", XAI, False, 0.0215),
    ("xai/grok-4.7", XAI, True, 0.0172),
]

BODIES = {
    "openai_chat": lambda usage: {
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": usage,
    },
    "anthropic": lambda usage: {
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": usage,
    },
    "gemini": lambda usage: {
        "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": usage,
    },
}


@pytest.mark.parametrize(("name", "usage", "batch", "dollars"), BILLS)
def test_a_bill_is_what_was_reckoned_by_hand(
    name: str, usage: dict[str, Any], batch: bool, dollars: float
) -> None:
    model = CATALOG.model(name)
    body = json.dumps(BODIES[model.provider.adapter](usage)).encode()
    answer = ADAPTERS[model.provider.adapter].decode(HttpResponse(200, {}, body), model)
    assert model.prices.cost(answer.usage, batch=batch) == pytest.approx(dollars, rel=1e-9)


def test_cache_writes_for_an_hour_are_told_from_those_for_five_minutes() -> None:
    model = CATALOG.model("anthropic/claude-opus-5-5")
    body = json.dumps(BODIES["anthropic"](ANTHROPIC)).encode()
    usage = ADAPTERS["anthropic"].decode(HttpResponse(200, {}, body), model).usage
    assert usage == Usage(81_000, 4_000, 50_000, 30_000, 3_000, 10_000)


def test_writes_that_come_only_split_by_their_time_to_live_are_counted() -> None:
    usage = {"input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 7}}
    body = json.dumps(BODIES["anthropic"](usage)).encode()
    model = CATALOG.model("anthropic/claude-opus-5-5")
    answer = ADAPTERS["anthropic"].decode(HttpResponse(200, {}, body), model)
    assert answer.usage == Usage(12, 0, 0, 7, 0, 7)


def test_a_usage_kept_before_long_writes_were_counted_is_read() -> None:
    assert usage_from_plain([1, 2, 3, 4, 5]) == Usage(1, 2, 3, 4, 5, 0)


def test_a_class_without_a_price_costs_what_it_would_without_a_cache() -> None:
    prices = Prices(input=2, output=4)
    assert prices.cost(Usage(1_000_000, 0, 500_000, 400_000, 0, 100_000)) == pytest.approx(2)


def test_a_batch_without_batch_prices_has_no_cost() -> None:
    assert Prices(input=2, output=4).cost(Usage(1, 1), batch=True) is None
    assert Prices(input=2, output=4).ceiling(1, 1, batch=True) is None


def test_one_batch_price_stands_for_both_sides() -> None:
    prices = Prices(input=2, output=4, batch_input=1)
    assert prices.cost(Usage(1_000_000, 1_000_000), batch=True) == pytest.approx(3)


def test_a_usage_whose_parts_are_more_than_the_whole_costs_no_less_than_nothing() -> None:
    prices = Prices(input=2, output=4, cached_input=1, cache_write=3)
    assert prices.cost(Usage(1_000_000, 0, 2_000_000, 5_000_000)) == pytest.approx(1)


A_PRICE = st.one_of(st.none(), st.just(0.0), st.floats(1e-9, 1e12))
PRICES = st.builds(
    Prices,
    **{
        field.name: st.one_of(st.none(), st.integers(1, 2_000))
        if field.name == "long_context_above"
        else A_PRICE
        for field in fields(Prices)
    },
)
A_COUNT = st.integers(0, 3_000)


@st.composite
def usages(draw: Any) -> Usage:
    """Also such whose parts are more than the whole: a vendor may send anything."""
    return Usage(*(draw(A_COUNT) for _ in Usage._fields))


@given(PRICES, usages(), st.integers(0, 1_000), st.integers(0, 1_000), st.booleans())
def test_no_usage_of_a_size_costs_more_than_the_ceiling_of_that_size(
    prices: Prices, usage: Usage, more_input: int, more_output: int, batch: bool
) -> None:
    cost = prices.cost(usage, batch=batch)
    ceiling = prices.ceiling(
        usage.input_tokens + more_input, usage.output_tokens + more_output, batch=batch
    )
    assert (cost is None) == (ceiling is None)
    if cost is not None and ceiling is not None:
        assert 0 <= cost <= ceiling


@pytest.mark.parametrize("model", CATALOG.models(), ids=lambda model: model.name)
def test_prices_of_the_catalog_stand_in_order(model: Any) -> None:
    """Reading from a cache is no dearer than reading, writing no cheaper, a batch is a discount."""
    prices = model.prices
    if prices.input is None:
        return
    assert prices.cached_input is None or prices.cached_input <= prices.input
    assert prices.cache_write is None or prices.cache_write >= prices.input
    if prices.cache_write_long_ttl is not None:
        assert prices.cache_write_long_ttl >= prices.cache_write
    for name in ("input", "output"):
        live = getattr(prices, name)
        batch, long = getattr(prices, f"batch_{name}"), getattr(prices, f"long_{name}")
        assert batch is None or batch <= live
        assert long is None or long >= live
    assert (prices.long_context_above is None) == (prices.long_input is None)
