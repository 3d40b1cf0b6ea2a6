"""A screen for computer use: a page in headless Chromium, by Playwright (extra `[computer]`).

Playwright brings no browser along here: any Chromium on the machine will do, such as Debian's
package `chromium`.
"""

from __future__ import annotations

import base64
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar

from ..computer_fields import Point
from ..values.errors import ConfigError

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

Page = Any
"""Playwright's own, which may not be installed."""

_COMMANDS = ("chromium", "chromium-browser", "google-chrome")
_DRAG_STEPS = 5
_MOST_ZOOM = 4.0


class ChromiumScreen:
    """The page at `url` as a `deluge_sync.computer.Executor`, `size` pixels wide and high.

    Nothing starts in the constructor: use it as a context manager. All that is done to the page is
    done by one thread, as Playwright wants it, so any thread may call; `timeout` is seconds for one
    thing to be done. After a click that opens another page, the screen is that page.

    The page may only talk to `hosts`, where they are given, whatever a model is led to click on
    (`"*.example.com"` is all hosts below that one). `executable` is the browser's file; by default
    it is looked for on the PATH. Chromium keeps pages in a sandbox of its own, which does not work
    for root; `sandboxed` False does without.
    """

    def __init__(
        self,
        url: str,
        *,
        size: Point = (1280, 800),
        hosts: Iterable[str] | None = None,
        executable: str | None = None,
        sandboxed: bool | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._url = url
        self._size = size
        self._hosts = None if hosts is None else tuple(hosts)
        self._executable = executable
        self._sandboxed = not _is_root() if sandboxed is None else sandboxed
        self._timeout = timeout
        self._closing = threading.Event()
        self._worker: Optional[ThreadPoolExecutor] = None
        self._playwright: Any = None
        self._context: Any = None

    def __enter__(self) -> ChromiumScreen:
        self._closing.clear()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="chromium-screen")
        try:
            self._do(self._open)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser, and whatever waits."""
        self._closing.set()
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            worker.submit(self._end).result(self._timeout)
        except Exception as error:  # whatever a browser that is gone makes Playwright raise
            logger.warning("chromium did not end in order: %s", type(error).__name__)
        worker.shutdown(wait=False)

    def call(self, work: Callable[[Page], _Result]) -> _Result:
        """What `work` gives for the page that is seen, in the thread that owns it."""
        return self._do(lambda: work(self._page()))

    def screenshot(self) -> bytes:
        """The page as it is seen, as a PNG."""
        png: bytes = self.call(lambda page: page.screenshot(timeout=self._timeout * 1_000))
        return png

    def click(
        self, x: int, y: int, *, button: str = "left", count: int = 1, keys: Sequence[str] = ()
    ) -> None:
        """See `Executor`. "back" and "forward" are those of the page's history."""

        def work(page: Page) -> None:
            if button in ("back", "forward"):
                page.go_back() if button == "back" else page.go_forward()
                return
            with _held(page, keys):
                page.mouse.click(x, y, button=button, click_count=count)

        self.call(work)

    def move(self, x: int, y: int, *, keys: Sequence[str] = ()) -> None:
        """See `Executor`."""

        def work(page: Page) -> None:
            with _held(page, keys):
                page.mouse.move(x, y)

        self.call(work)

    def drag(self, path: Sequence[Point], *, keys: Sequence[str] = ()) -> None:
        """See `Executor`."""

        def work(page: Page) -> None:
            with _held(page, keys):
                page.mouse.move(*path[0])
                page.mouse.down()
                try:
                    for x, y in path[1:]:
                        page.mouse.move(x, y, steps=_DRAG_STEPS)
                finally:
                    page.mouse.up()

        self.call(work)

    def scroll(self, x: int, y: int, dx: int, dy: int, *, keys: Sequence[str] = ()) -> None:
        """See `Executor`."""

        def work(page: Page) -> None:
            with _held(page, keys):
                page.mouse.move(x, y)
                page.mouse.wheel(dx, dy)

        self.call(work)

    def type(self, text: str) -> None:
        """See `Executor`."""
        self.call(lambda page: page.keyboard.type(text))

    def key(self, keys: Sequence[str], *, seconds: float = 0.0) -> None:
        """See `Executor`."""

        def work(page: Page) -> None:
            with _held(page, keys):
                self._closing.wait(seconds)

        self.call(work)

    def wait(self, seconds: float) -> None:
        """See `Executor`; `close` ends it."""
        if self._closing.wait(seconds):
            raise RuntimeError("this screen is closed")

    def zoom(self, left: int, top: int, right: int, bottom: int) -> bytes:
        """A part of the page, drawn anew as large as the screen has room for."""
        width, height = right - left, bottom - top
        scale = min(self._size[0] / width, self._size[1] / height, _MOST_ZOOM)

        def work(page: Page) -> bytes:
            session = page.context.new_cdp_session(page)
            try:
                seen = session.send("Page.getLayoutMetrics")["cssVisualViewport"]
                clip = {
                    "x": seen["pageX"] + left,
                    "y": seen["pageY"] + top,
                    "width": width,
                    "height": height,
                    "scale": scale,
                }
                shot = session.send("Page.captureScreenshot", {"format": "png", "clip": clip})
            finally:
                session.detach()
            png: bytes = base64.b64decode(shot["data"])
            return png

        return self.call(work)

    def _do(self, work: Callable[[], _Result]) -> _Result:
        worker = self._worker
        if worker is None:
            raise RuntimeError("this screen is not open")
        doing = worker.submit(work)
        try:
            return doing.result(self._timeout)
        except futures.TimeoutError:
            if doing.done():
                raise  # its own
            raise RuntimeError(f"the page did not answer within {self._timeout:g} s") from None
        finally:
            doing.cancel()  # what was given up is not to be done later

    def _page(self) -> Page:
        # Playwright learns of pages that came and went while it is asked something.
        self._context.cookies()
        if not self._context.pages:
            raise RuntimeError("the page was closed")
        return self._context.pages[-1]

    def _open(self) -> None:
        self._playwright = _playwright()
        # Else a picture taken soon after a turn of the wheel shows the way there.
        options = ["--disable-smooth-scrolling"]
        if self._hosts is not None:
            options.append(_only(self._hosts))
        browser = self._playwright.chromium.launch(
            executable_path=self._executable or _found(),
            chromium_sandbox=self._sandboxed,
            args=options,
            timeout=self._timeout * 1_000,
        )
        width, height = self._size
        self._context = browser.new_context(viewport={"width": width, "height": height})
        self._context.set_default_timeout(self._timeout * 1_000)
        self._context.new_page().goto(self._url)

    def _end(self) -> None:
        context, self._context = self._context, None
        playwright, self._playwright = self._playwright, None
        try:
            if context is not None and context.browser is not None:
                context.browser.close()
        finally:
            if playwright is not None:
                playwright.stop()


