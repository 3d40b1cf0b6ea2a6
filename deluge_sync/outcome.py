"""From an answer to the response that the caller gets."""

from __future__ import annotations

from typing import Any, Callable

from .values.errors import DelugeError, OutputError, PostprocessError
from .values.response import PAUSED, Answer, Response

Parse = Callable[[str], Any]
Postprocess = Callable[[Response], Response]


def parsed_of(answer: Answer, parse: Parse | None) -> tuple[Any, OutputError | None]:
    """The object that an answer was to be, and what is wrong with it as one; both None where none
    was asked for, or where it says nothing yet: it calls tools, pauses or is being worked on.
    """
    if parse is None or answer.error is not None or answer.pending is not None:
        return None, None
    if answer.content.tool_calls or answer.finish_reason == PAUSED:
        return None, None
    try:
        return parse(answer.content.text or ""), None
    except OutputError as problem:
        if answer.finish_reason != "length":
            return None, problem
    return None, OutputError("the answer was cut off by its length: raise max_new_tokens")


def attach(error: DelugeError | None, response: Response) -> None:
    """Have `error` know its response, and keep nothing else in memory."""
    if error is not None:
        error.response = response
        forget_frames(error)


def postprocessed(response: Response, postprocess: Postprocess | None) -> Response:
    """A good response as the caller's own function changes it."""
    if postprocess is None or response.error is not None:
        return response
    error: PostprocessError
    try:
        changed = postprocess(response)
    except Exception as cause:
        error = PostprocessError(f"postprocess raised {type(cause).__name__}: {cause}")
        error.__cause__ = cause
    else:
        if isinstance(changed, Response):
            same = changed.index == response.index
            return changed if same else changed.replace(index=response.index)
        error = PostprocessError(
            f"postprocess must return a Response, not {type(changed).__name__}: "
            "change one with response.replace(...)"
        )
    error.response = response
    return response.replace(error=error)


def forget_frames(error: BaseException) -> None:
    """Take the tracebacks off `error` and its causes: their frames keep the call in memory."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
