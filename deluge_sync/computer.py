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
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Protocol

from .computer_fields import MOST_REPEATS, ActionError, Fields, Point
from .values.errors import ConfigError
from .values.media import Image, image
from .values.prompt import ToolCall, ToolResult
from .values.tool import ComputerTool

logger = logging.getLogger(__name__)

_MOST_TEXT = 500
_BUTTONS = {"left": "left", "right": "right", "wheel": "middle", "back": "back"}
_BUTTONS.update(middle="middle", forward="forward")


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


METHODS = ("screenshot", "click", "move", "drag", "scroll", "type", "key", "wait")
"""What every `Executor` has."""


class Computer:
    """Does a model's actions on `executor`; `run_agent_loop(computer=...)` takes it.

    Calling it with a `ToolCall` gives its `ToolResult`, with a picture of the screen after the
    call's last action. What goes wrong (an action that is not known, a key, the executor) is a
    result with `is_error`, never an exception: the model reads it and goes on from there.

    `acknowledge` is asked for each safety check that OpenAI wants acknowledged before it goes on (a
    mapping with "id", "code" and "message"); without a yes to all, nothing of that call is done.
    `longest_wait` is the seconds that one call may wait or hold keys, in all; `settle` those that a
    screen gets to show what an action did, before its picture is taken.

    One screen is for one conversation, and its calls come one after another. A call that timed out
    may still be at an action in the thread it was left in: it does nothing more to the screen once
    the next one, or its own `refuse`, has begun.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        acknowledge: Callable[[Mapping[str, Any]], bool] | None = None,
        longest_wait: float = 10.0,
        settle: float = 0.5,
    ) -> None:
        for name in METHODS:
            if not callable(getattr(executor, name, None)):
                raise ConfigError(f"the screen has no method {name}(): see Executor")
        if acknowledge is not None and not callable(acknowledge):
            raise ConfigError("acknowledge must be a function of one safety check")
        for name, seconds in (("longest_wait", longest_wait), ("settle", settle)):
            if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
                raise ConfigError(f"{name} must be seconds, 0 or more, not {seconds!r}")
        self._executor = executor
        self._acknowledge = acknowledge
        self._longest_wait = float(longest_wait)
        self._settle = float(settle)
        # Whose the screen is. It is set in one assignment and then only compared, so it needs no
        # lock: an action that has begun could not be called back by one either.
        self._turn = object()
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
        self._turn = turn = object()
        acknowledged: tuple[Mapping[str, Any], ...] = ()
        try:
            acknowledged = self._checked(call)
            said = self._run(call, turn)
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
            return self._failed(call, error, acknowledged, look=self._turn is turn)

    def refuse(self, call: ToolCall, reason: str) -> ToolResult:
        """The answer to a call that is not to be done, such as one after another that failed."""
        self._turn = object()
        return self._failed(call, ActionError(reason), ())

    def _checked(self, call: ToolCall) -> tuple[Mapping[str, Any], ...]:
        """The safety checks of `call`, all of which the developer has accepted."""
        checks = call.arguments.get("pending_safety_checks") or ()
        for check in checks:
            if self._acknowledge is None or self._acknowledge(check) is not True:
                code = check.get("code") or check.get("id")
                raise ActionError(f"not done: the safety check {code!r} is not acknowledged")
        return tuple(checks)

    def _check_turn(self, turn: object) -> None:
        if self._turn is not turn:
            raise ActionError("given up: the screen is another call's by now")

    def _run(self, call: ToolCall, turn: object) -> _Said:
        """Do the actions of `call`, and give what the last of them says."""
        said = _Said()
        actions = _actions(call)
        self._wait_left = self._longest_wait
        for at, (name, fields) in enumerate(actions):
            self._check_turn(turn)
            do = _ACTIONS.get(name)
            try:
                if do is None:
                    raise ActionError("there is no such action here")
                said = do(self, Fields(fields)) or _Said()
            except Exception as error:
                where = f"action {at + 1} of {len(actions)}, " if len(actions) > 1 else ""
                raise ActionError(f"{where}{name}: {_sentence(error)}") from error
        self._check_turn(turn)
        if self._settle and any(name not in _STILL for name, _ in actions):
            self._executor.wait(self._settle)
            self._check_turn(turn)
        return said

    def _look(self) -> Image:
        png = self._executor.screenshot()
        self._size = _size(png)
        return image(png)

    def _failed(
        self,
        call: ToolCall,
        error: Exception,
        acknowledged: tuple[Mapping[str, Any], ...],
        *,
        look: bool = True,
    ) -> ToolResult:
        """Anthropic takes nothing but text in a result that is an error, OpenAI nothing but a
        picture in any.
        """
        images: tuple[Image, ...] = ()
        if look and _is_batch(call):
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

    def _point(self, given: Fields) -> Point:
        """Where an action is to be; the pointer stands there then. By default where it stands."""
        point = given.point() or self._pointer
        if point is None:
            raise ActionError("a coordinate is missing: the pointer has not been moved yet")
        self._pointer = self._on_screen(point)
        return point

    def _on_screen(self, point: Point) -> Point:
        if self._size is not None and not all(0 <= at < end for at, end in zip(point, self._size)):
            raise ActionError(f"{point} is not on the screen, which has {self._size} pixels")
        return point

    def _click(self, given: Fields, button: str = "", count: int = 1) -> None:
        word = button or given.word("button", _BUTTONS, "left")
        x, y = self._point(given)
        self._executor.click(x, y, button=_BUTTONS[word], count=count, keys=given.held())

    def _move(self, given: Fields) -> None:
        x, y = self._point(given)
        if self._pressed:
            self._pressed.append((x, y))
        else:
            self._executor.move(x, y, keys=given.held())

    def _press(self, given: Fields) -> None:
        """The button goes down when it comes up again, for executors know whole drags only."""
        self._pressed = [self._point(given)]

    def _release(self, given: Fields) -> None:
        path, self._pressed = self._pressed, []
        if not path:
            raise ActionError("the button is not pressed")
        if len(path) == 1:
            self._executor.click(*path[0], button="left", count=1, keys=())
        else:
            self._executor.drag(path, keys=())

    def _drag(self, given: Fields) -> None:
        path = [self._on_screen(point) for point in given.path()]
        self._pointer = path[-1]
        self._executor.drag(path, keys=given.held())

    def _scroll(self, given: Fields) -> None:
        x, y = self._point(given)
        dx, dy = given.distance()
        self._executor.scroll(x, y, dx, dy, keys=given.held())

    def _type(self, given: Fields) -> None:
        self._executor.type(given.text())

    def _key(self, given: Fields) -> None:
        keys = given.keys()
        for _ in range(min(given.number("repeat", 1), MOST_REPEATS)):
            self._executor.key(keys)

    def _hold_key(self, given: Fields) -> None:
        self._executor.key(given.keys(), seconds=self._allowed(given.seconds()))

    def _wait(self, given: Fields) -> None:
        self._executor.wait(self._allowed(given.seconds()))

    def _allowed(self, seconds: float) -> float:
        """What of `seconds` this call may still wait."""
        allowed = min(seconds, self._wait_left)
        self._wait_left -= allowed
        return allowed

    def _zoom(self, given: Fields) -> _Said:
        zoom = getattr(self._executor, "zoom", None)
        if zoom is None:
            raise ActionError("this screen cannot be zoomed")
        left, top, right, bottom = given.region()
        if not (left < right and top < bottom):
            raise ActionError("a region is left, top, right and bottom")
        self._on_screen((left, top))
        self._on_screen((right - 1, bottom - 1))
        return _Said(picture=image(zoom(left, top, right, bottom)))

    def _cursor_position(self, given: Fields) -> _Said:
        x, y = self._point(given)
        return _Said(f"X={x},Y={y}")

    def _screenshot(self, given: Fields) -> None:
        """A picture comes with every result."""


class _Said(NamedTuple):
    """What an action has to say, where it is not the screen as it is then."""

    text: str = ""
    picture: Optional[Image] = None


_ACTIONS: Mapping[str, Callable[[Computer, Fields], Optional[_Said]]] = {
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


def _actions(call: ToolCall) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and fields: OpenAI's batch (or one action), or a member of Anthropic's toolset."""
    if not _is_batch(call):
        return [(call.name, call.arguments)]
    actions = call.arguments.get("actions")
    if actions is None:
        actions = [call.arguments.get("action")]
    if not isinstance(actions, (list, tuple)) or not all(isinstance(a, Mapping) for a in actions):
        raise ActionError("actions must be a list of objects")
    return [(str(action.get("type")), action) for action in actions]


def _is_batch(call: ToolCall) -> bool:
    return "actions" in call.arguments or "action" in call.arguments


def _size(png: bytes) -> Optional[Point]:
    """Width and height, which a PNG has at its beginning."""
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        return None
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _sentence(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return text[:_MOST_TEXT]
