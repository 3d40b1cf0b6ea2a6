"""The order of steps of one request: key, shape, limits, fault, answer. Runs on the loop's thread.

A request is first checked (401, 404, 400), then admitted by the limiter (429), and only an admitted
one draws a fault, scripted or random. Requests that ask for no answer (models, token counts, files,
batches) pass the limiter by, and those to files and batches draw theirs before they are looked at.
What is refused is answered at once; what is admitted, after `delay`, and where it is asked for in
events, one event at a time.
"""

from __future__ import annotations

import hmac
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Union
from urllib.parse import parse_qs

from .answers import Answerer, Finished, Question
from .batch_pages import batch_page, is_batch_path
from .batches import BatchStore
from .checks import VendorError
from .codec import JSON_TYPE, dump_json, parse_json
from .connection import Connection, Counters, http_date
from .delivery import deliver, problem_of, status_of
from .faults import Fault, FaultPlan
from .file_pages import file_page, is_file_path, is_further_step
from .files import FileStore
from .http import Answer, Headers, Incoming, head
from .journal import Journal, Record
from .limiter import Admission, Limiter, Refusal
from .openai_responses import Kept
from .pages import Download, split_prefix
from .pages import Visit as PageVisit
from .streams import STREAM_TYPE, Stream, deliver_stream
from .wire import Route
from .wires import Wires

OWN_PATHS = "/_sandbox/"
Delay = Union[float, Callable[[Question], float]]
OnRequest = Callable[[str, str, str], None]

_log = logging.getLogger(__name__)


class Visit:
    """What is known of one request so far."""

    __slots__ = (
        "admission",
        "body",
        "fault",
        "finished",
        "incoming",
        "is_page",
        "kept",
        "page",
        "path",
        "query",
        "question",
        "route",
        "serial",
        "wire",
    )  # fmt: skip

    def __init__(self, serial: int, incoming: Incoming, wires: Wires) -> None:
        self.serial = serial
        self.incoming = incoming
        self.path, _, self.query = incoming.target.partition("?")
        self.wire = wires.of(incoming.method, self.path, incoming.headers)
        self.route: Route | None = None
        self.body: Any = None
        self.question: Question | None = None
        self.finished: Finished | None = None
        self.kept: Kept | None = None
        self.is_page = False
        self.page: Answer | Download | None = None
        self.admission: Admission | None = None
        self.fault: Fault | None = None


@dataclass(frozen=True)
class Policy:
    """The settings that are looked at per request. See `Sandbox` for what they mean."""

    api_key: str | None
    models: tuple[str, ...] | None
    delay: Delay
    event_delay: Delay
    strict: bool
    send_limit_headers: bool
    count_max_tokens: bool
    clock: Callable[[], float]
    on_request: OnRequest | None = None


