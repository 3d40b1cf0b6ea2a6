"""Prompts as the requests of a batch, and what was answered as responses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from ..adapters.base import BatchAdapter
from ..cache import Answers
from ..call import AnyCall, Call, CallRoute
from ..outcome import Parse, Postprocess, attach, parsed_of, postprocessed
from ..outlay import ceiling, cost_of
from ..values.errors import BatchError, BudgetExceeded, CallError, DelugeError, PromptError
from ..values.plain import answer_from_plain, answer_to_plain
from ..values.response import Answer, Response
from ..values.wire import HttpResponse
from .results import Shown
from .spool import Entry, restored_prompt, shown_prompt

logger = logging.getLogger(__name__)

LOOKUPS = 64
"""Prompts looked up in the cache at once."""


class PromptEntries:
    """Makes an entry of each prompt; nothing is sent.

    `prepare(prompt, index)` makes a call of one. What is wrong with a prompt becomes its outcome;
    a request may have `most_bytes`. `most_cost` is US dollars that all may cost at worst, None for
    any amount, and `worst` what they may.
    """

    def __init__(
        self,
        prepare: Callable[[Any, int], AnyCall],
        adapter: BatchAdapter,
        route: CallRoute,
        *,
        tag: str,
        most_bytes: int,
        most_cost: float | None,
    ) -> None:
        self._prepare = prepare
        self._adapter = adapter
        self._route = route
        self._tag = tag
        self._most_bytes = most_bytes
        self._most_cost = most_cost
        self.worst = 0.0
        self._shared: tuple[str, ...] | None = None
        self._problem: PromptError | None = None
        self._answered = False

    def of(self, prompts: Iterable[Any]) -> Iterator[Entry]:
        """The entries of all prompts, in their order."""
        waiting: list[tuple[Entry, Call | None]] = []
        for index, prompt in enumerate(prompts):
            waiting.append(self._entry(index, prompt))
            if len(waiting) >= LOOKUPS:
                yield from self._looked_up(waiting)
                waiting.clear()
        yield from self._looked_up(waiting)

    def about_all(self) -> dict[str, Any]:
        """What all requests share; see `Entries`."""
        if self._shared is None and self._problem is not None and not self._answered:
            raise self._problem
        return {"shared": list(self._shared or ())}

    def _refuse(self, problem: PromptError) -> None:
        logger.warning("%s", problem.message)
        self._problem = self._problem or problem

    def _entry(self, index: int, prompt: Any) -> tuple[Entry, Call | None]:
        shown: dict[str, Any] = {"prompt": shown_prompt(prompt)}
        try:
            call = self._prepare(prompt, index)
            assert isinstance(call, Call)  # as the client has one model
            line = self._line(call, index)
        except PromptError as error:
            problem = PromptError(f"prompt {index}: {error.message}")
            self._refuse(problem)
            return Entry(shown, outcome={"index": index, "error": problem.message}), None
        if call.key is not None:
            shown["key"] = call.key
        return Entry(shown, line, call.weights["input_tokens"]), call

    def _line(self, call: Call, index: int) -> bytes:
        line = self._adapter.line(f"{self._tag}-{index}", call.http, self._route.model)
        if len(line) > self._most_bytes:
            raise PromptError(
                f"its request has {len(line):,} bytes, and {self._route.model.provider.name} takes "
                f"at most {self._most_bytes:,} in a batch"
            )
        shared = self._adapter.shared(call.http, self._route.model)
        if self._shared is None:
            self._shared = shared
        if shared != self._shared:
            raise BatchError(
                f"prompt {index} asks {', '.join(shared)}, and those before it "
                f"{', '.join(self._shared)}: a batch job has one model and endpoint"
            )
        return line

    def _looked_up(self, waiting: list[tuple[Entry, Call | None]]) -> Iterator[Entry]:
        """The entries, those that the cache can answer with their answers."""
        answers = self._route.answers
        keys = [key for _, call in waiting if call is not None for key in call.keys]
        found = {} if answers is None or not keys else answers.find(keys)
        for entry, call in waiting:
            answer = None if call is None else call.find_in(found)
            if call is not None and answer is not None and answer.error is None:
                self._answered = True
                plain = answer_to_plain(answer)
                yield Entry(entry.shown, outcome={"index": call.index, "answer": plain})
            else:
                if call is not None:
                    self._count_cost(call)
                yield entry

    def _count_cost(self, call: Call) -> None:
        if self._most_cost is None:
            return
        self.worst += ceiling(call.http, call.request, self._route.model, batch=True)
        if self.worst > self._most_cost:
            raise BudgetExceeded(
                f"the prompts up to number {call.index} may cost up to ${self.worst:.6f}, which is "
                f"above max_cost=${self._most_cost:g}; nothing was submitted"
            )


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
