"""What several wire formats need to offer tools and to send their results."""

from __future__ import annotations

from typing import Any

from ..values.errors import ConfigError, PromptError
from ..values.model import Model
from ..values.request import Request
from .body import MalformedError, dump, load


def check_tools(request: Request, model: Model) -> None:
    """Raise `ConfigError` where tools are offered to a model that takes none, or are forced on one
    that cannot be forced.
    """
    if not request.tools:
        return
    if "tools" not in model.supports:
        raise ConfigError(
            f"{model.name} takes no tools (the `supports` of its entry lacks tools): leave them "
            "out, or use another model"
        )
    forced = request.tool_choice not in (None, "auto", "none")
    if forced and "forced_tool_choice" not in model.supports:
        raise ConfigError(
            f"{model.name} cannot be made to call a tool (the `supports` of its entry lacks "
            'forced_tool_choice): use tool_choice="auto", or another model'
        )


def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` is; None for any other text, and for what cannot be sent."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = load(text)
        dump(value)  # NaN, which Python's JSON reads, has no form on the wire
    except (MalformedError, PromptError):
        return None
    return value if type(value) is dict else None
