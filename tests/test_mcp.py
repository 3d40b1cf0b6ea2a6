"""MCP servers written with the `mcp` package, and one older one, as tools."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import (
    ConfigError,
    ConnectionFailedError,
    Image,
    MCPTools,
    Tool,
    ToolCall,
    ToolChangedError,
    ToolError,
    ToolResult,
)
from deluge_sync.testing import Reply, Sandbox
from deluge_sync.values.tool import result_of, tools_of

from .helpers import client_for

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the mcp package needs Python 3.10 or newer"
)

SERVERS = Path(__file__).parent / "mcp_servers"
SCRIPT = str(SERVERS / "everything.py")
WAITS_FOR = "import os, sys\nwhile not os.path.exists(sys.argv[1]): pass"
"""A program that is no server: it ends when the file is there."""

TOKEN = "mcp-token-0123456789"


def started(*args: str, **options: Any) -> MCPTools:
    return Tool.from_mcp("every", command=sys.executable, args=[SCRIPT, *args], **options)


def call(tools: MCPTools, name: str, **arguments: Any) -> Any:
    return next(tool for tool in tools if tool.name == name).run(**arguments)


def call_for_ever(tools: MCPTools, name: str, **arguments: Any) -> None:
    """Until it raises: news of a change may come a little after what caused it."""
    for _ in range(2_000):
        call(tools, name, **arguments)


def watch(pid: int) -> Any:
    """A poll that says when the process has ended, even where nobody reaps it."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("only Linux tells of the end of a process that is not one's own child")
    poll = select.poll()
    poll.register(os.pidfd_open(pid), select.POLLIN)
    return poll


class HttpServer:
    """A server on a free loopback port."""

    def __init__(self, *args: str, script: str = SCRIPT) -> None:
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            self.port = place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._command = [sys.executable, script, "--port", str(self.port), *args]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=10).close()
                return
            except ConnectionRefusedError:
                assert self.process.poll() is None, "the server did not start"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def every() -> Iterator[MCPTools]:
    """A server over stdio that no test changes."""
    with started(timeout=30) as tools:
        yield tools


@pytest.fixture
def http() -> Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.stop()


@pytest.fixture(params=["stdio", "http"])
def either(request: pytest.FixtureRequest) -> Iterator[MCPTools]:
    """A server that a test may change, over each of the two transports."""
    if request.param == "stdio":
        with started() as tools:
            yield tools
        return
    server = HttpServer()
    try:
        with Tool.from_mcp("every", url=server.url) as tools:
            yield tools
    finally:
        server.stop()


def test_tools_are_ordinary_ones_with_the_servers_name_before_their_own(every: MCPTools) -> None:
    add = next(tool for tool in every if tool.name == "every__add")
    assert tools_of([*every]) == tuple(every)
    assert add.parameters["required"] == ["left", "right"]
    assert add.arguments_of(ToolCall("1", "every__add", {"left": 1, "right": 2})) == {
        "left": 1,
        "right": 2,
    }


def test_a_description_holds_no_invisible_characters(every: MCPTools) -> None:
    assert next(tool for tool in every if tool.name == "every__add").description == (
        "Adds two numbers."
    )


def test_sixteen_threads_run_tools_of_one_server_at_once(either: MCPTools) -> None:
    with ThreadPoolExecutor(16) as pool:
        met = pool.map(lambda number: call(either, "every__meet", number=number), range(16))
        assert sorted(met) == sorted(map(str, range(16)))


def test_pictures_are_pictures(either: MCPTools) -> None:
    result = result_of(call(either, "every__picture"), ToolCall("1", "every__picture", {}))
    assert result.content == "one pixel"
    assert [image.media_type for image in result.images] == ["image/png"]
    assert isinstance(result.images[0], Image)


def test_a_link_is_text_and_structured_content_follows_what_the_text_does_not_say(
    every: MCPTools,
) -> None:
    assert call(every, "every__link") == 'two rows\nreport: file:///report.txt\n{"rows": [1, 2]}'


def test_structured_content_that_the_text_says_is_not_said_twice(every: MCPTools) -> None:
    assert call(every, "every__add", left=1, right=2) == "3"
    assert json.loads(call(every, "every__environment"))["PATH"]


def test_a_long_text_is_cut_and_says_so(every: MCPTools) -> None:
    text = call(every, "every__long", characters=1_500_000)
    assert len(text) < 1_000_100
    assert text.endswith("[cut: 1,500,000 characters in all]")


def test_a_tool_that_fails_raises_the_servers_words(either: MCPTools) -> None:
    with pytest.raises(ToolError, match="no such city"):
        call(either, "every__fail", reason="no such city")


def test_arguments_that_the_server_refuses_are_an_error(every: MCPTools) -> None:
    with pytest.raises(ToolError, match="left"):
        call(every, "every__add", left="x", right=2)


def test_the_server_sees_a_short_list_of_variables_and_what_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_DATABASE"):
        monkeypatch.setenv(name, "secret-of-the-user")
    monkeypatch.setenv("LANG", "C.UTF-8")
    with started(env={"GIVEN": "to-the-server"}) as tools:
        seen = json.loads(call(tools, "every__environment"))
    allowed = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "LC_CTYPE"}
    assert set(seen) <= allowed | {"TMPDIR", "TZ", "GIVEN"}
    assert seen["GIVEN"] == "to-the-server"
    assert seen["LANG"] == "C.UTF-8"
    assert "secret-of-the-user" not in seen.values()


