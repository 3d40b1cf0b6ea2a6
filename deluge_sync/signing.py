"""Authorization that is not a key: made for each send, out of credentials that go stale.

botocore and google-auth are extras (`[bedrock]`, `[vertex]`), imported when first used.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Callable, Optional, Protocol

from .engine.alarm import Alarm
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .values.errors import AuthError, ConfigError, DeadlineExceededError, TransientError
from .values.model import Provider
from .values.secret import Credential, Secret
from .values.wire import HttpRequest

logger = logging.getLogger(__name__)

FRESH, STALE, SPENT = "fresh", "stale", "spent"
"""How credentials are: good for long, good but soon to be renewed, good no more."""

GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LONGEST_RENEWAL = 60.0
"""Seconds. One that takes longer is given up, and begun anew by the next who asks."""
STALE_SECONDS, SPENT_SECONDS = 900, 600
"""AWS credentials with less left than this are renewed, or not used at all, as in botocore."""
SIGNED_HEADERS = ("content-type",)
"""Of a request's own headers, with those of Amazon's (`x-amz-*`): others may be changed by a proxy
on the way."""


class Signer(Protocol):
    """Makes the credentials of a request right before each send, from many threads at once."""

    def credentials(
        self, request: HttpRequest, *, deadline: float, cancellation: Cancellation
    ) -> tuple[Credential, ...]:
        """The headers that authorize `request` as it is, for the transport to add.

        Waits for nobody beyond the monotonic instant `deadline`, nor after `cancellation`. Raises
        `ConfigError` (an extra or credentials are missing), `AuthError` (no new ones were to be
        had), `DeadlineExceededError` and `CallCancelledError`.
        """
        ...


class CredentialSource(Protocol):
    """Credentials that a vendor's library finds and renews."""

    def state(self) -> str:
        """FRESH, STALE or SPENT (which they are before the first `renew`). Does no I/O."""
        ...

    def renew(self) -> None:
        """Find or renew them. May take its time: it is called on a thread of its own."""
        ...


class _Renewal:
    """One renewal under way: those who wait for it, and how it ended."""

    def __init__(self, until: float) -> None:
        self.process = os.getpid()
        self.until = until
        self.alarms: set[Alarm] = set()
        self.over = False
        self.error: Optional[BaseException] = None


class Renewed:
    """Credentials that are renewed once for all threads, in a thread of their own.

    So a library's I/O, which knows no deadline of ours, holds up no call for longer than that call
    may wait, and stale credentials, which are still good, hold up none at all.

    The lock guards `_renewal` and what is in it; no I/O is done under it.
    """

    def __init__(self, source: CredentialSource, *, clock: Clock = monotonic) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._renewal: Optional[_Renewal] = None

    def ensure(self, *, deadline: float, cancellation: Cancellation) -> None:
        """Return as soon as the credentials are good; see `Signer.credentials` for errors."""
        state = self._source.state()
        if state == FRESH:
            return
        alarm = Alarm()
        renewal = self._begin(alarm if state == SPENT else None)
        if state == STALE:
            return
        cancellation.add(alarm.ring)
        try:
            if not alarm.wait(deadline - self._clock()):
                raise DeadlineExceededError(
                    "the time was up while waiting for credentials", may_have_been_sent=False
                )
        finally:
            cancellation.discard(alarm.ring)
            with self._lock:
                renewal.alarms.discard(alarm)
        cancellation.check()
        if renewal.error is not None:
            raise _failed(renewal.error)

    def _begin(self, alarm: Optional[Alarm]) -> _Renewal:
        """The renewal under way, begun here where there is none; `alarm` rings at its end."""
        with self._lock:
            renewal, begun = self._renewal, False
            if renewal is None or self._is_done(renewal):
                renewal = self._renewal = _Renewal(self._clock() + LONGEST_RENEWAL)
                begun = True
            if alarm is not None:
                renewal.alarms.add(alarm)
        if begun:
            self._start(renewal)
        return renewal

    def _is_done(self, renewal: _Renewal) -> bool:
        """Whether nothing more will come of it; a forked process has no threads of its parent's."""
        return renewal.over or renewal.process != os.getpid() or self._clock() > renewal.until

    def _start(self, renewal: _Renewal) -> None:
        thread = threading.Thread(
            target=self._run, args=(renewal,), name="deluge-credentials", daemon=True
        )
        try:
            thread.start()
        except BaseException as error:  # no more threads, or Ctrl-C: nobody may wait for it
            self._end(renewal, error)
            raise

    def _run(self, renewal: _Renewal) -> None:
        error: Optional[BaseException] = None
        try:
            self._source.renew()
        except BaseException as problem:  # whatever it is, those who wait get to know
            error = problem
            logger.debug("credentials were not renewed: %s", type(problem).__name__)
        self._end(renewal, error)

    def _end(self, renewal: _Renewal, error: Optional[BaseException]) -> None:
        with self._lock:
            renewal.over, renewal.error = True, error
            alarms = tuple(renewal.alarms)
        for alarm in alarms:
            alarm.ring()


class SigV4Signer:
    """Amazon's Signature Version 4, made by botocore for one service and region.

    Credentials come from botocore's chain (variables, profiles, container and instance roles, SSO,
    ...), which it renews. `region` None takes that of the profile.
    """

    def __init__(self, service: str, region: Optional[str] = None) -> None:
        self._service = service
        self._source = AwsCredentials(region)
        self._renewed = Renewed(self._source)

    def credentials(
        self, request: HttpRequest, *, deadline: float, cancellation: Cancellation
    ) -> tuple[Credential, ...]:
        """See `Signer`."""
        self._renewed.ensure(deadline=deadline, cancellation=cancellation)
        return sign(request, self._source.keys, self._service, self._source.region)


