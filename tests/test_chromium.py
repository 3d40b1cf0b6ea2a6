"""A page in Chromium as a screen, and the example that has a model work on it."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import ConfigError
from deluge_sync.contrib.chromium import ChromiumScreen

ROOT = Path(__file__).parent.parent
SIZE = (400, 300)

needs_chromium = pytest.mark.skipif(
    importlib.util.find_spec("playwright") is None
    or not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    reason="needs playwright and a chromium (see .ci/run)",
)

PAGE = """<!doctype html><title>Test</title>
<body style="margin:0;height:2000px;background:linear-gradient(red,blue)">
<input id="text" style="position:absolute;left:10px;top:10px;width:100px">
<a id="next" style="position:absolute;left:10px;top:60px" href="/next">next</a>
<a id="new" style="position:absolute;left:10px;top:100px" href="/next" target="_blank">new</a>
<script>
seen = []
for (const kind of ["mousedown", "mousemove", "mouseup", "click", "dblclick", "auxclick"])
  addEventListener(kind, event => seen.push(
    [kind, event.clientX, event.clientY, event.button, event.ctrlKey]))
for (const kind of ["keydown", "keyup"])
  addEventListener(kind, event => seen.push([kind, event.key, event.timeStamp]))
</script>"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Two pages."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode() if self.path == "/" else b"<h1>The next page</h1>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(host: str) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served("127.0.0.1") as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[ChromiumScreen]:
    with ChromiumScreen(url, size=SIZE, hosts=["127.0.0.1"]) as screen:
        yield screen


@pytest.fixture
def screen(browser: ChromiumScreen, url: str) -> ChromiumScreen:
    browser.call(lambda page: page.goto(url))
    return browser


def seen(screen: ChromiumScreen, *kinds: str) -> list[list[Any]]:
    events = screen.call(lambda page: page.evaluate("seen"))
    return [event for event in events if event[0] in kinds]


@needs_chromium
def test_a_picture_has_the_size_that_was_asked_for(screen: ChromiumScreen) -> None:
    png = screen.screenshot()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert tuple(int.from_bytes(png[at : at + 4], "big") for at in (16, 20)) == SIZE


@needs_chromium
def test_clicks_are_where_and_how_they_are_asked_for(screen: ChromiumScreen) -> None:
    screen.click(200, 150, keys=("Control",))
    screen.click(210, 160, count=2)
    screen.click(220, 170, button="middle")
    assert seen(screen, "click", "dblclick", "auxclick") == [
        ["click", 200, 150, 0, True],
        ["click", 210, 160, 0, False],
        ["click", 210, 160, 0, False],
        ["dblclick", 210, 160, 0, False],
        ["auxclick", 220, 170, 1, False],
    ]


@needs_chromium
def test_a_drag_holds_the_button_all_along_its_path(screen: ChromiumScreen) -> None:
    screen.drag([(150, 150), (200, 150), (250, 200)])
    events = seen(screen, "mousedown", "mousemove", "mouseup")
    down = next(at for at, event in enumerate(events) if event[0] == "mousedown")
    assert events[down][1:3] == [150, 150]
    assert ["mousemove", 200, 150, 0, False] in events[down:-1]
    assert events[-1][:3] == ["mouseup", 250, 200]


@needs_chromium
def test_keys_are_pressed_together_and_text_is_typed(screen: ChromiumScreen) -> None:
    screen.click(50, 20)
    screen.type("Grüße, Ada")
    screen.key(("Control", "a"))
    screen.key(("Shift", "b"))
    for key in ("+", "Space", "ArrowLeft", "é", "1"):
        screen.key((key,))
    assert screen.call(lambda page: page.input_value("#text")) == "B+é1 "


@needs_chromium
def test_a_key_is_held_for_as_long_as_is_asked(screen: ChromiumScreen) -> None:
    screen.key(("x",), seconds=0.2)
    down, up = (event[2] for event in seen(screen, "keydown", "keyup"))
    assert up - down >= 199


@needs_chromium
def test_the_wheel_scrolls_by_pixels(screen: ChromiumScreen) -> None:
    screen.scroll(200, 150, 0, 123)
    screen.call(lambda page: page.wait_for_function("scrollY == 123"))


@needs_chromium
def test_a_zoom_shows_what_is_seen_there_enlarged(screen: ChromiumScreen) -> None:
    plain = screen.zoom(0, 0, 100, 75)
    screen.scroll(200, 150, 0, 1000)
    screen.call(lambda page: page.wait_for_function("scrollY == 1000"))
    below = screen.zoom(0, 0, 100, 75)
    assert tuple(int.from_bytes(plain[at : at + 4], "big") for at in (16, 20)) == SIZE
    assert plain != below


