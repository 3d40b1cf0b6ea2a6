"""`deluge-sync cache`: what a cache holds, and getting rid of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from typing import Any

from ..stores import default_folder, opened_store
from ..stores.base import StoreError
from ..stores.disk import DiskStore
from ..stores.folder import DATABASE
from ..stores.rows import Stats, Verification
from .configured import configured
from .exits import ANSWERED, FAILED, UsageError
from .output import plain, time_words


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "cache", help="look at a cache, or empty it", description="Look at a cache, or empty it."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add(actions, "stats", _stats, "what it holds")
    _add(actions, "clear", _clear, "delete everything in it")
    purge = _add(actions, "purge", _purge, "delete what has a tag")
    purge.add_argument("--tag", required=True, help="a model or a run")
    _add(actions, "verify", _verify, "look at every row; exit code 1 if one is bad")


def _add(actions: Any, name: str, action: Any, words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    parser.add_argument(
        "path", nargs="?", metavar="PATH", help="the cache's folder (the user's own cache)"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object instead of lines")
    parser.set_defaults(run=run, action=action)
    return parser


def run(options: argparse.Namespace) -> int:
    """Do it; gives the exit code."""
    path = os.path.expanduser(options.path or _usual_folder(options))
    if not os.path.lexists(path):
        raise UsageError(f"there is no cache in {path}")
    store = DiskStore(path)
    if not os.path.exists(os.path.join(store.path, DATABASE)):
        raise UsageError(f"there is no cache in {store.path}")
    try:
        return int(options.action(store, options))
    except StoreError as error:
        sys.stderr.write(f"deluge-sync: {error}\n")
        return FAILED
    finally:
        store.close()


def _usual_folder(options: argparse.Namespace) -> Any:
    """The folder of the cache that is configured around us, or else the user's own."""
    store = opened_store(configured(options, "cache"))
    if store is None:
        return default_folder()
    path = getattr(store, "path", None)
    if path is None:
        raise UsageError(f"the cache that is configured, {store!r}, has no folder: name a PATH")
    return path


def _stats(store: DiskStore, options: argparse.Namespace) -> int:
    found = store.stats()
    facts = {"path": store.path, **dataclasses.asdict(found)}
    _write(facts if options.json else None, _stats_lines(store.path, found))
    return ANSWERED


def _stats_lines(path: str, found: Stats) -> list[str]:
    lines = [
        f"path     {path}",
        f"entries  {found.entries:,}",
        f"expired  {found.expired:,}",
        f"bytes    {found.bytes:,} ({found.file_bytes:,} on disk)",
        f"oldest   {time_words(found.oldest)}",
        f"newest   {time_words(found.newest)}",
    ]
    return lines + [f"tag      {count:,} {plain(tag)}" for tag, count in found.by_tag.items()]


def _clear(store: DiskStore, options: argparse.Namespace) -> int:
    return _deleted(store.clear(), options)


def _purge(store: DiskStore, options: argparse.Namespace) -> int:
    return _deleted(store.purge(options.tag), options)


def _deleted(count: int, options: argparse.Namespace) -> int:
    _write({"deleted": count} if options.json else None, [f"deleted  {count:,}"])
    return ANSWERED


def _verify(store: DiskStore, options: argparse.Namespace) -> int:
    found = store.verify()
    facts = {"path": store.path, "ok": found.ok, **dataclasses.asdict(found)}
    _write(facts if options.json else None, _verify_lines(found))
    return ANSWERED if found.ok else FAILED


def _verify_lines(found: Verification) -> list[str]:
    return [
        f"sound    {found.sound:,}",
        f"expired  {found.expired:,}",
        f"bad      {len(found.bad):,}",
        *(f"row {row.rowid} {plain(row.key) or '-'} {row.reason}" for row in found.bad),
        *(f"damage   {plain(line)}" for line in found.damage),
    ]


def _write(facts: dict[str, Any] | None, lines: list[str]) -> None:
    text = "\n".join(lines) if facts is None else json.dumps(facts)
    sys.stdout.write(text + "\n")