class Service:
    """Answers requests. See the module for the order of steps."""

    def __init__(
        self,
        policy: Policy,
        *,
        wires: Wires,
        answerer: Answerer,
        files: FileStore,
        batches: BatchStore,
        limiter: Limiter,
        faults: FaultPlan,
        journal: Journal,
        counters: Counters,
    ) -> None:
        self._policy = policy
        self._wires = wires
        self._answerer = answerer
        self._files = files
        self._batches = batches
        self._limiter = limiter
        self._faults = faults
        self._journal = journal
        self._counters = counters
        self._serial = 0

    def handle(self, incoming: Incoming, connection: Connection) -> None:
        """Answer one request, now or later."""
        if incoming.target.startswith(OWN_PATHS):
            connection.deliver(self._own_page(incoming))
            return
        connection.count()
        visit = Visit(self._serial, incoming, self._wires)
        self._serial += 1
        self._tell(visit, "before")
        problem, seconds = None, 0.0
        try:
            seconds = self._work(visit)
        except VendorError as error:
            problem = error
        except Exception as error:  # an `answer` or `delay` of the user's that raises
            problem = _broken(error)
        self._tell(visit, "after")
        if problem is not None:
            self._refuse(visit, problem, connection)
        else:
            self._schedule(visit, connection, seconds)

    def _tell(self, visit: Visit, phase: str) -> None:
        if self._policy.on_request is None:
            return
        try:
            self._policy.on_request(visit.incoming.method, visit.path, phase)
        except Exception:  # whatever a test's hook raises, the server lives
            _log.exception("on_request failed")

    def _work(self, visit: Visit) -> float:
        """Do what is asked for; the seconds until it is answered."""
        self._examine(visit)
        self._admit(visit)
        visit.fault = fault = self._faults.next(_text(visit))
        if visit.is_page and (fault is None or fault.error_status is None):
            visit.page = self._page(visit)
        return self._seconds(visit)

    def _page(self, visit: Visit) -> Answer | Download:
        prefix, path = split_prefix(visit.path)
        query, now = parse_qs(visit.query), time.time()
        name, strict = visit.wire.name, self._policy.strict
        asked = PageVisit(visit.incoming, name, prefix, path, query, self._files, now, strict)
        if is_file_path(name, path):
            return file_page(asked)
        return batch_page(asked, self._batches)

    def _examine(self, visit: Visit) -> None:
        """Check key, path and body, and read the question."""
        policy, wire, headers = self._policy, visit.wire, visit.incoming.headers
        if policy.api_key is not None and not is_further_step(visit.path, visit.query):
            _check_key(wire.key(headers, visit.query), policy.api_key)
        path = split_prefix(visit.path)[1]
        visit.is_page = is_file_path(wire.name, path) or is_batch_path(wire.name, path)
        if visit.is_page:
            return
        visit.route = route = wire.route(visit.incoming.method, visit.path)
        model = route.model
        if route.operation in ("generate", "count"):
            visit.body = parse_json(visit.incoming)
            visit.question = wire.question(route, visit.body, headers, policy.strict)
            model = visit.question.model
        elif route.operation == "kept":
            kept = self._wires.responses.kept
            visit.kept = kept(route, visit.incoming.method, visit.query, time.time())
            visit.question = visit.kept.question
        if model is not None and policy.models is not None and model not in policy.models:
            raise wire.unknown_model(model)

    def _admit(self, visit: Visit) -> None:
        """Draw from the limits and find the answer's content."""
        question, route = visit.question, visit.route
        if question is None or route is None or route.operation != "generate":
            return
        most = (question.max_tokens or 0) if self._policy.count_max_tokens else 0
        verdict = self._limiter.admit(_amounts(question.input_tokens, most))
        if isinstance(verdict, Refusal):
            raise visit.wire.refused(verdict, question.model)
        visit.admission = verdict
        finish = getattr(visit.wire, "finish", self._answerer.finish)  # see `Computed`
        visit.finished = finish(question)

    def _refuse(self, visit: Visit, problem: VendorError, connection: Connection) -> None:
        self._record(visit, problem.status)
        connection.deliver(self._error(visit, problem))

    def _schedule(self, visit: Visit, connection: Connection, seconds: float) -> None:
        fault = visit.fault
        status = fault.error_status if fault is not None and fault.error_status else 200
        self._record(visit, status if fault is None else status_of(fault, status))
        if seconds > 0:
            connection.later(seconds, self._respond, visit, connection)
        else:
            self._respond(visit, connection)

    def _seconds(self, visit: Visit) -> float:
        delay = self._policy.delay
        if callable(delay):
            delay = delay(visit.question) if visit.question is not None else 0.0
        fault = visit.fault
        return delay + fault.seconds if fault is not None and fault.kind == "delay" else delay

    def _respond(self, visit: Visit, connection: Connection) -> None:
        fault = visit.fault
        status = fault.error_status if fault is not None else None
        if fault is not None and status is not None:
            if visit.admission:
                self._limiter.settle(visit.admission, _amounts(0, 0))
            deliver(connection, self._error(visit, problem_of(fault, status, visit.wire)), fault)
            return
        if fault is None or fault.kind != "black_hole":
            self._settle(visit)
        good = self._good(visit)
        if isinstance(good, Stream):
            deliver_stream(connection, good, fault)
        elif isinstance(good, Download):
            _send(connection, good) if fault is None else deliver(connection, good.whole(), fault)
        elif fault is not None:
            deliver(connection, good, fault)
        else:
            connection.deliver(good)

    def _settle(self, visit: Visit) -> None:
        if visit.admission and visit.finished is not None:
            usage = visit.finished.usage
            # What is read from the cache does not count against the limits (Anthropic's rule).
            fresh = usage.input_tokens - usage.cache_read_tokens
            self._limiter.settle(visit.admission, _amounts(fresh, usage.output_tokens))

    def _good(self, visit: Visit) -> Answer | Download | Stream:
        if visit.page is not None:
            headers = (*visit.page.headers, *self._headers(visit)[1:])
            return visit.page._replace(headers=headers)
        try:
            events = self._events(visit)
            if events is not None and visit.question is not None:
                return self._stream(visit, visit.question, events)
            return Answer(200, self._headers(visit), dump_json(self._body(visit)))
        except Exception as error:  # a user's `Reply` that cannot be put into JSON
            return self._error(visit, _broken(error))

    def _events(self, visit: Visit) -> list[bytes] | None:
        """The answer in events, where it was asked for so."""
        if visit.kept is not None:
            return visit.kept.events
        question, finished = visit.question, visit.finished
        if finished is None or question is None or not question.stream:
            return None
        return visit.wire.stream(question, finished, visit.serial, time.time())

    def _stream(self, visit: Visit, question: Question, events: list[bytes]) -> Stream:
        wire, fault, problem = visit.wire, visit.fault, b""
        if fault is not None and fault.kind == "stream_error":
            status = fault.status or 500
            problem = wire.stream_problem(problem_of(fault, status, wire), visit.serial)
        kind = getattr(wire, "stream_type", STREAM_TYPE)  # Bedrock's frames are no text
        headers = (kind, *self._headers(visit)[1:])
        return Stream(headers, events, self._pause(question), problem)

    def _pause(self, question: Question) -> Callable[[], float] | None:
        delay = self._policy.event_delay
        if callable(delay):
            return partial(delay, question)
        return (lambda: delay) if delay > 0 else None

    def _body(self, visit: Visit) -> Any:
        wire, route = visit.wire, visit.route
        assert route is not None
        if visit.kept is not None:
            return visit.kept.body
        if visit.finished is not None and visit.question is not None:
            return wire.answer(visit.question, visit.finished, visit.serial, time.time())
        if visit.question is not None:
            return wire.count(visit.question)
        if route.operation == "models":
            return wire.models(self._policy.models or ("echo", "fixed", "template"))
        return wire.model(route.model or "")

    def _error(self, visit: Visit, problem: VendorError) -> Answer:
        body, headers = visit.wire.problem(problem, visit.serial)
        headers = (*self._headers(visit), *headers, *problem.headers)
        return Answer(problem.status, headers, dump_json(body))

    def _headers(self, visit: Visit) -> Headers:
        states = self._limiter.states() if self._policy.send_limit_headers else ()
        return (JSON_TYPE, *visit.wire.headers(visit.serial, states, time.time()))

    def _record(self, visit: Visit, status: int | None) -> None:
        incoming, question = visit.incoming, visit.question
        self._journal.add(
            Record(
                visit.serial,
                self._policy.clock(),
                incoming.method,
                visit.path,
                incoming.headers,
                visit.body,
                question.prompt if question is not None else None,
                question.model if question is not None else None,
                visit.wire.name,
                visit.wire.key(incoming.headers, visit.query) is not None,
                visit.fault.kind if visit.fault is not None else None,
                status,
            )
        )

    def _own_page(self, incoming: Incoming) -> Answer:
        path, _, query = incoming.target.partition("?")
        body: Any
        if path == OWN_PATHS + "journal":
            since = parse_qs(query).get("since", ["0"])[0]
            start = int(since) if since.isdecimal() else 0
            body = [record.as_json() for record in self._journal.snapshot(start)]
        elif path == OWN_PATHS + "stats":
            body = {**self._journal.stats(), **vars(self._counters)}
        else:
            return Answer(404, (JSON_TYPE,), dump_json({"error": f"no page {path}"}))
        return Answer(200, (JSON_TYPE,), dump_json(body))


def _text(visit: Visit) -> str:
    """What the `match` of a fault is sought in."""
    if visit.question is not None:
        return visit.question.prompt
    return f"{visit.incoming.method} {visit.path}"


def _send(connection: Connection, download: Download) -> None:
    headers = (*download.headers, ("transfer-encoding", "chunked"))
    connection.send(head(200, headers, None, date=http_date(), close=connection.closes))
    connection.send_all(download.chunks())


def _broken(error: Exception) -> VendorError:
    return VendorError(500, f"the sandbox failed: {type(error).__name__}: {error}")


def _check_key(key: str | None, expected: str) -> None:
    if key is None:
        raise VendorError(401, "You didn't provide an API key.")
    if not hmac.compare_digest(key.encode(), expected.encode()):
        raise VendorError(401, "Incorrect API key provided.")


def _amounts(input_tokens: int, output_tokens: int) -> dict[str, float]:
    return {
        "requests": 1,
        "tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