def _playwright() -> Any:
    try:
        library = import_module("playwright.sync_api")
    except ImportError as error:
        raise ConfigError(
            "ChromiumScreen needs Playwright: pip install 'deluge-sync[computer]'"
        ) from error
    return library.sync_playwright().start()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _found() -> str:
    for command in _COMMANDS:
        path = shutil.which(command)
        if path is not None:
            return path
    raise ConfigError(
        f"none of {', '.join(_COMMANDS)} is on the PATH: install one (on Debian, "
        "`apt-get install chromium`), or give executable="
    )


def _only(hosts: Sequence[str]) -> str:
    """Chromium's own rule: names and addresses alike lead nowhere but for these."""
    kept = "".join(f", EXCLUDE {host}" for host in hosts)
    return f"--host-resolver-rules=MAP * ~NOTFOUND{kept}"


@contextmanager
def _held(page: Any, keys: Sequence[str]) -> Iterator[None]:
    """With `keys` down, the last of them let go first."""
    down: list[str] = []
    try:
        for key in map(_key, keys):
            if not key.isascii():
                page.keyboard.insert_text(key)  # there is no such key, only what it writes
                continue
            page.keyboard.down(key)
            down.append(key)
        yield
    finally:
        for key in reversed(down):
            page.keyboard.up(key)


def _key(name: str) -> str:
    """The key itself where it has a letter or digit, for Shift to change what it writes."""
    if len(name) == 1 and name.isascii() and name.isalnum():
        return f"Digit{name}" if name.isdigit() else f"Key{name.upper()}"
    return name
