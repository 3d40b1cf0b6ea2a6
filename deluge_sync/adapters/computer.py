"""The tools entry for a computer, in the words of those vendors that have one.

From the anthropic SDK 2.12 (`types/computer_toolset_20260801_param.py`) and the openai SDK 3.54
(`types/responses/computer_tool_param.py`). How the model's actions come and their results go is
with the other tool calls of each adapter.
"""

from __future__ import annotations

from typing import Any

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.tool import ComputerTool


def anthropic_computer(tool: ComputerTool, model: Model) -> dict[str, Any]:
    """The entry for Anthropic Messages, where every action is on that is not turned off."""
    _check(model)
    configs = {} if tool.zoom else {"configs": {"zoom": {"enabled": False}}}
    return {"type": "computer_toolset_20260801", **configs}


def responses_computer(tool: ComputerTool, model: Model) -> dict[str, Any]:
    """The entry for OpenAI's Responses, which has nothing to choose."""
    _check(model)
    return {"type": "computer"}


def no_computer(model: Model, api: str) -> ConfigError:
    """The error of an `api` that has no form for a computer."""
    return ConfigError(
        f"{model.name} takes no ComputerTool over {api}: use a model of Anthropic's, or one of "
        "OpenAI's with the Responses API, whose entry has 'computer_use' in `supports`"
    )


def _check(model: Model) -> None:
    if "computer_use" not in model.supports:
        raise ConfigError(
            f"{model.name} cannot use a computer (its entry's `supports` lacks 'computer_use')"
        )
