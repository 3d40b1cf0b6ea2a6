"""Prompts as the requests of a batch, and what was answered as responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

from ..cache import Answers
from ..call import AnyCall, Call, CallRoute
from ..outcome import Parse, Postprocess, attach, parsed_of, postprocessed
from ..outlay import ceiling, cost_of
from ..values.errors import CallError, DelugeError, PromptError
from ..values.plain import answer_from_plain, answer_to_plain
from ..values.response import Answer, Response
from ..values.wire import HttpResponse
from .entries import Prepared
from .results import Shown
from .spool import restored_prompt


class PromptKind:
    """Prompts, of which `prepare(prompt, index)` makes calls."""

    word = "prompt"

    def __init__(self, prepare: Callable[[Any, int], AnyCall], route: CallRoute) -> None:
        self._prepare = prepare
        self._route = route

    def prepared(self, item: Any, index: int) -> Prepared:
        """The request of one; see `Kind`."""
        call = self._prepare(item, index)
        assert isinstance(call, Call)  # as the client has one model
        model = self._route.model

        def most() -> float:
            return ceiling(call.http, call.request, model, batch=True)

        return Prepared(call.http, call.weights["input_tokens"], most, call.key)

    def found(self, keys: Iterable[str]) -> dict[str, Any]:
        """Answers of the cache, as they are written down."""
        answers = self._route.answers
        found = {} if answers is None else answers.find(keys)
        return {key: answer_to_plain(one) for key, one in found.items() if one.error is None}


class PromptReader:
    """Makes responses of what was answered; see `Reader`. Good answers go into the cache."""

    def __init__(
        self,
        route: CallRoute,
        *,
        parse: Parse | None,
        postprocess: Postprocess | None,
        answers: Answers | None,
    ) -> None:
        self._route = route
        self._parse = parse
        self._postprocess = postprocess
        self._answers = answers

    def answered(self, response: HttpResponse, shown: Shown) -> Response:
        """The response of an answer as a live call has it."""
        model = self._route.model
        try:
            answer = self._route.adapter.decode(response, model)
        except CallError as error:
            return self.failed(error, shown)
        if self._answers is not None and shown.key is not None:
            self._answers.keep(shown.key, answer, tags=(f"model:{model.name}",))
        request_id = self._route.adapter.request_id(response)
        return self._response(answer, shown, request_id=request_id)

    def cached(self, answer: Any, shown: Shown) -> Response:
        """The response of what the cache had."""
        return self._response(answer_from_plain(answer), shown, cached=True)

    def failed(self, error: DelugeError, shown: Shown) -> Response:
        """The response of what has no answer."""
        sent = not isinstance(error, PromptError)
        response = Response(
            model=self._route.model.name,
            prompt=restored_prompt(shown.prompt),
            index=shown.position,
            error=error,
            attempts=1 if sent else 0,
            request_id=error.request_id,
        )
        attach(error, response)
        return response

    def alone(self) -> PromptReader:
        """One that touches nothing else; see `Reader`."""
        return PromptReader(self._route, parse=None, postprocess=None, answers=None)

    def is_answer(self, response: Response) -> bool:
        """Whether there is an answer."""
        return response.content is not None

    def _response(
        self, answer: Answer, shown: Shown, *, request_id: str | None = None, cached: bool = False
    ) -> Response:
        model = self._route.model
        parsed, problem = parsed_of(answer, self._parse)
        cost = cost_of(answer, model, batch=not cached)
        response = Response(
            model=model.name,
            prompt=restored_prompt(shown.prompt),
            index=shown.position,
            content=answer.content.coming_over(self._route.wire, model.name),
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            cost=0.0 if cached else cost,
            error=answer.error or problem,
            attempts=0 if cached else 1,
            cached=cached,
            saved_cost=cost if cached else None,
            request_id=request_id or answer.response_id,
            response_id=answer.response_id,
            parsed=parsed,
            logprobs=answer.logprobs,
            service_tier=answer.service_tier,
        )
        attach(response.error, response)
        return postprocessed(response, self._postprocess)
