"""Conversations, messages and their parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from .errors import PromptError

TEXT_TYPES = ("text", "input_text", "output_text")
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Text:
    """Plain text."""

    text: str

    def __post_init__(self) -> None:
        if type(self.text) is not str and not isinstance(self.text, str):
            raise PromptError(f"a text must be a string, not {type(self.text).__name__}")


@dataclass(frozen=True)
class Thinking:
    """A model's thinking.

    `signature` is the vendor's proof that must go back with it unchanged; `redacted` marks thinking
    that is sent only as an opaque blob (then `text` is that blob).
    """

    text: str
    signature: str | None = None
    redacted: bool = False


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a tool. `signature` is a vendor's proof to echo (Gemini)."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    signature: str | None = None


@dataclass(frozen=True)
class ToolResult:
    """What a tool gave back, as text."""

    tool_call_id: str
    content: str
    name: str | None = None
    is_error: bool = False


Part = Union[Text, Thinking, ToolCall, ToolResult]


@dataclass(frozen=True)
class Message:
    """One turn: a role ("system", "user", "assistant" or "tool") and its parts, in order."""

    role: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise PromptError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")
        if isinstance(self.parts, (str, Text, Thinking, ToolCall, ToolResult)):
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


@dataclass(frozen=True)
class Conversation:
    """Messages in order. Every method gives a new conversation; none changes this one.

    >>> Conversation().system("Be brief.").user("Hello").messages[1].text
    'Hello'
    """

    messages: tuple[Message, ...] = ()

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
        return Conversation((*self.messages, *messages))

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
    if isinstance(part, (Text, Thinking, ToolCall, ToolResult)):
        return part
    is_text = isinstance(part, Mapping) and part.get("type", "text") in TEXT_TYPES
    if is_text and isinstance(part.get("text"), str):
        return Text(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise PromptError(f"{where}: a content part of type {kind!r} is not supported")


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
