"""What is asked and what is answered, whatever the wire format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, NamedTuple, Optional, Union

from ..values.response import Usage
from .checks import VendorError
from .instances import instance

CHARACTERS_PER_TOKEN = 4


class Question(NamedTuple):
    """One request for an answer.

    `prompt` is the text of the last user turn; `turns` are (role, text) of all turns but the
    system's, roles in the vendor's words; `input_tokens` counts all text; `body` is the parsed
    JSON and must not be changed; `stream` says that the answer is to come in events. `wire` is
    "openai", "anthropic", "gemini", "cohere" or "voyage". `cached` has in its cache fields what of
    the prompt the vendor reads from its cache and writes there; `prefixes` are the keys it then
    keeps. Where texts are embedded or ranked the turns are the texts (the query first), and the
    prompt is all of them, line by line.
    `schema` is what the answer is to fit: {} for any JSON object, None for any text.
    """

    wire: str
    model: str
    prompt: str
    system: str | None
    turns: tuple[tuple[str, str], ...]
    input_tokens: int
    max_tokens: int | None
    stop: tuple[str, ...]
    body: Mapping[str, Any]
    stream: bool = False
    cached: Usage = Usage()
    prefixes: tuple[str, ...] = ()
    schema: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Reply:
    """An answer.

    `finish` is "stop", "length", "tool_calls", "refusal" or "content_filter", or a word of the
    vendor's to send as it is; None means "tool_calls" where there are some, else "stop".
    `tool_calls` are (name, arguments) pairs; in Responses, ("computer", {"actions": [...]}) is a
    call of the vendor's computer tool, and one of a custom tool has {"input": "..."}. `usage` is
    the tokens to report (a `Usage`, or a tuple that begins like one); None counts them.
    """

    text: str = ""
    thinking: str | None = None
    finish: str | None = None
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    usage: Usage | tuple[int, ...] | None = None


ReplyLike = Union[str, Reply]
Answering = Union[ReplyLike, Sequence[ReplyLike], Callable[[Question], ReplyLike]]


class Finished(NamedTuple):
    """A reply made to fit its question: limits kept, stop words obeyed, tokens counted."""

    text: str
    thinking: str | None
    finish: str
    stop_word: str | None
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]]
    usage: Usage


class Answerer:
    """Chooses the reply to a question.

    `answer`, where given, answers everything: a string or `Reply` (always that one), a list (one
    each, in order of arrival; then a 400), or a callable that is run on the server's thread.
    Otherwise the model's id decides: `fixed` says `fixed`, `fixed:TEXT` says TEXT, `template` fills
    {prompt}, {system} and {model} into `template`, and any other id echoes the prompt, with
    the markers of `obey_markers` obeyed; where JSON is asked for it makes a value that fits.
    `tokens` is the usage of replies that name none.
    """

    def __init__(
        self,
        answer: Answering | None = None,
        *,
        fixed: str = "Hello from the sandbox.",
        template: str = "You said: {prompt}",
        tokens: tuple[int, ...] | None = None,
    ) -> None:
        self._answer = answer
        self._fixed = fixed
        self._template = template
        self._tokens = tokens
        self._scripted: Iterator[ReplyLike] | None = None
        if answer is not None and not isinstance(answer, (str, Reply)) and not callable(answer):
            self._scripted = iter(tuple(answer))

    def finish(self, question: Question) -> Finished:
        """The reply to `question`, fitted to it. Raises `VendorError` where there is none."""
        reply = self._choose(question)
        return fit(Reply(reply) if isinstance(reply, str) else reply, question, self._tokens)

    def _choose(self, question: Question) -> ReplyLike:
        if self._scripted is not None:
            return self._next_scripted()
        if isinstance(self._answer, (str, Reply)):
            return self._answer
        if callable(self._answer):
            return self._answer(question)
        model = question.model
        if model == "fixed":
            return self._fixed
        if model.startswith("fixed:"):
            return model[len("fixed:") :]
        if model == "template":
            return self._fill(question)
        reply = obey_markers(question.prompt)
        return reply if question.schema is None else _in_json(reply, question.schema)

    def _next_scripted(self) -> ReplyLike:
        assert self._scripted is not None
        try:
            return next(self._scripted)
        except StopIteration:
            raise VendorError(400, "all scripted answers of the sandbox are used up") from None

    def _fill(self, question: Question) -> str:
        text = self._template
        for name in ("model", "system", "prompt"):
            text = text.replace("{" + name + "}", getattr(question, name) or "")
        return text


def count_tokens(text: str) -> int:
    """Tokens of `text` by the sandbox's fixed rule: one per four characters, at least one."""
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


