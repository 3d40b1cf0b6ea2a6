"""A conversation as the input items of OpenAI's Responses.

From the openai SDK 3.54 (`types/responses/response_input_item_param.py` and the parts it names).
"""

from __future__ import annotations

import re
from typing import Any

from ..values.errors import PromptError
from ..values.media import File, Image, data_url
from ..values.model import Model
from ..values.prompt import Message, Part, Text, Thinking, ToolCall, ToolResult, VendorBlock
from ..values.request import Request
from .body import dump, misplaced
from .openai_common import check_picture, check_size, leading_system, marked_turns, require
from .openai_tools import result_text

Item = dict[str, Any]

_DOCUMENTS = re.compile(
    r"text/.+|application/(?:pdf|json|xml|rtf|csv|msword|x-[\w.+-]+|vnd\.(?:ms-|openxml|oasis).+)"
)
_BREAKPOINT = {"mode": "explicit"}
_RESULTS = ("function_call_output", "custom_tool_call_output", "computer_call_output")


def input_fields(request: Request, model: Model) -> dict[str, Any]:
    """`instructions`, `input` and what the breakpoints in it need.

    The system messages that lead the conversation become `instructions`: with
    `previous_response_id` those replace the ones before, where an item would come on top of them.
    Only where a cache breakpoint has to stand behind them are they an item: `instructions` are a
    plain string. Later system messages are items in their place.
    """
    turns = request.conversation.messages
    cache = request.prompt_cache
    marked = marked_turns(turns, cache, model) if cache is not None else frozenset()
    fields: dict[str, Any] = {}
    items: list[Item] = []
    first = leading_system(turns)
    if first:
        text = "\n\n".join(_system_text(turn) for turn in turns[:first])
        if first - 1 in marked or first == len(turns):
            items.append(_turn("system", [_text_part(text)], marked=first - 1 in marked))
        else:
            fields["instructions"] = text
    for at, turn in enumerate(turns[first:], first):
        items += _items(turn, model, marked=at in marked)
    fields["input"] = _with_followers(items)
    if cache is not None and marked:
        # "explicit": what the caller did not ask for is not written, and not paid for.
        ttl = {"ttl": cache.ttl} if cache.ttl is not None else {}
        fields["prompt_cache_options"] = {"mode": "explicit", **ttl}
    return fields


def _with_followers(items: list[Item]) -> list[Item]:
    """Without reasoning that nothing came of (an answer that was cut short): alone it is a 400,
    "provided without its required following item".
    """
    if not any(item.get("type") == "reasoning" for item in items):
        return items
    kept: list[Item] = []
    for item in reversed(items):
        if item.get("type") != "reasoning" or (kept and _is_the_models(kept[-1])):
            kept.append(item)
    return kept[::-1]


def _is_the_models(item: Item) -> bool:
    return item.get("role", "assistant") == "assistant" and item.get("type") not in _RESULTS


def _items(message: Message, model: Model, *, marked: bool) -> list[Item]:
    if message.role == "system":
        return [_turn("system", [_text_part(_system_text(message))], marked=False)]
    if message.role == "assistant":
        return _assistant(message)
    items: list[Item] = []
    content: list[Item] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            items.append(_result(part, model))
            if part.kind == "computer" and part.content:
                # Its output is a picture and nothing else.
                note = f"About the screenshot of {part.tool_call_id}: {result_text(part)}"
                content.append(_text_part(note))
        elif isinstance(part, VendorBlock):
            items.append(dict(part.data))
        else:
            content.append(_part(part, message.role, model))
    if content or not items:
        items.append(_turn("user", content, marked=marked))
    return items


def _turn(role: str, content: list[Item], *, marked: bool) -> Item:
    """A message; of one text, a plain string, which every host of this format takes."""
    if marked and content:
        content[-1] = {**content[-1], "prompt_cache_breakpoint": _BREAKPOINT}
    elif all(part["type"] == "input_text" for part in content) and len(content) <= 1:
        return {"role": role, "content": "".join(part["text"] for part in content)}
    return {"role": role, "content": content}


def _system_text(message: Message) -> str:
    for part in message.parts:
        if not isinstance(part, Text):
            raise misplaced(part, message.role)
    return message.text or ""