def sign(request: HttpRequest, keys: Any, service: str, region: str) -> tuple[Credential, ...]:
    """The headers of `request`'s signature with botocore's frozen credentials `keys`.

    It is over all of the body, so a request with a file, which would have to be read twice, is a
    `ConfigError`.
    """
    if request.file is not None:
        raise ConfigError(f"{request.file.path} cannot be sent in a request that AWS keys sign")
    auth, awsrequest = (_imported(f"botocore.{name}", "bedrock") for name in ("auth", "awsrequest"))
    headers = {
        name: value
        for name, value in request.headers
        if name.lower() in SIGNED_HEADERS or name.lower().startswith("x-amz-")
    }
    signed = awsrequest.AWSRequest(
        method=request.method, url=request.url, headers=headers, data=request.body
    )
    auth.SigV4Auth(keys, service, region).add_auth(signed)
    given = {name.lower() for name in headers}
    added = [(name, value) for name, value in signed.headers.items() if name.lower() not in given]
    return tuple(_credential(name, value) for name, value in added)


class AwsCredentials:
    """What botocore finds. `keys` are frozen: one renewal's three parts together."""

    def __init__(self, region: Optional[str]) -> None:
        self.keys: Any = None
        self.region = region or ""
        self._found: Any = None

    def state(self) -> str:
        """See `CredentialSource`."""
        needed: Optional[Callable[[int], bool]] = getattr(self._found, "refresh_needed", None)
        if self.keys is None:
            return SPENT
        if needed is None or not needed(STALE_SECONDS):
            return FRESH
        return SPENT if needed(SPENT_SECONDS) else STALE

    def renew(self) -> None:
        """See `CredentialSource`."""
        if self._found is None:
            self._find()
        self.keys = self._found.get_frozen_credentials()

    def _find(self) -> None:
        session = _imported("botocore.session", "bedrock").Session()
        found = session.get_credentials()
        self.region = self.region or session.get_config_variable("region") or ""
        if found is None:
            raise ConfigError(
                "no AWS credentials: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        if not self.region:
            raise ConfigError("no AWS region: set AWS_REGION")
        self._found = found


class GoogleSigner:
    """A Bearer token of Google's application default credentials, made by google-auth."""

    def __init__(self) -> None:
        self._source = GoogleCredentials()
        self._renewed = Renewed(self._source)

    def credentials(
        self, request: HttpRequest, *, deadline: float, cancellation: Cancellation
    ) -> tuple[Credential, ...]:
        """See `Signer`."""
        self._renewed.ensure(deadline=deadline, cancellation=cancellation)
        return self._source.headers


class GoogleCredentials:
    """What google-auth finds. `headers` are those of one renewal, together."""

    def __init__(self) -> None:
        self.headers: tuple[Credential, ...] = ()
        self._found: Any = None

    def state(self) -> str:
        """See `CredentialSource`."""
        if not self.headers:
            return SPENT
        return {"FRESH": FRESH, "STALE": STALE}.get(self._found.token_state.name, SPENT)

    def renew(self) -> None:
        """See `CredentialSource`."""
        request = _imported("google.auth.transport.requests", "vertex").Request()
        if self._found is None:
            self._found = self._find(request)
        self._found.refresh(request)
        self.headers = (Credential("Authorization", "Bearer ", Secret(self._found.token)),)
        project = getattr(self._found, "quota_project_id", None)
        if project:
            self.headers += (_credential("x-goog-user-project", project),)

    def _find(self, request: Any) -> Any:
        auth = _imported("google.auth", "vertex")
        try:
            found, _ = auth.default(scopes=[GOOGLE_SCOPE], request=request)
        except auth.exceptions.DefaultCredentialsError:
            raise ConfigError(
                "no Google credentials: run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS to a file of credentials"
            ) from None
        return found


def signer_of(provider: Provider, environ: Optional[Mapping[str, str]] = None) -> Optional[Signer]:
    """What authorizes calls to `provider` where there is no key; None where only a key does.

    The region is that of its address's variables. Nothing is imported or looked for before the
    first call; but `ConfigError` at once where the extra is missing.
    """
    if provider.auth == "sigv4":
        _imported("botocore", "bedrock")
        return SigV4Signer(provider.auth_service, _region(provider, environ))
    if provider.auth == "google":
        _imported("google.auth", "vertex")
        return GoogleSigner()
    return None


def _region(provider: Provider, environ: Optional[Mapping[str, str]]) -> Optional[str]:
    environ = os.environ if environ is None else environ
    names = provider.base_url_vars.get("region", ())
    return next((environ[name] for name in names if environ.get(name)), None)


def _imported(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.partition('.')[0]} is not installed, which signs these calls: "
            f"pip install 'deluge-sync[{extra}]', or give an API key"
        ) from error


def _credential(name: str, value: str) -> Credential:
    """A header whose value is secret behind its first word, where it has several."""
    scheme, blank, rest = value.partition(" ")
    return Credential(name, scheme + blank if blank else "", Secret(rest if blank else value))


_PASSING = frozenset({"HTTPClientError", "MetadataRetrievalError", "TransportError", "OSError"})
"""Errors of these libraries, by name, that may be gone the next time."""


def _failed(error: BaseException) -> Exception:
    """The error for credentials that were not to be had. What libraries say may hold secrets."""
    if isinstance(error, ConfigError):
        return ConfigError(error.message)
    names = {kind.__name__ for kind in type(error).__mro__}
    passing = bool(names & _PASSING) or getattr(error, "retryable", False) is True
    return (TransientError if passing else AuthError)(
        f"no credentials: {type(error).__module__}.{type(error).__name__}",
        may_have_been_sent=False,
    )
