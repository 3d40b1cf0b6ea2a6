"""A conversation as the messages of OpenAI's Chat Completions.

From the openai SDK 3.54 (`types/chat/chat_completion_*_param.py`).
"""

from __future__ import annotations

from typing import Any, Union

from ..values.errors import PromptError
from ..values.media import Audio, File, Image, base64_of, data_url
from ..values.model import Model
from ..values.prompt import Message, Part, Text, ToolCall, ToolResult, VendorBlock
from ..values.request import Request
from .body import dump, misplaced
from .openai_common import check_picture, check_size, marked_turns, require
from .openai_tools import result_text

Item = dict[str, Any]

_SOUNDS = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
}


def message_fields(request: Request, model: Model) -> Item:
    """`messages`, and what the cache breakpoints in them need."""
    turns = request.conversation.messages
    cache = request.prompt_cache
    marked = marked_turns(turns, cache, model) if cache is not None else frozenset()
    ttl = cache.ttl if cache is not None else None
    messages: list[Item] = []
    pictures: list[Item] = []  # of results; no other message may stand between those
    for at, turn in enumerate(turns):
        made = _messages(turn, model, pictures)
        if pictures and made[0]["role"] != "tool":
            messages.append({"role": "user", "content": pictures})
            pictures = []
        messages += made
        if at in marked:
            _mark(messages[-1], ttl)
    if pictures:
        messages.append({"role": "user", "content": pictures})
    if not marked:
        return {"messages": messages}
    # "explicit": what the caller did not ask for is not written, and not paid for.
    return {"messages": messages, "prompt_cache_options": {"mode": "explicit"}}


def _mark(message: Item, ttl: str | None) -> None:
    content = message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    mark = {"mode": "explicit"} if ttl is None else {"mode": "explicit", "ttl": ttl}
    message["content"] = [*content[:-1], {**content[-1], "prompt_cache_breakpoint": mark}]


def _messages(message: Message, model: Model, pictures: list[Item]) -> list[Item]:
    """`message` in wire form: one message, or one per tool result and one for the rest.

    A tool message holds texts alone. The pictures of results go into the user's message behind
    them: that of `message`, where it has one, or else that which is made of `pictures`.
    """
    if message.role == "assistant":
        return [_assistant(message, "echo_reasoning" in model.supports)]
    role = "system" if message.role == "system" else "user"
    if len(message.parts) == 1 and type(message.parts[0]) is Text:  # nearly all there are
        return [{"role": role, "content": message.parts[0].text}]
    results: list[Item] = []
    content: list[Item] = []
    for part in message.parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif message.role == "system":
            raise misplaced(part, message.role)
        elif isinstance(part, ToolResult):
            results.append(_result(part))
            pictures += _pictures(part, model)
        else:
            content.append(_media(part, message.role, model))
    if content or not results:
        if results:
            content = [*pictures, *content]
            pictures.clear()
        results.append({"role": role, "content": _plain(content)})
    return results


def _result(result: ToolResult) -> Item:
    if result.kind == "computer":
        raise _no_computer()
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": result_text(result)}


def _pictures(result: ToolResult, model: Model) -> list[Item]:
    if not result.images:
        return []
    of = f"{result.name} ({result.tool_call_id})" if result.name else result.tool_call_id
    text = {"type": "text", "text": f"What the tool call {of} gave back:"}
    return [text, *(_image(image, model) for image in result.images)]


def _no_computer() -> PromptError:
    return PromptError(
        "Chat Completions has no computer tool: use a model with the Responses API and "
        "use_responses_api=True"
    )


def _plain(content: list[Item]) -> Union[str, list[Item]]:
    """A plain string where it will do: not every host takes a list of parts."""
    if not content:
        return ""
    if len(content) == 1 and content[0]["type"] == "text":
        return str(content[0]["text"])
    return content


def _assistant(message: Message, echo_reasoning: bool) -> Item:
    turn: Item = {"role": "assistant", "content": message.text}
    calls = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            calls.append(_call(part))
        elif isinstance(part, (ToolResult, Image, Audio, File, VendorBlock)):
            raise misplaced(part, message.role)
    if calls:
        turn["tool_calls"] = calls
    elif turn["content"] is None:
        turn["content"] = ""
    if echo_reasoning and message.thinking:
        turn["reasoning_content"] = message.thinking
    return turn


def _call(call: ToolCall) -> Item:
    if call.kind == "computer":
        raise _no_computer()
    if call.kind == "custom":
        custom = {"name": call.name, "input": call.arguments.get("input", "")}
        return {"id": call.id, "type": "custom", "custom": custom}
    function = {"name": call.name, "arguments": dump(dict(call.arguments)).decode()}
    return {"id": call.id, "type": "function", "function": function}


def _media(part: Part, role: str, model: Model) -> Item:
    if role == "user":
        if isinstance(part, Image):
            return _image(part, model)
        if isinstance(part, Audio):
            return _audio(part, model)
        if isinstance(part, File):
            return _file(part, model)
    raise misplaced(part, role)


def _image(image: Image, model: Model) -> Item:
    check_picture(image, model)
    if image.file_id:
        raise PromptError(
            "Chat Completions takes no picture by its file_id: give the picture or its URL, "
            "or use use_responses_api=True"
        )
    held = {"url": image.url or data_url(image.data, image.media_type)}
    if image.detail is not None:
        held["detail"] = image.detail
    return {"type": "image_url", "image_url": held}


def _audio(audio: Audio, model: Model) -> Item:
    require("audio_in", "sound", model)
    if not audio.data:
        raise PromptError(
            "Chat Completions takes sound as its bytes only, not by URL or file_id "
            "(fetch=True reads a URL first)"
        )
    sound = _SOUNDS.get(audio.media_type)
    if sound is None:
        raise PromptError(f"OpenAI takes wav and mp3 sound, not {audio.media_type}")
    return {"type": "input_audio", "input_audio": {"data": base64_of(audio.data), "format": sound}}


def _file(file: File, model: Model) -> Item:
    """A PDF: others are refused there ("Expected a base64-encoded data URL with an
    application/pdf MIME type"), though the Responses API takes them.
    """
    if file.media_type not in ("", "application/pdf"):
        raise PromptError(
            f"Chat Completions takes PDFs as files, not {file.media_type}: put a text into the "
            "message itself, or use use_responses_api=True"
        )
    require("pdf", "PDFs", model)
    if file.url:
        raise PromptError(
            "Chat Completions takes no file by URL: use fetch=True, which reads it first, or "
            "use_responses_api=True"
        )
    if file.file_id:
        return {"type": "file", "file": {"file_id": file.file_id}}
    check_size(file)
    held = {"filename": file.name or "file.pdf", "file_data": data_url(file.data, file.media_type)}
    return {"type": "file", "file": held}
