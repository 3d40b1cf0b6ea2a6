"""What may be said with each call, beside its prompt, its time and its sampling parameters."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .adapters import ADAPTERS, EMBEDDERS, RERANKERS
from .catalog import Catalog
from .values.errors import ConfigError
from .values.model import Model
from .values.params import SAMPLING_FIELDS
from .values.request import OutputFormat, PromptCache
from .values.schema import OutputSchema, output_schema, parsed
from .values.tool import choice_of, tools_of

MOST_REPAIRS = 5


@dataclass(frozen=True)
class CallOptions:
    """The options that every call takes.

    output_schema: what the answer is to be an object of: a JSON Schema, a Pydantic model, a
        dataclass or a TypedDict; `response.parsed` is that object, typed. What does not fit is an
        `OutputError`, after the model was asked `repair` more times with what is wrong with it.
    json_mode: the answer is a JSON object of whatever shape; `response.parsed` is a dict.
    cache: what the *provider* is to keep of the prompt, for `cache_ttl`: "system_and_tools",
        "tools_only", "last_user_message", "last_2_user_messages" or "last_3_user_messages".
    use_responses_api: call OpenAI's Responses API; None where the model or an option needs it.
    background: have the provider work on it without a connection, and look until it is done;
        `completion_window` ("2h", "8h") is its discounted slow lane.
    previous_response_id: continue the conversation that ended with that response.
    strict: what the model does not take is a `ConfigError`, not a warning.
    tools: what the model may ask for: `Tool`s, functions with types, `MCPServer`s, and tools of the
        vendor's own as dicts. `response.tool_calls` is what it does ask for; `run_agent_loop` runs
        the functions.
    tool_choice: "auto", "none", "required", or the name of the tool to ask for.
    parallel_tool_calls: False has the model ask for one tool at a time.
    prefer_model: of several models, the one to ask first: a name, or "last" for the one that gave
        the conversation's last response.
    """

    output_schema: Any = None
    json_mode: bool = False
    repair: int = 0
    cache: Optional[str] = None
    cache_ttl: Optional[str] = None
    use_responses_api: Optional[bool] = None
    background: bool = False
    completion_window: Optional[str] = None
    previous_response_id: Optional[str] = None
    strict: bool = False
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: Optional[bool] = None
    prefer_model: Optional[str] = None

    def __post_init__(self) -> None:
        for name in ("json_mode", "background", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.use_responses_api not in (None, True, False):
            raise ConfigError(
                f"use_responses_api must be True, False or None, not {self.use_responses_api!r}"
            )
        for name in ("completion_window", "previous_response_id", "prefer_model"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"{name} must be a string with something in it, not {value!r}")
        tools = tools_of(self.tools)
        object.__setattr__(self, "tools", tools)
        object.__setattr__(self, "tool_choice", choice_of(self.tool_choice, tools))
        if self.parallel_tool_calls not in (None, True, False):
            raise ConfigError(
                f"parallel_tool_calls must be True or False, not {self.parallel_tool_calls!r}"
            )
        if type(self.repair) is not int or not 0 <= self.repair <= MOST_REPAIRS:
            raise ConfigError(f"repair must be 0 to {MOST_REPAIRS}, not {self.repair!r}")
        self._check_together()

    def _check_together(self) -> None:
        if self.output_schema is not None and self.json_mode:
            raise ConfigError("give output_schema or json_mode, not both")
        if self.repair and self.output_schema is None and not self.json_mode:
            raise ConfigError("repair needs output_schema or json_mode")
        if self.cache_ttl is not None and self.cache is None:
            raise ConfigError("cache_ttl needs cache")
        if self.completion_window is not None and not self.background:
            raise ConfigError("completion_window needs background=True")
        needy = self.background or self.previous_response_id is not None
        if needy and self.use_responses_api is False:
            raise ConfigError(
                "background and previous_response_id need the Responses API: leave out "
                "use_responses_api=False"
            )

    @property
    def responses_api(self) -> bool | None:
        """Whether to use the Responses API; None where nothing here says so."""
        if self.background or self.previous_response_id is not None:
            return True
        return self.use_responses_api

    def of_request(self) -> Mapping[str, Any]:
        """The fields of a `Request` that these options set."""
        if self == NO_OPTIONS:
            return {}
        schema = self._schema()
        output = OutputFormat() if self.json_mode else None
        return {
            "output": output if schema is None else schema.output_format(),
            "prompt_cache": None if self.cache is None else PromptCache(self.cache, self.cache_ttl),
            "background": self.background,
            "completion_window": self.completion_window,
            "previous_response_id": self.previous_response_id,
            "tools": self.tools,
            "tool_choice": self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
        }

    def parser(self) -> Callable[[str], Any] | None:
        """What makes an object of an answer's text; None where none is asked for."""
        schema = self._schema()
        if schema is None and not self.json_mode:
            return None
        return lambda text: parsed(text, schema)

    def _schema(self) -> OutputSchema | None:
        source = self.output_schema
        if isinstance(source, type):
            return _schema_of_class(source)
        return None if source is None else output_schema(source)