def _in_json(reply: ReplyLike, schema: Mapping[str, Any]) -> ReplyLike:
    """The echo where JSON is asked for: a value that fits, or an object that holds the text."""
    reply = Reply(reply) if isinstance(reply, str) else reply
    if reply.finish == "refusal" or reply.tool_calls:
        return reply
    try:
        value = instance(schema) if schema else {"answer": reply.text}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VendorError(400, f"the sandbox cannot fit that schema: {error}") from error
    return replace(reply, text=json.dumps(value, ensure_ascii=False))


def pieces(text: str) -> list[str]:
    """`text` as a stream brings it: a token of four characters at a time."""
    size = CHARACTERS_PER_TOKEN
    return [text[at : at + size] for at in range(0, len(text), size)]


_MARKER = re.compile(r"\[\[sandbox:(think|refuse|call|finish)(?:\s+(.*?))?\]\]", re.DOTALL)


def obey_markers(prompt: str) -> ReplyLike:
    """The echo of `prompt`, shaped by the markers in it, which are left out of the text.

    `[[sandbox:think TEXT]]` thinks, `[[sandbox:refuse TEXT]]` refuses saying TEXT,
    `[[sandbox:call NAME {"json": 1}]]` calls a tool (several may), `[[sandbox:finish WORD]]` ends
    with that finish reason.
    """
    if "[[sandbox:" not in prompt:
        return prompt
    reply = Reply(_MARKER.sub("", prompt).strip())
    for word, text in _MARKER.findall(prompt):
        if word == "think":
            reply = replace(reply, thinking=text)
        elif word == "refuse":
            reply = replace(reply, text=text or "I cannot help with that.", finish="refusal")
        elif word == "finish":
            reply = replace(reply, finish=text)
        else:
            reply = replace(reply, tool_calls=[*reply.tool_calls, _tool_call(text)])
    return reply


def _tool_call(text: str) -> tuple[str, Mapping[str, Any]]:
    name, _, arguments = text.partition(" ")
    try:
        return name, json.loads(arguments or "{}")
    except ValueError as error:
        raise VendorError(400, f"the arguments of [[sandbox:call {name}]] are not JSON") from error


def fit(reply: Reply, question: Question, tokens: tuple[int, ...] | None) -> Finished:
    """`reply` as it comes out under the question's stop words and token limit.

    Thinking is counted first, text is cut to what is left of `max_tokens`.
    """
    text, stop_word = _stopped(reply.text, question.stop)
    finish = reply.finish or ("tool_calls" if reply.tool_calls else "stop")
    usage = _usage(reply, text, question, tokens)
    limit = question.max_tokens
    if limit is not None and usage.output_tokens > limit:
        finish, stop_word = "length", None
        left = max(0, limit - usage.reasoning_tokens)
        text = text[: left * CHARACTERS_PER_TOKEN]
        usage = usage._replace(
            output_tokens=limit, reasoning_tokens=min(usage.reasoning_tokens, limit)
        )
    return Finished(text, reply.thinking, finish, stop_word, reply.tool_calls, usage)


def _stopped(text: str, words: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.find(word), word) for word in words if word and word in text]
    if not found:
        return text, None
    at, word = min(found)
    return text[:at], word


def _usage(reply: Reply, text: str, question: Question, tokens: tuple[int, ...] | None) -> Usage:
    given = reply.usage if reply.usage is not None else tokens
    if given is not None:
        return given if isinstance(given, Usage) else Usage(*given)
    output = count_tokens(text)
    for name, arguments in reply.tool_calls:
        output += count_tokens(name + json.dumps(arguments))
    thought = 0 if reply.thinking is None else count_tokens(reply.thinking)
    return question.cached._replace(
        input_tokens=question.input_tokens,
        output_tokens=output + thought,
        reasoning_tokens=thought,
    )
