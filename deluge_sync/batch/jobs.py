"""The batch jobs of one client: made, found again, waited for."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, Optional, Union

from ..adapters import BATCHES, EmbedAdapter
from ..call import AnyCall
from ..embeddings.records import VectorCache
from ..embeddings.start import EmbedOptions, request_of
from ..engine.budget import Budget
from ..engine.cancellation import Cancellation
from ..engine.clock import monotonic
from ..options import CallOptions, kind_of
from ..outcome import Parse, Postprocess
from ..plan import Plan
from ..route import Route
from ..routes import Routes
from ..rows import params_digest
from ..settings import Settings, check_seconds
from ..values.embedding import EmbedRequest
from ..values.errors import BatchError, ConfigError, DelugeError
from ..values.model import BatchApi, Model
from .entries import Kind, RequestEntries
from .folder import JobFolder, new_job_id
from .job import LONGEST_TURN, BatchJob, BatchStatus, Desk, status_of
from .ledger import Header, Ledger
from .prompts import PromptKind, PromptReader
from .results import Reader
from .spool import Limits
from .texts import TextKind, TextReader

LEAST_WAIT = 0.001
"""Seconds: one look at a job, when the time is up."""

AnyJob = Union[BatchJob, str]


class Work(NamedTuple):
    """What a job is to do: items of one `kind`, over one route. `asked` is what reading the answers
    needs to know on another day; `sent` all that decides them beside the items.
    """

    kind: Kind
    route: Route[Any]
    asked: Optional[Mapping[str, Any]]
    sent: Mapping[str, Any]
    parse: Optional[Parse] = None


class BatchJobs:
    """The batch jobs in `folder`, worked on over `routes`.

    `models` are the client's; `find_model` gives any other by its name.
    """

    def __init__(
        self,
        folder: JobFolder,
        routes: Callable[[], Routes],
        cancellation: Callable[[], Cancellation],
        models: tuple[Model, ...],
        find_model: Callable[[str], Model],
        *,
        postprocess: Postprocess | None = None,
        style: str = "none",
    ) -> None:
        self._folder = folder
        self._routes = routes
        self._cancellation = cancellation
        self._models = models
        self._find_model = find_model
        self._postprocess = postprocess
        self._style = style

    def submit(
        self,
        items: Iterable[Any],
        work: Work,
        *,
        batch_size: int,
        job_id: str | None,
        max_enqueued_tokens: float | None,
        budget: Budget | None,
    ) -> BatchJob:
        """See `Client.submit_batch_job`; `budget` is what the answers may cost."""
        route = work.route
        api = batch_api(route.model)
        adapter = BATCHES[api.wire]
        header = Header(
            job=new_job_id() if job_id is None else job_id,
            tag=secrets.token_hex(6),
            model=route.model.name,
            wire=route.wire,
            server=route.keys.server,
            owner=route.keys.owner,
            created_at=round(time.time(), 3),
            kind=work.kind.word,
            asked=work.asked,
            digest=params_digest(work.sent),
        )
        ledger = self._folder.ledger(header.job)
        header = self._begun(ledger, header)
        entries = RequestEntries(
            work.kind,
            adapter,
            route.model,
            tag=header.tag,
            most_bytes=api.max_request_bytes or api.max_bytes,
            most_cost=None if budget is None else budget.left,
        )
        limits = Limits(
            min(batch_size, api.max_requests),
            api.max_bytes,
            max_enqueued_tokens or api.max_enqueued_tokens,
        )
        job = self._job(ledger, work.parse)
        try:
            job.begin(entries, items, limits)
        except DelugeError as error:
            if ledger.exists() and not isinstance(error, ConfigError):  # those say it
                error.message = (
                    f"{error.message} (the batch job {header.job!r} keeps what is done; go on with "
                    "it: attach_batch_job, or submit with that job_id)"
                )
                error.args = (error.message,)
            raise
        finally:
            if budget is not None and ledger.exists():
                budget.book(entries.worst)
        return job

    def prompts(self, plan: Plan, sent: Mapping[str, Any]) -> Work:
        """Prompts that are asked for by `plan`; `sent` is all else that decides the answers."""
        self._check_one_model()

        def prepare(prompt: Any, index: int) -> AnyCall:
            return plan.call(prompt, cancellation=self._cancellation(), index=index)

        route = plan.route()
        asked = {"output": sent["output"]} if "output" in sent else None
        return Work(PromptKind(prepare, route), route, asked, sent, plan.options.parse)

    def texts(self, asked: EmbedOptions, settings: Settings) -> Work:
        """Texts that are to be embedded."""
        self._check_one_model()
        request = request_of(asked, settings)
        route = self._routes().embedder(self._models[0])
        route.adapter.encode(request._replace(texts=("x",)), route.model)  # raises what is wrong
        cache = _vectors(route, request) if asked.use_cache else None
        said = {"dimensions": asked.dimensions, "input_type": asked.input_type}
        sent = {**said, "extra_body": settings.extra_body}
        return Work(TextKind(route, request, cache), route, said, sent)

    def attach(self, job_id: str, options: CallOptions) -> BatchJob:
        """The job of that id, or the one that a batch of the provider's with that id belongs to."""
        return self._job(self._folder.find(job_id), options.parser())

    def wait(
        self, jobs: AnyJob | Iterable[AnyJob], provider: str | None, timeout: float | None
    ) -> list[Any]:
        """See `Client.wait_for_batch_job`."""
        several = [jobs] if isinstance(jobs, (str, BatchJob)) else list(jobs)
        known: dict[str, BatchJob] = {}
        for each in several:
            job = each if isinstance(each, BatchJob) else self.attach(each, CallOptions())
            known.setdefault(job.job_id, job)
        check_seconds("timeout", timeout)
        until = math.inf if timeout is None else monotonic() + timeout
        responses: list[Any] = []
        for job in known.values():
            if provider is not None:
                job.check_provider(provider)
            left = None if timeout is None else max(until - monotonic(), LEAST_WAIT)
            responses.extend(job.results(left))
        return responses

    def statuses(self) -> list[BatchStatus]:
        """All jobs in the folder, as they are written down, the oldest first."""
        return [status_of(record) for record in self._folder.records()]

    def _begun(self, ledger: Ledger, wanted: Header) -> Header:
        """The header of a job that is begun now, or was begun before."""
        if not ledger.exists():
            self._folder.make()
            ledger.make()
            until = monotonic() + LONGEST_TURN
            with ledger.locked(until, self._cancellation(), monotonic):
                if not ledger.exists():
                    ledger.create(wanted)
                    return wanted
        return _same(ledger.header(), wanted)

    def _job(self, ledger: Ledger, parse: Parse | None) -> BatchJob:
        ledger.read()  # what is wrong with it shows here

        def desk(header: Header) -> Desk:
            return self._desk(header, parse)

        return BatchJob(ledger, desk, style=self._style)

    def _desk(self, header: Header, parse: Optional[Parse]) -> Desk:
        model = self._model(header.model)
        routes = self._routes()
        route: Route[Any]
        reader: Reader
        if header.kind == TextKind.word:
            route = routes.embedder(model)
            request = EmbedRequest((), **(header.asked or {}))
            reader = TextReader(route, request, _vectors(route, request))
        else:
            route = routes.over(model, header.wire)
            parse = parse or _parser(header.asked)
            reader = PromptReader(
                route, parse=parse, postprocess=self._postprocess, answers=routes.answers
            )
        if route.keys.server != header.server:
            raise BatchError(
                f"the batch job {header.job!r} was submitted to {header.server}, and this client "
                f"calls {route.keys.server}"
            )
        adapter = BATCHES[batch_api(model).wire]
        return Desk(routes.for_batches(route), adapter, reader, self._cancellation())

    def _model(self, name: str) -> Model:
        for model in self._models:
            if model.name == name:
                return model
        return self._find_model(name)

    def _check_one_model(self) -> None:
        if len(self._models) > 1:
            names = ", ".join(model.name for model in self._models)
            raise BatchError(
                f"a batch job is of one model, and this client has {names}: make a client of one"
            )
        batch_api(self._models[0])