@needs_chromium
def test_another_page_and_the_way_back_are_seen(screen: ChromiumScreen, url: str) -> None:
    screen.click(20, 70)
    screen.call(lambda page: page.wait_for_url("**/next"))
    screen.click(1, 1, button="back")
    assert screen.call(lambda page: page.url) == url
    with_one = screen.screenshot()
    screen.click(20, 110)
    for _ in range(200):  # at most ten seconds
        if screen.call(lambda page: page.url).endswith("/next"):
            break
        screen.wait(0.05)
    assert screen.call(lambda page: page.inner_text("h1")) == "The next page"
    assert screen.screenshot() != with_one
    screen.call(lambda page: page.close())


@needs_chromium
def test_a_page_leads_nowhere_but_to_the_hosts_that_are_allowed(
    screen: ChromiumScreen, url: str
) -> None:
    def comes(address: str) -> str:
        script = "url => fetch(url, {mode: 'no-cors'}).then(() => 'came', error => 'refused')"
        return screen.call(lambda page: page.evaluate(script, address))

    with served("127.0.0.2") as port:
        assert comes(f"{url}next") == "came"
        assert comes(f"http://127.0.0.2:{port}/") == "refused"
        assert comes(f"{url.replace('127.0.0.1', 'localhost')}next") == "refused"
        with ChromiumScreen(url, size=SIZE) as free:
            free.call(lambda page: page.goto(f"http://127.0.0.2:{port}/next"))
            assert free.call(lambda page: page.inner_text("h1")) == "The next page"


@needs_chromium
def test_any_thread_may_use_the_screen(screen: ChromiumScreen) -> None:
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: len(screen.screenshot()), range(8)))
    assert len(set(sizes)) == 1


@needs_chromium
def test_closing_ends_a_wait_and_the_browser(url: str) -> None:
    before = _children().keys()
    screen = ChromiumScreen(url, size=SIZE)
    with screen, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(screen.wait, 600.0)
        begun = {pid: name for pid, name in _children().items() if pid not in before}
        assert any("chrom" in name for name in begun.values())
        screen.close()
        with pytest.raises(RuntimeError, match="closed"):
            waiting.result(10)
    assert _children().keys() <= before
    with pytest.raises(RuntimeError, match="not open"):
        screen.screenshot()


def _children() -> dict[int, str]:
    """What descends from this process, zombies left out: pids and commands."""
    shown = subprocess.run(["ps", "-eo", "pid,ppid,stat,comm"], capture_output=True, text=True)
    rows = [line.split(None, 3) for line in shown.stdout.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _, _ in rows}

    def descends(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return {int(pid): name for pid, _, stat, name in rows
            if not stat.startswith("Z") and name != "ps" and descends(int(pid))}  # fmt: skip


def test_what_is_given_up_while_it_waits_for_the_page_is_not_done_later() -> None:
    screen, gate, done = ChromiumScreen("http://127.0.0.1/", timeout=0.05), threading.Event(), []
    with ThreadPoolExecutor(1) as worker:
        screen._worker = worker
        busy = worker.submit(gate.wait)
        with pytest.raises(RuntimeError, match=r"did not answer within 0\.05 s"):
            screen._do(lambda: done.append("click"))
        gate.set()
        busy.result()
    assert not done


@needs_chromium
def test_a_page_that_cannot_be_opened_leaves_no_browser_behind() -> None:
    before = _children().keys()
    with pytest.raises(Exception, match="ERR_"), ChromiumScreen("http://127.0.0.1:1/"):
        pass
    assert _children().keys() <= before


def test_a_screen_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        ChromiumScreen("http://127.0.0.1:1/").screenshot()


def test_a_machine_without_chromium_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(ConfigError, match="apt-get install chromium"), ChromiumScreen("about:"):
        pass


@needs_chromium
@pytest.mark.parametrize("vendor", ["anthropic", "openai"])
def test_the_example_has_a_model_fill_in_the_form(vendor: str, tmp_path: Path) -> None:
    picture = tmp_path / "last.png"
    done = subprocess.run(
        [sys.executable, "examples/computer_use.py", "--vendor", vendor, "--screenshot", picture],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the page: Ordered: kettle for Ada Lovelace <ada@example.com>" in done.stdout
    assert "FAILED" not in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
