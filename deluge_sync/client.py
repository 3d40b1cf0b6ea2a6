"""The client: what users hold in their hands."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Callable

from .call import Call
from .catalog import client_options, load_catalog
from .engine.cancellation import Cancellation
from .engine.clock import monotonic
from .engine.deadlines import Deadlines
from .engine.runtime import Runtime, current
from .progress import Progress
from .routes import Routes, resolve_models
from .run import Run
from .settings import Settings, check_seconds, sampling_options, settings
from .stats import Report, Tally
from .values.errors import (
    CallCancelledError,
    ConfigError,
    DeadlineExceededError,
    DelugeError,
    PromptError,
)
from .values.model import Model
from .values.params import SamplingParams
from .values.prompt import Conversation, Message
from .values.request import Request
from .values.response import Response

if TYPE_CHECKING:
    from pathlib import Path

    ResponseFuture = Future[Response]
    Finish = Callable[[Response, Iterable[str]], None]


class Client:
    """Calls language models from code that has no event loop, as fast as their limits allow.

    One client serves any number of threads. Making it starts nothing; threads, sockets and limits
    come with the first call, belong to the process that makes it, and are shared: all clients of a
    process that use the same key and model draw from the same limits.

    Args:
        model_names: a model (`"gpt-4.1-mini"`, `"anthropic/claude-haiku-4-5"`,
            `"openrouter/any/model"`), or several, of which each call draws one.
        model_weights: "uniform", or a number for each model.
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
        self._settings = settings(model_names, options)
        self._models = resolve_models(self._settings, load_catalog(config))
        self._opened: Progress | None = None
        self._last_run: Run | None = None
        self._begin()

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

        Calls under way keep the old ones. Gives this client, for chaining.
        """
        known = ("max_requests_per_minute", "max_tokens_per_minute", "max_concurrent_requests")
        for name in limits:
            if name not in known:
                raise ConfigError(f"with_limits takes {', '.join(known)}, not {name!r}")
        self._settings = dataclasses.replace(
            self._settings, named=self._settings.named.union(limits), **limits
        )
        self._drop_process(cancel=False)
        return self

    # One call

    def complete(self, prompt: Any, *, timeout: float | None = None, **sampling: Any) -> Response:
        """The answer to one prompt, in the caller's thread.

        `timeout` is seconds for the whole call. Raises what the call failed with: a `DelugeError`.
        """
        seconds = self._seconds(timeout)
        call = self._prepare(self._process(), prompt, self._params(sampling), timeout=seconds)
        response = call.run()
        self._tally.add(response, call.retries)
        return response.raise_for_error()

    def submit(
        self, prompt: Any, *, timeout: float | None = None, **sampling: Any
    ) -> ResponseFuture:
        """The same in a worker thread: a standard `Future` whose `result()` raises what failed.

        `timeout` counts from now, the wait for a free worker included.
        """
        process = self._process()
        seconds = self._seconds(timeout)
        deadline = None if seconds is None else monotonic() + seconds
        call = self._prepare(process, prompt, self._params(sampling), deadline=deadline)
        future: ResponseFuture = Future()
        self._remember(future)
        process.enqueue(_Job(call, future, self._finish), deadline)
        return future

    # Many calls

    def map(
        self,
        prompts: Iterable[Any],
        *,
        return_completions_only: bool = False,
        timeout: float | None = None,
        progress: str | None = None,
        total: int | None = None,
        **sampling: Any,
    ) -> list[Any]:
        """The answers to all prompts, in their order.

        `prompts` may be any iterable and is read lazily, in this thread. A prompt that fails gives
        a response with `error` set and costs the others nothing. `timeout` is seconds for each
        call, from the moment a worker begins it; `total` tells the progress display how many
        prompts there are where `prompts` has no length. With `return_completions_only` the result
        holds texts, None where the call failed.

        Ctrl-C cancels what is under way; `last_run.responses` has the answers that came in.
        """
        display = progress or self._settings.progress, total
        run = self._run(prompts, display, timeout=timeout, sampling=sampling, keep=True)
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
        progress: str | None = None,
        total: int | None = None,
        **sampling: Any,
    ) -> Iterator[Response]:
        """The answers one by one: in order, or with `ordered=False` as they come (see `.index`).

        Memory stays flat however many prompts there are: at most two per worker are read ahead of
        the answer given out. Closing the iterator cancels what is under way.
        """
        display = progress or self._settings.progress, total
        run = self._run(prompts, display, timeout=timeout, sampling=sampling, keep=False)
        return run.responses(ordered=ordered)

    def as_completed(
        self, futures: Iterable[ResponseFuture] | None = None, *, timeout: float | None = None
    ) -> Iterator[ResponseFuture]:
        """Futures as they finish; without any given, all those that `submit` gave out."""
        return concurrent.futures.as_completed(self._chosen(futures), timeout=timeout)

    def wait_for_all(
        self, futures: Iterable[ResponseFuture] | None = None, *, timeout: float | None = None
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

    # Lifecycle and numbers

    def open(self, total: int | None = None) -> Client:
        """Show one progress display over all that is submitted until `close()`.

        Futures submitted meanwhile are kept for `wait_for_all()`.
        """
        self.reset_tracker()
        self._opened = self._show(self._settings.progress, total, self._tally.report)
        return self

    def reset_tracker(self) -> None:
        """Set the numbers, and the display that `open()` made, back to zero."""
        if self._opened is not None:
            self._opened.close()
            self._opened = self._show(self._settings.progress, None, self._tally.report)
        self._tally.reset()
        with self._lock:
            self._kept.clear()

    def close(self) -> None:
        """Cancel what is under way, end the threads, close the display. The client can be used
        again afterwards; a client that is never closed does no harm.
        """
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._drop_process(cancel=True)
        with self._lock:
            self._kept.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last_run(self) -> Report | None:
        """The numbers, and for `map` the responses, of the last `map` or `imap`; None before."""
        return None if self._last_run is None else self._last_run.report()

    def usage(self) -> Report:
        """The numbers of all calls since the client was made or `reset_tracker()` called."""
        return self._tally.report()

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

    def _begin(self) -> None:
        """The state that is not configuration; it starts nothing."""
        self._lock = threading.Lock()  # guards _current, and the two tables of futures
        self._current: _Process | None = None
        self._futures: weakref.WeakSet[ResponseFuture] = weakref.WeakSet()
        self._kept: dict[ResponseFuture, None] = {}
        self._tally = Tally()

    def _process(self) -> _Process:
        """What this client uses in this process."""
        process = self._current
        if process is None or process.pid != os.getpid():
            process = self._new_process()
        return process

    def _new_process(self) -> _Process:
        if self._current is not None and self._current.pid != os.getpid():
            self._opened = self._last_run = None
            self._begin()  # a fork: the parent's threads, locks and futures are not ours
        with self._lock:
            if self._current is None:
                self._current = _Process(self._settings, self._models, current())
            return self._current

    def _drop_process(self, *, cancel: bool) -> None:
        with self._lock:
            process, self._current = self._current, None
        if process is not None and process.pid == os.getpid():
            process.close(cancel=cancel)

    def _params(self, sampling: Mapping[str, Any]) -> SamplingParams:
        return self._settings.sampling_params.merged(sampling_options(sampling))

    def _seconds(self, timeout: float | None) -> float | None:
        check_seconds("timeout", timeout)
        return self._settings.timeout if timeout is None else timeout

    def _prepare(
        self,
        process: _Process,
        prompt: Any,
        params: SamplingParams,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        index: int | None = None,
        cancellation: Cancellation | None = None,
    ) -> Call:
        """A call, ready to run: everything that can be wrong with it is found here."""
        route = process.routes.draw()
        request = Request(
            Conversation.of(prompt),
            process.routes.accepted(params, route),
            self._settings.extra_body,
            self._settings.extra_headers,
        )
        return Call(
            route,
            request,
            prompt=prompt,
            index=index,
            timeout=timeout,
            deadline=deadline,
            cancellation=cancellation or process.cancellation,
            postprocess=self._settings.postprocess,
        )

    def _run(
        self,
        prompts: Iterable[Any],
        display: tuple[str, int | None],
        *,
        timeout: float | None,
        sampling: Mapping[str, Any],
        keep: bool,
    ) -> Run:
        single = isinstance(prompts, (str, bytes, Conversation, Message, Mapping))
        if single or not isinstance(prompts, Iterable):
            raise PromptError(
                f"map takes many prompts, this is one {type(prompts).__name__}: "
                "use complete(prompt) or map([prompt])"
            )
        params, seconds = self._params(sampling), self._seconds(timeout)
        process = self._process()
        process.routes.check()

        def prepare(prompt: Any, index: int, cancellation: Cancellation) -> Call:
            return self._prepare(
                process, prompt, params, timeout=seconds, index=index, cancellation=cancellation
            )

        style, total = display
        if total is None and isinstance(prompts, Sequence):
            total = len(prompts)
        run = Run(
            iter(prompts),
            prepare=prepare,
            execute=process.execute,
            model=self._models[0].name,
            width=self._settings.max_concurrent_requests,
            cancellation=process.cancellation,
            tally=Tally(self._tally),
            progress=lambda run: self._show(style, total, run.tally.report),
            keep=keep,
        )
        self._last_run = run
        return run

    def _show(self, style: str, total: int | None, numbers: Any) -> Progress:
        return Progress(
            style,
            name=self._settings.name or self._models[0].id,
            total=total,
            numbers=numbers,
            status=lambda: self._process().routes.status(),
        )

    def _finish(self, response: Response, retries: Iterable[str]) -> None:
        self._tally.add(response, retries)
        if self._opened is not None:
            self._opened.tick()

    def _remember(self, future: ResponseFuture) -> None:
        with self._lock:
            self._futures.add(future)
            if self._opened is not None:
                self._kept[future] = None

    def _chosen(self, futures: Iterable[ResponseFuture] | None) -> list[ResponseFuture]:
        if futures is not None:
            return list(futures)
        with self._lock:
            return list(self._kept) if self._opened is not None else list(self._futures)

    def _outcome(self, future: ResponseFuture) -> Response:
        try:
            return future.result()
        except DelugeError as error:
            return error.response or Response(model=self._models[0].name, error=error)
        except concurrent.futures.CancelledError:
            cancelled = CallCancelledError("the future was cancelled")
            return Response(model=self._models[0].name, error=cancelled)


class _Process:
    """What one client uses in one process: its threads, its routes, its switch."""

    def __init__(self, chosen: Settings, models: tuple[Model, ...], runtime: Runtime) -> None:
        self.pid = os.getpid()
        self.cancellation = Cancellation(runtime.cancellation)
        self.routes = Routes(chosen, models, runtime)
        self.deadlines = Deadlines()
        self._workers = chosen.max_concurrent_requests
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="deluge-sync")
        self._jobs: weakref.WeakSet[_Job] = weakref.WeakSet()

    def execute(self, function: Callable[[], object]) -> None:
        """Have a worker run `function`."""
        try:
            self._pool.submit(function)
        except RuntimeError as error:
            raise CallCancelledError("the client was closed, or the program is ending") from error

    def enqueue(self, job: _Job, deadline: float | None) -> None:
        """Have a worker run `job`; at `deadline` it expires if none was free until then."""
        if deadline is not None and len(self._jobs) >= self._workers:
            self.deadlines.add(deadline, job.expire)
        self._jobs.add(job)
        self.execute(functools.partial(copy_context().run, job.run))

    def close(self, *, cancel: bool) -> None:
        """End the threads: at once with `cancel`, else when what is queued is done."""
        if cancel:
            self.cancellation.cancel()
            self.deadlines.close()
        self._pool.shutdown(wait=cancel)


class _Job:
    """A submitted call: run by a worker, or expired before one was free, whichever comes first."""

    def __init__(self, call: Call, future: ResponseFuture, finish: Finish) -> None:
        self._call = call
        self._future = future
        self._finish = finish
        self._open = [True]  # popping it is atomic: one of the two gets it

    def run(self) -> None:
        """Run the call and fulfil the future; called by a worker."""
        if not self._claim():
            return
        try:
            response = self._call.run()
        except BaseException as error:
            self._future.set_exception(error)
            raise
        self._fulfil(response)

    def expire(self) -> None:
        """The deadline has passed; nothing to do if the call is under way: it has its own."""
        if self._claim():
            error = DeadlineExceededError("the call's time was up before a worker was free")
            self._fulfil(self._call.failed(error))

    def _claim(self) -> bool:
        try:
            self._open.pop()
        except IndexError:
            return False
        return self._future.set_running_or_notify_cancel()

    def _fulfil(self, response: Response) -> None:
        self._finish(response, self._call.retries)
        if response.error is not None:
            self._future.set_exception(response.error)
        else:
            self._future.set_result(response)
