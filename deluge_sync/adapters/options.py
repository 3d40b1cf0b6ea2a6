"""Options of a request that a wire format has no form for, named before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.request import Request

_ADVICE = {
    "background": "leave it out, or use a model of OpenAI's with use_responses_api=True",
    "completion_window": "leave it out, or use a model of OpenAI's with background=True",
    "previous_response_id": "send the messages before this one instead",
    "continuation": "leave it out",
    "cache": "leave it out; this vendor caches by itself, or not at all",
    "service_tier": "leave it out",
    "parallel_tool_calls": "leave it out; this vendor has no form for one tool at a time",
    "json_mode": "use output_schema= with a schema, or ask for JSON in the prompt",
}


def refuse(request: Request, model: Model, *names: str) -> None:
    """Raise `ConfigError` for the first of the options `names` that `request` asks for."""
    for name in names:
        if _asked(request, name):
            raise ConfigError(f"{model.name} has no {name}: {_ADVICE[name]}")


def require_tools(model: Model) -> None:
    """Raise `ConfigError` where the model takes no tools."""
    if "tools" not in model.supports:
        raise ConfigError(f"{model.name} takes no tools (the `supports` of its entry lacks tools)")


def require_choice(model: Model) -> None:
    """Raise `ConfigError` where the model cannot be made to ask for a tool."""
    if "forced_tool_choice" not in model.supports:
        raise ConfigError(
            f"{model.name} cannot be made to use a tool (the `supports` of its entry lacks "
            "forced_tool_choice): tool_choice is auto or none there"
        )


def forced_and_thinking(model: Model) -> ConfigError:
    """The error for a tool that is forced on a model that is to think: Claude refuses both."""
    return ConfigError(
        f"{model.name} cannot be made to use a tool while it thinks: give tool_choice 'auto', or "
        "reasoning_effort 'none'"
    )


def kind_of(tool: Any) -> str:
    """What to call a tool in an error: never by what is in it, as that may be secret."""
    kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
    return str(kind or "a dict")[:80]


def _asked(request: Request, name: str) -> Any:
    if name == "cache":
        return request.prompt_cache
    if name == "service_tier":
        return request.params.service_tier
    if name == "json_mode":
        return request.output is not None and request.output.schema is None
    if name == "parallel_tool_calls":
        return request.parallel_tool_calls is False  # to ask for several is what all do unasked
    return getattr(request, name)
