"""The sandbox: a provider of one's own, on this machine, that answers as told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Callable

from .answers import Answerer, Answering
from .batch_lines import Desk
from .batch_script import BatchRecord, BatchScript
from .batches import BatchStore
from .connection import Counters
from .faults import FaultLike, FaultPlan
from .files import FileStore, StoredFile
from .journal import Journal, Record
from .limiter import Limiter
from .openai_responses import OpenAIResponses
from .server import HOST, Server
from .service import Delay, OnRequest, Policy, Service
from .voyage import PREFIX as VOYAGE_PREFIX
from .wires import Wires

MAX_BODY = 64 << 20

_USUAL_BATCHES = BatchScript()


class Sandbox:
    """A local server that speaks the OpenAI, Anthropic and Gemini wire formats, and batches.

    Nothing starts in the constructor: use it as a context manager, or `start()` and `close()`.
    It listens on 127.0.0.1 only.

    Answers: `answer`, `fixed`, `template` and `tokens` are those of `Answerer`; without any of
    them it echoes the last user text. `delay` is seconds before each answer, or a callable that
    takes the `Question`; `event_delay` the same for each event of a stream after its first, asked
    anew each time. `models`: the only ids that exist (None: every id does).

    Background: a response of OpenAI's Responses that runs there is done when it is asked after for
    the `background_polls`th time, and not before `background_seconds` have gone by.

    Files and batches: those of OpenAI (Groq's too, under /openai), Anthropic, Google and Mistral.
    Each line of a batch is answered as the live request would be; `batches` says how they fare, and
    the results come in no order, shuffled from `seed`. They are made when a batch is looked at and
    kept compressed. Lines draw nothing from the limits.

    Limits: `requests_per_minute` and the three of tokens (None: no limit), enforced strictly by an
    exact log of the last 60 s (`limiter="sliding"`) or a token bucket ("bucket"), told in the
    vendor's headers unless `send_limit_headers` is False. At admission a request counts its input
    and, unless `count_max_tokens` is False, the most it may write; when answered, its real usage.
    `clock` gives monotonic seconds.

    Faults: `faults` gives kinds (or `Fault`s) their chance per request, drawn from `seed` in
    order of arrival; `script` adds single ones.

    `api_key`: requests must carry it, else 401 (None: any or none will do). `strict` False takes
    fields the vendor would not know, for the dialects of OpenAI-compatible hosts. `keep_bodies`
    False keeps bodies and headers out of the journal; `journal_limit` keeps the newest records
    only. `max_body` is the largest request body in bytes. `on_request` is called with method, path
    (without query) and "before" or "after" what is asked for is done (or refused), each time ahead
    of any byte of an answer and on the server's thread, which waits for it: a test can kill a
    client there. A fault scripted in it "before" comes to that request.
    """

    def __init__(
        self,
        *,
        answer: Answering | None = None,
        fixed: str = "Hello from the sandbox.",
        template: str = "You said: {prompt}",
        tokens: tuple[int, ...] | None = None,
        delay: Delay = 0.0,
        event_delay: Delay = 0.0,
        batches: BatchScript = _USUAL_BATCHES,
        background_polls: int = 2,
        background_seconds: float = 0.0,
        models: Sequence[str] | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        input_tokens_per_minute: float | None = None,
        output_tokens_per_minute: float | None = None,
        limiter: str = "sliding",
        send_limit_headers: bool = True,
        count_max_tokens: bool = True,
        clock: Callable[[], float] = time.monotonic,
        faults: Mapping[FaultLike, float] | None = None,
        seed: int = 0,
        api_key: str | None = None,
        strict: bool = True,
        keep_bodies: bool = True,
        journal_limit: int | None = None,
        port: int = 0,
        max_body: int = MAX_BODY,
        on_request: OnRequest | None = None,
    ) -> None:
        self._journal = Journal(keep_bodies=keep_bodies, limit=journal_limit)
        self._faults = FaultPlan(faults, seed)
        self._limiter = Limiter(
            limiter,
            clock,
            {
                "requests": requests_per_minute,
                "tokens": tokens_per_minute,
                "input_tokens": input_tokens_per_minute,
                "output_tokens": output_tokens_per_minute,
            },
        )
        self._counters = Counters()
        self._files = FileStore()
        wires = Wires(OpenAIResponses(background_polls, background_seconds))
        answerer = Answerer(answer, fixed=fixed, template=template, tokens=tokens)
        desk = Desk(
            wires,
            answerer,
            models=models,
            strict=strict,
            failing=batches.failing,
        )
        self._batches = BatchStore(batches, desk, self._files, seed)
        service = Service(
            Policy(
                api_key=api_key,
                models=None if models is None else tuple(models),
                delay=delay,
                event_delay=event_delay,
                strict=strict,
                send_limit_headers=send_limit_headers,
                count_max_tokens=count_max_tokens,
                clock=clock,
                on_request=on_request,
            ),
            wires=wires,
            answerer=answerer,
            files=self._files,
            batches=self._batches,
            limiter=self._limiter,
            faults=self._faults,
            journal=self._journal,
            counters=self._counters,
        )
        self._server = Server(service, self._counters, port=port, max_body=max_body)

    def start(self) -> Sandbox:
        """Listen; gives itself. `OSError` where the port is taken."""
        self._server.start()
        return self

    def close(self) -> None:
        """Cut all connections and end the thread, within a second."""
        self._server.close()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = f"at {self.url}" if self.running else "not running"
        return f"<Sandbox {where}, {self.requests} requests>"

    @property
    def running(self) -> bool:
        """Whether it listens, in this process."""
        return self._server.running

    @property
    def port(self) -> int:
        """The port it listens on. `RuntimeError` while it does not run; so do the URLs."""
        return self._server.port

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://{HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK calls `base_url`; it ends in /v1."""
        return self.url + "/v1"

    @property
    def anthropic_url(self) -> str:
        """What Anthropic's SDK calls `base_url`; without a version."""
        return self.url

    @property
    def gemini_url(self) -> str:
        """What google-genai calls `base_url`; without a version."""
        return self.url

    @property
    def voyage_url(self) -> str:
        """What voyageai calls `base_url`: of a prefix, as Voyage's paths are those of OpenAI."""
        return self.url + VOYAGE_PREFIX

    def set_limits(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        input_tokens_per_minute: float | None = None,
        output_tokens_per_minute: float | None = None,
    ) -> None:
        """Change those limits that are given, from now on; what was used stays used."""
        given = {
            "requests": requests_per_minute,
            "tokens": tokens_per_minute,
            "input_tokens": input_tokens_per_minute,
            "output_tokens": output_tokens_per_minute,
        }
        self._limiter.set_limits(
            {name: limit for name, limit in given.items() if limit is not None}
        )

    def script(self, faults: Iterable[FaultLike | None]) -> None:
        """Queue faults for the next admitted requests, one each, before any chance is drawn.

        A fault with `match` waits for a prompt that contains it and lets others pass; None lets
        one request through unharmed.
        """
        self._faults.script(faults)

    def clear_faults(self) -> None:
        """Forget the scripted faults: from now on it is well."""
        self._faults.clear()

    @property
    def pending_faults(self) -> int:
        """Scripted faults that have not been met yet."""
        return self._faults.pending

    @property
    def journal(self) -> list[Record]:
        """What arrived, in order; a copy."""
        return self._journal.snapshot()

    @property
    def files(self) -> list[StoredFile]:
        """What was uploaded and not deleted, the oldest first; a copy."""
        return [file for file in self._files.snapshot() if file.results is None]

    @property
    def batches(self) -> list[BatchRecord]:
        """Every batch that was created, the oldest first, deleted ones too; a copy."""
        return self._batches.records()

    @property
    def requests(self) -> int:
        """How many requests arrived since the start or the last `clear`."""
        return self._journal.requests

    @property
    def stats(self) -> dict[str, Any]:
        """Counts by status and fault, and of connections; the same as GET /_sandbox/stats."""
        return {**self._journal.stats(), **vars(self._counters)}

    def wait_for(self, count: int, timeout: float = 5.0) -> None:
        """Block until `count` requests have arrived; `TimeoutError` after `timeout` seconds."""
        self._journal.wait_for(count, timeout)

    def clear(self) -> None:
        """Forget the journal, its counts and the scripted faults. Limits stay as used."""
        self._journal.clear()
        self.clear_faults()
