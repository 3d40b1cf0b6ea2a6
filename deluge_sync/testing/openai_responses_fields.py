"""The fields and input items Responses accepts, read into text.

From the openai SDK 3.54 (`types/responses`: `response_create_params.py`,
`response_input_item_param.py`, `input_token_count_params.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .checks import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    OBJECT,
    STRING,
    STRING_OR_ARRAY,
    STRING_OR_OBJECT,
    STRINGS,
    Fields,
    Path,
    VendorError,
    check_fields,
    integer_from,
    number_between,
    one_of,
)
from .openai_fields import _FILE_DATA, _IMAGE_URL, _is_base64
from .openai_schemas import check_strict
from .openai_tools import check_responses_tools
from .openai_voice import VOICE

_COUNTED: Fields = {
    "model": STRING,
    "conversation": STRING_OR_OBJECT,
    "input": STRING_OR_ARRAY,
    "instructions": STRING,
    "parallel_tool_calls": BOOLEAN,
    "previous_response_id": STRING,
    "reasoning": OBJECT,
    "text": OBJECT,
    "tool_choice": STRING_OR_OBJECT,
    "tools": ARRAY,
    "truncation": one_of("auto", "disabled"),
}
COUNT_FIELDS: Fields = {**_COUNTED, "personality": STRING}
FIELDS: Fields = {
    **_COUNTED,
    "access_programs": OBJECT,
    "background": BOOLEAN,
    "background_options": OBJECT,
    "context_management": ARRAY,
    "image": OBJECT,
    "include": STRINGS,
    "max_output_tokens": integer_from(1),
    "max_tool_calls": INTEGER,
    "metadata": OBJECT,
    "moderation": OBJECT,
    "prompt": OBJECT,
    "prompt_cache_key": STRING,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": one_of("in_memory", "24h"),
    "safety_identifier": STRING,
    "service_tier": one_of("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"),
    "store": BOOLEAN,
    "stream": BOOLEAN,
    "stream_options": OBJECT,
    "temperature": number_between(0, 2),
    "top_logprobs": integer_from(0),
    "top_p": number_between(0, 1),
    "user": STRING,
}
_NESTED: Mapping[str, Fields] = {
    "background_options": {
        "completion_window": one_of("soonest", "2h", "8h"),
        "continuation_id": STRING,
    },
    "prompt_cache_options": {
        "mode": one_of("implicit", "explicit"),
        "ttl": one_of("30m", "12h"),
        "prewarm": BOOLEAN,
        "comparison_response_id": STRING,
    },
    "reasoning": {
        "effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
        "summary": one_of("auto", "concise", "detailed"),
        "generate_summary": one_of("auto", "concise", "detailed"),
        "mode": STRING,
        "context": one_of("auto", "current_turn", "all_turns"),
    },
    "stream_options": {"include_obfuscation": BOOLEAN},
    "text": {"format": OBJECT, "verbosity": one_of("low", "medium", "high")},
}
_FORMATS: Mapping[str, Fields] = {
    "text": {},
    "json_object": {},
    "json_schema": {"name": STRING, "schema": OBJECT, "strict": BOOLEAN, "description": STRING},
}
_INCLUDABLE = one_of(
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)

_STATUS = one_of("in_progress", "completed", "incomplete")
_MESSAGE: Fields = {
    "role": one_of("user", "system", "developer", "assistant"),
    "content": STRING_OR_ARRAY,
    "phase": one_of("commentary", "final_answer"),
    "status": _STATUS,
    "id": STRING,
}
_CALL: Fields = {"id": STRING, "call_id": STRING, "name": STRING, "namespace": STRING}
_ITEMS: Mapping[str, tuple[Fields, tuple[str, ...]]] = {
    "message": (_MESSAGE, ("role", "content")),
    "function_call": (
        {**_CALL, "arguments": STRING, "status": _STATUS, "caller": OBJECT, "async": BOOLEAN},
        ("call_id", "name", "arguments"),
    ),
    "function_call_output": (
        {**_CALL, "output": STRING_OR_ARRAY, "status": _STATUS, "caller": OBJECT},
        ("call_id", "output"),
    ),
    "custom_tool_call": ({**_CALL, "input": STRING, "caller": OBJECT}, ("call_id", "input")),
    "custom_tool_call_output": (
        {**_CALL, "output": STRING_OR_ARRAY, "caller": OBJECT},
        ("call_id", "output"),
    ),
    "reasoning": (
        {
            "id": STRING,
            "summary": ARRAY,
            "content": ARRAY,
            "encrypted_content": STRING,
            "status": _STATUS,
        },
        ("id", "summary"),
    ),
    "item_reference": ({"id": STRING}, ("id",)),
    "computer_call": (
        {
            "id": STRING,
            "call_id": STRING,
            "action": OBJECT,
            "actions": ARRAY,
            "pending_safety_checks": ARRAY,
            "status": _STATUS,
        },
        ("id", "call_id", "pending_safety_checks", "status"),
    ),
    "computer_call_output": (
        {
            "id": STRING,
            "call_id": STRING,
            "output": OBJECT,
            "acknowledged_safety_checks": ARRAY,
            "status": _STATUS,
        },
        ("call_id", "output"),
    ),
}
_OWN_ITEMS = frozenset(
    {
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""What the vendor's own tools did; their fields are not looked at."""
_KINDS = one_of(*_ITEMS, *sorted(_OWN_ITEMS))
_SCREENSHOT: Mapping[str, Fields] = {
    "computer_screenshot": {"image_url": STRING, "file_id": STRING}
}

