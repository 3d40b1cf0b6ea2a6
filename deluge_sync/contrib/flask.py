"""A Flask extension: one `Client` for each app, and our commands as `flask deluge ...`.

Needs the extra `[flask]`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from werkzeug.local import LocalProxy

from ..cli import main
from ..client import Client
from ..values.errors import ConfigError

SETTING = "DELUGE_SYNC"
EXTENSION = "deluge_sync"

DEADLINE = 25.0
"""Seconds for a call, where nothing is said: gunicorn kills a worker that is silent for 30."""


@dataclass(frozen=True)
class _State:
    """What an app has: its client, and the options that its commands start from."""

    client: Client
    options: Mapping[str, Any] = field(repr=False)  # there may be a key among them


class DelugeSync:
    """Gives each app a `Client`, which is `current_client` wherever the app's context is.

    `options` are those of `Client`, for every app; `app.config["DELUGE_SYNC"]`, a dict of the same
    options, is laid over them, and must be there by the time of `init_app`. A call may take 25 s
    unless `timeout` says otherwise. Nothing is started before the first call, nothing is done
    after a request, and processes that fork need no care. One `DelugeSync` serves many apps.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Make the app's client. `ConfigError` for an option that is wrong or not known."""
        if EXTENSION in app.extensions:
            raise RuntimeError(f"the app {app.name!r} has its DelugeSync already")
        options = {**self._options, **_setting(app)}
        app.extensions[EXTENSION] = _State(_client(options), options)
        app.cli.add_command(_COMMAND)


def _setting(app: Flask) -> Mapping[str, Any]:
    setting = app.config.get(SETTING, {})
    if not isinstance(setting, Mapping):
        kind = type(setting).__name__
        raise ConfigError(f"{SETTING} must be a dict of a client's options, not of type {kind}")
    return setting


def _client(options: Mapping[str, Any]) -> Client:
    try:
        return Client(**{"timeout": DEADLINE, **options})
    except ConfigError as error:
        raise type(error)(f"{SETTING}: {error.message}") from error


def _state() -> _State:
    if not current_app:
        raise RuntimeError(
            "current_client is the client of an app, and no app is active here: use it in a "
            "request or a command, or within `with app.app_context():`"
        )
    state = current_app.extensions.get(EXTENSION)
    if state is None:
        raise RuntimeError(
            f"the app {current_app.name!r} has no client: call DelugeSync(app), or init_app(app)"
        )
    assert isinstance(state, _State)
    return state


current_client: Client = LocalProxy(lambda: _state().client)  # type: ignore[assignment]
"""The client of the app that is active here; `RuntimeError` where none is."""


def _command(arguments: tuple[str, ...]) -> None:
    options = _state().options
    sys.exit(main(list(arguments), program="flask deluge", client_options=options))


_COMMAND = click.Command(
    "deluge",
    callback=with_appcontext(_command),
    params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
    help="Call language models as this app does: map, batch, check, cache, models.",
    add_help_option=False,  # the arguments are our command line's to read, --help among them
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
