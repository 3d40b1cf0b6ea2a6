"""The user's own configuration: what it changes, and what is refused in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deluge_sync.catalog import (
    Catalog,
    api_key_for,
    base_url_for,
    check_url,
    client_options,
    load_catalog,
    located,
)
from deluge_sync.catalog.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse
from deluge_sync.values.errors import ConfigError, MissingKeyError, UnknownModelError
from deluge_sync.values.model import Provider

OPENAI = Catalog.builtin().provider("openai")


def written(path: Path, text: str) -> Path:
    file = path / "deluge.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def catalog(text: str, **environ: str) -> Catalog:
    return load_catalog(parse(text), environ=environ)


# --- what it changes ----------------------------------------------------------------------------


def test_a_field_that_is_overridden_leaves_the_others_alone() -> None:
    ours = Catalog.builtin().model("gpt-4.1-mini")
    model = catalog("models: {gpt-4.1-mini: {prices: {input: 0.3}}}").model("openai/gpt-4.1-mini")
    assert model.prices.input == 0.3
    assert model.prices.output == ours.prices.output
    assert (model.aliases, model.refuses, model.retires) == (
        ours.aliases,
        ours.refuses,
        ours.retires,
    )


def test_an_entry_may_be_named_by_alias_or_full_name() -> None:
    for name in ("claude-5.5-opus", "claude-opus-5-5", "anthropic/claude-opus-5-5"):
        changed = catalog(f"models: {{{name}: {{context_window: 7}}}}")
        assert changed.model("claude-opus-5.5").context_window == 7
        assert changed.model("azure_anthropic/claude-opus-5-5").context_window == 1_000_000


def test_a_provider_of_ones_own_with_models_of_ones_own() -> None:
    found = catalog("""
        providers:
          corp:
            base_url: https://llm.corp.example/v1
            key_env: CORP_KEY
            headers: {x-team: search}
            requests_per_minute: 30
            model_defaults: {max_tokens_field: max_completion_tokens}
        models:
          corp/big/model-1: {family: gpt-oss, aliases: [fast], limit_group: all}
          cheap: {provider: corp, id: small-2, prices: {input: 0.01, output: 0.02}}
    """)
    model = found.model("fast")
    assert (model.name, model.id, model.provider.key_env) == (
        "corp/big/model-1", "big/model-1", ("CORP_KEY",),
    )  # fmt: skip
    assert (model.max_tokens_field, model.thinking) == ("max_completion_tokens", "effort")
    assert (model.provider.headers, model.provider.requests_per_minute) == (
        {"x-team": "search"},
        30,
    )
    assert found.model("cheap").name == "corp/small-2"
    assert found.model("small-2") == found.model("cheap") == found.model("corp/cheap")
    assert found.model("corp/anything").max_tokens_field == "max_completion_tokens"


def test_a_name_given_to_a_model_wins_over_ours() -> None:
    found = catalog("models: {gpt-4.1-mini: {provider: azure}, gpt-6: {provider: openai}}")
    assert found.model("gpt-4.1-mini").provider.name == "azure"
    assert found.model("openai/gpt-4.1-mini").provider.name == "openai"
    assert found.model("gpt-6").id == "gpt-6"


def test_a_models_own_base_url_and_adapter_win_over_its_providers() -> None:
    model = catalog(
        "models: {openai/x: {adapter: anthropic, base_url: 'https://x.example'}}"
    ).model("openai/x")
    there = located(model, {"OPENAI_BASE_URL": "https://other.example"})
    assert (there.provider.adapter, there.provider.base_url) == ("anthropic", "https://x.example")


def test_the_argument_wins_over_the_file_named_in_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "models: {gpt-5.5: {context_window: 1, max_output_tokens: 2}}")
    config = {"models": {"gpt-5.5": {"context_window": 3}}}
    model = load_catalog(config, environ={"DELUGE_SYNC_CONFIG": str(file)}).model("gpt-5.5")
    assert (model.context_window, model.max_output_tokens) == (3, 2)


def test_a_broken_file_named_in_the_environment_is_blamed_on_the_variable(tmp_path: Path) -> None:
    missing = {"DELUGE_SYNC_CONFIG": str(tmp_path / "none.yaml")}
    with pytest.raises(ConfigError, match=r"none\.yaml.*DELUGE_SYNC_CONFIG"):
        load_catalog(environ=missing)


def test_overriding_leaves_the_builtin_catalog_as_it_was() -> None:
    before = Catalog.builtin().models()
    catalog("models: {gpt-5.5: {context_window: 1}}\nproviders: {openai: {key_env: X}}")
    assert Catalog.builtin().models() == before


def test_no_configuration_is_the_builtin_catalog() -> None:
    assert load_catalog(environ={}) is Catalog.builtin()
    assert catalog("").models() == catalog("client: {}\nmodels:").models()


def test_client_section_is_handed_on_as_it_is(tmp_path: Path) -> None:
    text = "client: {model_names: [gpt-5.5], max_retries: 10, sampling_params: {top_p: .5}}"
    options = {"model_names": ["gpt-5.5"], "max_retries": 10, "sampling_params": {"top_p": 0.5}}
    assert client_options(written(tmp_path, text), {}) == options
    assert client_options({"client": options}) == options
    assert client_options(None) == {}


def test_dates_may_be_quoted_or_not_and_lists_may_be_one_word() -> None:
    for day in ("2027-01-02", "'2027-01-02'"):
        model = catalog(f"models: {{openai/x: {{retires: {day}, aliases: y}}}}").model("y")
        assert model.retires == "2027-01-02"


# --- the environment ----------------------------------------------------------------------------


def test_references_are_filled_in_once_and_only_where_they_are_understood() -> None:
    text = """
        providers:
          corp: {base_url: "https://${HOST}/${PATH_:-v1}", headers: {x-a: "${A}-${B:-}"}}
        models: {corp/m: {aliases: ["${A}"]}}
    """
    found = catalog(text, HOST="h.example", A="${B}")
    assert found.provider("corp").base_url == "https://h.example/v1"
    assert found.provider("corp").headers == {"x-a": "${B}-"}
    assert found.model("${A}").name == "corp/m"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("https://${HOST}", "providers.corp.base_url: the environment variable HOST is not set"),
        ("https://${EMPTY}", "EMPTY is not set"),
        ("https://${HOST", "only ${NAME}"),
        ("https://${HOST-x}", "only ${NAME}"),
        ("https://{host}/v1", "has {host}, which base_url_vars does not explain"),
        ("https://${BRACES}", "braces"),
        ("https://${NEWLINE}", "control characters"),
    ],
)
def test_a_reference_that_cannot_be_filled_in_names_field_and_variable(
    value: str, says: str
) -> None:
    config = {"providers": {"corp": {"base_url": value}}}
    with pytest.raises(ConfigError) as caught:
        load_catalog(config, environ={"EMPTY": "", "BRACES": "{", "NEWLINE": "a\nb"})
    assert says in str(caught.value)


def test_the_first_variable_that_is_set_holds_the_key() -> None:
    google = Catalog.builtin().provider("google")
    both = {"GEMINI_API_KEY": "k2", "GOOGLE_API_KEY": " k1\n"}
    key = api_key_for(google, both)
    assert key is not None
    assert key.reveal() == "k1"
    key = api_key_for(google, {"GEMINI_API_KEY": "k2", "GOOGLE_API_KEY": "  "})
    assert key is not None
    assert key.reveal() == "k2"
    assert api_key_for(Catalog.builtin().provider("sandbox"), {}) is None


def test_a_missing_key_names_its_variables() -> None:
    with pytest.raises(MissingKeyError, match="google: set GOOGLE_API_KEY or GEMINI_API_KEY"):
        api_key_for(Catalog.builtin().provider("google"), {})


def test_a_key_with_a_line_break_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        api_key_for(OPENAI, {"OPENAI_API_KEY": "sk-secret\nx: y"})
    assert "secret" not in str(caught.value)


def test_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    key = api_key_for(OPENAI)
    assert key is not None
    assert key.reveal() == "k"
    assert base_url_for(OPENAI) == "http://localhost:1/v1"


@pytest.mark.parametrize(
    ("provider", "environ", "url"),
    [
        ("openai", {}, "https://api.openai.com/v1"),
        ("anthropic", {"ANTHROPIC_BASE_URL": "https://p.example/"}, "https://p.example"),
        ("google", {"GOOGLE_GEMINI_BASE_URL": "https://g.example"}, "https://g.example"),
        ("azure", {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"},
         "https://me.openai.azure.com/openai/v1"),
        ("azure_anthropic", {"ANTHROPIC_FOUNDRY_RESOURCE": "me"},
         "https://me.services.ai.azure.com/anthropic"),
        ("bedrock_mantle", {"AWS_DEFAULT_REGION": "eu-west-1"},
         "https://bedrock-mantle.eu-west-1.api.aws/anthropic"),
    ],
)  # fmt: skip
def test_base_urls_come_from_the_catalog_or_the_vendors_own_variables(
    provider: str, environ: dict[str, str], url: str
) -> None:
    assert base_url_for(Catalog.builtin().provider(provider), environ) == url


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        ("azure", "needs its endpoint: set AZURE_OPENAI_ENDPOINT or AZURE_OPENAI_BASE_URL"),
        ("bedrock", "needs its region: set AWS_REGION or AWS_DEFAULT_REGION"),
        ("custom", "providers.custom.base_url is missing: pass base_url="),
    ],
)
def test_a_base_url_that_lacks_a_part_says_what_to_set(provider: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        base_url_for(Catalog.builtin().provider(provider), {})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://api.example.com/v1", "must be https"),
        ("http://127.0.0.1.example.com", "must be https"),
        ("https://user:pw@api.example.com", "user or password"),
        ("https://api.example.com/#x", "fragment"),
        ("api.example.com/v1", "whole URL"),
        ("file:///etc/passwd", "whole URL"),
        ("https://", "whole URL"),
        ("https://h:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://a b", "blanks"),
        ("https://a\r\nx", "blanks"),
        ("https://h/{x}", "braces"),
    ],
)
def test_a_url_where_no_key_should_go_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match="base_url") as caught:
        check_url(url, "base_url")
    assert says in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000/v1", "http://127.9.9.9", "http://[::1]:80/v1", "https://h.example"],
)
def test_plain_http_is_for_loopback(url: str) -> None:
    assert check_url(url + "/", "base_url") == url


def test_allow_http_lifts_that_for_one_provider() -> None:
    corp = Provider("corp", base_url="http://llm.corp/v1", allow_http=True)
    assert base_url_for(corp, {}) == "http://llm.corp/v1"
    found = catalog("providers: {custom: {allow_http: true}}")
    assert found.model("x", base_url="http://10.0.0.1/v1").provider.base_url == "http://10.0.0.1/v1"
    with pytest.raises(ConfigError, match="allow_http"):
        Catalog.builtin().model("x", base_url="http://10.0.0.1/v1")


def test_headers_are_not_shown_in_a_providers_repr() -> None:
    found = catalog("providers: {openai: {headers: {x-proxy-pass: '${P}'}}}", P="hush")
    assert found.provider("openai").headers == {"x-proxy-pass": "hush"}
    assert "hush" not in repr(found.model("gpt-5.5"))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: {my-model: {provider: openai, prices: {input: abc}}}",
         "models.my-model.prices.input must be a number, not 'abc'"),
        ("models: {gpt-5.5: {prices: {input: -1}}}", "must be a price of at least 0, not -1"),
        ("models: {gpt-5.5: {prices: {input: .inf}}}", "at least 0, not inf"),
        ("models: {gpt-5.5: {prices: {input: .nan}}}", "at least 0, not nan"),
        ("models: {gpt-5.5: {prices: {input: true}}}", "must be a number, not True"),
        ("models: {gpt-5.5: {prices: {inputt: 1}}}",
         "models.gpt-5.5.prices does not know 'inputt'; did you mean 'input'"),
        ("models: {gpt-5.5: {prices: 3}}", "models.gpt-5.5.prices must be a mapping, not 3"),
        ("models: {gpt-5.5: {context_window: 0}}", "whole number of at least 1, not 0"),
        ("models: {gpt-5.5: {context_window: 1.5}}", "whole number of at least 1, not 1.5"),
        ("models: {gpt-5.5: {refuses: [temprature]}}",
         "models.gpt-5.5.refuses does not know 'temprature'; did you mean 'temperature'"),
        ("models: {gpt-5.5: {supports: [visoin]}}", "did you mean 'vision'"),
        ("models: {gpt-5.5: {thinking: budgets}}",
         "models.gpt-5.5.thinking must be one of '', 'effort', 'budget', 'level', 'adaptive', "
         "'always', not 'budgets'; did you mean 'budget'"),
        ("models: {gpt-5.5: {efforts: [hgih]}}", "did you mean 'high'"),
        ("models: {gpt-5.5: {retires: soon}}", "a date such as 2026-11-22, not 'soon'"),
        ("models: {gpt-5.5: {retires: 2026-13-01}}", "a date such as"),
        ("models: {gpt-5.5: {aliases: [1]}}", "models.gpt-5.5.aliases[0] must be text, not 1"),
        ("models: {gpt-5.5: {aliases: {a: b}}}", "must be a list of texts"),
        ("models: {gpt-5.5: {family: gpt5}}", "no family 'gpt5'; did you mean"),
        ("models: {gpt-5.5: {id: x}}", "models.gpt-5.5.id needs provider beside it"),
        ("models: {mine: {provider: opnai}}",
         "models.mine.provider: no provider 'opnai'; did you mean 'openai'"),
        ("models: {gpt-5.55: {}}", "no provider that runs it; did you mean 'gpt-5.5'"),
        ("models: {opnai/x: {}}", "no provider that runs it; did you mean 'openai'"),
        ("models: {openai/: {}}", "id of a model must be text without blanks"),
        ("models: {a: {provider: openai, id: x}, b: {provider: openai, id: x}}", "second entry"),
        ("models: {openai/a: {aliases: z}, openai/b: {aliases: z}}", "'z' would name both"),
        ("models: {openai/a: {aliases: b}, openai/b: {}}", "'b' would name both"),
        ("models: [gpt-5.5]", "models must be a mapping"),
        ("modells: {}", "does not know 'modells'; did you mean 'models'"),
        ("providers: {openai: {base-url: x}}",
         "providers.openai does not know 'base-url'; did you mean 'base_url'"),
        ("providers: {openai: {base_url: 5}}", "providers.openai.base_url must be text, not 5"),
        ("providers: {openai: {base_url: 'http://x.example'}}", "must be https"),
        ("providers: {openai: {allow_http: 'yes'}}", "must be true or false, not 'yes'"),
        ("providers: {openai: {requests_per_minute: 0}}", "at least 1, not 0"),
        ("providers: {openai: {headers: {x-n: 5}}}", "providers.openai.headers.x-n must be text"),
        ("providers: {openai: {headers: {'x n': a}}}", "names of HTTP headers"),
        ("providers: {openai: {headers: {x-n: \"a\\r\\nb\"}}}", "without control characters"),
        ("providers: {openai: {launch: rocket}}", "providers.openai.launch must be one of"),
        ("providers: {openai: {model_defaults: {family: nope}}}",
         "providers.openai.model_defaults.family: no family 'nope'"),
        ("providers: {a/b: {}}", "made of letters, digits"),
        ("providers: {5: {base_url: 1}}", "providers.5.base_url must be text"),
        ("families: {mine: {aliases: [x]}}", "families.mine does not know 'aliases'"),
        ("models: {gpt-5.5: {<<: {mode: chat}}}", "does not know '<<'"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_the_likely_fix(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "providers: {openai: {api_key: sk-hush}}",
        "providers: {openai: {key_env: sk-hush}}",
        "providers: {openai: {key_env: '${sk_hush}'}}",
        "providers: {openai: {headers: {Authorization: Bearer sk-hush}}}",
        "client: {api_key: sk-hush}",
    ],
)
def test_a_key_in_the_file_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError, match=r"key_env") as caught:
        catalog(text)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models:\n  a: {}\n  b: {}\n  a: {}", "line 4: the key 'a' is given twice"),
        ("a: 1\nb: ]", "line 2: not valid YAML"),
        ("a: !!python/object:os.system {}", "line 1: the tag"),
        ("a: !!int '5'", "line 1: the tag"),
        ("a: *b", "line 1: the alias *b stands for nothing here"),
        ("a: &a [*a]", "the alias *a stands for nothing here"),
        ("{a: 1}: b", "a key must be plain text"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here"),
        ("[" * 5000, f"nested deeper than {MAX_DEPTH} levels"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_bad_yaml_is_an_error_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    with pytest.raises(ConfigError, match=f"more than {MAX_NODES} values"):
        parse(bomb)


def test_an_honest_alias_means_what_it_stands_for() -> None:
    assert parse("a: &x [1, {b: 2}]\nc: *x") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


@pytest.mark.parametrize("slow", [False, True])
def test_scalars_mean_what_safe_load_makes_of_them(
    slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if slow:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    text = "[1, 0x1F, 1_000, 1.5, 1e3, .inf, yes, off, true, null, ~, '', \"1\", a b, 1:30]"
    assert parse(text) == yaml.safe_load(text)
    assert parse("") is None


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    big = written(tmp_path, "#" * (MAX_BYTES + 1))
    for path, says in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "directory"),
        (big, f"larger than {MAX_BYTES}"),
        ("a\0b", "cannot read"),
    ):
        with pytest.raises(ConfigError, match="configuration file") as caught:
            load_catalog(path, environ={})
        assert says in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xef\xbb\xbfmodels: {gpt-5.5: {context_window: 5}}")
    assert load_catalog(file, environ={}).model("gpt-5.5").context_window == 5
    file.write_bytes(b"models: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_catalog(file, environ={})


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    for text in ("models: {gpt-5.5: {mode: 5}}", "a: [", "just text", "- a"):
        with pytest.raises(ConfigError, match=r"deluge\.yaml"):
            load_catalog(written(tmp_path, text), environ={})


def test_a_configuration_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="path or a mapping, not int"):
        load_catalog(5, environ={})  # type: ignore[arg-type]


KEYS = st.sampled_from(
    ["providers", "models", "families", "client", "openai", "gpt-5.5", "mine", "corp/x", "prices",
     "input", "base_url", "key_env", "headers", "family", "provider", "id", "aliases", "retires",
     "model_defaults", "refuses", "api_key", "supports", "context_window", "base_url_vars"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | KEYS
    | st.sampled_from(["https://x.example", "${A}", "{a}", "2026-11-22", 10**400])
)  # fmt: skip
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["providers", "models", "families", "client"]),
    st.dictionaries(KEYS, st.dictionaries(KEYS, TREES, max_size=4), max_size=3),
)


def loads_or_refuses(source: Any) -> None:
    try:
        found = load_catalog(source, environ={})
    except ConfigError:
        return
    assert len(found.models()) >= 90


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS | TREES.filter(lambda tree: isinstance(tree, dict)))
def test_any_mapping_gives_a_catalog_or_a_config_error(source: Any) -> None:
    loads_or_refuses(source)


@settings(max_examples=100, deadline=None)
@given(
    st.text() | st.text(alphabet="ab01:-,{}[]&*!?|>%@\"'#\\ \n\t.$~<=") | DOCUMENTS.map(yaml.dump)
)
def test_any_text_gives_a_catalog_or_a_config_error(text: str) -> None:
    try:
        document = parse(text)
    except ConfigError:
        return
    if isinstance(document, dict):
        loads_or_refuses(document)
    elif document is not None:
        with pytest.raises(ConfigError):
            load_catalog(document, environ={})


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab01:-,{}[]&*!?|>%@\"'#\\ \n\t.$~<=xU"))
def test_both_parsers_refuse_or_agree(text: str) -> None:
    def outcome() -> Any:
        try:
            return repr(parse(text))
        except ConfigError:
            return ConfigError

    fast = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        slow = outcome()
    assert ConfigError in (fast, slow) or fast == slow


def test_an_unknown_model_of_ones_own_catalog_is_suggested_too() -> None:
    with pytest.raises(UnknownModelError, match="did you mean 'summariser'"):
        catalog("models: {summariser: {provider: openai, id: x}}").model("sumariser")