_INPUT_PARTS: Mapping[str, Fields] = {
    "input_text": {"text": STRING, "prompt_cache_breakpoint": OBJECT},
    "input_image": {
        "detail": one_of("low", "high", "auto", "original"),
        "file_id": STRING,
        "image_url": STRING,
        "prompt_cache_breakpoint": OBJECT,
    },
    "input_file": {
        "detail": one_of("auto", "low", "high"),
        "file_data": STRING,
        "file_id": STRING,
        "file_url": STRING,
        "filename": STRING,
        "prompt_cache_breakpoint": OBJECT,
    },
}
_OUTPUT_PARTS: Mapping[str, Fields] = {
    "output_text": {"text": STRING, "annotations": ARRAY, "logprobs": ARRAY},
    "refusal": {"refusal": STRING},
}
_BREAKPOINT: Fields = {"mode": one_of("explicit"), "ttl": one_of("30m", "12h")}


class Input(NamedTuple):
    """What the input items say.

    `turns` are (role, text) of messages and tool outputs, `text` is all there is to count,
    `reasoning` are the items of thinking, with their positions. `calls` and `outputs` are the items
    of tools.
    """

    system: str | None
    turns: tuple[tuple[str, str], ...]
    text: str
    reasoning: tuple[tuple[int, Mapping[str, Any]], ...]
    calls: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]


def check_body(body: Any, *, counting: bool, strict: bool) -> None:
    """Raise OpenAI's `VendorError` for fields it does not have or values it does not take."""
    fields, required = (COUNT_FIELDS, ()) if counting else (FIELDS, ("model", "input"))
    check_fields(body, fields, VOICE, required=required, strict=strict)
    for name, nested in _NESTED.items():
        if body.get(name) is not None:
            check_fields(body[name], nested, VOICE, path=(name,), strict=strict)
    layout = (body.get("text") or {}).get("format")
    if layout is not None:
        _check_tagged(layout, _FORMATS, ("text", "format"), strict)
        if layout["type"] == "json_schema":
            check_fields(layout, {**_FORMATS["json_schema"], "type": STRING}, VOICE,
                         path=("text", "format"), required=("name", "schema"))  # fmt: skip
    check_responses_tools(body, strict)
    for at, word in enumerate(body.get("include") or ()):
        if not _INCLUDABLE.accepts(word):
            raise VOICE.wrong(("include", at), _INCLUDABLE.phrase)


def wanted_schema(body: Mapping[str, Any], given: Input) -> Mapping[str, Any] | None:
    """The schema that the answer is to fit: {} for any object, None where it may be any text."""
    layout = (body.get("text") or {}).get("format") or {"type": "text"}
    if layout["type"] == "json_object":
        if "json" not in given.text.lower():
            message = (
                "Response input messages must contain the word 'json' in some form to use "
                "'text.format' of type 'json_object'."
            )
            raise VendorError(400, message, param="input")
        return {}
    if layout["type"] == "text":
        return None
    if layout.get("strict"):
        check_strict(layout["schema"], layout["name"], "text.format.schema")
    schema: Mapping[str, Any] = layout["schema"]
    return schema


def read_input(body: Mapping[str, Any], strict: bool) -> Input:
    """The input items and the instructions. Raises OpenAI's `VendorError`s."""
    items = body.get("input") or []
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    system = [body["instructions"]] if body.get("instructions") else []
    turns: list[tuple[str, str]] = []
    for at, item in enumerate(items):
        role, text = _read_item(item, ("input", at), strict)
        if role in ("system", "developer"):
            system.append(text)
        elif role:
            turns.append((role, text))
    return Input(
        "\n\n".join(system) if system else None,
        tuple(turns),
        "".join([*system, *(text for _, text in turns)]),
        tuple((at, item) for at, item in enumerate(items) if item.get("type") == "reasoning"),
        tuple(item for item in items if item.get("type") in CALLS),
        tuple(item for item in items if item.get("type") in _OUTPUTS),
    )


CALLS = {
    "function_call": "function call",
    "custom_tool_call": "custom tool call",
    "computer_call": "computer call",
}
"""The items that a client has to answer, and the vendor's words for them."""
_OUTPUTS = frozenset(f"{kind}_output" for kind in CALLS)


def check_followers(items: Any) -> None:
    """Raise unless behind every reasoning item of an input stands what it led to."""
    if not isinstance(items, list):
        return
    for item, following in zip(items, [*items[1:], {"role": "user"}]):
        kind = following.get("type") or "message"
        theirs = kind == "message" and following["role"] != "assistant"
        if item.get("type") == "reasoning" and (theirs or kind in _OUTPUTS):
            message = (
                f"Item '{item['id']}' of type 'reasoning' was provided without its required "
                "following item."
            )
            raise VendorError(400, message, param="input")


