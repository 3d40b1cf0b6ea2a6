"""Tools that a model may ask for.

`Tool` is a function of the developer's; `MCPServer` one that the provider calls by itself; a plain
dict is a tool of the vendor's own, and goes to it as it is.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from .errors import ConfigError, OutputError, PromptError
from .media import Image
from .prompt import ToolCall, ToolResult
from .schema_check import sound_schema
from .type_hints import allows_none, bare
from .type_schema import schema_of
from .type_values import MisfitError, typed
from .validation import problems_of

if TYPE_CHECKING:
    from .mcp_tools import MCPTools

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What all vendors take for a tool's name."""

CHOICES = ("auto", "none", "required")

_NOTHING: Mapping[str, Any] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}
_SECTION = re.compile(r"\s*(?:args|arguments|parameters)\s*:\s*", re.IGNORECASE)
_PARAMETER = re.compile(r"\s*(?:param\s+)?\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


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
        if self.run is not None and not callable(self.run):
            raise ConfigError(f"tool {self.name}: run must be a function")
        object.__setattr__(self, "parameters", schema)

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
        given: str = name or getattr(function, "__name__", None) or type(function).__name__
        if inspect.iscoroutinefunction(function):
            raise ConfigError(f"tool {given}: an async function cannot be called here")
        text, texts = _docstring(function)
        record = _record_of(function, given, texts)
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
        given = dict(call.arguments)
        if self.record is None:
            problems = problems_of(given, self.parameters)
            if problems:
                raise _misfit(self.name, [str(problem) for problem in problems])
            return given
        problems = problems_of(given, schema_of(self.record, lenient=True))
        if problems:
            raise _misfit(self.name, [str(problem) for problem in problems])
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
    `headers` go to it; neither is ever shown.
    """

    name: str
    url: str
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


def _mcp() -> Any:
    """The package that runs MCP servers: above this floor, so it is only loaded when asked for."""
    return importlib.import_module("..mcp", __package__)


ToolLike = Union[Tool, MCPServer, Mapping[str, Any]]


def tools_of(given: Any) -> tuple[ToolLike, ...]:
    """What `tools=` was given, checked: tools, MCP servers, vendors' own as dicts, and functions.

    Two of one name are a `ConfigError`.
    """
    if given is None:
        return ()
    if isinstance(given, (str, Mapping, Tool, MCPServer)) or not isinstance(given, Iterable):
        raise ConfigError("tools must be a list of tools")
    tools = tuple(_tool(item) for item in given)
    seen: set[str] = set()
    for tool in tools:
        name = tool.name if isinstance(tool, (Tool, MCPServer)) else None
        if name is not None and name in seen:
            raise ConfigError(f"two tools have the name {name!r}: give one of them another")
        seen.add(name or "")
    return tools


def _tool(item: Any) -> ToolLike:
    if isinstance(item, (Tool, MCPServer, Mapping)):
        return item
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
    """What decides a model's answer of a tool: no function, no secret."""
    if isinstance(tool, Tool):
        fields = ("name", "description", "parameters", "strict")
        return {name: getattr(tool, name) for name in fields}
    if isinstance(tool, MCPServer):
        return {"name": tool.name, "url": tool.url, "allowed_tools": tool.allowed_tools}
    return tool


def result_of(value: Any, call: ToolCall) -> ToolResult:
    """What a tool returned, for the model: a string as it is, pictures as pictures, anything else
    as JSON (dataclasses and Pydantic models too). A `PromptError` says what JSON has no form for.
    """
    if isinstance(value, ToolResult):
        return dataclasses.replace(value, tool_call_id=call.id, name=call.name)
    if isinstance(value, Image):
        return ToolResult(call.id, "", call.name, images=(value,), kind=call.kind)
    items = value if isinstance(value, (list, tuple)) else ()
    if items and all(isinstance(item, (str, Image)) for item in items) and any(
        isinstance(item, Image) for item in items
    ):  # fmt: skip
        text = "\n".join(item for item in items if isinstance(item, str))
        images = tuple(item for item in items if isinstance(item, Image))
        return ToolResult(call.id, text, call.name, images=images, kind=call.kind)
    text = value if isinstance(value, str) else _json(value, call.name)
    return ToolResult(call.id, text, call.name, kind=call.kind)


def _json(value: Any, name: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(f"the result of tool {name} cannot be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _misfit(name: str, problems: list[str]) -> OutputError:
    shown = "; ".join(problems[:5])
    return OutputError(
        f"the arguments of {name} do not fit: {shown}"[:500], problems=tuple(problems)
    )


def _record_of(function: Callable[..., Any], name: str, texts: Mapping[str, str]) -> Optional[type]:
    """A dataclass of the function's arguments; None where it takes none."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ConfigError(f"tool {name}: this function does not say what it takes") from None
    hints = _hints(function, name)
    fields: list[Any] = []
    for parameter in parameters:
        where = f"tool {name}: argument {parameter.name!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{where} cannot be given by name: leave out *, ** and / arguments")
        if parameter.name not in hints:
            raise ConfigError(f"{where} has no type: write `{parameter.name}: str` or what it is")
        hint = hints[parameter.name]
        text = texts.get(parameter.name)
        if text and bare(hint)[1] is None:
            hint = typing.Annotated[hint, text]
        fields.append((parameter.name, hint, _default(parameter)))
    if not fields:
        return None
    fields.sort(key=lambda item: _has_default(item[2]))
    return dataclasses.make_dataclass(name.replace("-", "_"), fields)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target = function if hasattr(function, "__annotations__") else type(function).__call__
    if isinstance(function, type):
        target = function.__init__  # type: ignore[misc]
    target = getattr(target, "__func__", target)
    target = getattr(target, "func", target)  # functools.partial
    try:
        return typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError(
            f"tool {name}: a type of its arguments cannot be read ({error})"
        ) from None


def _default(parameter: inspect.Parameter) -> dataclasses.Field[Any]:
    if parameter.default is parameter.empty:
        return dataclasses.field()  # type: ignore[no-any-return]
    default = parameter.default
    return dataclasses.field(default_factory=lambda: default)  # type: ignore[no-any-return]


def _stands_for_nothing(item: dataclasses.Field[Any]) -> bool:
    """Whether null is how the model leaves this argument out (see `type_schema.field`)."""
    return _has_default(item) and not allows_none(item.type)


def _has_default(item: dataclasses.Field[Any]) -> bool:
    return item.default_factory is not dataclasses.MISSING


def _docstring(function: Callable[..., Any]) -> tuple[str, Mapping[str, str]]:
    """The description, and those of the arguments (Google's style, and Sphinx's `:param x:`)."""
    lines = (inspect.getdoc(function) or "").splitlines()
    texts: dict[str, str] = {}
    kept: list[str] = []
    latest, within = "", False
    for line in lines:
        if _SECTION.fullmatch(line):
            within = True
            continue
        sphinx = re.match(r"\s*:param\s+(?:[\w.\[\], ]+\s+)?(\w+)\s*:\s*(.*)", line)
        if sphinx:
            texts[sphinx[1]] = sphinx[2].strip()
        elif within and (not line.strip() or line[:1].isspace()):
            latest = _argument(line, latest, texts)
        elif re.match(r"\s*(?:returns?|raises|yields|examples?)\s*:", line, re.IGNORECASE) or (
            re.match(r"\s*:(?:returns?|rtype|raises|type)\b", line)
        ):
            break
        elif not within and not texts:
            kept.append(line)
    return "\n".join(kept).strip(), texts


def _argument(line: str, latest: str, texts: dict[str, str]) -> str:
    """One line under "Args:": an argument's, or more of the one before it."""
    found = _PARAMETER.match(line)
    indent = len(line) - len(line.lstrip())
    if found and indent <= 4:
        texts[found[1]] = found[2].strip()
        return found[1]
    if latest and line.strip():
        texts[latest] = f"{texts[latest]} {line.strip()}"
    return latest