_EMBEDDERS_BESIDE = {
    "openai_chat": "openai_embeddings",
    "openai_responses": "openai_embeddings",
    "cohere_chat": "cohere_embeddings",
    "cohere_rerank": "cohere_embeddings",
    "voyage_rerank": "voyage_embeddings",
}
"""What a server that speaks one wire format also speaks. Gemini's is missing: Vertex AI, which has
the same chat, has other embeddings."""
_RERANKERS_BESIDE = {
    "openai_chat": "jina_rerank",
    "openai_responses": "jina_rerank",
    "openai_embeddings": "jina_rerank",
    "cohere_chat": "cohere_rerank",
    "cohere_embeddings": "cohere_rerank",
    "voyage_embeddings": "voyage_rerank",
}
"""The same; Together, Fireworks, vLLM and other compatible hosts rank as Jina does."""
_MOST_NAMED = 5
"""Models that an error proposes."""

CALL_OPTIONS = frozenset(field.name for field in dataclasses.fields(CallOptions))
NO_OPTIONS = CallOptions()


@functools.lru_cache(maxsize=256)
def _schema_of_class(source: type) -> OutputSchema:
    """Kept, as each call asks for it, and making it costs more than a call does."""
    return output_schema(source)


def adapter_of(model: Model, responses_api: bool | None, *, tools: bool = False) -> str:
    """The name of the wire format to speak with `model`; `ConfigError` for one it does not know.

    `tools` says that function tools are offered: some models take them in Responses only.
    """
    kind = kind_of(model)
    if kind != "chat":
        use = "embed() and iter_embed()" if kind == "embedding" else "rerank()"
        raise ConfigError(
            f"{model.name} cannot be called for chat: it is a model for {kind}, so use {use}"
        )
    if responses_api is None:
        responses_api = _needs_responses_api(model, tools)
    if not responses_api:
        return model.provider.adapter
    speaks = not model.endpoints or "responses" in model.endpoints
    if model.provider.adapter not in ("openai_chat", "openai_responses") or not speaks:
        hint = ""
        if model.provider.adapter == "openai_chat":
            hint = " (or add `responses` to `endpoints` in the model's YAML entry)"
        raise ConfigError(
            f"{model.name} has no Responses API: leave out use_responses_api, background and "
            f"previous_response_id{hint}"
        )
    return "openai_responses"


def kind_of(model: Model) -> str:
    """What `model` is for: "chat", "embedding" or "rerank"; `ConfigError` for one that we cannot
    talk to. Of an id that no configuration describes the provider's wire format tells.
    """
    adapter = model.provider.adapter
    if model.mode == "embedding" or (not model.listed and adapter in EMBEDDERS):
        embedder_of(model)
        return "embedding"
    if model.mode == "rerank" or (not model.listed and adapter in RERANKERS):
        reranker_of(model)
        return "rerank"
    if adapter not in ADAPTERS:
        raise ConfigError(f"{model.name} cannot be called for chat over {adapter!r}")
    return "chat"


def embedder_of(model: Model) -> str:
    """The name of the wire format that `model` gives embeddings in; `ConfigError` for one that is
    known to give none.
    """
    return _beside(model, "embedding", EMBEDDERS, _EMBEDDERS_BESIDE)


def reranker_of(model: Model) -> str:
    """The name of the wire format that `model` ranks documents in; `ConfigError` for one that is
    known to rank none.
    """
    return _beside(model, "rerank", RERANKERS, _RERANKERS_BESIDE)


def _beside(model: Model, mode: str, adapters: Collection[str], beside: Mapping[str, str]) -> str:
    """The model's own adapter where that is one of `adapters`, else the one `beside` it."""
    adapter = model.provider.adapter
    if model.mode != mode and model.listed:
        raise ConfigError(
            f"{model.name} is a model for {model.mode}, not for {mode}: use one such as "
            f"{_models_for(mode, model.provider.name)}"
        )
    name = adapter if adapter in adapters else beside.get(adapter)
    if name is None:
        raise ConfigError(
            f"{model.name}: {adapter!r} has no form for {mode}; give the model an entry with mode: "
            f"{mode} and one of these as its adapter: {', '.join(adapters)}"
        )
    return name


@functools.lru_cache(maxsize=64)
def _models_for(mode: str, provider: str) -> str:
    """Models of that mode, the provider's own first."""
    names = [model.name for model in Catalog.builtin().models() if model.mode == mode]
    names.sort(key=lambda name: not name.startswith(f"{provider}/"))
    return ", ".join(names[:_MOST_NAMED])


def _needs_responses_api(model: Model, tools: bool) -> bool:
    if model.mode == "responses" or "responses" not in model.endpoints:
        return model.mode == "responses"
    return "chat" not in model.endpoints or (tools and "responses_tools" in model.supports)


def divided(
    options: Mapping[str, Any], defaults: CallOptions
) -> tuple[CallOptions, Mapping[str, Any]]:
    """A call's options over the client's `defaults`, and its sampling parameters.

    An unknown name is a `ConfigError` that suggests one.
    """
    if not options:
        return defaults, options
    of_call, sampling = {}, {}
    for name, value in options.items():
        if name in CALL_OPTIONS:
            of_call[name] = value
        elif name in SAMPLING_FIELDS:
            sampling[name] = value
        else:
            raise unknown(name)
    return (dataclasses.replace(defaults, **of_call) if of_call else defaults), sampling


def unknown(name: str, more: frozenset[str] = frozenset()) -> ConfigError:
    """The error of an option that is none of a call's, nor one of `more`; it suggests one."""
    known = sorted(CALL_OPTIONS | SAMPLING_FIELDS | more)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"unknown option {name!r}{hint}")
