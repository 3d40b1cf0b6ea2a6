"""What one action of a model's on a screen says: places, keys, times, in either vendor's fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional

Point = tuple[int, int]

PIXELS_PER_CLICK = 100
"""How far one click of Anthropic's scroll wheel goes; OpenAI counts in pixels."""

MOST_REPEATS = 100

_DEFAULT_WAIT = 1.0  # OpenAI's `wait` has no duration
_DIRECTIONS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}


class ActionError(Exception):
    """Why an action was not done, in words for the model."""


class Fields:
    """The fields of one action, whichever vendor's; what does not fit is an `ActionError`."""

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
            raise ActionError("a drag needs two points or more")
        return [_pair(point) for point in points]

    def region(self) -> tuple[int, ...]:
        """`region`: left, top, right, bottom."""
        return _whole(self._fields.get("region"), 4)

    def distance(self) -> Point:
        """Pixels to scroll."""
        if "scroll_direction" not in self._fields:
            return self.number("scroll_x", 0), self.number("scroll_y", 0)
        across, down = _DIRECTIONS[self.word("scroll_direction", _DIRECTIONS, "")]
        length = min(self.number("scroll_amount", 1), MOST_REPEATS) * PIXELS_PER_CLICK
        return across * length, down * length

    def text(self) -> str:
        """`text` to be written."""
        text = self._fields.get("text")
        if not isinstance(text, str):
            raise ActionError("text must be a string")
        return text

    def keys(self) -> tuple[str, ...]:
        """The keys to be pressed together."""
        keys = self.held()
        if not keys:
            raise ActionError("no key is given")
        return keys

    def held(self) -> tuple[str, ...]:
        """The keys in `keys` (OpenAI) or `text` (Anthropic); where the action is to type, no."""
        given = self._fields.get("keys")
        return key_names(self._fields.get("text") if given is None else given)

    def seconds(self) -> float:
        """`duration`."""
        seconds = self._fields.get("duration", _DEFAULT_WAIT)
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise ActionError("duration must be seconds")
        return float(seconds)

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._fields.get(name)
        return default if value is None else _whole([value], 1)[0]

    def word(self, name: str, known: Iterable[str], default: str) -> str:
        """One of the words that are `known`."""
        value = self._fields.get(name, default)
        if value not in list(known):
            raise ActionError(f"{name} must be one of {', '.join(known)}, not {value!r:.40}")
        return str(value)


def _pair(value: Any) -> Point:
    if isinstance(value, Mapping):
        value = (value.get("x"), value.get("y"))
    x, y = _whole(value, 2)
    return x, y


def _whole(values: Any, count: int) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ActionError(f"{count} numbers are needed, not {values!r:.60}")
    if not all(type(value) in (int, float) and abs(value) < 1e6 for value in values):
        raise ActionError(f"{values!r:.60} are not numbers of pixels")
    return tuple(int(value) for value in values)


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
        raise ActionError("keys must be a string such as 'ctrl+a', or a list of names")
    return tuple(_key_name(part) for name in names for part in _parts(name))


def _parts(name: str) -> list[str]:
    """The keys of "ctrl+a" and "ctrl++", two each; a single character is itself."""
    return [name] if len(name) == 1 else re.findall(r"[^+]+|\+$", name) or [name]


def _key_name(name: str) -> str:
    if len(name) == 1:
        return "Space" if name == " " else name.lower()
    known = _KEYS.get(re.sub(r"[\s_-]", "", name).lower())
    if known is None:
        raise ActionError(f"there is no key {name!r:.40}")
    return known
