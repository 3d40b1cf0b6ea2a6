"""Computer use: what a model wants done on a screen, done there.

A model with a `ComputerTool` answers with calls of kind "computer": clicks, keys and so on, in its
vendor's words. `Computer` does them on an `Executor`, which is a screen of the developer's (a
browser: `contrib.chromium`), and answers each with a picture of how the screen looks then.

The vendors' words are from the types of the anthropic SDK 2.12 (`types/computer_*_input.py`) and of
the openai SDK 3.54 (`types/responses/computer_action.py`).
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Protocol

from .values.errors import ConfigError
from .values.media import Image, image
from .values.prompt import ToolCall, ToolResult
from .values.tool import ComputerTool

logger = logging.getLogger(__name__)

Point = tuple[int, int]

PIXELS_PER_CLICK = 100
"""How far one click of Anthropic's scroll wheel goes; OpenAI counts in pixels."""

_DEFAULT_WAIT = 1.0  # OpenAI's `wait` has no duration
_MOST_REPEATS = 100
_MOST_TEXT = 500
_BUTTONS = {"left": "left", "right": "right", "wheel": "middle", "back": "back"}
_BUTTONS.update(middle="middle", forward="forward")
_DIRECTIONS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}


class Executor(Protocol):
    """A screen with a pointer and a keyboard.

    Coordinates are pixels of what `screenshot` gives, from its upper left corner. Keys are named as
    a browser names them (`KeyboardEvent.key`): "Control", "Shift", "Enter", "ArrowLeft", "a"; the
    space bar is "Space". `keys` of a pointer's action are held down during it. What cannot be done
    is an exception; its text goes to the model. An executor may also have
    `zoom(left, top, right, bottom) -> bytes`, a PNG of that part of the screen, enlarged.
    """

    def screenshot(self) -> bytes:
        """The screen as a PNG."""

    def click(
        self, x: int, y: int, *, button: str = "left", count: int = 1, keys: Sequence[str] = ()
    ) -> None:
        """Click "left", "middle", "right", "back" or "forward", `count` times in a row."""

    def move(self, x: int, y: int, *, keys: Sequence[str] = ()) -> None:
        """Move the pointer."""

    def drag(self, path: Sequence[Point], *, keys: Sequence[str] = ()) -> None:
        """Press the left button on the first point, go over the others, let go on the last."""

    def scroll(self, x: int, y: int, dx: int, dy: int, *, keys: Sequence[str] = ()) -> None:
        """Turn the wheel there, by pixels: to the right and down where positive."""

    def type(self, text: str) -> None:
        """Write `text`, a line break as Enter."""

    def key(self, keys: Sequence[str], *, seconds: float = 0.0) -> None:
        """Press `keys` together, and hold them for `seconds`."""

    def wait(self, seconds: float) -> None:
        """Let time go by."""


