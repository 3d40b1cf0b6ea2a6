"""Conversations, messages and their parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Union

from . import media
from .errors import PromptError
from .media import Audio, File, Image, Source

TEXT_TYPES = ("text", "input_text", "output_text")
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Text:
    """Plain text. `phase` is OpenAI's word for what an answer's text is ("commentary" or
    "final_answer"), to be sent back with it.
    """

    text: str
    phase: str | None = None

    def __post_init__(self) -> None:
        if type(self.text) is not str and not isinstance(self.text, str):
            raise PromptError(f"a text must be a string, not {type(self.text).__name__}")


@dataclass(frozen=True)
class Thinking:
    """A model's thinking.

    `signature` is the vendor's proof that must go back with it unchanged (at OpenAI, the encrypted
    thinking itself, with its `id`); `redacted` marks thinking that is sent only as an opaque blob
    (then `text` is that blob). `origin` is the wire format it came over, `model` the one that
    thought: for others it is no proof, and some refuse it.
    """

    text: str
    signature: str | None = None
    redacted: bool = False
    id: str | None = None
    origin: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a tool. `signature` is a vendor's proof to echo (Gemini), `origin` the
    wire format that it came over.

    `kind` None is a function; "custom" takes a text, which is `arguments["input"]`; "computer" is
    an action on a screen in the vendor's own words (see `deluge_sync.computer`).
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    signature: str | None = None
    origin: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class ToolResult:
    """What a tool gave back: text, and pictures where the vendor takes them there.

    `kind` is that of its call. `acknowledged` are the vendor's safety checks that came with a
    computer's actions and that the developer has accepted.
    """

    tool_call_id: str
    content: str
    name: str | None = None
    is_error: bool = False
    images: tuple[Image, ...] = ()
    kind: str | None = None
    acknowledged: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class VendorBlock:
    """What a vendor's own tools did, as it came: to be sent back unchanged, to nobody else."""

    data: Mapping[str, Any]
    origin: str | None = None


Part = Union[Text, Thinking, ToolCall, ToolResult, Image, Audio, File, VendorBlock]
PARTS = (Text, Thinking, ToolCall, ToolResult, Image, Audio, File, VendorBlock)


@dataclass(frozen=True)
class Message:
    """One turn: a role ("system", "user", "assistant" or "tool") and its parts, in order."""

    role: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise PromptError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")
        if isinstance(self.parts, (str, *PARTS)):
            raise PromptError("a message's parts are a tuple; for a text use Message.user(text)")

    @classmethod
    def system(cls, text: str) -> Message:
        """A system message."""
        return cls("system", (Text(text),))

    @classmethod
    def user(cls, text: str) -> Message:
        """A user's message."""
        return cls("user", (Text(text),))

    @classmethod
    def assistant(cls, text: str) -> Message:
        """An assistant's message."""
        return cls("assistant", (Text(text),))

    def coming_over(self, wire: str, model: str | None = None) -> Message:
        """With the proofs in it marked as those of a wire format, and of a model."""
        if len(self.parts) == 1 and type(self.parts[0]) is Text:
            return self
        if not any(_is_signed(part) for part in self.parts):
            return self
        return Message(self.role, tuple(_marked(part, wire, model) for part in self.parts))

    def going_over(self, wire: str, model: str | None = None) -> Message:
        """Without the proofs that another wire format gave, and the thinking only they show; with
        a `model`, also without those of what another model thought (Anthropic answers 400 to them).
        """
        if not any(_is_foreign(part, wire, model) for part in self.parts):
            return self
        parts = []
        for part in self.parts:
            if not _is_foreign(part, wire, model):
                parts.append(part)
            elif isinstance(part, ToolCall):
                parts.append(replace(part, signature=None, origin=None))
            elif isinstance(part, Thinking) and not part.redacted and part.text:
                parts.append(Thinking(part.text))
        return Message(self.role, tuple(parts))

    def add(self, *parts: Part) -> Message:
        """With `parts` added."""
        return Message(self.role, (*self.parts, *parts))

    def add_image(
        self,
        source: Source,
        *,
        media_type: str = "",
        detail: str | None = None,
        fetch: bool = False,
    ) -> Message:
        """With a picture: a `pathlib.Path`, bytes, an http(s) URL or a data URL.

        A URL goes to the provider as it is; with `fetch` the client fetches it and sends the bytes.
        `PromptError` for what is no picture.
        """
        return self.add(media.image(source, media_type=media_type, detail=detail, fetch=fetch))

    def add_audio(self, source: Source, *, media_type: str = "", fetch: bool = False) -> Message:
        """With sound, from the same."""
        return self.add(media.audio(source, media_type=media_type, fetch=fetch))

    def add_file(
        self, source: Source, *, media_type: str = "", name: str = "", fetch: bool = False
    ) -> Message:
        """With a document (a PDF, a text), from the same."""
        return self.add(media.file(source, media_type=media_type, name=name, fetch=fetch))

    @property
    def text(self) -> str | None:
        """The text parts joined, or None where there are none."""
        if len(self.parts) == 1 and type(self.parts[0]) is Text:
            return self.parts[0].text
        texts = [part.text for part in self.parts if isinstance(part, Text)]
        return "".join(texts) if texts else None

    @property
    def thinking(self) -> str | None:
        """The readable thinking joined, or None."""
        thoughts = [
            part.text for part in self.parts if isinstance(part, Thinking) and not part.redacted
        ]
        return "".join(thoughts) if thoughts else None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools the model asks for."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def _is_signed(part: Part) -> bool:
    return isinstance(part, VendorBlock) or (
        isinstance(part, (Thinking, ToolCall))
        and (part.signature is not None or (isinstance(part, Thinking) and part.redacted))
    )


