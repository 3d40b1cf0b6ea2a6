"""The sandbox as a whole: start, close, journal, launch, fork, the fixture."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from deluge_sync.testing import Sandbox, launch, serve

from .helpers import interruptible

ROOT = Path(__file__).resolve().parent.parent


def post(port: int, prompt: str = "Hi", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    body = {"model": "echo", "messages": [{"role": "user", "content": prompt}]}
    headers = {"Content-Type": "application/json", **headers}
    connection.request("POST", "/v1/chat/completions?x=1", json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def get(url: str):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


def sandbox_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sandbox"]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )


class TestLife:
    """Start and close."""

    def test_nothing_runs_before_start_and_after_close(self):
        sandbox = Sandbox()
        before = sandbox_threads()
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.base_url
        with sandbox:
            assert sandbox.running
            assert len(sandbox_threads()) == len(before) + 1
            port = sandbox.port
        assert not sandbox.running
        assert sandbox_threads() == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)

    def test_the_urls_are_those_of_the_vendors_sdks(self, sandbox):
        assert sandbox.base_url == f"http://127.0.0.1:{sandbox.port}/v1"
        assert sandbox.anthropic_url == sandbox.gemini_url == f"http://127.0.0.1:{sandbox.port}"

    def test_close_cuts_idle_busy_and_black_holed_clients(self):
        before = sandbox_threads()
        sandbox = Sandbox(faults={"black_hole": 1.0}).start()
        clients = [socket.create_connection(("127.0.0.1", sandbox.port), 5) for _ in range(20)]
        for client in clients[:10]:
            client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n")
        sandbox.wait_for(10)
        sandbox.close()
        assert sandbox_threads() == before
        for client in clients:
            client.settimeout(5)
            assert _ended(client)
            client.close()

    def test_start_and_close_may_be_called_twice_and_again(self):
        sandbox = Sandbox()
        assert sandbox.start() is sandbox.start()
        assert post(sandbox.port) == 200
        sandbox.close()
        sandbox.close()
        with sandbox:
            assert post(sandbox.port) == 200
        assert sandbox.requests == 2

    def test_a_port_that_is_taken_is_an_error_at_start(self, sandbox):
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=sandbox.port).start()

    def test_clients_that_leave_early_are_counted(self):
        with Sandbox(faults={"black_hole": 1.0}) as sandbox:
            client = socket.create_connection(("127.0.0.1", sandbox.port), 5)
            client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n")
            sandbox.wait_for(1)
            assert sandbox.stats["in_flight"] == 1
            client.close()
            for _ in range(100):  # each goes through the loop that must notice the end
                if get(f"{sandbox.url}/_sandbox/stats")["disconnects"]:
                    break
            stats = sandbox.stats
        assert (stats["disconnects"], stats["in_flight"], stats["peak_in_flight"]) == (1, 0, 1)


def _ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


class TestJournal:
    """What arrived."""

    def test_a_record_holds_what_tests_ask_for(self, sandbox):
        post(sandbox.port, "Hello", Authorization="Bearer k")
        record = sandbox.journal[0]
        assert (record.index, record.method, record.path) == (0, "POST", "/v1/chat/completions")
        assert (record.prompt, record.model, record.wire) == ("Hello", "echo", "openai")
        assert (record.fault, record.status, record.has_key) == (None, 200, True)
        assert record.headers["authorization"] == "Bearer k"
        assert record.body["messages"] == [{"role": "user", "content": "Hello"}]
        assert "Bearer" not in repr(record)

    def test_other_processes_read_it_without_the_keys(self, sandbox):
        post(sandbox.port, "Hello", Authorization="Bearer k")
        post(sandbox.port, "Again")
        records = get(f"{sandbox.url}/_sandbox/journal")
        assert [record["prompt"] for record in records] == ["Hello", "Again"]
        assert records[0]["headers"]["authorization"] == "****"
        later = get(f"{sandbox.url}/_sandbox/journal?since=1")
        assert [record["prompt"] for record in later] == ["Again"]
        stats = get(f"{sandbox.url}/_sandbox/stats")
        assert (stats["requests"], stats["statuses"]) == (2, {"200": 2})
        assert sandbox.requests == 2

    @pytest.mark.sandbox(keep_bodies=False, journal_limit=2)
    def test_big_runs_may_keep_little(self, sandbox):
        for prompt in ("a", "b", "c"):
            post(sandbox.port, prompt)
        assert [record.prompt for record in sandbox.journal] == ["b", "c"]
        assert sandbox.journal[0].body is None
        assert sandbox.journal[0].headers == {}
        assert sandbox.requests == 3

    def test_clear_forgets_the_journal_and_the_script(self, sandbox):
        sandbox.script(["500", "500"])
        post(sandbox.port)
        sandbox.clear()
        assert (sandbox.journal, sandbox.requests, sandbox.pending_faults) == ([], 0, 0)
        assert sandbox.stats["statuses"] == {}
        post(sandbox.port)
        assert sandbox.journal[0].index == 1

    def test_clear_faults_keeps_the_journal(self, sandbox):
        sandbox.script(["500"] * 100)
        assert post(sandbox.port) == 500
        sandbox.clear_faults()
        assert post(sandbox.port) == 200
        assert (sandbox.requests, sandbox.pending_faults) == (2, 0)

    def test_wait_for_returns_when_enough_have_come_and_else_gives_up(self, sandbox):
        sender = threading.Thread(target=post, args=(sandbox.port,))
        sender.start()
        sandbox.wait_for(1)
        sender.join()
        with pytest.raises(TimeoutError, match="1 of 2"):
            sandbox.wait_for(2, timeout=0.01)

    def test_a_delay_may_depend_on_the_question(self):
        with Sandbox(delay=lambda question: 600 if question.prompt == "late" else 0) as sandbox:
            late = threading.Thread(target=_ignore_errors, args=(sandbox.port, "late"))
            late.start()
            sandbox.wait_for(1)
            assert post(sandbox.port, "soon") == 200
            assert late.is_alive()
        late.join(5)
        assert not late.is_alive()


def _ignore_errors(port: int, prompt: str) -> None:
    try:
        post(port, prompt)
    except (OSError, http.client.HTTPException):
        return


class TestLaunch:
    """A sandbox per process."""

    def test_there_is_one_for_the_process_and_it_ends_with_it(self):
        done = run_python(
            "from deluge_sync.testing import launch\n"
            "assert launch() is launch()\n"
            "assert launch().running\n"
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_gets_its_own_and_leaves_its_parents_alone(self):
        done = run_python(
            "import http.client, os\n"
            "from deluge_sync.testing import launch\n"
            "parent = launch()\n"
            "kept = http.client.HTTPConnection('127.0.0.1', parent.port, timeout=5)\n"
            "kept.request('GET', '/v1/models'); kept.getresponse().read()\n"
            "port = parent.port\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    assert not parent.running\n"
            "    assert launch() is not parent and launch().port != port\n"
            "    parent.close()\n"
            "    os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "kept.request('GET', '/v1/models')\n"
            "assert kept.getresponse().status == 200\n"
            "assert launch() is parent and parent.requests == 2\n"
        )
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12 on: fork with threads
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_childs_copy_of_the_sockets_does_not_keep_clients_waiting(self):
        sandbox = Sandbox(faults={"black_hole": 1.0}).start()
        client = socket.create_connection(("127.0.0.1", sandbox.port), 5)
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n")
        sandbox.wait_for(1)
        reader, writer = os.pipe()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.write(tell, b"x")
            os.read(reader, 1)
            os._exit(0)
        assert os.read(told, 1) == b"x"
        port = sandbox.port
        sandbox.close()
        assert _ended(client)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        client.close()
        os.close(writer)
        os.waitpid(child, 0)
        for descriptor in (reader, told, tell):
            os.close(descriptor)

    def test_serve_runs_until_told_to_stop(self):
        stop, ready = threading.Event(), threading.Event()
        urls: list[str] = []

        def note(url: str) -> None:
            urls.append(url)
            ready.set()

        server = threading.Thread(target=serve, kwargs={"ready": note, "stop": stop})
        server.start()
        assert ready.wait(5)
        assert get(urls[0] + "/models")["object"] == "list"
        stop.set()
        server.join(5)
        assert not server.is_alive()

    def test_serve_ends_at_ctrl_c_and_prints_nothing(self):
        code = "from deluge_sync.testing import serve\n"
        code += "serve(ready=lambda url: open(1, 'w').write(url))"
        server = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=interruptible,
        )
        assert server.stdout is not None
        url = server.stdout.read()
        assert url.endswith("/v1")
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=10)
        assert errors.splitlines()[-1] == "KeyboardInterrupt"

    def test_launch_of_this_process_answers(self):
        assert post(launch().port) == 200
        launch().close()


def test_the_pytest_plugin_does_not_load_the_server():
    done = run_python(
        "import sys\n"
        "import deluge_sync.testing.pytest_plugin\n"
        "assert 'deluge_sync.testing.sandbox' not in sys.modules\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.sandbox(fixed="From the marker")
def test_the_fixture_takes_its_settings_from_the_marker(sandbox):
    assert "From the marker" in str(ask_fixed(sandbox.port))


def ask_fixed(port: int):
    body = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())