class Computer:
    """Does a model's actions on `executor`; `run_agent_loop(computer=...)` takes it.

    Calling it with a `ToolCall` gives its `ToolResult`, with a picture of the screen after the
    call's last action. What goes wrong (an action that is not known, a key, the executor) is a
    result with `is_error`, never an exception: the model reads it and goes on from there.

    `acknowledge` is asked for each safety check that OpenAI wants acknowledged before it goes on (a
    mapping with "id", "code" and "message"); without a yes to all, nothing of that call is done.
    `longest_wait` is the seconds that one call may wait or hold keys, in all; `settle` those that a
    screen gets to show what an action did, before its picture is taken.

    One screen is for one conversation, and its calls come one after another.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        acknowledge: Callable[[Mapping[str, Any]], bool] | None = None,
        longest_wait: float = 10.0,
        settle: float = 0.5,
    ) -> None:
        if acknowledge is not None and not callable(acknowledge):
            raise ConfigError("acknowledge must be a function of one safety check")
        for name, seconds in (("longest_wait", longest_wait), ("settle", settle)):
            if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
                raise ConfigError(f"{name} must be seconds, 0 or more, not {seconds!r}")
        self._executor = executor
        self._acknowledge = acknowledge
        self._longest_wait = float(longest_wait)
        self._settle = float(settle)
        self._wait_left = 0.0
        self._pointer: Optional[Point] = None
        self._pressed: list[Point] = []
        self._size: Optional[Point] = None

    @property
    def tool(self) -> ComputerTool:
        """What to give as one of `tools=`."""
        return ComputerTool(zoom=hasattr(self._executor, "zoom"))

    def __call__(self, call: ToolCall) -> ToolResult:
        """Do what `call` asks for; see the class."""
        acknowledged: tuple[Mapping[str, Any], ...] = ()
        try:
            acknowledged = self._checked(call)
            said = self._run(call)
            return ToolResult(
                call.id,
                said.text,
                call.name,
                images=(said.picture or self._look(),),
                kind="computer",
                acknowledged=acknowledged,
            )
        except Exception as error:  # an executor is the developer's, and may raise anything
            logger.warning("%s was not done: %s: %s", call.name, type(error).__name__, error)
            return self._failed(call, error, acknowledged)

    def run(self, calls: Iterable[ToolCall]) -> tuple[ToolResult, ...]:
        """Do the calls of one turn in order. After one that failed the others are not done: they
        were meant for a screen that is not there.
        """
        results: list[ToolResult] = []
        for call in calls:
            failed = bool(results) and results[-1].is_error
            results.append(self.skip(call) if failed else self(call))
        return tuple(results)

    def skip(self, call: ToolCall) -> ToolResult:
        """The answer to a call that is not done, as one before it in its turn failed."""
        return self._failed(call, _ActionError("not done: an action before it failed"), ())

    def _checked(self, call: ToolCall) -> tuple[Mapping[str, Any], ...]:
        """The safety checks of `call`, all of which the developer has accepted."""
        checks = call.arguments.get("pending_safety_checks") or ()
        for check in checks:
            if self._acknowledge is None or self._acknowledge(check) is not True:
                code = check.get("code") or check.get("id")
                raise _ActionError(f"not done: the safety check {code!r} is not acknowledged")
        return tuple(checks)

    def _run(self, call: ToolCall) -> _Said:
        """Do the actions of `call`, and give what the last of them says."""
        said = _Said()
        actions = _actions(call)
        self._wait_left = self._longest_wait
        for at, (name, fields) in enumerate(actions):
            do = _ACTIONS.get(name)
            try:
                if do is None:
                    raise _ActionError("there is no such action here")
                said = do(self, _Given(fields)) or _Said()
            except Exception as error:
                where = f"action {at + 1} of {len(actions)}, " if len(actions) > 1 else ""
                raise _ActionError(f"{where}{name}: {_sentence(error)}") from error
        if self._settle and any(name not in _STILL for name, _ in actions):
            self._executor.wait(self._settle)
        return said

    def _look(self) -> Image:
        png = self._executor.screenshot()
        self._size = _size(png)
        return image(png)

    def _failed(
        self, call: ToolCall, error: Exception, acknowledged: tuple[Mapping[str, Any], ...]
    ) -> ToolResult:
        """Anthropic takes nothing but text in a result that is an error, OpenAI nothing but a
        picture in any.
        """
        images: tuple[Image, ...] = ()
        if _is_batch(call):
            try:
                images = (self._look(),)
            except Exception as another:
                logger.warning("no picture of the screen: %s", another)
        return ToolResult(
            call.id,
            _sentence(error),
            call.name,
            is_error=True,
            images=images,
            kind="computer",
            acknowledged=acknowledged,
        )

    def _point(self, given: _Given) -> Point:
        """Where an action is to be; the pointer stands there then. By default where it stands."""
        point = given.point() or self._pointer
        if point is None:
            raise _ActionError("a coordinate is missing: the pointer has not been moved yet")
        self._pointer = self._on_screen(point)
        return point

    def _on_screen(self, point: Point) -> Point:
        if self._size is not None and not all(0 <= at < end for at, end in zip(point, self._size)):
            raise _ActionError(f"{point} is not on the screen, which has {self._size} pixels")
        return point

    def _click(self, given: _Given, button: str = "", count: int = 1) -> None:
        word = button or given.word("button", _BUTTONS, "left")
        x, y = self._point(given)
        self._executor.click(x, y, button=_BUTTONS[word], count=count, keys=given.held())

    def _move(self, given: _Given) -> None:
        x, y = self._point(given)
        if self._pressed:
            self._pressed.append((x, y))
        else:
            self._executor.move(x, y, keys=given.held())

    def _press(self, given: _Given) -> None:
        """The button goes down when it comes up again, for executors know whole drags only."""
        self._pressed = [self._point(given)]

    def _release(self, given: _Given) -> None:
        path, self._pressed = self._pressed, []
        if not path:
            raise _ActionError("the button is not pressed")
        if len(path) == 1:
            self._executor.click(*path[0], button="left", count=1, keys=())
        else:
            self._executor.drag(path, keys=())

    def _drag(self, given: _Given) -> None:
        path = [self._on_screen(point) for point in given.path()]
        self._pointer = path[-1]
        self._executor.drag(path, keys=given.held())

    def _scroll(self, given: _Given) -> None:
        x, y = self._point(given)
        dx, dy = given.distance()
        self._executor.scroll(x, y, dx, dy, keys=given.held())

    def _type(self, given: _Given) -> None:
        self._executor.type(given.text())

    def _key(self, given: _Given) -> None:
        keys = given.keys()
        for _ in range(min(given.number("repeat", 1), _MOST_REPEATS)):
            self._executor.key(keys)

    def _hold_key(self, given: _Given) -> None:
        self._executor.key(given.keys(), seconds=self._allowed(given.seconds()))

    def _wait(self, given: _Given) -> None:
        self._executor.wait(self._allowed(given.seconds()))

    def _allowed(self, seconds: float) -> float:
        """What of `seconds` this call may still wait."""
        allowed = min(seconds, self._wait_left)
        self._wait_left -= allowed
        return allowed

    def _zoom(self, given: _Given) -> _Said:
        zoom = getattr(self._executor, "zoom", None)
        if zoom is None:
            raise _ActionError("this screen cannot be zoomed")
        left, top, right, bottom = given.region()
        if not (left < right and top < bottom):
            raise _ActionError("a region is left, top, right and bottom")
        self._on_screen((left, top))
        self._on_screen((right - 1, bottom - 1))
        return _Said(picture=image(zoom(left, top, right, bottom)))

    def _cursor_position(self, given: _Given) -> _Said:
        x, y = self._point(given)
        return _Said(f"X={x},Y={y}")

    def _screenshot(self, given: _Given) -> None:
        """A picture comes with every result."""


class _Said(NamedTuple):
    """What an action has to say, where it is not the screen as it is then."""

    text: str = ""
    picture: Optional[Image] = None


class _ActionError(Exception):
    """Why an action was not done, in words for the model."""


_ACTIONS: Mapping[str, Callable[[Computer, _Given], Optional[_Said]]] = {
    # both vendors'
    "screenshot": Computer._screenshot,
    "double_click": lambda computer, given: computer._click(given, "left", 2),
    "scroll": Computer._scroll,
    "type": Computer._type,
    "wait": Computer._wait,
    # Anthropic's
    "left_click": lambda computer, given: computer._click(given, "left"),
    "right_click": lambda computer, given: computer._click(given, "right"),
    "middle_click": lambda computer, given: computer._click(given, "middle"),
    "triple_click": lambda computer, given: computer._click(given, "left", 3),
    "left_click_drag": Computer._drag,
    "left_mouse_down": Computer._press,
    "left_mouse_up": Computer._release,
    "mouse_move": Computer._move,
    "key": Computer._key,
    "hold_key": Computer._hold_key,
    "zoom": Computer._zoom,
    "cursor_position": Computer._cursor_position,
    # OpenAI's
    "click": Computer._click,
    "drag": Computer._drag,
    "keypress": Computer._key,
    "move": Computer._move,
}
_STILL = frozenset({"screenshot", "wait", "zoom", "cursor_position", "left_mouse_down"})
"""The actions that change nothing, so that nothing has to settle."""


class _Given:
    """The fields of one action, whichever vendor's; what does not fit is an `_ActionError`."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def point(self) -> Optional[Point]:
        """`coordinate`, or `x` and `y`; None where there are none."""
        pair = self._fields.get("coordinate")
        if pair is None and ("x" in self._fields or "y" in self._fields):
            pair = (self._fields.get("x"), self._fields.get("y"))
        return None if pair is None else _pair(pair)

    def path(self) -> list[Point]:
        """`start_coordinate` and `coordinate`, or the points of `path`."""
        points = self._fields.get("path")
        if points is None:
            points = [self._fields.get("start_coordinate"), self._fields.get("coordinate")]
        if not isinstance(points, (list, tuple)) or len(points) < 2:
            raise _ActionError("a drag needs two points or more")
        return [_pair(point) for point in points]

    def region(self) -> tuple[int, ...]:
        """`region`: left, top, right, bottom."""
        return _whole(self._fields.get("region"), 4)

    def distance(self) -> Point:
        """Pixels to scroll."""
        if "scroll_direction" not in self._fields:
            return self.number("scroll_x", 0), self.number("scroll_y", 0)
        across, down = _DIRECTIONS[self.word("scroll_direction", _DIRECTIONS, "")]
        length = min(self.number("scroll_amount", 1), _MOST_REPEATS) * PIXELS_PER_CLICK
        return across * length, down * length

    def text(self) -> str:
        """`text` to be written."""
        text = self._fields.get("text")
        if not isinstance(text, str):
            raise _ActionError("text must be a string")
        return text

    def keys(self) -> tuple[str, ...]:
        """The keys to be pressed together."""
        keys = self.held()
        if not keys:
            raise _ActionError("no key is given")
        return keys

    def held(self) -> tuple[str, ...]:
        """The keys in `keys` (OpenAI) or `text` (Anthropic); where the action is to type, no."""
        given = self._fields.get("keys")
        return key_names(self._fields.get("text") if given is None else given)

    def seconds(self) -> float:
        """`duration`."""
        seconds = self._fields.get("duration", _DEFAULT_WAIT)
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise _ActionError("duration must be seconds")
        return float(seconds)

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._fields.get(name)
        return default if value is None else _whole([value], 1)[0]

    def word(self, name: str, known: Iterable[str], default: str) -> str:
        """One of the words that are `known`."""
        value = self._fields.get(name, default)
        if value not in list(known):
            raise _ActionError(f"{name} must be one of {', '.join(known)}, not {value!r:.40}")
        return str(value)


