"""OpenAI: `POST /v1/responses`, what is kept of it, and runs in the background.

Fields and shapes as in the openai SDK 3.54 (`resources/responses`); what a cancelled, an unknown
or a changed thing is answered with is worded as OpenAI's API words it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional
from urllib.parse import parse_qs

from .answers import Finished, Question, count_tokens
from .checks import VendorError
from .codec import event
from .openai_chat import OpenAIChat, _require
from .openai_responses_fields import (
    CALLS,
    Input,
    check_body,
    check_calls,
    check_followers,
    read_input,
    wanted_schema,
)
from .responses_answers import (
    ENCRYPTED,
    LOGPROBS,
    events,
    frame,
    is_genuine,
    response,
    response_id,
)
from .wire import Body, Route

_PATH = "/v1/responses"
_RUNNING = ("queued", "in_progress")


@dataclass
class Run:
    """A response that is kept, and how far it is; `looks` counts those at it so far."""

    question: Question
    finished: Finished
    serial: int
    began: float
    looks: int = 0
    cancelled: bool = False


class Kept(NamedTuple):
    """What is answered about a kept response: a body, or events."""

    question: Question
    body: Body
    events: Optional[list[bytes]] = None


class OpenAIResponses(OpenAIChat):
    """See `Wire`. Unlike the others it remembers: the responses it gave, by id.

    A run in the background is done at the look number `background_polls` and not before
    `background_seconds` have gone by since it began. Used on the loop's thread only.
    """

    name = "openai_responses"

    def __init__(self, background_polls: int = 2, background_seconds: float = 0.0) -> None:
        self._polls = background_polls
        self._seconds = background_seconds
        self._runs: dict[str, Run] = {}

    def route(self, method: str, path: str) -> Route:
        """See `Wire`. What is about a kept response is "kept"; its id is known to be one."""
        if path in (_PATH, _PATH + "/input_tokens"):
            _require(method, "POST", path)
            return Route("generate" if path == _PATH else "count")
        identity, slash, action = path[len(_PATH) + 1 :].partition("/")
        if action not in ("", "cancel") or (slash and not action):
            raise VendorError(404, f"Invalid URL ({method} {path})", kind="invalid_request_error")
        if action:
            _require(method, "POST", path)
        elif method != "DELETE":
            _require(method, "GET", path)
        if identity not in self._runs:
            message = f"Response with id '{identity}' not found."
            raise VendorError(404, message, kind="invalid_request_error")
        return Route("kept", self._runs[identity].question.model, identity)

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        check_body(body, counting=route.operation == "count", strict=strict)
        given = read_input(body, strict)
        before = self._before(body.get("previous_response_id"))
        check_calls(given, self._called(before))
        _check_reasoning(given)
        check_followers(body.get("input"))
        _check_background(body)
        turns = (*_turns(before), *given.turns)
        tokens = before.finished.usage.total_tokens if before is not None else 0
        return Question(
            self.name,
            body.get("model") or "",
            next((said for role, said in reversed(turns) if role == "user"), ""),
            given.system,
            turns,
            tokens + count_tokens(given.text),
            body.get("max_output_tokens"),
            (),
            body,
            bool(body.get("stream")),
            schema=wanted_schema(body, given),
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        self._keep(question, finished, serial, now)
        if question.body.get("background"):
            return frame(question, serial, now, "queued")
        return response(question, finished, serial, now)

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`."""
        self._keep(question, finished, serial, now)
        return [_event(body) for body in events(question, finished, serial, now)]

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """See `Wire`."""
        error = self.problem(problem, serial)[0]["error"]
        told = {name: error[name] for name in ("code", "message", "param")}
        return _event({"type": "error", **told, "sequence_number": 0})

    def count(self, question: Question) -> Body:
        """See `Wire`."""
        return {"object": "response.input_tokens", "input_tokens": question.input_tokens}

    def kept(self, route: Route, method: str, query: str, now: float) -> Kept:
        """What is answered to a request about a kept response; `query` is the URL's."""
        assert route.kept is not None
        run, asked = self._runs[route.kept], parse_qs(query)
        if method == "DELETE":
            del self._runs[route.kept]
            gone = {"id": route.kept, "object": "response", "deleted": True}
            return Kept(run.question, gone)
        if method == "POST":
            return Kept(run.question, self._cancel(run, now))
        if asked.get("stream") == ["true"]:
            return Kept(run.question, {}, _events_after(run, asked))
        run.looks += 1
        include = asked.get("include[]", []) + asked.get("include", [])
        return Kept(run.question, _as_asked(self._body(run, now), include))

    def forget(self, serial: int) -> None:
        """Do not keep the answer to request `serial` any longer."""
        self._runs.pop(response_id(serial), None)

    def _keep(self, question: Question, finished: Finished, serial: int, now: float) -> None:
        if question.body.get("store") is not False:
            self._runs[response_id(serial)] = Run(question, finished, serial, now)

    def _before(self, identity: str | None) -> Run | None:
        if identity is None:
            return None
        if identity not in self._runs:
            raise VendorError(
                400,
                f"Previous response with id '{identity}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return self._runs[identity]

    def _called(self, run: Run | None) -> tuple[Body, ...]:
        """The calls of tools in `run` and in what is kept from before it."""
        called: list[Body] = []
        while run is not None:
            output = response(run.question, run.finished, run.serial, run.began)["output"]
            called += [item for item in output if item["type"] in CALLS]
            run = self._runs.get(run.question.body.get("previous_response_id") or "")
        return tuple(called)

    def _status(self, run: Run, now: float) -> str:
        """One of the vendor's words, or "done" at the end, whichever that is."""
        if run.cancelled:
            return "cancelled"
        if not run.question.body.get("background"):
            return "done"
        if run.looks >= self._polls and now - run.began >= self._seconds:
            return "done"
        return "in_progress" if run.looks else "queued"

    def _body(self, run: Run, now: float) -> Body:
        status = self._status(run, now)
        if status == "done":
            return response(run.question, run.finished, run.serial, run.began)
        return frame(run.question, run.serial, run.began, status)

    def _cancel(self, run: Run, now: float) -> Body:
        if not run.question.body.get("background"):
            message = "Only responses created with background=true can be cancelled."
            raise VendorError(400, message, kind="invalid_request_error")
        run.cancelled = run.cancelled or self._status(run, now) in _RUNNING
        return self._body(run, now)


def _events_after(run: Run, asked: Mapping[str, list[str]]) -> list[bytes]:
    if not (run.question.stream and run.question.body.get("background")):
        message = "Only responses created with background=true and stream=true can be streamed."
        raise VendorError(400, message, param="stream")
    number = asked.get("starting_after", ["-1"])[0]
    if not number.lstrip("-").isdecimal():
        raise VendorError(400, "Invalid value for 'starting_after'.", param="starting_after")
    bodies = events(run.question, run.finished, run.serial, run.began)
    return [_event(body) for body in bodies if body["sequence_number"] > int(number)]


def _as_asked(body: Body, include: list[str]) -> Body:
    """`body` without what a GET gives only to who includes it."""
    output = []
    for item in body["output"]:
        if item["type"] == "reasoning" and ENCRYPTED not in include:
            item = {**item, "encrypted_content": None}
        elif item["type"] == "message" and LOGPROBS not in include:
            item = {**item, "content": [_without_logprobs(part) for part in item["content"]]}
        output.append(item)
    return {**body, "output": output}


def _without_logprobs(part: Body) -> Body:
    return {**part, "logprobs": []} if "logprobs" in part else part


def _event(body: Body) -> bytes:
    return event(body, body["type"])


def _turns(run: Run | None) -> tuple[tuple[str, str], ...]:
    return () if run is None else (*run.question.turns, ("assistant", run.finished.text))


def _check_reasoning(given: Input) -> None:
    for at, item in given.reasoning:
        if item.get("encrypted_content") is not None and not is_genuine(item):
            raise VendorError(
                400,
                f"The encrypted content for item {item['id']} could not be verified. "
                "Reason: Encrypted content could not be decrypted or parsed.",
                param=f"input[{at}].encrypted_content",
                code="invalid_encrypted_content",
            )


def _check_background(body: Mapping[str, Any]) -> None:
    window = (body.get("background_options") or {}).get("completion_window") or "soonest"
    background = body.get("background")
    if background and body.get("store") is False:
        raise VendorError(400, "Background mode requires store=true.", param="store")
    if window == "soonest":
        return
    if not background or body.get("stream"):
        message = f"completion_window '{window}' requires background=true and no stream."
        raise VendorError(400, message, param="background_options.completion_window")
    if body.get("service_tier") not in (None, "auto", "default"):
        message = f"completion_window '{window}' requires Standard processing."
        raise VendorError(400, message, param="service_tier")
