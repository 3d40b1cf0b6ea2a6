"""The batch jobs of one client: made, found again, waited for."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, Union

from ..adapters import BATCHES
from ..engine.budget import Budget
from ..engine.cancellation import Cancellation
from ..engine.clock import monotonic
from ..options import CallOptions
from ..outcome import Parse, Postprocess
from ..plan import Plan
from ..routes import Routes
from ..rows import params_digest
from ..values.errors import BatchError, DelugeError
from ..values.model import BatchApi, Model
from .folder import JobFolder, new_job_id
from .job import BatchJob, BatchStatus, Desk, status_of
from .ledger import Header, Ledger, Record
from .prompts import PromptEntries, PromptReader
from .spool import Limits

AnyJob = Union[BatchJob, str]


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
        prompts: Iterable[Any],
        plan: Plan,
        *,
        sent: Any,
        batch_size: int,
        job_id: str | None,
        max_enqueued_tokens: float | None,
        budget: Budget | None,
    ) -> BatchJob:
        """See `Client.submit_batch_job`; `sent` is all that decides the answers beside the prompts,
        and `budget` what they may cost.
        """
        model = self._only_model()
        api = batch_api(model)
        adapter = BATCHES[api.wire]
        route = plan.route()
        header = Header(
            job=job_id or new_job_id(),
            tag=secrets.token_hex(6),
            model=model.name,
            wire=route.wire,
            server=route.keys.server,
            owner=route.keys.owner,
            created_at=round(time.time(), 3),
            output=sent.get("output"),
            digest=params_digest(sent),
        )
        ledger = self._folder.ledger(header.job)
        header = self._begun(ledger, header)
        entries = PromptEntries(
            lambda prompt, index: plan.call(prompt, cancellation=self._cancellation(), index=index),
            adapter,
            route,
            tag=header.tag,
            most_bytes=api.max_request_bytes or api.max_bytes,
            most_cost=None if budget is None else budget.left,
        )
        limits = Limits(
            min(batch_size, api.max_requests),
            api.max_bytes,
            max_enqueued_tokens or api.max_enqueued_tokens,
        )
        job = self._job(ledger, plan.options.parse)
        try:
            job.begin(entries, prompts, limits)
        except DelugeError as error:
            if ledger.exists():
                error.message = f"{error.message} (the batch job {header.job!r} keeps what is done)"
                error.args = (error.message,)
            raise
        if budget is not None:
            budget.book(entries.worst)
        return job

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
        responses: list[Any] = []
        for job in known.values():
            if provider is not None:
                job.check_provider(provider)
            responses.extend(job.results(timeout))
        return responses

    def statuses(self) -> list[BatchStatus]:
        """All jobs in the folder, as they are written down, the oldest first."""
        return [status_of(record) for record in self._folder.records()]

    def _begun(self, ledger: Ledger, wanted: Header) -> Header:
        """The header of a job that is begun now, or was begun before."""
        if not ledger.exists():
            self._folder.make()
            ledger.make()
            with ledger.locked(math.inf, self._cancellation(), monotonic):
                if not ledger.exists():
                    ledger.create(wanted)
                    return wanted
        return _same(ledger.read().header, wanted)

    def _job(self, ledger: Ledger, parse: Parse | None) -> BatchJob:
        ledger.read()  # what is wrong with it shows here

        def desk(record: Record) -> Desk:
            return self._desk(record, parse)

        return BatchJob(ledger, desk, style=self._style)

    def _desk(self, record: Record, parse: Optional[Parse]) -> Desk:
        header = record.header
        model = self._model(header.model)
        routes = self._routes()
        route = routes.for_batches(model, header.wire)
        if route.keys.server != header.server:
            raise BatchError(
                f"the batch job {header.job!r} was submitted to {header.server}, and this client "
                f"calls {route.keys.server}"
            )
        parse = parse or _parser(header.output)
        reader = PromptReader(
            route, parse=parse, postprocess=self._postprocess, answers=routes.answers
        )
        adapter = BATCHES[batch_api(model).wire]
        return Desk(route, adapter, reader, self._cancellation())

    def _model(self, name: str) -> Model:
        for model in self._models:
            if model.name == name:
                return model
        return self._find_model(name)

    def _only_model(self) -> Model:
        if len(self._models) > 1:
            names = ", ".join(model.name for model in self._models)
            raise BatchError(
                f"a batch job is of one model, and this client has {names}: make a client of one"
            )
        return self._models[0]


def batch_api(model: Model) -> BatchApi:
    """That of the model's provider; `BatchError` for one that has none."""
    api = model.provider.batch
    if api is None:
        raise BatchError(
            f"{model.provider.name} has no batch API that we know of: use map(); if it has one "
            "like OpenAI's, say `batch: {wire: openai, ...}` in the provider's YAML entry"
        )
    return api


def _parser(output: Mapping[str, Any] | None) -> Parse | None:
    """What makes objects of the answers of a job that was submitted with that schema."""
    if output is None:
        return None
    schema = output.get("schema")
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
