"""Clients that go to other processes: their options do, their keys do not."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from deluge_sync import Client, ConfigError, MemoryStore, Response
from deluge_sync.testing import Sandbox

from .helpers import ROOT


def shouted(response: Response) -> Response:
    return response


def test_another_process_makes_a_client_of_the_same_options(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    provider = {"openai": {"base_url": sandbox.base_url}}
    client = Client("gpt-4.1-mini", config={"providers": provider}, temperature=0.5, timeout=30)
    client.with_limits(max_requests_per_minute=5_000)
    assert client.complete("here").completion == "here"  # what it has in this process stays here
    packed = pickle.dumps(client)
    assert b"sk-secret-key" not in packed
    file = tmp_path / "client"
    file.write_bytes(packed)
    script = (
        "import pickle, sys\n"
        "client = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert client.settings.max_requests_per_minute == 5_000\n"
        "assert client.settings.sampling_params.temperature == 0.5\n"
        "print(client.complete('there').completion)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "there\n", done.stderr
    assert sandbox.journal[-1].body["temperature"] == 0.5


def test_a_copy_shares_nothing_with_its_original(sandbox: Sandbox) -> None:
    client = Client("gpt-4.1-mini", config={"providers": {"openai": {"key_env": []}}})
    other = copy.copy(client)
    other.with_limits(max_concurrent_requests=3)
    assert client.settings.max_concurrent_requests == 225


def test_functions_of_modules_and_folders_of_caches_go_along(tmp_path: Path) -> None:
    client = Client("gpt-4.1-mini", postprocess=shouted, cache=tmp_path / "cache")
    again = pickle.loads(pickle.dumps(client))
    assert again.settings.postprocess is shouted
    assert again.settings.cache.place == client.settings.cache.place  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"api_key": "sk-secret-key"}, "api_key"),
        ({"extra_headers": {"X-Api-Key": "sk-secret-key"}}, "X-Api-Key"),
        ({"proxies": {"https": "http://me:sk-secret-key@proxy"}}, "HTTPS_PROXY"),
        ({"session": requests.Session()}, "session"),
        ({"cache": MemoryStore()}, "MemoryStore"),
    ],
)
def test_secrets_and_what_is_one_processs_are_refused(options: dict[str, Any], word: str) -> None:
    client = Client("gpt-4.1-mini", **options)
    with pytest.raises(ConfigError, match=word) as refusal:
        pickle.dumps(client)
    assert "sk-secret-key" not in str(refusal.value)
