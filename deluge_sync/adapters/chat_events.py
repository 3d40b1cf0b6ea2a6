"""The chunks of a streamed completion of OpenAI's Chat Completions, folded.

From the openai SDK 3.54 (`types/chat/chat_completion_chunk.py`, `_streaming.py`), and from what
hosts do otherwise: usage in any chunk or in none, no closing [DONE], a tool call in one piece and
without an index, thinking as `reasoning` or in Mistral's content chunks, errors inside a chunk.
"""

from __future__ import annotations

from typing import Any

from ..values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from ..values.model import Model
from ..values.response import Answer
from ..values.wire import HttpResponse
from .body import MalformedError, as_list, as_object, as_text, details, dump, load, text_or_none
from .chat_output import fault, read_completion, read_usage, thought
from .failures import cut_off, failure, unreadable
from .sse import ServerEvent

_CUSTOM_BEGINS, _CUSTOM_ENDS = '{"input":"', '"}'


class ChatFold:
    """See `base.Fold`.

    It puts the chunks together into the body that would have come whole, and has that read the
    same way. The whole answer has come with its finish reason: not every host says [DONE], and a
    [DONE] without a reason is some gateway's, of a stream that was cut.
    """

    def __init__(self, head: HttpResponse, model: Model) -> None:
        self.done = False
        self._head = head
        self._model = model
        self._body: dict[str, Any] = {}
        self._finish: str | None = None
        self._content: list[Any] = []  # texts, or Mistral's chunks
        self._thoughts: list[str] = []
        self._refusal: list[str] = []
        self._logprobs: list[Any] = []
        self._calls: list[_Call] = []
        self._by_index: dict[Any, _Call] = {}

    def feed(self, event: ServerEvent) -> list[Delta]:
        """See `base.Fold`."""
        if self.done:
            return []
        data = event.data
        if data.startswith("[DONE]"):
            self.done = True
            return []
        try:
            return self._take(as_object(load(data), "a chunk"))
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def answer(self) -> Answer:
        """See `base.Fold`."""
        if self._finish is None:
            raise cut_off(self._head, self._model)
        choice = {
            "message": self._message(),
            "finish_reason": self._finish,
            "logprobs": {"content": self._logprobs},
        }
        try:
            return read_completion({**self._body, "choices": [choice]}, self._head, self._model)
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def _take(self, chunk: dict[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        choices = chunk.get("choices")
        if chunk.get("error") or (choices is None and _is_error(chunk)):
            raise failure(self._head, self._model, fault(chunk, self._head.status))
        if choices:
            choice = as_object(as_list(choices, "choices")[0], "choices[0]")
            if not choice.get("index"):  # the others are of a body's own n
                self._choose(choice, deltas)
        elif choices is None and chunk.get("object") == "chat.completion":
            raise MalformedError("choices is missing")
        usage = chunk.get("usage")
        if usage:
            self._count(usage, deltas)
        if not self._body.get("id") or not choices or self._finish is not None:
            for name in ("id", "service_tier"):
                self._body[name] = text_or_none(chunk.get(name)) or self._body.get(name)
        return deltas

    def _choose(self, choice: dict[str, Any], deltas: list[Delta]) -> None:
        # A host that does not stream sends the whole, which reads like one large delta.
        delta = choice.get("delta") if "delta" in choice else choice.get("message")
        if delta:
            self._add(as_object(delta, "a delta"), deltas)
        tokens = details(choice.get("logprobs"), "content")
        if type(tokens) is list:
            self._logprobs += tokens
        word = choice.get("finish_reason")
        if word:
            self._end(as_text(word, "finish_reason"), choice, deltas)

    def _end(self, word: str, choice: dict[str, Any], deltas: list[Delta]) -> None:
        if choice.get("error") or word == "error":
            raise failure(self._head, self._model, fault(choice, self._head.status))
        if self._finish is None:
            ends = [call.number for call in self._calls if call.is_custom]
            deltas += [ToolCallDelta(number, _CUSTOM_ENDS) for number in ends]
        self._finish = word
        usage = choice.get("usage")
        if usage:  # Moonshot's place for it
            self._count(usage, deltas)

    def _add(self, delta: dict[str, Any], deltas: list[Delta]) -> None:
        content = delta.get("content")
        if content is not None:
            if type(content) is str:
                self._content.append(content)
                if content:
                    deltas.append(TextDelta(content))
            else:
                self._add_chunks(as_list(content, "delta.content"), deltas)
            if len(delta) == 1:
                return
        thinking = delta.get("reasoning_content") or delta.get("reasoning")
        if thinking:
            text = as_text(thinking, "a delta's reasoning")
            self._thoughts.append(text)
            deltas.insert(0, ThinkingDelta(text))
        refusal = delta.get("refusal")
        if refusal:
            self._refusal.append(as_text(refusal, "a delta's refusal"))
        for call in as_list(delta.get("tool_calls") or [], "delta.tool_calls"):
            deltas.append(self._call(as_object(call, "a tool call")))

    def _add_chunks(self, chunks: list[Any], deltas: list[Delta]) -> None:
        """Mistral's content in chunks; see `chat_output`."""
        for chunk in chunks:
            kind = as_object(chunk, "a chunk of delta.content").get("type")
            if kind == "text":
                deltas.append(TextDelta(as_text(chunk.get("text"), "a text chunk's text")))
            elif kind == "thinking":
                deltas.append(ThinkingDelta(thought(chunk)))
            self._content.append(chunk)

    def _call(self, piece: dict[str, Any]) -> ToolCallDelta:
        custom = piece.get("custom")
        held = as_object(custom or piece.get("function") or {}, "a tool call's function")
        identity, name = text_or_none(piece.get("id")), text_or_none(held.get("name"))
        arguments = held.get("input" if custom else "arguments") or ""
        if type(arguments) is dict:
            arguments = dump(arguments).decode()
        text = as_text(arguments, "a tool call's arguments")
        call = self._call_of(piece.get("index"), identity, name)
        begins = not call.pieces
        call.pieces.append(text)
        if custom:
            call.is_custom = True
            text = dump(text).decode()[1:-1]  # inside of the JSON that `decode` makes of it
        if begins:
            text = _CUSTOM_BEGINS + text if custom else text
            return ToolCallDelta(call.number, text, call.id, call.name)
        return ToolCallDelta(call.number, text)

    def _call_of(self, index: Any, identity: str | None, name: str | None) -> _Call:
        """The call that a piece belongs to.

        Some hosts leave the index out, or give all calls the same one: another id is then another
        call, and so is a name where there are neither.
        """
        key = index if type(index) is int else None
        call = self._by_index.get(key)
        is_new = call is None or (identity and call.id and identity != call.id)
        if call is None or is_new or (key is None and identity is None and name):
            call = _Call(len(self._calls), identity, name)
            self._calls.append(call)
            self._by_index[key] = call
        return call

    def _count(self, usage: Any, deltas: list[Delta]) -> None:
        self._body["usage"] = usage
        deltas.append(UsageDelta(read_usage(usage)))

    def _message(self) -> dict[str, Any]:
        content: Any
        if all(type(piece) is str for piece in self._content):
            content = "".join(self._content)
            if not content and (self._thoughts or self._calls or self._refusal):
                content = None  # most hosts begin with an empty text, whatever follows
        else:
            content = _joined(self._content)
        return {
            "content": content,
            "reasoning_content": "".join(self._thoughts),
            "refusal": "".join(self._refusal),
            "tool_calls": [call.whole() for call in self._calls],
        }


class _Call:
    """A tool call under way."""

    __slots__ = ("id", "is_custom", "name", "number", "pieces")

    def __init__(self, number: int, identity: str | None, name: str | None) -> None:
        self.number = number
        self.id = identity
        self.name = name
        self.is_custom = False
        self.pieces: list[str] = []

    def whole(self) -> dict[str, Any]:
        if self.is_custom:
            custom = {"name": self.name, "input": "".join(self.pieces)}
            return {"id": self.id, "type": "custom", "custom": custom}
        function = {"name": self.name, "arguments": "".join(self.pieces)}
        return {"id": self.id, "function": function}


def _is_error(chunk: dict[str, Any]) -> bool:
    """Whether something that is no chunk says what went wrong: vLLM's form, and plain JSON."""
    return bool(chunk.keys() & {"message", "detail"})


def _joined(pieces: list[Any]) -> list[dict[str, Any]]:
    """Mistral's chunks with those put together that were one."""
    whole: list[dict[str, Any]] = []
    for piece in pieces:
        chunk = {"type": "text", "text": piece} if type(piece) is str else dict(piece)
        kind = chunk.get("type")
        if chunk == {"type": "text", "text": ""}:
            continue
        if kind == "thinking":
            chunk = {**chunk, "thinking": thought(chunk)}
        if whole and kind in ("text", "thinking") and whole[-1].get("type") == kind:
            last = whole[-1]
            last[kind] += chunk[kind]
            last["signature"] = chunk.get("signature") or last.get("signature")
        else:
            whole.append(chunk)
    return whole
