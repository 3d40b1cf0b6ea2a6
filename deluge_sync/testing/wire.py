"""What a wire format has to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Optional, Protocol

from .answers import Finished, Question
from .checks import VendorError
from .http import Headers
from .limiter import LimitState, Refusal

Body = dict[str, Any]


class Route(NamedTuple):
    """What a path asks for: "generate", "count", "models", "model" or "kept"; and the ids in the
    path: of a `model`, or of a response that is `kept`.
    """

    operation: str
    model: Optional[str] = None
    kept: Optional[str] = None


class Wire(Protocol):
    """One vendor's API, as pure functions. `serial` numbers requests from 0."""

    name: str

    def route(self, method: str, path: str) -> Route:
        """What is asked for. Raises a 404 or 405 `VendorError`."""

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """The API key that came with the request."""

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """The question in `body`. Raises the `VendorError` the vendor would answer with."""

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """The body of a good answer. `now` is seconds since the epoch."""

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """The events of a good answer that was asked for as a stream, each as it is sent."""

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """The error event of a stream that had begun well, as it is sent."""

    def count(self, question: Question) -> Body:
        """The body of a token count."""

    def models(self, ids: Iterable[str]) -> Body:
        """The list of models."""

    def model(self, model_id: str) -> Body:
        """One model."""

    def unknown_model(self, model_id: str) -> VendorError:
        """No model has that id."""

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """The limiter's refusal as the vendor's 429."""

    def out_of_quota(self) -> VendorError:
        """The 429 that means no money left, not too fast."""

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """Body and extra headers of an error."""

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """Headers of every answer: the request's id, and how the limits stand."""
