"""One request, before any vendor's wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from .errors import ConfigError
from .params import SamplingParams
from .prompt import Conversation
from .tool import ToolLike

CACHE_PATTERNS = (
    "system_and_tools",
    "tools_only",
    "last_user_message",
    "last_2_user_messages",
    "last_3_user_messages",
)


@dataclass(frozen=True)
class PromptCache:
    """What the vendor is to keep of a prompt, so that the next one that begins so reads it cheaply.

    `pattern` is one of `CACHE_PATTERNS`: the breakpoint goes behind the tools, behind the system
    prompt (and the tools before it), or behind each of the last user messages. `ttl` is the
    vendor's word ("5m", "1h" at Anthropic; "30m", "12h" at OpenAI); None is its default.
    """

    pattern: str
    ttl: str | None = None

    def __post_init__(self) -> None:
        if self.pattern not in CACHE_PATTERNS:
            raise ConfigError(
                f"cache must be one of {', '.join(CACHE_PATTERNS)}, not {self.pattern!r} "
                "(the local cache is an option of the Client)"
            )
        if self.ttl is not None and not isinstance(self.ttl, str):
            raise ConfigError(f"cache_ttl must be a word such as '1h', not {self.ttl!r}")

    @property
    def user_messages(self) -> int:
        """How many of the last user messages get a breakpoint each."""
        return {
            "last_user_message": 1,
            "last_2_user_messages": 2,
            "last_3_user_messages": 3,
        }.get(self.pattern, 0)


@dataclass(frozen=True)
class OutputFormat:
    """An answer in JSON: with a `schema` (JSON Schema, draft 2020-12) it follows that, without one
    it is any object. `name` is what the vendor calls the schema. With `strict` the vendor holds the
    model to it token by token; the schema then fits the narrower rules for that.
    """

    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    strict: bool = True


class Request(NamedTuple):
    """A prompt with everything that decides the answer.

    `params` holds only what the model takes (see `Model.accepts`). `extra_body` is merged over the
    wire body at its top level, `extra_headers` over the headers.

    With `stream` the answer is to come in events. `background` has the vendor work on it without a
    connection; `completion_window` is its discounted slow lane ("2h", "8h").
    `previous_response_id` continues a conversation that the vendor keeps. `continuation` is the
    vendor's token to go on with an answer that it broke off.

    `tools` may be asked for by the model; a dict among them is the vendor's own. `tool_choice` is
    "auto", "none", "required" or the name of the one it must ask for; with `parallel_tool_calls`
    False it asks for one at a time. What a wire format has no form for is
    a `PromptError` or `ConfigError` of its `encode`.
    """

    conversation: Conversation
    params: SamplingParams = SamplingParams()
    extra_body: Mapping[str, Any] = MappingProxyType({})
    extra_headers: Mapping[str, str] = MappingProxyType({})
    stream: bool = False
    output: Optional[OutputFormat] = None
    prompt_cache: Optional[PromptCache] = None
    background: bool = False
    completion_window: Optional[str] = None
    previous_response_id: Optional[str] = None
    continuation: Optional[str] = None
    tools: tuple[ToolLike, ...] = ()
    tool_choice: Optional[str] = None
    parallel_tool_calls: Optional[bool] = None
