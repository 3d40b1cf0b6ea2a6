"""Every error of the library.

    DelugeError
      ConfigError             (also ValueError) a setting, YAML file, key or argument is wrong
        UnknownModelError
        MissingKeyError
        JournalError          this journal cannot be continued
          JournalInUseError   another run is writing it
        BatchError            there is no such batch job, or it cannot be made or continued
      PromptError             (also TypeError) this prompt cannot be sent
      CallError               one call failed
        ThrottledError        429: too fast; retried, does not use up attempts
        TransientError        5xx, overload, lost connections; retried
          ConnectionFailedError
        DecodeError           the answer could not be read; retried
        OutputError           the answer is not the JSON that was asked for
        ResponseTooLargeError
        BadRequestError       400, 422 and their like; never retried
          TooLongError        prompt or output does not fit the model
          NotFoundError       404: wrong model or path
        AuthError             401, 403
        QuotaExhaustedError   out of credit or over a spending limit; never retried
        RefusalError          the model or its safety filter declined
        DeadlineExceededError (also TimeoutError)
        CallCancelledError
        ForkedError           the process forked while this call was under way
        EmbedError            some texts have no vector; `responses` has what came in
        PostprocessError      the caller's own `postprocess` raised
        BudgetExceeded        the worst case of this call does not fit what is left of `max_cost`
      ToolError               a tool failed; the message is for the model to read
        ToolChangedError      an MCP server's tool is not what was accepted

Every error carries ``kind`` (a stable word for logs and statistics), ``retryable``,
``retry_after`` (seconds or None), ``request_id``, ``status`` (HTTP, or None) and ``code`` (the
vendor's own word, or None). They pickle, and hold no secrets.
"""

from __future__ import annotations

from typing import Any


class DelugeError(Exception):
    """Base of all errors raised by this library."""

    kind = "error"
    retryable = False
    retry_after: float | None = None
    request_id: str | None = None
    status: int | None = None
    code: str | None = None
    response: Any = None
    """The `Response` this error belongs to, where one was built (it holds usage and cost)."""
    conversation: Any = None
    """The `Conversation` as far as it came, where an agent loop failed: it can be sent again."""

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in facts.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no fact named {name!r}")
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message), self.__dict__)


def _rebuild(cls: type[DelugeError], message: str) -> DelugeError:
    return cls(message)


class ConfigError(DelugeError, ValueError):
    """A setting is wrong; the message names the field and, where there is one, the fix."""

    kind = "config"


class UnknownModelError(ConfigError):
    """No such model or provider in the catalog."""


class MissingKeyError(ConfigError):
    """No API key: neither an argument nor one of the provider's environment variables."""


class JournalError(ConfigError):
    """A journal is not one, is of another run, is in use, or cannot be written."""

    kind = "journal"


class JournalInUseError(JournalError):
    """Another run, of this process or of another, is writing this journal."""


class BatchError(ConfigError):
    """A batch job is not there, cannot be continued, or cannot be made at this provider."""

    kind = "batch"


class PromptError(DelugeError, TypeError):
    """This value cannot be made into a prompt."""

    kind = "prompt"


class CallError(DelugeError):
    """One call failed.

    `may_have_been_sent` is False where it failed before its request was on the wire.
    """

    may_have_been_sent = True


class ThrottledError(CallError):
    """The server said: too fast."""

    kind = "throttled"
    retryable = True


class TransientError(CallError):
    """The server or the network failed; the same request may well succeed."""

    kind = "transient"
    retryable = True


class ConnectionFailedError(TransientError):
    """No connection, or it broke before the whole answer was read."""

    kind = "connection"


class DecodeError(CallError):
    """An answer came that cannot be read."""

    kind = "decode"
    retryable = True


class OutputError(CallError):
    """An answer came, but not the JSON that was asked for, or it does not fit its schema.

    The message, of at most 500 characters, holds the first of `problems`, which name the fields:
    "people[2].age: 'x' is not an integer".
    """

    kind = "output"
    problems: tuple[str, ...] = ()


class ResponseTooLargeError(CallError):
    """The answer is larger than the cap; reading stopped there."""

    kind = "too_large"


class BadRequestError(CallError):
    """The server does not take this request; it would not take it again either."""

    kind = "bad_request"


class TooLongError(BadRequestError):
    """Prompt and output together do not fit the model's window."""

    kind = "too_long"


class NotFoundError(BadRequestError):
    """No such model, deployment or path on that server."""

    kind = "not_found"


class AuthError(CallError):
    """The key is wrong, or may not do this."""

    kind = "auth"


class QuotaExhaustedError(CallError):
    """Out of credit, or over a spending limit: waiting does not help."""

    kind = "quota_exhausted"


class RefusalError(CallError):
    """The model, or a safety filter before or after it, declined to answer."""

    kind = "refusal"


class DeadlineExceededError(CallError, TimeoutError):
    """The call's time was up; the message says what it was waiting for."""

    kind = "deadline"


class CallCancelledError(CallError):
    """The caller, Ctrl-C or the end of the program stopped this call."""

    kind = "cancelled"


class ForkedError(CallError):
    """The process forked while this call was under way: its thread stayed in the parent."""

    kind = "forked"


class EmbedError(CallError):
    """Some texts have no vector: those at `positions`. `responses` has every `EmbedResponse`, the
    good ones too, so that nothing that was paid for is lost.
    """

    kind = "embed"
    positions: tuple[int, ...] = ()
    responses: tuple[Any, ...] = ()


class PostprocessError(CallError):
    """The caller's `postprocess` raised; the answer itself is on `response`."""

    kind = "postprocess"


class BudgetExceeded(CallError):  # noqa: N818  (the word people look for)
    """What this call may cost at worst does not fit what is left of `max_cost`; it was not sent."""

    kind = "budget"


class ToolError(DelugeError):
    """A tool failed; the message is for the model to read."""

    kind = "tool"


class ToolChangedError(ToolError):
    """An MCP server's tool is new or not what was accepted; `changes` has a line for each."""

    kind = "tool_changed"
    changes: tuple[str, ...] = ()


class DelugeWarning(UserWarning):
    """Something was left out or is about to change; the call goes on."""