def batch_api(model: Model) -> BatchApi:
    """That of the model's provider; `BatchError` for one that has none."""
    api = model.provider.batch
    if api is None:
        instead = {"embedding": "embed()", "rerank": "rerank()"}.get(kind_of(model), "map()")
        raise BatchError(
            f"{model.provider.name} has no batch API that we know of: use {instead}; if it has one "
            "like OpenAI's, say `batch: {wire: openai, ...}` in the provider's YAML entry"
        )
    return api


def _vectors(route: Route[EmbedAdapter], request: EmbedRequest) -> VectorCache | None:
    """The vectors of the cache, if there is one."""
    if route.answers is None:
        return None
    return VectorCache(route.answers, route, lambda few: request._replace(texts=tuple(few)))


def _parser(asked: Mapping[str, Any] | None) -> Parse | None:
    """What makes objects of the answers of a job that was submitted with that schema."""
    if asked is None:
        return None
    schema = asked["output"].get("schema")
    return CallOptions(output_schema=schema, json_mode=schema is None).parser()


def _same(there: Header, wanted: Header) -> Header:
    """The header of a job that was begun before, if it is the one that is wanted now."""
    for name in ("model", "wire", "server", "digest"):
        if getattr(there, name) != getattr(wanted, name):
            what = "other options" if name == "digest" else f"another {name}"
            raise BatchError(
                f"there is a batch job {there.job!r} with {what}: give this one another job_id"
            )
    return there