def _marked(part: Part, wire: str, model: str | None) -> Part:
    if isinstance(part, Thinking) and _is_signed(part):
        return replace(part, origin=wire, model=model)
    if isinstance(part, (ToolCall, VendorBlock)) and _is_signed(part):
        return replace(part, origin=wire)
    return part


def _is_foreign(part: Part, wire: str, model: str | None) -> bool:
    if not isinstance(part, (Thinking, ToolCall, VendorBlock)) or part.origin is None:
        return False
    others = isinstance(part, Thinking) and None not in (part.model, model) and part.model != model
    return part.origin != wire or others


@dataclass(frozen=True)
class Conversation:
    """Messages in order. Every method gives a new conversation; none changes this one.

    >>> Conversation().system("Be brief.").user("Hello").messages[1].text
    'Hello'
    """

    messages: tuple[Message, ...] = ()
    model: str | None = field(default=None, compare=False)
    """The model that gave the last response (`with_response`), for `prefer_model="last"`."""

    def __post_init__(self) -> None:
        for message in self.messages:
            if not isinstance(message, Message):
                raise PromptError(
                    "a Conversation holds Messages; make one with Conversation().user(text) or "
                    "Conversation.of(list of dicts)"
                )

    def system(self, text: str) -> Conversation:
        """With a system message added."""
        return self.add(Message.system(text))

    def user(self, text: str) -> Conversation:
        """With a user's message added."""
        return self.add(Message.user(text))

    def assistant(self, text: str) -> Conversation:
        """With an assistant's message added."""
        return self.add(Message.assistant(text))

    def add(self, *messages: Message) -> Conversation:
        """With `messages` added."""
        return Conversation((*self.messages, *messages), self.model)

    def with_response(self, response: Any) -> Conversation:
        """With what the model said in a `Response`; `PromptError` where it said nothing."""
        content = response.content
        if content is None:
            raise PromptError("this response has no answer to go on from")
        return Conversation((*self.messages, content), response.model)

    def with_tool_results(self, *results: ToolResult) -> Conversation:
        """With what the tools gave back that the model asked for last."""
        return self.add(Message("tool", results))

    @classmethod
    def of(cls, prompt: Any) -> Conversation:
        """`prompt` as a conversation.

        Takes a string, a `Conversation`, a `Message`, or a list of `Message`s and OpenAI-style
        dicts; anything else, and anything empty, is a `PromptError`. A `PromptError` in the place
        of a prompt is raised: so a reader says that this row alone is bad.
        """
        if isinstance(prompt, PromptError):
            raise prompt
        if isinstance(prompt, str):
            if not prompt.strip():
                raise PromptError("the prompt is empty")
            return cls((Message.user(prompt),))
        if isinstance(prompt, Conversation):
            conversation = prompt
        elif isinstance(prompt, Message):
            conversation = cls((prompt,))
        elif isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray)):
            conversation = cls(tuple(_message(item, at) for at, item in enumerate(prompt)))
        else:
            raise PromptError(
                f"a prompt is a string, a Conversation or a list of messages, "
                f"not {type(prompt).__name__}"
            )
        if not conversation.messages:
            raise PromptError("the prompt has no messages")
        return conversation

    @property
    def system_text(self) -> str | None:
        """The leading system messages joined by blank lines, or None."""
        texts = []
        for message in self.messages:
            if message.role != "system":
                break
            texts.append(message.text or "")
        return "\n\n".join(texts) if texts else None

    def going_over(self, wire: str, model: str | None = None) -> Conversation:
        """Without what only another wire format, or model, takes (see `Message.going_over`)."""
        messages = tuple(message.going_over(wire, model) for message in self.messages)
        return self if messages == self.messages else Conversation(messages, self.model)

    @property
    def has_files_to_fetch(self) -> bool:
        """Whether a part of it is to be fetched by the client (`fetch=True`)."""
        return any(
            isinstance(part, (Image, Audio, File)) and part.fetch
            for message in self.messages
            for part in message.parts
        )

    def __len__(self) -> int:
        return len(self.messages)