def _assistant(message: Message) -> list[Item]:
    items: list[Item] = []
    for part in message.parts:
        if isinstance(part, Text):
            phase = {"phase": part.phase} if part.phase is not None else {}
            items.append({"role": "assistant", "content": part.text, **phase})
        elif isinstance(part, ToolCall):
            items.append(_call(part))
        elif isinstance(part, Thinking):
            items += _reasoning(part)
        elif isinstance(part, VendorBlock):
            items.append(dict(part.data))
        else:
            raise misplaced(part, message.role)
    return items


def _call(call: ToolCall) -> Item:
    if call.kind == "computer":
        return _computer_call(call)
    item = {"call_id": call.id, "name": call.name}
    if call.kind == "custom":
        return {"type": "custom_tool_call", **item, "input": call.arguments.get("input", "")}
    arguments = dump(dict(call.arguments)).decode()
    return {"type": "function_call", **item, "arguments": arguments}


def _computer_call(call: ToolCall) -> Item:
    """The item as it came; its own id, which the API wants back, is the call's signature."""
    identity = {"id": call.signature} if call.signature is not None else {}
    return {
        "type": "computer_call",
        **identity,
        "call_id": call.id,
        "status": "completed",
        "actions": call.arguments.get("actions", []),
        "pending_safety_checks": call.arguments.get("pending_safety_checks", []),
    }


def _result(result: ToolResult, model: Model) -> Item:
    if result.kind == "computer":
        return _screenshot(result, model)
    kind = "custom_tool_call_output" if result.kind == "custom" else "function_call_output"
    text = result_text(result)
    output: Any = text
    if result.images:
        output = [_text_part(text)] if text else []
        output += [_image(image, model) for image in result.images]
    return {"type": kind, "call_id": result.tool_call_id, "output": output}


def _screenshot(result: ToolResult, model: Model) -> Item:
    if not result.images:
        raise PromptError(
            f"the result of {result.tool_call_id} needs a screenshot: OpenAI's computer tool takes "
            "nothing else, also where an action has failed"
        )
    image = _image(result.images[-1], model)
    held = {name: image[name] for name in ("image_url", "file_id") if name in image}
    item: Item = {
        "type": "computer_call_output",
        "call_id": result.tool_call_id,
        "output": {"type": "computer_screenshot", **held},
    }
    if result.acknowledged:
        item["acknowledged_safety_checks"] = [dict(check) for check in result.acknowledged]
    return item


def _reasoning(part: Thinking) -> list[Item]:
    """The item as it came. Another vendor's thinking has no id, and no meaning here."""
    if part.id is None or part.signature is None:
        return []
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    item = {"type": "reasoning", "id": part.id, "summary": summary}
    return [{**item, "encrypted_content": part.signature}]


def _part(part: Part, role: str, model: Model) -> Item:
    if isinstance(part, Text):
        return _text_part(part.text)
    if isinstance(part, Image):
        return _image(part, model)
    if isinstance(part, File):
        return _file(part, model)
    if isinstance(part, (Thinking, ToolCall)):
        raise misplaced(part, role)
    raise PromptError(
        "the Responses API takes no sound (openai SDK 3.54: a message holds texts, pictures and "
        "files); send it with use_responses_api=False"
    )


def _text_part(text: str) -> Item:
    return {"type": "input_text", "text": text}


def _image(image: Image, model: Model) -> Item:
    check_picture(image, model)
    item: Item = {"type": "input_image", "detail": image.detail or "auto"}
    if image.file_id:
        return {**item, "file_id": image.file_id}
    return {**item, "image_url": image.url or data_url(image.data, image.media_type)}


def _file(file: File, model: Model) -> Item:
    if file.media_type == "application/pdf":
        require("pdf", "PDFs", model)
    elif file.media_type and not _DOCUMENTS.fullmatch(file.media_type):
        raise PromptError(f"OpenAI takes documents and texts as files, not {file.media_type}")
    if file.file_id:
        return {"type": "input_file", "file_id": file.file_id}
    if file.url:
        return {"type": "input_file", "file_url": file.url}
    check_size(file)
    data = data_url(file.data, file.media_type)
    return {"type": "input_file", "filename": file.name or "file", "file_data": data}
