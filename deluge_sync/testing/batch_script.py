"""How the batches of a sandbox fare, and what is told of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional

ENDS = ("completed", "expired", "failed", "cancelled")

Failing = Callable[[str, str], Optional[int]]


@dataclass(frozen=True)
class BatchScript:
    """The life of every batch of a sandbox.

    A batch ends when it is looked at (not: listed) for the `polls`th time, as `end` says:
    "completed", "expired", "failed" (nothing is left of it; Anthropic, which cannot fail a batch,
    fails what is not done) or "cancelled". Up to then it does its requests in order, as many at
    each look; one that does not end "completed" does `share` of them (0 to 1) in all.

    `failing` is asked for each request, by its custom id and its prompt: a status makes it fail
    with that, None lets it be. `enqueued_tokens` is how much input the batches under way may have
    together; OpenAI fails a batch that is over it with `token_limit_exceeded` when it is first
    looked at, the others refuse it with a 429. `without_output`: completed, and no file is named.
    """

    polls: int = 2
    share: float = 1.0
    end: str = "completed"
    failing: Failing | None = None
    enqueued_tokens: int | None = None
    without_output: bool = False

    def __post_init__(self) -> None:
        if self.end not in ENDS:
            raise ValueError(f"end must be one of {', '.join(ENDS)}")
        if self.polls < 1:
            raise ValueError("polls must be at least 1")
        if not 0 <= self.share <= 1:
            raise ValueError("share must be between 0 and 1")


class BatchRecord(NamedTuple):
    """One creation of a batch. `name` is Google's display name; `metadata` what OpenAI's and
    Mistral's have; `wire` is "openai", "anthropic", "gemini" or "mistral"; `status` is "waiting",
    "running", "cancelling" or one of the ends of `BatchScript`; `created_at` is seconds since the
    epoch.
    """

    id: str
    wire: str
    name: str
    metadata: Mapping[str, Any]
    requests: int
    status: str
    created_at: float
