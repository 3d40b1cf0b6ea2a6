"""MCP servers that crash, hang, change and end, for real."""

from __future__ import annotations

import gc
import importlib.util
import json
import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from deluge_sync import (
    ConnectionFailedError,
    DeadlineExceededError,
    MCPTools,
    Tool,
    ToolChangedError,
)
from deluge_sync.values.tool import tools_of

from .. import test_mcp
from ..test_mcp import SCRIPT, WAITS_FOR, HttpServer, call, started, watch

either, every, http = test_mcp.either, test_mcp.every, test_mcp.http

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the mcp package needs Python 3.10 or newer"
)


def test_a_slow_tool_ends_at_its_timeout_and_the_server_goes_on(either: MCPTools) -> None:
    slow = next(tool for tool in either if tool.name == "every__sleep")
    assert slow.timeout == 60
    impatient = type(slow.run)(slow.run.handle, "sleep", 0.2)
    with pytest.raises(DeadlineExceededError, match=r"every: sleep: no answer within 0\.2 s"):
        impatient(seconds=20)
    assert call(either, "every__add", left=1, right=2) == "3"


def test_a_server_that_does_not_answer_is_given_up_and_ended() -> None:
    with pytest.raises(DeadlineExceededError, match=r"starting MCP servers \(every\)"):
        started("--deaf", start_timeout=1)


def test_a_server_that_ended_between_calls_is_started_again_unnoticed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    noticed = threading.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            noticed.set()

    logger, ear = logging.getLogger("deluge_sync.mcp.connection"), Ear(logging.WARNING)
    logger.addHandler(ear)
    try:
        with started() as tools:
            os.kill(int(call(tools, "every__process")), 9)
            assert noticed.wait(10)
            assert call(tools, "every__add", left=1, right=2) == "3"
    finally:
        logger.removeHandler(ear)
    assert "every is started again" in caplog.text


def test_a_server_that_crashes_again_and_again_is_left_alone(tmp_path: Path) -> None:
    with started(max_restarts=1) as tools:
        for _ in range(2):
            with pytest.raises(ConnectionFailedError, match=r"ended .* while"):
                call(tools, "every__crash", journal=str(tmp_path / "journal"))
        with pytest.raises(ConnectionFailedError, match="ended too often"):
            call(tools, "every__add", left=1, right=2)


def test_an_http_server_that_was_started_again_is_reached_again(http: HttpServer) -> None:
    with Tool.from_mcp("every", url=http.url) as tools:
        assert call(tools, "every__add", left=1, right=2) == "3"
        http.stop()
        with pytest.raises(ConnectionFailedError):
            call(tools, "every__add", left=1, right=2)
        http.start()
        assert call(tools, "every__add", left=1, right=2) == "3"


def test_a_tool_that_a_restart_changed_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    with started("--changed", str(changed)) as tools:
        changed.touch()
        with pytest.raises(ConnectionFailedError):
            call(tools, "every__crash", journal=str(tmp_path / "journal"))
        with pytest.raises(ToolChangedError, match="add has another description"):
            call(tools, "every__add", left=1, right=2)
        assert call(tools, "every__process")


def test_a_stored_pin_refuses_what_changed_between_two_runs(tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    with started("--changed", str(changed)) as tools:
        pin = json.loads(json.dumps(tools.pin))
    started("--changed", str(changed), pin=pin).close()
    changed.touch()
    with pytest.raises(ToolChangedError) as raised:
        started("--changed", str(changed), pin=pin)
    assert set(raised.value.changes) == {"add has another description", "new_tool is new"}


def test_a_configuration_starts_all_its_servers(http: HttpServer) -> None:
    config = {
        "mcpServers": {
            "here": {"command": sys.executable, "args": [SCRIPT], "env": {"GIVEN": "1"}},
            "there": {"type": "http", "url": http.url},
        }
    }
    with Tool.from_mcp_config(config) as tools:
        assert call(tools, "here__add", left=1, right=2) == "3"
        assert call(tools, "there__add", left=1, right=2) == "3"
        assert set(tools.pin) == {"here", "there"}
        tools_of(tools)


def test_one_server_that_does_not_start_ends_the_others(tmp_path: Path) -> None:
    log = tmp_path / "ids"
    script = f"import os; open({str(log)!r}, 'w').write(str(os.getpid())); import runpy; "
    script += f"runpy.run_path({SCRIPT!r}, run_name='__main__')"
    config = {
        "mcpServers": {
            "here": {"command": sys.executable, "args": ["-c", script]},
            "broken": {"command": sys.executable, "args": ["-c", WAITS_FOR, str(log)]},
        }
    }
    with pytest.raises(ConnectionFailedError, match="broken"):
        Tool.from_mcp_config(config)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def test_a_server_ends_when_nobody_holds_its_tools() -> None:
    tools = started()
    add = next(tool for tool in tools if tool.name == "every__add")
    end = watch(int(call(tools, "every__process")))
    del tools
    gc.collect()
    assert add.run(left=1, right=2) == "3"
    del add
    gc.collect()
    assert end.poll(10_000)
