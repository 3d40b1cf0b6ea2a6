"""Tools that a model may ask for.

`Tool` is a function of the developer's; `MCPServer` has some that the provider calls by itself;
`ComputerTool` is a screen; a plain dict is a tool of the vendor's own, and goes to it as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Optional, Union

from .errors import ConfigError, OutputError, PromptError
from .media import Image
from .prompt import ToolCall, ToolResult
from .schema_check import sound_schema
from .signatures import docstring_of, has_default, is_async, name_of, record_of
from .type_hints import allows_none
from .type_schema import schema_of
from .type_values import MisfitError, typed
from .validation import problems_of

if TYPE_CHECKING:
    from .mcp_tools import MCPTools

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What all vendors take for a tool's name."""

CHOICES = ("auto", "none", "required")

_SPEAKS_OF_OTHERS = frozenset(
    {
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "$ref",
    }
)
"""A schema without any of these is taken to mean its `properties` and no others."""

_NOTHING: Mapping[str, Any] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask to be called.

    `parameters` is the JSON Schema (draft 2020-12) of an object, its arguments. `run` is called
    with them by name, in a thread of its own; without it the model's wish is only reported
    (`response.tool_calls`). What it returns goes to the model (see `result_of`), what it raises
    goes there as an error.

    `strict` has the vendor hold the model to the schema where it can; None is wherever the schema
    allows that. `timeout` is seconds for one run, None the agent loop's own.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    run: Optional[Callable[..., Any]] = field(default=None, repr=False)
    strict: Optional[bool] = None
    timeout: Optional[float] = None
    record: Optional[type] = field(default=None, repr=False, compare=False)
    """What arguments are read into, where they come from a function's types."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(
                f"a tool's name is of letters, digits, _ and -, at most 64 of them: {self.name!r}"
            )
        if not isinstance(self.parameters, Mapping):
            raise ConfigError(f"tool {self.name}: parameters must be a JSON Schema of an object")
        try:
            schema = sound_schema(self.parameters)
        except ConfigError as error:
            raise ConfigError(f"tool {self.name}: {error.message}") from None
        if schema.get("type") != "object":
            raise ConfigError(
                f"tool {self.name}: parameters must be the schema of an object "
                f'({{"type": "object", "properties": ...}}), not of {schema.get("type")!r}'
            )
        self._check_others()
        object.__setattr__(self, "parameters", schema)

    def _check_others(self) -> None:
        if not isinstance(self.description, str):
            raise ConfigError(f"tool {self.name}: description must be a string")
        if self.run is not None and not callable(self.run):
            raise ConfigError(f"tool {self.name}: run must be a function")
        if self.strict not in (None, True, False):
            raise ConfigError(f"tool {self.name}: strict must be True, False or None")
        timeout = self.timeout
        if timeout is not None and (type(timeout) not in (int, float) or not timeout > 0):
            raise ConfigError(f"tool {self.name}: timeout must be seconds above 0, not {timeout!r}")

    def __getstate__(self) -> dict[str, Any]:
        """Without the record, which has no place where pickle could find it."""
        return {**vars(self), "record": self.record is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["record"]:
            texts = docstring_of(state["run"])[1]
            state = {**state, "record": record_of(state["run"], state["name"], texts)}
        vars(self).update(state, record=state["record"] or None)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
        timeout: float | None = None,
    ) -> Tool:
        """A tool from a function's name, types, defaults and docstring.

        Types may be those of `output_schema` (dataclasses, Pydantic models and so on); an argument
        with a default may be left out. What the docstring says before its arguments describes the
        tool; `Annotated[int, "..."]`, or a line under "Args:", an argument. A `ConfigError` names
        the argument that has no type, or none that JSON has a form for.
        """
        if not callable(function):
            raise ConfigError(f"Tool.from_function takes a function, not {function!r}")
        given = name or name_of(function)
        if is_async(function):
            raise ConfigError(f"tool {given}: an async function cannot be called here")
        text, texts = docstring_of(function)
        record = record_of(function, given, texts)
        try:
            schema = _NOTHING if record is None else schema_of(record)
        except ConfigError as error:
            raise ConfigError(f"tool {given}: {error.message}") from None
        return cls(
            given,
            text if description is None else description,
            schema,
            run=function,
            strict=strict,
            timeout=timeout,
            record=record,
        )

    @classmethod
    def from_mcp(
        cls,
        name: str,
        *,
        command: str | os.PathLike[str] | None = None,
        args: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        pin: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None,
        timeout: float = 60.0,
        start_timeout: float = 30.0,
        max_restarts: int = 3,
    ) -> MCPTools:
        """The tools of an MCP server, which this starts (`command`) or reaches (`url`): a list.

        Needs the extra `[mcp]`. A tool of it is named `name__tool`. The list's `close()` ends the
        server, and so does the end of the program. A started server gets a few variables of the
        environment (PATH, HOME, LANG and their like) and `env`, no keys; a `url` is https unless it
        is of this machine. `timeout` is seconds for one call, `start_timeout` for starting and
        listing. A server that ends is started again by the next call, `max_restarts` times in all.

        The tools are held to what they were: one that is changed meanwhile, or differs from `pin`
        (the list's `pin`, stored), is refused with a `ToolChangedError` until the list's
        `accept_changes()`. See docs/mcp.md.
        """
        tools: MCPTools = _mcp().from_server(
            name,
            command=command,
            args=args,
            env=env,
            cwd=cwd,
            url=url,
            headers=headers,
            pin=pin,
            timeout=timeout,
            start_timeout=start_timeout,
            max_restarts=max_restarts,
        )
        return tools

    @classmethod
    def from_mcp_config(
        cls,
        config: Mapping[str, Any],
        *,
        pin: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None,
        timeout: float = 60.0,
        start_timeout: float = 30.0,
        max_restarts: int = 3,
    ) -> MCPTools:
        """The tools of all servers of the usual configuration, as one list; see `from_mcp`.

        `config` is `{"mcpServers": {name: {"command", "args", "env"} or {"url", "headers"}}}`. It
        is never read from a file by itself, and its values are taken as they stand.
        """
        tools: MCPTools = _mcp().from_config(
            config,
            pin=pin,
            timeout=timeout,
            start_timeout=start_timeout,
            max_restarts=max_restarts,
        )
        return tools

    def arguments_of(self, call: ToolCall) -> dict[str, Any]:
        """The arguments to call `run` with: checked, and of the function's own types.

        An `OutputError` says what does not fit, for the model to mend.
        """
        # A copy of all of it: the call goes back to the model as it came, whatever `run` changes.
        given = copy.deepcopy(dict(call.arguments))
        schema = self.parameters if self.record is None else schema_of(self.record, lenient=True)
        problems = [str(problem) for problem in problems_of(given, schema)]
        problems = problems or _undeclared(given, schema)
        if problems:
            raise _misfit(self.name, problems)
        if self.record is None:
            return given
        try:
            read = typed(given, self.record)
        except MisfitError as error:
            raise _misfit(self.name, [str(error)]) from None
        fields = {item.name: item for item in dataclasses.fields(self.record)}
        return {
            key: getattr(read, key)
            for key, value in given.items()
            if value is not None or not _stands_for_nothing(fields[key])
        }


@dataclass(frozen=True)
class MCPServer:
    """A remote MCP server that the provider calls by itself (Anthropic, OpenAI's Responses).

    `allowed_tools` None allows all that it has. `authorization` is a token for that server, and
    `headers` go to it. Neither is ever shown, nor is `url`: a key may be in its query.
    """

    name: str
    url: str = field(repr=False)
    authorization: Optional[str] = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowed_tools: Optional[tuple[str, ...]] = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(
                f"an MCP server's name is of letters, digits, _ and -, at most 64: {self.name!r}"
            )
        if not isinstance(self.url, str) or not self.url.startswith("https://"):
            raise ConfigError(f"MCP server {self.name}: url must begin with https://")
        if not isinstance(self.authorization, (str, type(None))):
            raise ConfigError(f"MCP server {self.name}: authorization must be a token, a string")
        if not isinstance(self.headers, Mapping):
            raise ConfigError(f"MCP server {self.name}: headers must map strings to strings")
        allowed = self.allowed_tools
        if allowed is None:
            return
        listed = isinstance(allowed, Iterable) and not isinstance(allowed, str)
        if not listed or not all(isinstance(name, str) for name in allowed):
            raise ConfigError(f"MCP server {self.name}: allowed_tools must be a list of names")
        object.__setattr__(self, "allowed_tools", tuple(allowed))


@dataclass(frozen=True)
class ComputerTool:
    """A screen that the model may look at and act on (Anthropic, OpenAI's Responses).

    Each vendor is told in its own form. `zoom` says that the model may ask for an enlarged part of
    the screen, where the vendor knows of that. `deluge_sync.computer.Computer` does what it asks.
    """

    name: ClassVar[str] = "computer"
    zoom: bool = False


def _mcp() -> Any:
    """The package that runs MCP servers: above this floor, so it is only loaded when asked for."""
    return importlib.import_module("..mcp", __package__)


ToolLike = Union[Tool, MCPServer, ComputerTool, Mapping[str, Any]]


def tools_of(given: Any) -> tuple[ToolLike, ...]:
    """What `tools=` was given, checked: tools, MCP servers, vendors' own as dicts, and functions.

    Two of one name are a `ConfigError`.
    """
    if given is None:
        return ()
    if isinstance(given, (str, Mapping, Tool, MCPServer, ComputerTool)) or not isinstance(
        given, Iterable
    ):
        raise ConfigError("tools must be a list of tools")
    tools = tuple(_tool(item) for item in given)
    seen: set[str] = set()
    for tool in tools:
        name = name_in(tool) if isinstance(tool, Mapping) else tool.name
        if name and name in seen:
            raise ConfigError(f"two tools have the name {name!r}: give one of them another")
        seen.add(name)
    return tools


def name_in(tool: Mapping[str, Any]) -> str:
    """The name that a vendor's own tool is called by; "" where it says none."""
    held = tool.get(str(tool.get("type")))  # Chat Completions: {"type": "custom", "custom": ...}
    name = held.get("name") if isinstance(held, Mapping) else tool.get("name")
    return name if isinstance(name, str) else ""


def _tool(item: Any) -> ToolLike:
    if isinstance(item, (Tool, MCPServer, ComputerTool, Mapping)):
        return item
    held = getattr(item, "tool", None)
    if isinstance(held, ComputerTool):
        return held  # a `Computer`, which can be called, too
    if callable(item):
        return Tool.from_function(item)
    raise ConfigError(
        f"a tool is a Tool, a function, an MCPServer or a vendor's own as a dict, not {item!r:.80}"
    )


def choice_of(given: Any, tools: tuple[ToolLike, ...]) -> str | None:
    """What `tool_choice=` was given, checked: "auto", "none", "required", or a tool's name."""
    if given is None:
        return None
    names = [tool.name for tool in tools if isinstance(tool, Tool)]
    if isinstance(given, Tool):
        given = given.name
    if not tools:
        raise ConfigError("tool_choice needs tools")
    if given not in (*CHOICES, *names):
        raise ConfigError(
            f"tool_choice must be one of {', '.join(CHOICES)} or a tool's name, not {given!r}"
        )
    return str(given)


def described(tool: ToolLike) -> Mapping[str, Any]:
    """What decides a model's answer of a tool: no function, and no secret but one that a server's
    `url` has in its query. It is for a digest, and not to be shown.
    """
    if isinstance(tool, Tool):
        fields = ("name", "description", "parameters", "strict")
        return {name: getattr(tool, name) for name in fields}
    if isinstance(tool, MCPServer):
        return {"name": tool.name, "url": tool.url, "allowed_tools": tool.allowed_tools}
    if isinstance(tool, ComputerTool):
        return {"name": tool.name, "zoom": tool.zoom}
    return tool


def result_of(value: Any, call: ToolCall) -> ToolResult:
    """What a tool returned, for the model: a string as it is, pictures as pictures, anything else
    as JSON (dataclasses and Pydantic models too). A `PromptError` says what JSON has no form for.
    """
    if isinstance(value, ToolResult):
        _check_result(value, call.name)
        return dataclasses.replace(value, tool_call_id=call.id, name=call.name, kind=call.kind)
    if isinstance(value, Image):
        return ToolResult(call.id, "", call.name, images=(value,), kind=call.kind)
    items = value if isinstance(value, (list, tuple)) else ()
    if items and all(isinstance(item, (str, Image)) for item in items) and any(
        isinstance(item, Image) for item in items
    ):  # fmt: skip
        text = "\n".join(item for item in items if isinstance(item, str))
        images = tuple(item for item in items if isinstance(item, Image))
        _check_text(text, call.name)
        return ToolResult(call.id, text, call.name, images=images, kind=call.kind)
    text = value if isinstance(value, str) else _json(value, call.name)
    _check_text(text, call.name)
    return ToolResult(call.id, text, call.name, kind=call.kind)


def _json(value: Any, name: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(f"the result of tool {name} cannot be written as JSON: {error}") from None


def _check_result(result: ToolResult, name: str) -> None:
    if not isinstance(result.content, str):
        kind = type(result.content).__name__
        raise PromptError(f"the content of tool {name}'s ToolResult must be a string, not {kind}")
    if not all(isinstance(item, Image) for item in result.images):
        raise PromptError(f"the images of tool {name}'s ToolResult must be Images")
    _check_text(result.content, name)


def _check_text(text: str, name: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the result of tool {name} cannot be written as UTF-8: {error}"
        ) from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _undeclared(given: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Arguments that a schema allows only by saying nothing: `run` may have some that the model is
    not to give.
    """
    if not _SPEAKS_OF_OTHERS.isdisjoint(schema):
        return []
    declared = schema.get("properties", {})
    return [f"{name}: is a field that is not asked for" for name in given if name not in declared]


def _misfit(name: str, problems: list[str]) -> OutputError:
    shown = "; ".join(problems[:5])
    return OutputError(
        f"the arguments of {name} do not fit: {shown}"[:500], problems=tuple(problems)
    )


def _stands_for_nothing(item: dataclasses.Field[Any]) -> bool:
    """Whether null is how the model leaves this argument out (see `type_schema.field`)."""
    return has_default(item) and not allows_none(item.type)