def _actions(call: ToolCall) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and fields: OpenAI's batch (or one action), or a member of Anthropic's toolset."""
    if not _is_batch(call):
        return [(call.name, call.arguments)]
    actions = call.arguments.get("actions")
    if actions is None:
        actions = [call.arguments.get("action")]
    if not isinstance(actions, (list, tuple)) or not all(isinstance(a, Mapping) for a in actions):
        raise _ActionError("actions must be a list of objects")
    return [(str(action.get("type")), action) for action in actions]


def _is_batch(call: ToolCall) -> bool:
    return "actions" in call.arguments or "action" in call.arguments


def _pair(value: Any) -> Point:
    if isinstance(value, Mapping):
        value = (value.get("x"), value.get("y"))
    x, y = _whole(value, 2)
    return x, y


def _whole(values: Any, count: int) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise _ActionError(f"{count} numbers are needed, not {values!r:.60}")
    if not all(type(value) in (int, float) and abs(value) < 1e6 for value in values):
        raise _ActionError(f"{values!r:.60} are not numbers of pixels")
    return tuple(int(value) for value in values)


def _size(png: bytes) -> Optional[Point]:
    """Width and height, which a PNG has at its beginning."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        return None
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _sentence(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return text[:_MOST_TEXT]


_KEYS = {
    "alt": "Alt", "option": "Alt", "altl": "Alt", "altr": "Alt",
    "ctrl": "Control", "control": "Control", "controll": "Control", "controlr": "Control",
    "shift": "Shift", "shiftl": "Shift", "shiftr": "Shift",
    "meta": "Meta", "cmd": "Meta", "command": "Meta", "super": "Meta", "superl": "Meta",
    "superr": "Meta", "win": "Meta", "windows": "Meta",
    "enter": "Enter", "return": "Enter", "kpenter": "Enter", "esc": "Escape", "escape": "Escape",
    "backspace": "Backspace", "delete": "Delete", "del": "Delete", "insert": "Insert",
    "tab": "Tab", "space": "Space", "capslock": "CapsLock", "menu": "ContextMenu",
    "left": "ArrowLeft", "right": "ArrowRight", "up": "ArrowUp", "down": "ArrowDown",
    "arrowleft": "ArrowLeft", "arrowright": "ArrowRight", "arrowup": "ArrowUp",
    "arrowdown": "ArrowDown", "leftarrow": "ArrowLeft", "rightarrow": "ArrowRight",
    "uparrow": "ArrowUp", "downarrow": "ArrowDown",
    "home": "Home", "end": "End", "pageup": "PageUp", "pagedown": "PageDown", "pgup": "PageUp",
    "pgdn": "PageDown", "prior": "PageUp", "next": "PageDown",
    "plus": "+", "minus": "-", "equal": "=", "period": ".", "comma": ",", "slash": "/",
    "backslash": "\\", "semicolon": ";", "apostrophe": "'", "grave": "`", "underscore": "_",
    "bracketleft": "[", "bracketright": "]", "question": "?", "exclam": "!", "at": "@",
    "colon": ":", "asterisk": "*", "ampersand": "&", "numbersign": "#", "dollar": "$",
    "percent": "%",
    **{f"f{number}": f"F{number}" for number in range(1, 25)},
}  # fmt: skip
"""xdotool's names (Anthropic) and those of OpenAI's, in small letters and without _, - and spaces,
to the names of an `Executor`.
"""


def key_names(given: Any) -> tuple[str, ...]:
    """Keys pressed together, as an `Executor` names them: of "ctrl+shift+Tab" or ["CTRL", "A"].

    A single letter is a key, whatever its case: "A" needs "shift+a". None is no keys.
    """
    if given is None or given == "":
        return ()
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise _ActionError("keys must be a string such as 'ctrl+a', or a list of names")
    return tuple(_key_name(part) for name in names for part in _parts(name))


def _parts(name: str) -> list[str]:
    """The keys of "ctrl+a" and "ctrl++", two each; a single character is itself."""
    return [name] if len(name) == 1 else re.findall(r"[^+]+|\+$", name) or [name]


def _key_name(name: str) -> str:
    if len(name) == 1:
        return "Space" if name == " " else name.lower()
    known = _KEYS.get(re.sub(r"[\s_-]", "", name).lower())
    if known is None:
        raise _ActionError(f"there is no key {name!r:.40}")
    return known
