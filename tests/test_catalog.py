"""The built-in catalog: what it holds, and how a model is found in it."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.catalog import Catalog, base_url_for, located, retirement_notice
from deluge_sync.catalog.specs import MODEL_FIELDS, PROVIDER_FIELDS, SUPPORTS
from deluge_sync.values.errors import ConfigError, UnknownModelError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import EFFORTS, SAMPLING_FIELDS, SamplingParams
from deluge_sync.values.response import Usage

CATALOG = Catalog.builtin()
ALL = CATALOG.models()
OURS = {"sandbox", "sandbox-anthropic", "sandbox-gemini", "local", "custom"}
TODAY = date(2026, 11, 22)

LM_DELUGE_NAMES = """
claude-5.5-haiku claude-haiku-5-5 claude-haiku-5.5 claude-5-5-haiku: anthropic/claude-haiku-5-5
claude-5.5-sonnet claude-sonnet-5-5 claude-sonnet-5.5 claude-5-5-sonnet: anthropic/claude-sonnet-5-5
claude-5.5-opus claude-opus-5-5 claude-opus-5.5 claude-5-5-opus: anthropic/claude-opus-5-5
claude-5-opus claude-opus-5: anthropic/claude-opus-5
claude-5-sonnet claude-sonnet-5: anthropic/claude-sonnet-5
claude-fable-5 claude-5-fable: anthropic/claude-fable-5
claude-fable-5.1 claude-fable-5-1 claude-5.1-fable claude-5-1-fable: anthropic/claude-fable-5-1
claude-4.8-opus claude-opus-4-8 claude-opus-4.8: anthropic/claude-opus-4-8
claude-4.7-opus claude-opus-4-7 claude-opus-4.7: anthropic/claude-opus-4-7
claude-4.6-opus claude-opus-4-6 claude-opus-4.6: anthropic/claude-opus-4-6
claude-4.6-sonnet claude-sonnet-4-6 claude-sonnet-4.6: anthropic/claude-sonnet-4-6
claude-4.5-opus claude-opus-4-5 claude-opus-4.5: anthropic/claude-opus-4-5
claude-4.5-haiku claude-haiku-4-5 claude-haiku-4.5: anthropic/claude-haiku-4-5
claude-4.5-sonnet claude-sonnet-4-5 claude-sonnet-4.5: anthropic/claude-sonnet-4-5
claude-4.1-opus claude-opus-4-1 claude-opus-4.1: anthropic/claude-opus-4-1
claude-4-opus claude-opus-4: anthropic/claude-opus-4-0
claude-4-sonnet claude-sonnet-4: anthropic/claude-sonnet-4-0
claude-3.7-sonnet claude-sonnet-3.7 claude-sonnet-3-7: anthropic/claude-3-7-sonnet-latest
claude-3-opus: anthropic/claude-3-opus-latest
claude-3-haiku: anthropic/claude-3-haiku-20240307
claude-5.5-opus-bedrock claude-opus-5-5-bedrock: bedrock/anthropic.claude-opus-5-5
claude-5.5-haiku-bedrock claude-haiku-5-5-bedrock: bedrock/anthropic.claude-haiku-5-5
gpt-6-astra: openai/gpt-6-astra
gpt-6.1-sol gpt-6.1: openai/gpt-6.1-sol
gpt-6-sol gpt-6: openai/gpt-6-sol
gpt-6-luna: openai/gpt-6-luna
gpt-5.6-sol gpt-5.6: openai/gpt-5.6-sol
gpt-5.6-terra: openai/gpt-5.6-terra
gpt-5.6-luna: openai/gpt-5.6-luna
gpt-5.5: openai/gpt-5.5
gpt-5.4: openai/gpt-5.4
gpt-5.4-mini: openai/gpt-5.4-mini
gpt-5.4-nano: openai/gpt-5.4-nano
gpt-5.2: openai/gpt-5.2
gpt-5.1: openai/gpt-5.1
gpt-5: openai/gpt-5
gpt-5-chat: openai/gpt-5-chat-latest
gpt-5-mini: openai/gpt-5-mini
gpt-5-nano: openai/gpt-5-nano
o3: openai/o3
o4-mini: openai/o4-mini
o3-mini: openai/o3-mini
o1-mini: openai/o1-mini
gpt-4.1: openai/gpt-4.1
gpt-4.1-mini: openai/gpt-4.1-mini
gpt-4.1-nano: openai/gpt-4.1-nano
gpt-4o: openai/gpt-4o
gpt-4o-mini: openai/gpt-4o-mini
gpt-6.1-sol-azure: azure/gpt-6.1-sol
gpt-5.6-terra-azure: azure/gpt-5.6-terra
gpt-4.1-mini-azure: azure/gpt-4.1-mini
gemini-2.5-pro: google/gemini-2.5-pro
gemini-2.5-flash: google/gemini-2.5-flash
gemini-2.5-flash-lite: google/gemini-2.5-flash-lite
gemini-3.5-flash: google/gemini-3.5-flash
gemini-3.5-flash-lite: google/gemini-3.5-flash-lite
gemini-3.6-flash: google/gemini-3.6-flash
gemini-3.7-flash: google/gemini-3.7-flash
gemini-3.8-flash: google/gemini-3.8-flash
gemini-4-argon: google/gemini-4-argon
gemini-3.1-pro-preview: google/gemini-3.1-pro-preview
gemini-3-flash-preview: google/gemini-3-flash-preview
gemini-3.1-flash-lite: google/gemini-3.1-flash-lite
grok-4.7: xai/grok-4.7
grok-4.3: xai/grok-4.3
grok-4.20-non-reasoning: xai/grok-4.20-non-reasoning
deepseek-chat: deepseek/deepseek-chat
deepseek-r1 deepseek-reasoner: deepseek/deepseek-reasoner
deepseek-v4-pro: deepseek/deepseek-v4-pro
deepseek-v4-flash: deepseek/deepseek-v4-flash
mistral-medium: mistral/mistral-medium-latest
mistral-small: mistral/mistral-small-latest
codestral: mistral/codestral-latest
command-a: cohere/command-a-03-2025
gpt-oss-120b-groq: groq/openai/gpt-oss-120b
gpt-oss-20b-groq: groq/openai/gpt-oss-20b
gpt-oss-120b-together: together/openai/gpt-oss-120b
gpt-oss-120b-cerebras: cerebras/gpt-oss-120b
"""


def test_catalog_lists_at_least_90_vendor_models_of_15_providers() -> None:
    vendors = [model for model in ALL if model.provider.name not in OURS]
    assert len(vendors) >= 90
    assert len({model.provider.name for model in vendors}) >= 15
    assert {model.provider.name for model in ALL} <= {p.name for p in CATALOG.providers()}


def test_every_model_is_found_by_its_full_name_and_by_each_alias() -> None:
    for model in ALL:
        for name in (
            model.name,
            *model.aliases,
            *(f"{model.provider.name}/{a}" for a in model.aliases),
        ):
            assert CATALOG.model(name) == model


def test_no_alias_is_another_models_alias_or_id() -> None:
    aliases = Counter(alias for model in ALL for alias in model.aliases)
    assert [alias for alias, count in aliases.items() if count > 1] == []
    assert aliases.keys() & {model.id for model in ALL} == set()


def test_bare_id_means_the_first_provider_that_has_it() -> None:
    order = [provider.name for provider in CATALOG.providers()]
    for model in ALL:
        if model.id.partition("/")[0] in order:
            continue
        holders = [other.provider.name for other in ALL if other.id == model.id]
        assert CATALOG.model(model.id).provider.name == min(holders, key=order.index)


@pytest.mark.parametrize("line", LM_DELUGE_NAMES.strip().splitlines())
def test_names_of_lm_deluge_lead_to_our_models(line: str) -> None:
    names, _, target = line.partition(": ")
    assert {CATALOG.model(name).name for name in names.split()} == {target}
    assert target in {model.name for model in ALL}


@pytest.mark.parametrize(
    ("name", "prices"),
    [
        ("gpt-6.2-astra", (8, 40, 0.4)),
        ("gpt-4.1-mini", (0.4, 1.6, 0.1)),
        ("claude-opus-5-5", (4, 20, 0.2)),
        ("claude-haiku-4-5", (1, 5, 0.1)),
        ("gemini-4-argon", (2, 10, 0.1)),
        ("gemini-2.5-flash-lite", (0.1, 0.4, 0.01)),
        ("grok-4.7", (2, 6, 0.5)),
        ("deepseek-v4-flash", (0.3, 1.2, 0.006)),
        ("kimi-k3", (3, 15, 0.3)),
        ("bedrock_mantle/anthropic.claude-sonnet-5-5", (2.2, 11, 0.11)),
        ("groq/openai/gpt-oss-20b", (0.075, 0.3, 0.0375)),
        ("voyage-4", (0.06, 0, None)),
        ("sandbox/echo", (1, 2, None)),
        ("sandbox/whatever", (1, 2, None)),
        ("local/smollm2", (0, 0, None)),
        ("gpt-3.5-turbo", (None, None, None)),
    ],
)
def test_prices_are_dollars_per_million_tokens(
    name: str, prices: tuple[float | None, float | None, float | None]
) -> None:
    found = CATALOG.model(name).prices
    assert (found.input, found.output, found.cached_input) == prices


def test_a_long_prompt_is_priced_by_the_long_tier() -> None:
    prices = CATALOG.model("claude-haiku-5-5").prices
    assert prices.cost(Usage(input_tokens=100_000)) == pytest.approx(0.01)
    assert prices.cost(Usage(input_tokens=200_000)) == pytest.approx(0.1)


def test_a_model_billed_by_the_search_has_no_token_price() -> None:
    prices = CATALOG.model("rerank-v3.5").prices
    assert (prices.per_search, prices.cost(Usage(input_tokens=5))) == (0.002, None)


def test_every_successor_is_a_model_that_is_not_itself_switched_off_today() -> None:
    for model in ALL:
        if model.successor:
            assert (CATALOG.model(model.successor).retires or "9999") > TODAY.isoformat(), (
                model.name
            )


def test_every_switched_off_model_of_a_vendor_names_a_successor() -> None:
    past = [model for model in ALL if (model.retires or "9999") <= TODAY.isoformat()]
    assert len(past) >= 15
    assert [model.name for model in past if not model.successor] == []


def test_only_known_words_stand_in_capability_fields() -> None:
    for model in ALL:
        assert model.supports <= set(SUPPORTS)
        refused = model.refuses - {"stream_options"}
        assert refused | model.effort_gated <= SAMPLING_FIELDS
        assert set(model.efforts) <= set(EFFORTS)
        assert model.default_effort in (None, *model.efforts)
        assert bool(model.thinking) or model.efforts == ()


def test_openai_takes_sampling_parameters_only_while_effort_is_none() -> None:
    hot = SamplingParams(temperature=0.2, max_new_tokens=5, stop=("x",))
    assert CATALOG.model("gpt-4.1-mini").accepts(hot) == (hot, ())
    assert CATALOG.model("gpt-5.4").accepts(hot)[1] == ("stop",)
    assert CATALOG.model("gpt-5.5").accepts(hot)[1] == ("stop", "temperature")
    asked = SamplingParams(temperature=0.2, reasoning_effort="none")
    assert CATALOG.model("gpt-5.5").accepts(asked)[1] == ()
    assert CATALOG.model("gpt-6.1-sol").accepts(asked)[1] == ("reasoning_effort", "temperature")


def test_claude_takes_sampling_parameters_up_to_4_6_under_the_old_version() -> None:
    hot = SamplingParams(temperature=0.2, top_k=5)
    for name in ("claude-opus-4-6", "claude-haiku-4-5", "claude-sonnet-4-5"):
        model = CATALOG.model(name)
        assert model.accepts(hot) == (hot, ())
        assert (model.api_version, model.legacy_api_version) == ("2026-10-21", "2023-06-01")
    for name in ("claude-opus-4-7", "claude-sonnet-5-5", "anthropic/claude-next"):
        model = CATALOG.model(name)
        assert model.accepts(hot)[1] == ("temperature", "top_k")
        assert (model.api_version, model.legacy_api_version) == ("2026-10-21", None)


@pytest.mark.parametrize(
    ("name", "thinking"),
    [
        ("claude-fable-5-2", "always"),
        ("claude-sonnet-5-5", "always"),
        ("claude-haiku-5-5", "adaptive"),
        ("claude-sonnet-4-6", "adaptive"),
        ("claude-haiku-4-5", "budget"),
        ("gemini-2.5-pro", "budget"),
        ("gemini-3.8-flash", "level"),
        ("gpt-6-sol", "effort"),
        ("gpt-4.1", ""),
        ("gemini-2.0-flash", ""),
    ],
)
def test_each_model_says_how_it_is_asked_to_think(name: str, thinking: str) -> None:
    assert CATALOG.model(name).thinking == thinking


def test_wire_names_differ_where_the_vendors_do() -> None:
    assert CATALOG.model("gpt-4.1").max_tokens_field == "max_completion_tokens"
    assert CATALOG.model("azure/my-deployment").max_tokens_field == "max_completion_tokens"
    assert CATALOG.model("grok-4.7").max_tokens_field == "max_tokens"
    assert CATALOG.model("mistral-large-4").seed_field == "random_seed"
    assert CATALOG.model("gemini-3.8-flash").api_version == "v1"
    assert CATALOG.model("google/gemini-flash-latest").api_version == "v1beta"


@pytest.mark.parametrize(
    ("provider", "header", "prefix"),
    [
        ("openai", "Authorization", "Bearer "),
        ("anthropic", "Authorization", "Bearer "),
        ("google", "x-goog-api-key", ""),
        ("azure", "api-key", ""),
        ("azure_anthropic", "x-api-key", ""),
    ],
)
def test_each_provider_says_where_its_key_goes(provider: str, header: str, prefix: str) -> None:
    found = CATALOG.provider(provider)
    assert (found.auth_header, found.auth_prefix) == (header, prefix)


def test_embedding_and_rerank_models_have_a_mode_and_an_adapter_of_their_own() -> None:
    for model in ALL:
        kind = model.provider.adapter.rpartition("_")[2]
        if model.mode == "embedding":
            assert kind == "embeddings"
        elif model.mode == "rerank":
            assert kind == "rerank"
        else:
            assert kind not in ("embeddings", "rerank")


def test_every_chat_model_speaks_a_format_we_have() -> None:
    chat = [model for model in ALL if model.mode in ("chat", "responses")]
    assert {model.provider.adapter for model in chat} <= set(ADAPTERS)


def test_sandbox_speaks_three_formats_and_takes_any_id_without_a_key() -> None:
    for name, adapter in (
        ("sandbox", "openai_chat"),
        ("sandbox-anthropic", "anthropic"),
        ("sandbox-gemini", "gemini"),
    ):
        model = CATALOG.model(f"{name}/some-id")
        assert (model.provider.launch, model.provider.adapter) == ("sandbox", adapter)
        assert model.provider.key_env == ()
        assert base_url_for(model.provider, {}) == ""


def test_an_id_the_catalog_does_not_list_gets_its_providers_defaults() -> None:
    model = CATALOG.model("groq/some/new-model")
    assert (model.id, model.name) == ("some/new-model", "groq/some/new-model")
    assert model.provider == CATALOG.provider("groq")
    assert model.prices.cost(Usage(1, 1)) is None
    kept, dropped = model.accepts(
        SamplingParams(temperature=1.5, reasoning_effort="low", logprobs=True)
    )
    assert (kept.temperature, kept.reasoning_effort, dropped) == (1.5, "low", ("logprobs",))


def test_a_name_that_begins_with_a_provider_always_means_that_provider() -> None:
    assert CATALOG.model("openai/gpt-oss-120b").provider.name == "openai"
    assert CATALOG.model("anthropic/claude-opus-5.5").name == "anthropic/claude-opus-5-5"
    assert CATALOG.model("openrouter/anthropic/claude-opus-5.5").provider.name == "openrouter"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpt-4.1-mni", "did you mean 'gpt-4.1-mini'"),
        ("claude-sonet-5-5", "'claude-sonnet-5-5'"),
        ("GPT-6-LUNA", "'gpt-6-luna'"),
        ("anthropc/claude-next", "did you mean 'anthropic/claude-"),
        ("zzzzzzzz", "provider/id"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(UnknownModelError, match="no model") as caught:
        CATALOG.model(name)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["", "openai/", "openai/a b", "openai/a\n", "/", "/x"])
def test_a_name_without_a_proper_id_is_unknown(name: str) -> None:
    with pytest.raises(UnknownModelError):
        CATALOG.model(name)


def test_a_name_that_is_no_text_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="text"):
        CATALOG.model(None)  # type: ignore[arg-type]


def test_base_url_argument_replaces_the_providers_and_what_the_environment_says() -> None:
    model = CATALOG.model("gpt-4.1-mini", base_url="https://gate.example/v1/")
    assert model.provider.name == "openai"
    there = located(model, {"OPENAI_BASE_URL": "https://other.example/v1"})
    assert there.provider.base_url == "https://gate.example/v1"


def test_base_url_argument_makes_any_unknown_id_a_model_of_a_custom_server() -> None:
    model = CATALOG.model("Qwen/Qwen4-8B", base_url="http://127.0.0.1:8000/v1")
    assert (model.id, model.provider.name) == ("Qwen/Qwen4-8B", "custom")
    assert model.provider.key_env == ()
    sandbox = CATALOG.model("sandbox/echo", base_url="http://127.0.0.1:8000/v1")
    assert sandbox.provider.launch == ""


def test_models_of_one_provider_can_be_listed_and_an_unknown_one_is_an_error() -> None:
    assert {model.provider.name for model in CATALOG.models("xai")} == {"xai"}
    with pytest.raises(UnknownModelError, match="did you mean 'openai'"):
        CATALOG.models("opnai")


@pytest.mark.parametrize(
    ("name", "today", "says"),
    [
        ("gpt-4-turbo", TODAY, "was switched off by its vendor on 2026-10-23; use gpt-6.1-sol"),
        (
            "claude-sonnet-4-5",
            TODAY,
            "will be switched off by its vendor on 2026-11-30; use claude",
        ),
        ("claude-sonnet-4-5", date(2026, 11, 30), "was switched off"),
        ("claude-sonnet-4-5", date(2026, 10, 30), None),
        ("gpt-4.1-mini", TODAY, None),
        ("gpt-6-luna", TODAY, None),
    ],
)
def test_a_model_is_spoken_of_from_30_days_before_it_is_switched_off(
    name: str, today: date, says: str | None
) -> None:
    notice = retirement_notice(CATALOG.model(name), today)
    assert notice is None if says is None else says in (notice or "")


def test_every_field_of_model_and_provider_can_be_written_in_yaml() -> None:
    model = {field.name for field in dataclasses.fields(Model)} - {"effort", "listed"}
    assert set(MODEL_FIELDS) == model | {"adapter", "base_url", "family"}
    provider = {field.name for field in dataclasses.fields(Provider)} - {"name"}
    assert set(PROVIDER_FIELDS) == provider | {"model_defaults", "unknown_models"}


def test_models_survive_pickling() -> None:
    assert [pickle.loads(pickle.dumps(model)) for model in ALL] == ALL


def test_builtin_catalog_is_read_once() -> None:
    assert Catalog.builtin() is CATALOG


def test_importing_the_catalog_does_not_load_yaml() -> None:
    code = "import sys, deluge_sync.catalog; sys.exit('yaml' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