def _read_item(item: Any, path: Path, strict: bool) -> tuple[str, str]:
    """Role and text of one item; role "" where it is no turn."""
    if not isinstance(item, dict):
        raise VOICE.wrong(path, "an object")
    kind = item.get("type") or "message"
    if not _KINDS.accepts(kind):
        raise VOICE.wrong((*path, "type"), _KINDS.phrase)
    if kind in _OWN_ITEMS:
        return "", ""
    fields, required = _ITEMS[kind]
    fields = {**fields, "type": STRING}
    check_fields(item, fields, VOICE, path=path, required=required, strict=strict)
    if kind == "message":
        parts = _OUTPUT_PARTS if item["role"] == "assistant" else _INPUT_PARTS
        return item["role"], _read_content(item["content"], parts, (*path, "content"), strict)
    if kind.endswith("_call"):
        return "assistant", item.get("arguments") or item.get("input") or ""
    if kind == "computer_call_output":
        where = (*path, "output")
        _check_tagged(item["output"], _SCREENSHOT, where, strict)
        _check_image(item["output"], where)
        return "tool", ""
    if kind.endswith("_call_output"):
        return "tool", _read_content(item["output"], _INPUT_PARTS, (*path, "output"), strict)
    return "", ""


def _read_content(content: Any, parts: Mapping[str, Fields], path: Path, strict: bool) -> str:
    if isinstance(content, str):
        return content
    return "".join(_read_part(part, parts, (*path, at), strict) for at, part in enumerate(content))


def _read_part(part: Any, parts: Mapping[str, Fields], path: Path, strict: bool) -> str:
    _check_tagged(part, parts, path, strict)
    mark = part.get("prompt_cache_breakpoint")
    if mark is not None:
        where = (*path, "prompt_cache_breakpoint")
        check_fields(mark, _BREAKPOINT, VOICE, path=where, required=("mode",), strict=strict)
    if part["type"] in _CHECKS:
        _CHECKS[part["type"]](part, path)
    return part.get("text") or part.get("refusal") or ""


def _check_image(part: Mapping[str, Any], path: Path) -> None:
    if (part.get("image_url") is None) == (part.get("file_id") is None):
        raise VOICE.wrong(path, "an object with either image_url or file_id")
    match = _IMAGE_URL.fullmatch(part.get("image_url") or "https://none")
    if match is None or (match[1] and not _is_base64(match[1])):
        raise VOICE.wrong((*path, "image_url"), "an http(s) URL or a base64 data URL of a picture")


def _check_file(part: Mapping[str, Any], path: Path) -> None:
    given = [name for name in ("file_data", "file_id", "file_url") if part.get(name) is not None]
    if len(given) != 1:
        raise VOICE.wrong(path, "an object with one of file_data, file_id and file_url")
    if given == ["file_data"]:
        match = _FILE_DATA.fullmatch(part["file_data"])
        if match is None or not _is_base64(match[2]):
            raise VOICE.wrong((*path, "file_data"), "a base64 data URL")


_CHECKS = {"input_image": _check_image, "input_file": _check_file}


def _check_tagged(value: Any, kinds: Mapping[str, Fields], path: Path, strict: bool) -> None:
    """Raise unless `value` is an object of one of those kinds, which its `type` names."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise VOICE.wrong((*path, "type"), one_of(*kinds).phrase)
    check_fields(value, {**kinds[kind], "type": STRING}, VOICE, path=path, strict=strict)


def check_calls(given: Input, before: tuple[Mapping[str, Any], ...]) -> None:
    """Raise unless tool outputs and calls belong together.

    Every output answers a call of the input or of `before`, the calls that the vendor keeps; every
    call of the input has its output, and a computer's has its safety checks acknowledged there.
    """
    called = {(item["type"], item["call_id"]): item for item in (*before, *given.calls)}
    for output in given.outputs:
        kind = output["type"][: -len("_output")]
        call = called.get((kind, output["call_id"]))
        if call is None:
            what = f"No tool call found for {CALLS[kind]} output with call_id"
            raise VendorError(400, f"{what} {output['call_id']}.", param="input")
        _check_acknowledged(call, output)
    answered = {output["call_id"] for output in given.outputs}
    for call in given.calls:
        if call["call_id"] not in answered:
            what = f"No tool output found for {CALLS[call['type']]} {call['call_id']}."
            raise VendorError(400, what, param="input")


def _check_acknowledged(call: Mapping[str, Any], output: Mapping[str, Any]) -> None:
    known = [check.get("id") for check in output.get("acknowledged_safety_checks") or ()]
    pending = [check.get("id") for check in call.get("pending_safety_checks") or ()]
    missing = [identity for identity in pending if identity not in known]
    if missing:
        message = f"Computer tool has unacknowledged safety check for {missing}"
        raise VendorError(400, message, param="input")
