"""The Flask extension, its commands and its page."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import ConfigError
from deluge_sync.testing import Fault, Sandbox

flask = pytest.importorskip("flask")

from deluge_sync.cli.configured import client_of  # noqa: E402
from deluge_sync.contrib.flask import DelugeSync, current_client  # noqa: E402

ROOT = Path(__file__).parent.parent


def app_for(sandbox: Sandbox, **options: Any) -> Any:
    app = flask.Flask("site")
    settings = {"model_names": "gpt-4.1-mini", "base_url": sandbox.base_url, "api_key": "sk-key"}
    app.config["DELUGE_SYNC"] = {**settings, **options}
    DelugeSync(app)
    return app


def test_each_app_of_a_process_has_a_client_of_its_own(sandbox: Sandbox) -> None:
    extension = DelugeSync(base_url=sandbox.base_url, api_key="k", model_names="gpt-4.1-mini")
    apps = [flask.Flask(name) for name in ("one", "two")]
    apps[1].config["DELUGE_SYNC"] = {"model_names": "gpt-5-nano", "timeout": 7}
    seen = []
    for app in apps:
        extension.init_app(app)
        with app.app_context():
            seen.append((current_client.models[0].id, current_client.settings.timeout))
            assert current_client.complete("hello").completion == "hello"
    assert seen == [("gpt-4.1-mini", 25.0), ("gpt-5-nano", 7)]


def test_making_an_app_starts_nothing(sandbox: Sandbox) -> None:
    app = app_for(sandbox)
    with app.app_context():
        assert not current_client._processes
    assert sandbox.requests == 0
    assert "sk-key" not in repr(app.extensions)


def test_an_unknown_option_is_refused_with_a_suggestion(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match=r"DELUGE_SYNC: unknown option 'timeot'.*'timeout'"):
        app_for(sandbox, timeot=3)
    app = flask.Flask("site")
    app.config["DELUGE_SYNC"] = "gpt-4.1-mini"
    with pytest.raises(ConfigError, match="must be a dict"):
        DelugeSync(app)


def test_an_app_is_set_up_once(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="already"):
        DelugeSync(app_for(sandbox))


def test_without_a_context_or_an_extension_the_error_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="no app is active here"):
        current_client.complete("hello")
    with flask.Flask("bare").app_context(), pytest.raises(RuntimeError, match="init_app"):
        current_client.complete("hello")


def test_a_visitor_who_leaves_ends_the_call(sandbox: Sandbox) -> None:
    page: dict[str, Any] = {"__name__": __name__}
    exec(BLOCKS[0][1], page)
    settings = {"base_url": sandbox.base_url, "api_key": "k"}
    app = page["create_app"](**settings)
    response = app.test_client().get("/stream?q=" + "word+" * 500)
    next(iter(response.response))
    with app.app_context():
        assert current_client.usage().failed == 0
        response.close()
        assert current_client.usage().failed == 1


def test_the_commands_start_from_the_apps_options(sandbox: Sandbox, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("one\nbad\n")
    runner = app_for(sandbox, cache=str(tmp_path / "cache")).test_cli_runner()
    sandbox.script([Fault("400", match="bad")])
    words = ["deluge", "map", str(source), "-o", str(target)]
    assert runner.invoke(args=words).exit_code == 1
    assert runner.invoke(args=words).exit_code == 0
    assert sandbox.requests == 3  # "one" comes out of the app's cache
    assert "entries  2" in runner.invoke(args=["deluge", "cache", "stats"]).output
    assert "gpt-4.1-mini: ready" in runner.invoke(args=["deluge", "check"]).output
    assert runner.invoke(args=["deluge", "map", str(source), "--nonsense"]).exit_code == 2


def test_a_model_of_another_provider_does_not_get_the_apps_key(sandbox: Sandbox) -> None:
    options = argparse.Namespace(
        config=None,
        client_options={
            "model_names": "gpt-4.1-mini", "api_key": "sk-key", "base_url": sandbox.base_url,
            "timeout": 3, "max_attempts": 2,
        },
    )  # fmt: skip

    other, same, own = (
        client_of(options, names).settings for names in (["claude-haiku-4-5"], ["gpt-5-nano"], None)
    )
    assert (other.api_key, other.base_url, other.max_attempts) == (None, None, 2)
    assert same.api_key is not None
    assert same.base_url == own.base_url == sandbox.base_url
    assert own.timeout is None


PAGE = (ROOT / "docs/flask.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_code_and_the_commands_of_the_page_work_as_they_stand(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    assert [kind for kind, _ in BLOCKS] == ["python", "sh", "python"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": sandbox.base_url, "DELUGE_SYNC_BATCHES": str(tmp_path / "batches"),
        "FLASK_DELUGE_SYNC__timeout": "10",
    }  # fmt: skip
    for kind, text in BLOCKS:
        program = ["sh", "-eu", "-c", text]
        if kind == "python":
            name = text.splitlines()[0].strip("# ")
            (tmp_path / name).write_text(text)
            program = [sys.executable, name]
        done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True,
                              text=True, timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