def _message(item: Any, position: int) -> Message:
    """One OpenAI-style dict (or `Message`) as a `Message`."""
    if isinstance(item, Message):
        return item
    where = f"message {position}"
    if not isinstance(item, Mapping):
        raise PromptError(f"{where} is neither a Message nor a dict but {type(item).__name__}")
    role = item.get("role")
    if role == "developer":
        role = "system"
    if role not in ROLES:
        raise PromptError(f"{where}: role must be one of {', '.join(ROLES)}, not {role!r}")
    if role == "tool":
        return Message("tool", (_tool_result(item, where),))
    parts = _parts(item.get("content"), where)
    asked = item.get("tool_calls") or ()
    if not isinstance(asked, (list, tuple)):
        raise PromptError(f"{where}: tool_calls must be a list")
    calls = tuple(_tool_call(call, where) for call in asked)
    if not parts and not calls:
        raise PromptError(f"{where}: content is empty")
    return Message(role, parts + calls)


def _parts(content: Any, where: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, Sequence):
        raise PromptError(f"{where}: content must be a string or a list of parts")
    return tuple(_part(part, where) for part in content)


def _part(part: Any, where: str) -> Part:
    if isinstance(part, PARTS):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
    if isinstance(part, Mapping):
        if kind in TEXT_TYPES and isinstance(part.get("text"), str):
            return Text(part["text"])
        try:
            read = _MEDIA[kind]
        except (KeyError, TypeError):
            pass
        else:
            return _media_part(read, part, where)
    raise PromptError(f"{where}: a content part of type {kind!r} is not supported")


def _media_part(read: Callable[[Mapping[str, Any]], Part], part: Any, where: str) -> Part:
    try:
        return read(part)
    except PromptError as error:
        raise PromptError(f"{where}: {error.message}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise PromptError(f"{where}: a part of type {part['type']!r} lacks {error}") from error


def _image_part(part: Mapping[str, Any]) -> Part:
    held = part["image_url"]
    if isinstance(held, str):
        return media.image(held)
    return media.image(_url(held["url"]), detail=held.get("detail"))


def _audio_part(part: Mapping[str, Any]) -> Part:
    held = part["input_audio"]
    return media.audio(_url(f"data:audio/{held['format']};base64,{held['data']}"))


def _file_part(part: Mapping[str, Any]) -> Part:
    held = part["file"]
    if held.get("file_id"):
        return File(file_id=held["file_id"], name=held.get("filename") or "")
    return media.file(_url(held["file_data"]), name=held.get("filename") or "")


def _url(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise PromptError(f"a URL is a string, not {type(value).__name__}")


_MEDIA: dict[str, Callable[[Mapping[str, Any]], Part]] = {
    "image_url": _image_part,
    "input_audio": _audio_part,
    "file": _file_part,
}
"""OpenAI's content parts that hold something else than text."""


def _tool_call(call: Any, where: str) -> ToolCall:
    try:
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        return ToolCall(call["id"], function["name"], arguments)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PromptError(
            f"{where}: a tool call needs id, function.name and JSON function.arguments ({error})"
        ) from error


def _tool_result(item: Mapping[str, Any], where: str) -> ToolResult:
    if not isinstance(item.get("tool_call_id"), str):
        raise PromptError(f"{where}: a tool message needs tool_call_id")
    text = "".join(
        part.text for part in _parts(item.get("content"), where) if isinstance(part, Text)
    )
    return ToolResult(item["tool_call_id"], text, item.get("name"))
