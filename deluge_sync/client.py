"""The client: what users hold in their hands."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Callable, Protocol

from . import signals
from .agent import AgentLoops, AgentRound, Computer, Confirm, LoopResult, Toolbox, ruled
from .agent_jobs import DEPTH, LoopJob, LoopsRun, begin
from .batch.folder import JobFolder, default_folder
from .batch.job import BatchJob, BatchStatus
from .batch.jobs import BatchJobs
from .cache import flush
from .call import AnyCall, Options
from .catalog import client_options, load_catalog
from .embeddings.places import Lists, Matrix, Places
from .embeddings.run import EmbedRun
from .embeddings.start import EmbedOptions, check_texts, embed_options, embed_run
from .engine.budget import Budget
from .engine.cancellation import Cancellation
from .engine.clock import monotonic
from .estimate import Estimate, estimated
from .futures import OwnFuture
from .journal import Journal, JournalFile
from .options import CallOptions, divided, embedder_of, kind_of, reranker_of
from .pieces import Pieces, end_dropped
from .plan import Plan
from .process import ClientProcess, Job, ResponseFuture, Workers
from .progress import Progress
from .rankings.run import RerankOptions, RerankRun
from .routes import check_priced, resolve_models
from .run import LOOKUPS, Run
from .settings import (
    Settings,
    check_cost,
    check_count,
    check_picklable,
    check_seconds,
    checked_settings,
)
from .stats import Report, Tally
from .values import media
from .values.deltas import DELTAS, Delta, TextDelta
from .values.embedding import Embedding, EmbedResponse, RerankResponse
from .values.errors import (
    CallCancelledError,
    ConfigError,
    DeadlineExceededError,
    DelugeError,
    PromptError,
)
from .values.media import Media, Source
from .values.model import Model
from .values.prompt import Conversation, Message
from .values.response import Response
from .values.tool import described

if TYPE_CHECKING:
    from pathlib import Path


LONGEST_UPLOAD = 900.0


class SupportsWrite(Protocol):
    """Where `stream` can write: a text file, or whatever has its method."""

    def write(self, text: str, /) -> object:
        """Take the next piece."""


class Client:
    """Calls language models from code that has no event loop, as fast as their limits allow.

    One client serves any number of threads, and can be pickled (its options, not its keys). Making
    it starts nothing; threads, sockets and limits come with the first call, belong to the process
    that makes it, and are shared: all clients of a process that use the same key and model draw
    from the same limits.

    Args:
        model_names: a model (`"gpt-4.1-mini"`, `"anthropic/claude-haiku-4-5"`,
            `"openrouter/any/model"`), or several: a call that one of them fails goes to another.
        model_weights: which of several models a call goes to: "uniform", a number for each,
            "fallback" (the first that can) or "dynamic" (the one that will send it soonest).
        name: shown in progress and logs.
        api_key: instead of the provider's environment variable.
        base_url: instead of the catalog's; it means what it means to the vendor's own SDK.
        config: a YAML file, or a mapping, with `providers:` and `models:` laid over the catalog;
            `DELUGE_SYNC_CONFIG` names such a file too.
        max_requests_per_minute: None learns it from the server's answers, and follows it.
        max_tokens_per_minute: likewise; input and output together.
        max_concurrent_requests: threads, and calls in flight.
        sampling_params: `SamplingParams` or a mapping; its fields are options of their own too
            (`temperature=0`), here and with each call.
        max_attempts: failed sends of one call; being throttled does not count.
        request_timeout: seconds for one send and its answer.
        timeout: seconds for a whole call, waits and retries included; a call without one may take
            900 s from its first send on.
        extra_headers, extra_body: laid over every request.
        postprocess: called once with each good response; what it returns takes its place.
        cache: where answers are kept, so that nothing is paid for twice: a folder's path, a
            `Store`, or True for the user's cache folder. Same requests at once are then sent once.
        cache_owner: whose answers they are, for a cache that outlives an API key; by default each
            key has its own.
        cache_incomplete: keep answers that were cut short or refused, too.
        max_cost: US dollars that this client may spend at most, in one process. What a call can
            cost at worst is set aside before it is sent.
        batch_folder: where batch jobs are kept, by default what `DELUGE_SYNC_BATCHES` names, or the
            user's folder for such things.
        progress: "auto" (a bar where somebody watches, else a log line every 30 s), "bar", "log"
            or "none".
        session: a `requests.Session` to send with, where a company's adapters or authentication
            need one; slower than our own transport.
        verify: True, False, or a CA bundle's path; `proxies`: as in requests. The environment's
            HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and SSL_CERT_FILE hold where these do not say.

    Raises:
        ConfigError: an option, model or file is wrong. A missing key is raised by the first call.

    """

    def __init__(
        self,
        model_names: str | Sequence[str] = "gpt-4.1-mini",
        *,
        config: str | Path | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._settings = checked_settings(model_names, options)
        self._config = config
        self._catalog = load_catalog(config)
        self._models = resolve_models(self._settings, self._catalog)
        self._processes: dict[int, ClientProcess] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, a client is its options: another process makes one of them, with the keys of its
        own environment. `ConfigError` for options that hold a secret, or what is one process's.
        """
        check_picklable(self._settings)
        return _remade, (type(self), self._settings, self._config)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Client:
        """A client from a mapping: its options under `client:`, beside `providers:`, `models:`."""
        return cls(**client_options(options), config=options)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Client:
        """A client from a YAML file with the sections of `from_dict`."""
        return cls(**client_options(path), config=path)

    def with_limits(self, **limits: Any) -> Client:
        """Set `max_requests_per_minute`, `max_tokens_per_minute` or `max_concurrent_requests`.

        Calls under way keep the old ones, and the account's limits only ever widen. Gives this
        client, for chaining.
        """
        known = ("max_requests_per_minute", "max_tokens_per_minute", "max_concurrent_requests")
        for name in limits:
            if name not in known:
                raise ConfigError(f"with_limits takes {', '.join(known)}, not {name!r}")
        self._settings = dataclasses.replace(
            self._settings, named=self._settings.named.union(limits), **limits
        )
        self._here.change_workers()
        return self

    # One call

    def complete(
        self,
        prompt: Any,
        *,
        timeout: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> Response:
        """The answer to one prompt, in the caller's thread.

        `timeout` is seconds for the whole call. With `use_cache=False` it is asked anew and not
        kept; a `cache_salt` asks for, and keeps, another sample of the same prompt. `options` are
        those of `CallOptions` and sampling parameters. Raises what the call failed with: a
        `DelugeError`.
        """
        plan = self._plan(options, use_cache, cache_salt, deadline=self._deadline(timeout))
        return self._completed(plan, prompt)

    def submit(
        self,
        prompt: Any,
        *,
        timeout: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> Future[Response]:
        """The same in a worker thread: a standard `Future` whose `result()` raises what failed.

        `timeout` counts from now, the wait for a free worker included.
        """
        deadline = self._deadline(timeout)
        plan = self._plan(options, use_cache, cache_salt, deadline=deadline)
        workers, here = self._workers(), self._here
        call = plan.call(prompt, cancellation=workers.pool_cancellation)
        future = ResponseFuture()
        job = Job(call, future, here.finish)
        found = workers.routes.find(call)
        if found is None:
            workers.enqueue(job, deadline)
        else:
            job.answer(found)
        here.remember(future)
        return future

    def stream(
        self,
        prompt: Any,
        *,
        file: SupportsWrite | None = None,
        timeout: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> Response:
        """Write the answer's text to `file` (standard output) as it arrives, then give the whole
        response. Raises as `complete` does; what had arrived is on the error's `response`.
        """
        target = sys.stdout if file is None else file
        flush = getattr(target, "flush", _nothing)
        pieces = self.stream_chat(
            prompt, timeout=timeout, use_cache=use_cache, cache_salt=cache_salt, **options
        )
        with contextlib.closing(pieces):
            for piece in pieces:
                if isinstance(piece, Response):
                    return piece
                target.write(piece)
                flush()
        raise AssertionError("a stream ends with its response")

    def stream_chat(
        self,
        prompt: Any,
        *,
        events: bool = False,
        timeout: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> Generator[Any, None, None]:
        """The answer's text piece by piece, as it arrives, and then the `Response`.

        With `events` the pieces are `TextDelta`, `ThinkingDelta`, `ToolCallDelta` and `UsageDelta`.
        It runs in the caller's thread, and no faster than it is read. A call is tried again only
        while nothing was given out; a stream that breaks off later raises, with what had arrived on
        the error's `response`. Closing the generator cuts the connection. `timeout` counts from
        now. An answer out of the cache comes as a stream, too.
        """
        if options.get("repair"):
            raise ConfigError("repair cannot take back what was streamed: use complete()")
        asked = {**options, "repair": 0}  # the client's own default holds for other calls
        plan = self._plan(asked, use_cache, cache_salt, deadline=self._deadline(timeout))
        workers = self._workers()
        call = plan.call(prompt, cancellation=workers.cancellation)
        wanted = DELTAS if events else (TextDelta,)
        found = workers.routes.find(call)
        steps = call.stream(*wanted) if found is None else call.replay(found, *wanted)
        return Pieces(self._pieces(call, steps, events=events), cut=call.cut)

    def start_background(
        self, prompt: Any, *, timeout: float | None = None, **options: Any
    ) -> Response:
        """Have the provider begin to work on an answer; returns as soon as it has taken it on.

        Keep `response_id`: `resume_background` gets the answer with it, in whatever process.
        """
        asked = {**options, "background": True}
        plan = self._plan(asked, False, "", deadline=self._deadline(timeout), detach=True)
        return self._completed(plan, prompt)

    def resume_background(
        self, response_id: str, *, timeout: float | None = None, **options: Any
    ) -> Response:
        """Wait for an answer that was begun in the background, by this process or another.

        After `timeout` seconds it raises `DeadlineExceededError`, and the provider goes on. An
        `output_schema` is to be given here again.
        """
        if not isinstance(response_id, str) or not response_id:
            raise ConfigError(f"response_id must be a response's id, not {response_id!r}")
        if options.get("repair"):
            raise ConfigError("repair needs the question, which is not at hand: use complete()")
        asked = {**options, "background": True, "repair": 0}
        deadline = self._deadline(timeout)
        plan = self._plan(asked, False, "", deadline=deadline, resume=response_id)
        return self._completed(plan, None)

    def upload_file(
        self,
        source: Source,
        *,
        media_type: str = "",
        name: str = "",
        timeout: float | None = None,
    ) -> Media:
        """Put a file into the provider's file store; gives the part of a message that names it.

        `source` is a `pathlib.Path`, bytes or a data URL. The same file is uploaded once; with a
        `cache`, once for all processes that share it. For a client of one provider.
        """
        part = media.part(source, media_type=media_type, name=name)
        workers = self._workers()
        seconds = self._seconds(timeout)
        return workers.routes.upload(
            part,
            deadline=monotonic() + (LONGEST_UPLOAD if seconds is None else seconds),
            cancellation=workers.cancellation,
        )

    # Many calls

    def map(
        self,
        prompts: Iterable[Any],
        *,
        return_completions_only: bool = False,
        timeout: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        max_cost: float | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        warm_first: bool = False,
        progress: str | None = None,
        total: int | None = None,
        **options: Any,
    ) -> list[Any]:
        """The answers to all prompts, in their order.

        `prompts` may be any iterable and is read lazily, in this thread. A prompt that fails gives
        a response with `error` set and costs the others nothing. `timeout` is seconds for each
        call, from the moment its limits first let it go; `total` tells the progress display how
        many prompts there are where `prompts` has no length. With `return_completions_only` the
        result holds texts, None where the call failed. `max_cost` is US dollars that this run may
        cost at most, what its journal has from before included; `use_cache`, `cache_salt` and
        `options` are as in `complete`. With `warm_first`, of the prompts that begin alike one is
        sent first, and the others when the provider's own cache has that beginning (see `cache` in
        `CallOptions`; `last_run` has the share that was read from it).

        `journal` is a file that gets each answer as it arrives; started again with the same file,
        the run goes on: what is finished is not sent again (see `Journal`). `JournalError` where
        the file is of another run, in use, or can no longer be written.

        Ctrl-C, an error of the source, and `close()` from another thread (a `CallCancelledError`)
        cancel what is under way; `last_run.responses` has the answers that came in. A `postprocess`
        must not itself wait for another `map` or future of this client: they share its threads.
        """
        display = progress or self._settings.progress, total
        plan = self._plan(options, use_cache, cache_salt, timeout=timeout, max_cost=max_cost)
        run = self._run(
            prompts, display, plan=plan, keep=True, journal=journal, warm_first=warm_first
        )
        for _ in run.responses(ordered=False):
            pass
        responses = run.report().responses
        if return_completions_only:
            return [None if response.is_error else response.completion for response in responses]
        return list(responses)

    def imap(
        self,
        prompts: Iterable[Any],
        *,
        ordered: bool = True,
        timeout: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        max_cost: float | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        warm_first: bool = False,
        progress: str | None = None,
        total: int | None = None,
        **options: Any,
    ) -> Generator[Response, None, None]:
        """The answers one by one: in order, or with `ordered=False` as they come (see `.index`).

        Memory stays flat however many prompts there are: at most two per worker are read ahead of
        the answer given out. Closing the iterator cancels what is under way.
        """
        display = progress or self._settings.progress, total
        plan = self._plan(options, use_cache, cache_salt, timeout=timeout, max_cost=max_cost)
        run = self._run(
            prompts, display, plan=plan, keep=False, journal=journal, warm_first=warm_first
        )
        return run.responses(ordered=ordered)

    def estimate(
        self,
        prompts: Iterable[Any],
        *,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> Estimate:
        """What `map` of these prompts would send, cost and take; nothing is sent.

        `prompts` may be any iterable and is read once. No server is started, and a key is needed
        only to know what is in the cache.
        """
        asked, sampling = divided(options, self._settings.call_options)
        return estimated(
            prompts,
            self._models,
            self._settings,
            self._settings.sampling_params.merged(sampling),
            asked=asked,
            answers=self._workers().routes.answers if use_cache else None,
            cache_salt=cache_salt,
        )

    def as_completed(
        self, futures: Iterable[Future[Response]] | None = None, *, timeout: float | None = None
    ) -> Iterator[Future[Response]]:
        """Futures as they finish; without any given, all those that `submit` gave out."""
        return concurrent.futures.as_completed(self._chosen(futures), timeout=timeout)

    def wait_for_all(
        self, futures: Iterable[Future[Response]] | None = None, *, timeout: float | None = None
    ) -> list[Response]:
        """Wait for these futures, or for all that `submit` gave out; failures are responses too.

        Without `open()` only the futures that somebody still holds are known. Raises
        `DeadlineExceededError` after `timeout` seconds; the calls go on.
        """
        chosen = self._chosen(futures)
        waiting = concurrent.futures.wait(chosen, timeout=timeout).not_done
        if waiting:
            raise DeadlineExceededError(f"{len(waiting)} calls were not done within {timeout} s")
        return [self._outcome(future) for future in chosen]

    # Agent loops

    def run_agent_loop(
        self,
        conversation: Any,
        *,
        tools: Any,
        max_rounds: int = 5,
        timeout: float | None = None,
        max_cost: float | None = None,
        tool_timeout: float = 60.0,
        max_tool_output: int = 50_000,
        confirm: Confirm | None = None,
        on_round: Callable[[AgentRound], object] | None = None,
        computer: Computer | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> LoopResult:
        """Ask the model, run the tools that it asks for, tell it what they gave, and so on until it
        answers without; gives the conversation, which ends with the last response, and that.

        It calls the model from the caller's thread, `max_rounds` times at most; `options` are those
        of `complete`. Calls that the last response asks for are the caller's to answer: when the
        rounds are used up, when one is of a `Tool` without `run` or of a vendor's tool that is to
        be run here, or when the answer was cut off ("length"). A `tool_choice` that forces a call
        holds for the first round.

        Each tool runs in a thread of its own, those of one round at the same time, for
        `tool_timeout` seconds unless it has its own `timeout`; a thread cannot be ended, so one
        that takes longer is left behind, and what it returns is lost. Of a result's text the model
        gets `max_tool_output` characters. What a tool raises, unknown tools and arguments that do
        not fit go to the model as errors. `computer` takes a `ToolCall` of kind "computer"; these
        run one by one, and not after one that failed.

        `confirm` is asked before each tool runs, in the loop's thread: True lets it, False or a
        text refuses, and the model is told the text. `on_round` gets an `AgentRound` after each
        call of the model, with the cost and usage so far. What these two raise ends the loop.

        `timeout` is seconds for the whole loop, `max_cost` US dollars for all its calls together;
        what tools send of their own counts for the client's only. Raises what a call failed with,
        with the `conversation` so far on the error.
        """
        given = {
            "max_rounds": max_rounds,
            "tool_timeout": tool_timeout,
            "max_tool_output": max_tool_output,
            "confirm": confirm,
            "on_round": on_round,
            "computer": computer,
        }
        loops = self._loops(tools, {**given, **options}, use_cache, cache_salt, max_cost)
        check_seconds("timeout", timeout)
        workers = self._workers()
        start = Conversation.of(conversation)
        return loops.loop(start, cancellation=workers.cancellation, timeout=timeout).run()

    def submit_agent_loop(
        self,
        conversation: Any,
        *,
        tools: Any,
        timeout: float | None = None,
        max_cost: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> Future[LoopResult]:
        """The same in a thread of its own: a standard `Future`.

        `options` are those of `run_agent_loop`. `timeout` counts from now. At most
        `max_concurrent_requests` loops run at a time; those that a tool of another loop submits do
        not count among them. It is none of the futures of `wait_for_all()`.
        """
        loops = self._loops(tools, options, use_cache, cache_salt, max_cost)
        check_seconds("timeout", timeout)
        deadline = None if timeout is None else monotonic() + timeout
        workers = self._workers()
        start = Conversation.of(conversation)
        cancellation = workers.pool_cancellation
        job = LoopJob(loops.loop(start, cancellation=cancellation, deadline=deadline))
        workers.expire(job.expire, deadline)
        begin(job, workers.crew(DEPTH.get()))
        return job.future

    def map_agent_loops(
        self,
        conversations: Iterable[Any],
        *,
        tools: Any,
        max_concurrent: int | None = None,
        timeout: float | None = None,
        max_cost: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> list[LoopResult]:
        """The results of many loops, in their order, under the same limits.

        At most `max_concurrent` (`max_concurrent_requests`) run at a time, in threads of their own:
        tools may use this client as they like. A loop that fails gives the conversation as far as
        it came and a response with `error`, and costs the others nothing. `timeout` is seconds for
        each loop from its start, `max_cost` US dollars for all of them together; `options` are
        those of `run_agent_loop`, and `confirm` and `on_round` are called from many threads.
        `conversations` is read lazily, in this thread. Ctrl-C and `close()` end all loops.
        """
        _check_many(conversations, "map_agent_loops", "run_agent_loop")
        loops = self._loops(tools, options, use_cache, cache_salt, max_cost)
        check_seconds("timeout", timeout)
        workers = self._workers()
        workers.routes.check()
        width = workers.width if max_concurrent is None else max_concurrent
        if type(width) is not int or width < 1:
            raise ConfigError(f"max_concurrent must be a whole number from 1 on, not {width!r}")
        run = LoopsRun(
            loops,
            width=width,
            timeout=timeout,
            cancellation=workers.pool_cancellation,
            model=self._models[0].name,
        )
        return run.results(conversations)

    # Batch jobs

    def submit_batch_job(
        self,
        prompts: Iterable[Any],
        *,
        batch_size: int = 10_000,
        job_id: str | None = None,
        max_enqueued_tokens: int | None = None,
        max_cost: float | None = None,
        use_cache: bool = True,
        cache_salt: str = "",
        **options: Any,
    ) -> BatchJob:
        """Have the provider answer all prompts within a day or so, at half the price.

        `prompts` may be any iterable; it is read once, in this thread, and written to the client's
        `batch_folder` before anything is sent. They are submitted in batches of at most
        `batch_size`, fewer where the provider's limits ask for it; of those, as many at a time as
        its queue takes, or as hold `max_enqueued_tokens` together. Returns when these are
        submitted; the job submits the rest when it is waited for. What the client's cache has is
        not submitted.

        A prompt that cannot be sent is named in a warning; its response will have the error. Where
        none can, that error is raised. With a `job_id` of your own, the same call made again, by
        whatever process, goes on with the job: nothing is submitted twice. `max_cost` is US dollars
        that the job may cost at worst; `options` are those of `complete`. A client of an embedding
        model has texts embedded, with `dimensions` and `input_type`; each gives an `EmbedResponse`,
        and `stack_results(job.results())` the vectors.

        Raises `BatchError` for a provider without batches, a client of several models, and a
        `job_id` of another job; and what submitting failed with.
        """
        _check_many(prompts, "submit_batch_job", "complete")
        check_count("batch_size", batch_size)
        if max_enqueued_tokens is not None:
            check_count("max_enqueued_tokens", max_enqueued_tokens)
        jobs = self._batch_jobs
        if kind_of(self._models[0]) == "embedding":
            work = jobs.texts(embed_options(options, use_cache), self._settings)
        else:
            if options.get("repair"):
                raise ConfigError("repair cannot ask again within a batch: use map()")
            plan = self._plan({**options, "repair": 0}, use_cache, cache_salt, free=True)
            work = jobs.prompts(plan, self._sent(plan))
        return jobs.submit(
            prompts,
            work,
            batch_size=batch_size,
            job_id=job_id,
            max_enqueued_tokens=max_enqueued_tokens,
            budget=self._budget(max_cost),
        )

    def attach_batch_job(
        self, job_id: str, *, output_schema: Any = None, json_mode: bool = False
    ) -> BatchJob:
        """A job that was submitted before, by this process or another; a batch's id at the provider
        will do too.

        With the `output_schema` that it was submitted with, `parsed` is of that type again; without
        it, a dict. `BatchError` for a job that is not in the client's `batch_folder`.
        """
        asked = CallOptions(output_schema=output_schema, json_mode=json_mode)
        return self._batch_jobs.attach(job_id, asked)

    def wait_for_batch_job(
        self,
        batch_ids: BatchJob | str | Iterable[BatchJob | str],
        provider: str | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Any]:
        """Wait for jobs, and give their responses, in the order of their prompts.

        `batch_ids` are jobs, their ids, or ids of batches at the provider: each stands for its
        whole job. With `provider`, jobs of another one are a `BatchError`. `timeout` is seconds for
        all of them; see `BatchJob.wait`.
        """
        return self._batch_jobs.wait(batch_ids, provider, timeout)

    def batch_jobs(self) -> list[BatchStatus]:
        """All jobs in the client's `batch_folder`, the oldest first, as they were when last looked
        at.
        """
        return self._batch_jobs.statuses()

    # Embeddings and rankings

    def embed(
        self,
        texts: Iterable[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: str | None = None,
        batch_size: int | None = None,
        numpy: bool = False,
        timeout: float | None = None,
        use_cache: bool = True,
        max_cost: float | None = None,
        progress: str | None = None,
    ) -> Any:
        """The vectors of all texts, in their order: a list of lists of floats, or with `numpy` one
        float32 array of shape (texts, dimensions).

        `texts` may be any iterable; the same text is sent once. A request holds `batch_size` texts
        at most (256, or what the model takes), and no more than its limit of tokens. `model` is
        another than the client's; `dimensions` shortens the vectors where the model can;
        `input_type` is "document", "query", "classification", "clustering" or "similarity", for
        models that want to know. `timeout` is seconds for all of it, `max_cost` US dollars.

        Raises `EmbedError` where some texts have no vector: it names them, and its `responses` hold
        all that came in. See `embed_parallel` for those alone. Ctrl-C and what the source raises
        come out as they are, and what had come by then is in the cache only.
        """
        places: Places = Matrix(_length(texts)) if numpy else Lists()
        asked = EmbedOptions(dimensions, input_type, batch_size, use_cache)
        return self._embed_run(texts, asked, model, timeout, max_cost, progress).whole(places)

    def iter_embed(
        self,
        texts: Iterable[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: str | None = None,
        batch_size: int | None = None,
        timeout: float | None = None,
        use_cache: bool = True,
        max_cost: float | None = None,
        progress: str | None = None,
    ) -> Generator[Embedding, None, None]:
        """The vectors one by one, in the order of the texts: `Embedding(index, vector, error)`.

        Memory stays flat however many texts there are: of those read, some 16,000 at most wait for
        their vectors, and a text that comes again after its vector was given out is sent again. A
        request is sent when it is full: with a slow source, a small `batch_size` gives the first
        vectors sooner. After `timeout` each text has its error. Otherwise as `embed`. Closing the
        iterator cancels what is under way.
        """
        asked = EmbedOptions(dimensions, input_type, batch_size, use_cache, lazy=True)
        return self._embed_run(texts, asked, model, timeout, max_cost, progress).each()

    def _embed_responses(
        self,
        texts: Iterable[str],
        asked: EmbedOptions,
        *,
        model: str | None,
        timeout: float | None,
        max_cost: float | None,
        progress: str | None,
    ) -> list[EmbedResponse]:
        return self._embed_run(texts, asked, model, timeout, max_cost, progress).responses()

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        model: str | None = None,
        top_k: int | None = None,
        max_document_tokens: int | None = None,
        timeout: float | None = None,
        max_cost: float | None = None,
    ) -> RerankResponse:
        """The documents, the best answer to `query` first; with `top_k`, only the best.

        More documents than the model takes at once are ranked in pieces where it scores each on its
        own. `max_document_tokens` cuts each, where the vendor can. Raises what it failed with: a
        `DelugeError`.
        """
        if isinstance(documents, (str, bytes)):
            raise PromptError("documents must be a list of texts, not one text")
        asked = RerankOptions(top_k, max_document_tokens)
        run = self._rerank_run(asked, model, timeout, max_cost)
        return run.one(query, documents).raise_for_error()

    def _rerank_responses(
        self,
        queries: Iterable[Any],
        documents: Iterable[Any],
        asked: RerankOptions,
        *,
        model: str | None,
        timeout: float | None,
        max_cost: float | None,
    ) -> list[RerankResponse]:
        return self._rerank_run(asked, model, timeout, max_cost).many(queries, documents)

    def _embed_run(
        self,
        texts: Iterable[str],
        asked: EmbedOptions,
        model: str | None,
        timeout: float | None,
        max_cost: float | None,
        progress: str | None,
    ) -> EmbedRun:
        check_texts(texts)
        chosen = self._other_model(model, embedder_of, "embed(texts, model=...)")
        workers, tally = self._workers(), Tally(self._here.tally)
        style = progress or self._settings.progress
        return embed_run(
            texts,
            asked,
            workers.routes.embedder(chosen),
            self._settings,
            workers,
            tally=tally,
            budget=self._budget(max_cost, chosen),
            deadline=self._deadline(timeout),
            progress=lambda: self._show(style, _length(texts), tally.report),
        )

    def _rerank_run(
        self,
        asked: RerankOptions,
        model: str | None,
        timeout: float | None,
        max_cost: float | None,
    ) -> RerankRun:
        chosen = self._other_model(model, reranker_of, "rerank(query, documents, model=...)")
        workers = self._workers()
        return RerankRun(
            workers.routes.reranker(chosen),
            asked,
            self._settings,
            workers,
            tally=self._here.tally,
            budget=self._budget(max_cost, chosen),
            deadline=self._deadline(timeout),
        )

    def _other_model(self, name: str | None, wire_of: Callable[[Model], str], how: str) -> Model:
        """The model of that name, or the client's; `ConfigError` for one that cannot do it."""
        if name is not None:
            model = self._catalog.model(name, base_url=self._settings.base_url)
        elif len(self._models) > 1:
            raise ConfigError(f"this client has several models: say which, {how}")
        else:
            model = self._models[0]
        try:
            wire_of(model)
        except ConfigError as error:
            raise ConfigError(f"{error.message} ({how})") from None
        return model

    # Lifecycle and numbers

    def open(self, total: int | None = None) -> Client:
        """Show one progress display over all that is submitted until `close()`.

        Futures submitted meanwhile are kept for `wait_for_all()`.
        """
        self.reset_tracker()
        here = self._here
        if here.opened is not None:
            here.opened.close()
        here.opened = self._show(self._settings.progress, total, here.tally.report)
        return self

    def reset_tracker(self) -> None:
        """Set the numbers, and the display that `open()` made, back to zero."""
        here = self._here
        if here.opened is not None:
            here.opened.close()
            here.opened = self._show(self._settings.progress, None, here.tally.report)
        here.tally.reset()
        here.forget()

    def close(self) -> None:
        """Cancel what is under way, end the threads, write the cache. The client can be used
        again afterwards; a client that is never closed does no harm.
        """
        here = self._here
        opened, here.opened = here.opened, None
        if opened is not None:
            opened.close()
        here.close()
        if self._settings.cache is not None:
            flush(self._settings.cache)

    def install_signal_handlers(self) -> None:
        """Have SIGTERM end the program in order: exit code 143, with journals written.

        It raises `SystemExit` in the main thread, which ends what runs there as Ctrl-C does.
        `ConfigError` outside the main thread.
        """
        signals.install()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last_run(self) -> Report | None:
        """The numbers, and for `map` the responses, of the last `map` or `imap`; None before."""
        run = self._here.last_run
        return None if run is None else run.report()

    def usage(self) -> Report:
        """The numbers of all calls since the client was made or `reset_tracker()` called."""
        return self._here.tally.report()

    @property
    def settings(self) -> Settings:
        """The options this client was made with, defaults filled in."""
        return self._settings

    @property
    def models(self) -> tuple[Model, ...]:
        """The catalog's entries of this client's models."""
        return self._models

    def __repr__(self) -> str:
        names = ", ".join(model.name for model in self._models)
        return f"<{type(self).__name__} {self._settings.name or names}>"

    # Inside

    @property
    def _here(self) -> ClientProcess:
        """What this client has in this process."""
        pid = os.getpid()
        here = self._processes.get(pid)
        if here is None:
            here = self._processes.setdefault(pid, ClientProcess(self._settings.max_cost))
        return here

    def _workers(self) -> Workers:
        return self._here.workers(self._settings, self._models)

    @property
    def _batch_jobs(self) -> BatchJobs:
        settings = self._settings
        return BatchJobs(
            JobFolder(settings.batch_folder or default_folder()),
            lambda: self._workers().routes,
            lambda: self._workers().cancellation,
            self._models,
            lambda name: self._catalog.model(name, base_url=settings.base_url),
            postprocess=settings.postprocess,
            style=settings.progress,
        )

    def _seconds(self, timeout: float | None) -> float | None:
        check_seconds("timeout", timeout)
        return self._settings.timeout if timeout is None else timeout

    def _deadline(self, timeout: float | None) -> float | None:
        seconds = self._seconds(timeout)
        return None if seconds is None else monotonic() + seconds

    def _plan(
        self,
        options: Mapping[str, Any],
        use_cache: bool,
        cache_salt: str,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        max_cost: float | None = None,
        resume: str | None = None,
        detach: bool = False,
        free: bool = False,
    ) -> Plan:
        settings = self._settings
        end_dropped()
        asked, sampling = divided(options, settings.call_options)
        if not isinstance(cache_salt, str):
            raise ConfigError(f"cache_salt must be a string, not {cache_salt!r}")
        routes = self._workers().routes
        routes.preferred(asked.prefer_model)  # a name that is wrong shows at once
        return Plan(
            routes,
            settings.sampling_params.merged(sampling),
            asked,
            Options(
                timeout=self._seconds(timeout) if deadline is None else None,
                deadline=deadline,
                postprocess=settings.postprocess,
                use_cache=use_cache,
                cache_salt=cache_salt,
                budget=None if free else self._budget(max_cost),
                parse=asked.parser(),
                repair=asked.repair,
                resume=resume,
                detach=detach,
            ),
            settings.request_fields(asked),
        )

    def _budget(self, max_cost: float | None, *others: Model) -> Budget | None:
        """What may be spent with this client's models, or with `others` of the catalog."""
        check_cost("max_cost", max_cost)
        budget = self._here.budget
        if max_cost is None and (budget is None or not others):
            return budget
        for model in others or self._models:
            check_priced(model)
        if max_cost is None:
            return budget
        return Budget(max_cost, parent=budget)

    def _completed(self, plan: Plan, prompt: Any) -> Response:
        workers = self._workers()  # held: else a close() after with_limits() would not find it
        return self._answered(plan, prompt, workers.cancellation).raise_for_error()

    def _answered(
        self, plan: Plan, prompt: Any, cancellation: Cancellation, index: int | None = None
    ) -> Response:
        call = plan.call(prompt, cancellation=cancellation, index=index)
        found = plan.routes.find(call)
        response = call.run() if found is None else call.found(found)
        self._here.tally.add(response, call.retries)
        return response

    def _loops(
        self,
        tools: Any,
        options: Mapping[str, Any],
        use_cache: bool,
        cache_salt: str,
        max_cost: float | None,
    ) -> AgentLoops:
        rules, asked = ruled(options)
        plan = self._plan({**asked, "tools": tools}, use_cache, cache_salt, max_cost=max_cost)

        def ask(
            conversation: Conversation,
            *,
            first: bool,
            deadline: float | None,
            cancellation: Cancellation,
            index: int | None,
        ) -> Response:
            ends = [end for end in (deadline, self._deadline(None)) if end is not None]
            its = plan.of_round(first=first, deadline=min(ends, default=None))
            return self._answered(its, conversation, cancellation, index)

        toolbox = Toolbox(plan.asked.tools, rules)
        return AgentLoops(ask, rules, toolbox, self._here.stragglers)

    def _pieces(
        self, call: AnyCall, steps: Generator[Delta, None, Response], *, events: bool
    ) -> Generator[Any, None, None]:
        here = self._here
        response = None
        try:
            with contextlib.closing(steps):
                while response is None:
                    try:
                        delta = next(steps)
                    except StopIteration as end:
                        response = end.value
                    else:
                        yield delta if events else delta.text  # type: ignore[union-attr]
        finally:
            left = response or call.failed(CallCancelledError("the stream was closed early"))
            here.tally.add(left, call.retries)
        yield response.raise_for_error()

    def _run(
        self,
        prompts: Iterable[Any],
        display: tuple[str, int | None],
        *,
        plan: Plan,
        keep: bool,
        journal: str | os.PathLike[str] | Journal | None,
        warm_first: bool,
    ) -> Run:
        _check_many(prompts, "map", "complete")
        workers, here = self._workers(), self._here
        workers.routes.check()
        style, total = display
        is_sequence = isinstance(prompts, Sequence)
        if total is None and is_sequence:
            total = len(prompts)  # type: ignore[arg-type]
        run = Run(
            iter(prompts),
            prepare=plan.call,
            execute=workers.execute,
            model=self._models[0].name,
            width=workers.width,
            cancellation=workers.pool_cancellation,
            tally=Tally(here.tally),
            progress=lambda run: self._show(style, total, run.tally.report),
            keep=keep,
            answers=workers.routes.answers,
            lookups=LOOKUPS if is_sequence else 1,
            budget=None if plan.options.budget is here.budget else plan.options.budget,
            journal=self._journal_file(journal, prompts, plan),
            warm_first=warm_first,
            parse=plan.options.parse,
        )
        here.last_run = run
        return run

    def _journal_file(
        self, journal: str | os.PathLike[str] | Journal | None, prompts: Iterable[Any], plan: Plan
    ) -> JournalFile | None:
        if journal is None:
            return None
        return JournalFile(
            Journal.of(journal),
            models=[
                f"{model.name}-{model.effort}" if model.effort else model.name
                for model in self._models
            ],
            params=self._sent(plan),
            prompts=prompts if isinstance(prompts, Sequence) else (),
        )

    def _sent(self, plan: Plan) -> Mapping[str, Any]:
        """What a journal must not mix: all that decides an answer beside model and prompt."""
        sent = {**plan.params.given(), "extra_body": self._settings.extra_body}
        if plan.options.cache_salt:
            sent["cache_salt"] = plan.options.cache_salt
        if plan.asked.previous_response_id is not None:
            sent["previous_response_id"] = plan.asked.previous_response_id
        output = plan.fields.get("output")
        if output is not None:
            sent["output"] = {"schema": output.schema, "name": output.name}
        if plan.asked.tools:
            sent["tools"] = [described(tool) for tool in plan.asked.tools]
        return sent

    def _show(self, style: str, total: int | None, numbers: Any) -> Progress:
        return Progress(
            style,
            name=self._settings.name or self._models[0].id,
            total=total,
            numbers=numbers,
            status=lambda: self._workers().routes.status(),
        )

    def _chosen(self, futures: Iterable[Future[Response]] | None) -> list[Future[Response]]:
        chosen: list[Future[Response]] = (
            list(self._here.known()) if futures is None else list(futures)
        )
        for future in chosen:
            if isinstance(future, OwnFuture):
                future.check_process()
        return chosen

    def _outcome(self, future: Future[Response]) -> Response:
        try:
            return future.result()
        except DelugeError as error:
            return error.response or Response(model=self._models[0].name, error=error)
        except concurrent.futures.CancelledError:
            cancelled = CallCancelledError("the future was cancelled")
            return Response(model=self._models[0].name, error=cancelled)


def sending_client(
    client: Client | None, model: str, options: Mapping[str, Any]
) -> contextlib.AbstractContextManager[Client]:
    """`client`, which stays open; or one of `model` and `options`, which is closed at the end."""
    if client is None:
        return Client(model, **options)
    if options:
        names = ", ".join(sorted(options))
        raise ConfigError(f"give a client or its options, not both: {names}")
    return contextlib.nullcontext(client)


def _remade(
    kind: type[Client], settings: Settings, config: str | Path | Mapping[str, Any] | None
) -> Client:
    """A client of those settings, in this process."""
    client = kind(settings.model_names, config=config)
    client._settings = settings
    client._models = resolve_models(settings, client._catalog)
    return client


def _check_many(prompts: Any, many: str, one: str) -> None:
    single = isinstance(prompts, (str, bytes, Conversation, Message, Mapping))
    if single or not isinstance(prompts, Iterable):
        raise PromptError(
            f"{many} takes many prompts, this is one {type(prompts).__name__}: "
            f"use {one}(prompt) or {many}([prompt])"
        )


def _length(texts: Iterable[Any]) -> int | None:
    """How many there are, where they can be counted without reading them."""
    return len(texts) if isinstance(texts, Sized) else None


def _nothing() -> None:
    pass