def test_what_a_server_writes_to_stderr_is_logged_at_debug(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = threading.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "MCP server every: everything is started":
                heard.set()

    logger = logging.getLogger("deluge_sync.mcp")
    ear = Ear()
    logger.addHandler(ear)
    caplog.set_level(logging.DEBUG, logger="deluge_sync.mcp")
    try:
        with started():
            assert heard.wait(10)
    finally:
        logger.removeHandler(ear)
    assert capfd.readouterr().out == ""
    assert {r.levelno for r in caplog.records if "is started" in r.getMessage()} == {logging.DEBUG}


def test_a_crash_is_told_not_repeated_and_the_server_started_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with started() as tools:
        first = call(tools, "every__process")
        with pytest.raises(
            ConnectionFailedError, match=r"every ended \(the server ended\) while crash ran"
        ):
            call(tools, "every__crash", journal=str(journal))
        assert call(tools, "every__process") != first
    assert journal.read_text() == "crash\n"


def test_a_session_that_the_server_forgot_is_opened_anew() -> None:
    server = HttpServer(script=str(SERVERS / "sessions.py"))
    try:
        with Tool.from_mcp("old", url=server.url) as tools:
            assert call(tools, "old__echo", word="forget") == "forget"
            assert call(tools, "old__echo", word="hey") == "hey"
    finally:
        server.stop()


def test_a_tool_that_changes_is_refused_until_it_is_accepted(either: MCPTools) -> None:
    assert call(either, "every__add", left=1, right=2) == "3"
    assert call(either, "every__change") == "changed"
    with pytest.raises(ToolChangedError, match="MCP server every: add has another description"):
        call_for_ever(either, "every__add", left=1, right=2)
    assert call(either, "every__process")
    assert "every__new_tool" not in [tool.name for tool in either]
    assert either.accept_changes() == [
        "every: add has another description",
        "every: new_tool is new",
    ]
    assert call(either, "every__add", left=1, right=2) == "3"
    assert call(either, "every__new_tool", left=1, right=2) == "3"


def test_a_server_of_the_older_protocol_works_with_its_pages_and_notices() -> None:
    script = str(SERVERS / "older.py")
    with Tool.from_mcp("old", command=sys.executable, args=[script]) as tools:
        assert [tool.name for tool in tools] == ["old__echo", "old__shout_it"]
        assert call(tools, "old__shout_it", word="hey") == "hey"
        assert call(tools, "old__echo", word="change") == "change"
        with pytest.raises(ToolChangedError, match="old: echo has another description"):
            call_for_ever(tools, "old__echo", word="hey")
        assert call(tools, "old__shout_it", word="hey") == "hey"


def test_headers_and_query_reach_the_server_and_no_log_repr_or_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = HttpServer("--require", TOKEN)
    try:
        url, wrong = f"{server.url}?key={TOKEN}", f"{TOKEN[::-1]}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with Tool.from_mcp("every", url=url, headers=headers) as tools:
            assert call(tools, "every__add", left=1, right=2) == "3"
            shown = repr(tools) + repr([tool.run for tool in tools])
        with pytest.raises(ConnectionFailedError, match="HTTP 401") as refused:
            Tool.from_mcp("every", url=url, headers={"Authorization": f"Bearer {wrong}"})
    finally:
        server.stop()
    texts = shown + caplog.text + str(refused.value)
    assert TOKEN not in texts
    assert wrong not in texts


def test_a_url_that_nobody_serves_is_an_error_at_once() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{place.getsockname()[1]}/mcp"
        with pytest.raises(ConnectionFailedError, match=f"MCP server none: {url}: "):
            Tool.from_mcp("none", url=url)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import sys; sys.exit('give me a KEY: secret-value')", "its stderr ends: give me a KEY"),
        ("pass", "and wrote nothing to stderr"),
    ],
)
def test_a_program_that_is_no_server_is_named_with_what_it_wrote_last(
    program: str, told: str
) -> None:
    env = {"KEY": "secret-value"}
    with pytest.raises(ConnectionFailedError, match="MCP server none: ") as refused:
        Tool.from_mcp("none", command=sys.executable, args=["-c", program], env=env)
    assert told in str(refused.value)
    assert sys.executable in str(refused.value)
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize("pin", [5, "pin", {"every": 5}, {"every": {"add": "0a1b"}}])
def test_a_pin_that_is_none_is_refused_before_anything_starts(pin: Any) -> None:
    with pytest.raises(ConfigError, match="pin must be"):
        started(pin=pin)


def test_close_ends_the_process_and_its_tools_say_so() -> None:
    tools = started()
    end = watch(int(call(tools, "every__process")))
    tools.close()
    assert end.poll(0)
    with pytest.raises(ConfigError, match="every has been closed"):
        call(tools, "every__add", left=1, right=2)
    tools.close()


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "deluge_sync.mcp.connection", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r'pip install "deluge-sync\[mcp\]"'):
        started()


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "claude-haiku-4-5", "gemini-3.5-flash-lite"])
def test_an_agent_loop_calls_a_server_and_goes_on_after_it_crashed(
    model: str, tmp_path: Path
) -> None:
    replies = [
        Reply(tool_calls=[("every__add", {"left": 2, "right": 3})]),
        Reply(tool_calls=[("every__crash", {"journal": str(tmp_path / "journal")})]),
        Reply(tool_calls=[("every__add", {"left": 4, "right": 5})]),
        "Nine.",
    ]
    with Sandbox(answer=replies) as sandbox, started() as tools:
        client = client_for(sandbox, model)
        conversation, response = client.run_agent_loop("Add them.", tools=tools, max_rounds=4)
    results = [
        part
        for message in conversation.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert response.completion == "Nine."
    assert [result.is_error for result in results] == [False, True, False]
    assert "5" in results[0].content
    assert "9" in results[2].content
