"""Computer use: what a model asks for is what is done, and what goes wrong is told."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, get_args

import pytest

from deluge_sync import ConfigError, ToolCall, ToolResult
from deluge_sync.adapters.computer import anthropic_computer, no_computer, responses_computer
from deluge_sync.catalog.catalog import load_catalog
from deluge_sync.computer import _ACTIONS, Computer
from deluge_sync.computer_fields import key_names
from deluge_sync.values.tool import ComputerTool, described, tools_of

SIZE = (200, 100)
MOVE = {"type": "move", "x": 1, "y": 1}


def png(width: int, height: int, shade: int = 0) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + bytes([shade]) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


class Recorder:
    """An executor that writes down what it is told; `failing` are the names that it cannot do."""

    def __init__(self, *failing: str) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.failing = failing

    def _note(self, name: str, *told: Any) -> None:
        if name in self.failing:
            raise RuntimeError(f"{name} is broken\nCall log: much more")
        self.done.append((name, *told))

    def screenshot(self) -> bytes:
        if "screenshot" in self.failing:
            raise RuntimeError("screenshot is broken")
        return png(*SIZE, shade=len(self.done))

    def click(
        self, x: int, y: int, *, button: str = "left", count: int = 1, keys: Sequence[str] = ()
    ) -> None:
        self._note("click", x, y, button, count, tuple(keys))

    def move(self, x: int, y: int, *, keys: Sequence[str] = ()) -> None:
        self._note("move", x, y, tuple(keys))

    def drag(self, path: Sequence[tuple[int, int]], *, keys: Sequence[str] = ()) -> None:
        self._note("drag", tuple(path), tuple(keys))

    def scroll(self, x: int, y: int, dx: int, dy: int, *, keys: Sequence[str] = ()) -> None:
        self._note("scroll", x, y, dx, dy, tuple(keys))

    def type(self, text: str) -> None:
        self._note("type", text)

    def key(self, keys: Sequence[str], *, seconds: float = 0.0) -> None:
        self._note("key", tuple(keys), seconds)

    def wait(self, seconds: float) -> None:
        self._note("wait", seconds)


class Zooming(Recorder):
    """One that can zoom too."""

    def zoom(self, left: int, top: int, right: int, bottom: int) -> bytes:
        self._note("zoom", left, top, right, bottom)
        return png(right - left, bottom - top, shade=200)


def anthropic(name: str, **fields: Any) -> ToolCall:
    return ToolCall("toolu_1", name, fields, kind="computer")


def openai(*actions: Any, checks: Sequence[Any] = ()) -> ToolCall:
    fields = {"actions": list(actions), "pending_safety_checks": list(checks)}
    return ToolCall("call_1", "computer", fields, kind="computer")


def done_by(*calls: ToolCall, **options: Any) -> tuple[list[tuple[Any, ...]], list[ToolResult]]:
    """What an executor is told, and the answers."""
    screen = Zooming()
    computer = Computer(screen, settle=0.0, **options)
    return screen.done, [computer(call) for call in calls]


ANTHROPIC = [
    ("screenshot", {}, []),
    ("left_click", {"coordinate": [10, 20]}, [("click", 10, 20, "left", 1, ())]),
    ("left_click", {"coordinate": [1, 2], "text": "ctrl+shift"},
     [("click", 1, 2, "left", 1, ("Control", "Shift"))]),
    ("right_click", {"coordinate": [10, 20]}, [("click", 10, 20, "right", 1, ())]),
    ("middle_click", {"coordinate": [10, 20]}, [("click", 10, 20, "middle", 1, ())]),
    ("double_click", {"coordinate": [10, 20]}, [("click", 10, 20, "left", 2, ())]),
    ("triple_click", {"coordinate": [10, 20]}, [("click", 10, 20, "left", 3, ())]),
    ("left_click_drag", {"start_coordinate": [1, 2], "coordinate": [30, 40], "text": "shift"},
     [("drag", ((1, 2), (30, 40)), ("Shift",))]),
    ("mouse_move", {"coordinate": [5, 6]}, [("move", 5, 6, ())]),
    ("scroll", {"coordinate": [5, 6], "scroll_direction": "down", "scroll_amount": 3},
     [("scroll", 5, 6, 0, 300, ())]),
    ("scroll", {"coordinate": [5, 6], "scroll_direction": "left", "scroll_amount": 1,
                "text": "ctrl"}, [("scroll", 5, 6, -100, 0, ("Control",))]),
    ("key", {"text": "ctrl+s"}, [("key", ("Control", "s"), 0.0)]),
    ("key", {"text": "Down", "repeat": 2}, [("key", ("ArrowDown",), 0.0)] * 2),
    ("hold_key", {"text": "space", "duration": 2}, [("key", ("Space",), 2.0)]),
    ("type", {"text": "ctrl+a is typed"}, [("type", "ctrl+a is typed")]),
    ("wait", {"duration": 3}, [("wait", 3.0)]),
    ("zoom", {"region": [10, 20, 30, 60]}, [("zoom", 10, 20, 30, 60)]),
]  # fmt: skip

OPENAI = [
    ({"type": "click", "button": "left", "x": 1, "y": 2}, [("click", 1, 2, "left", 1, ())]),
    ({"type": "click", "button": "wheel", "x": 1, "y": 2, "keys": ["CTRL"]},
     [("click", 1, 2, "middle", 1, ("Control",))]),
    ({"type": "click", "button": "back", "x": 1, "y": 2}, [("click", 1, 2, "back", 1, ())]),
    ({"type": "double_click", "x": 1, "y": 2, "keys": None}, [("click", 1, 2, "left", 2, ())]),
    ({"type": "drag", "path": [{"x": 1, "y": 2}, {"x": 3, "y": 4}, {"x": 5, "y": 6}]},
     [("drag", ((1, 2), (3, 4), (5, 6)), ())]),
    ({"type": "keypress", "keys": ["CTRL", "A"]}, [("key", ("Control", "a"), 0.0)]),
    ({"type": "move", "x": 1, "y": 2}, [("move", 1, 2, ())]),
    ({"type": "screenshot"}, []),
    ({"type": "scroll", "x": 1, "y": 2, "scroll_x": -7, "scroll_y": 80},
     [("scroll", 1, 2, -7, 80, ())]),
    ({"type": "type", "text": "Ada\n"}, [("type", "Ada\n")]),
    ({"type": "wait"}, [("wait", 1.0)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "told"), ANTHROPIC)
def test_an_action_of_anthropics_is_done(name: str, fields: dict, told: list) -> None:
    done, [result] = done_by(anthropic(name, **fields))
    assert done == told
    assert (result.tool_call_id, result.name, result.kind) == ("toolu_1", name, "computer")
    assert not result.is_error


@pytest.mark.parametrize(("action", "told"), OPENAI)
def test_an_action_of_openais_is_done(action: dict, told: list) -> None:
    done, [result] = done_by(openai(action))
    assert done == told
    assert not result.is_error
    assert result.kind == "computer"


def test_every_action_of_the_vendors_sdks_is_known_and_tried_above() -> None:
    members = pytest.importorskip("anthropic.types.computer_member_name")
    action = pytest.importorskip("openai.types.responses.computer_action")
    theirs = set(get_args(members.ComputerMemberName))
    ours = {get_args(one.model_fields["type"].annotation)[0]
            for one in get_args(get_args(action.ComputerAction)[0])}  # fmt: skip
    assert theirs | ours == set(_ACTIONS)
    tried = {name for name, _, _ in ANTHROPIC} | {"left_mouse_down", "left_mouse_up",
                                                  "cursor_position"}  # fmt: skip
    assert tried == theirs
    assert {action["type"] for action, _ in OPENAI} == ours


def test_the_fields_that_are_read_are_those_of_the_vendors_types() -> None:
    pytest.importorskip("anthropic.types.computer_member_name")  # older SDKs know no toolset
    inputs = pytest.importorskip("anthropic.types")
    action = pytest.importorskip("openai.types.responses.computer_action")
    for name, fields, _ in ANTHROPIC:
        title = "".join(word.capitalize() for word in name.split("_"))
        block = getattr(inputs, f"Computer{title}Input")
        assert set(fields) <= set(block.model_fields)
        block.model_validate(fields)
    shapes = {get_args(one.model_fields["type"].annotation)[0]: one
              for one in get_args(get_args(action.ComputerAction)[0])}  # fmt: skip
    for fields, _ in OPENAI:
        assert set(fields) <= set(shapes[fields["type"]].model_fields)
        shapes[fields["type"]].model_validate(fields)


def test_an_answer_shows_the_screen_after_the_last_action() -> None:
    _, [result] = done_by(openai({"type": "move", "x": 1, "y": 1}, {"type": "type", "text": "x"}))
    assert [image.data for image in result.images] == [png(*SIZE, shade=2)]
    assert result.images[0].media_type == "image/png"


def test_a_zoom_shows_the_part_and_not_the_screen() -> None:
    _, [result] = done_by(anthropic("zoom", region=[0, 0, 20, 10]))
    assert result.images[0].data == png(20, 10, shade=200)


def test_a_single_action_of_older_answers_is_done_too() -> None:
    call = ToolCall("c", "computer", {"action": {"type": "move", "x": 3, "y": 4}}, kind="computer")
    done, [result] = done_by(call)
    assert done == [("move", 3, 4, ())]
    assert not result.is_error


def test_a_click_without_a_place_is_where_the_pointer_stands() -> None:
    done, results = done_by(
        anthropic("left_click"),
        anthropic("mouse_move", coordinate=[7, 8]),
        anthropic("left_click"),
        anthropic("cursor_position"),
    )
    assert results[0].is_error
    assert "coordinate" in results[0].content
    assert done[1:] == [("click", 7, 8, "left", 1, ())]
    assert results[3].content == "X=7,Y=8"


def test_a_button_pressed_moved_and_let_go_is_a_drag() -> None:
    done, results = done_by(
        anthropic("left_mouse_down", coordinate=None),
        anthropic("mouse_move", coordinate=[1, 1]),
        anthropic("left_mouse_down"),
        anthropic("mouse_move", coordinate=[2, 2]),
        anthropic("mouse_move", coordinate=[3, 3]),
        anthropic("left_mouse_up"),
        anthropic("left_mouse_up"),
    )
    assert done == [("move", 1, 1, ()), ("drag", ((1, 1), (2, 2), (3, 3)), ())]
    assert [result.is_error for result in results] == [True, *[False] * 5, True]


def test_a_button_pressed_and_let_go_in_one_place_is_a_click() -> None:
    done, _ = done_by(
        anthropic("mouse_move", coordinate=[1, 1]),
        anthropic("left_mouse_down"),
        anthropic("left_mouse_up"),
    )
    assert done[-1] == ("click", 1, 1, "left", 1, ())


KEYS = [
    ("ctrl+a", ("Control", "a")),
    (["CTRL", "A"], ("Control", "a")),
    (["ctrl+shift", "Tab"], ("Control", "Shift", "Tab")),
    ("Page_Down", ("PageDown",)),
    (["PAGEDOWN"], ("PageDown",)),
    ("Return", ("Enter",)),
    (["ENTER"], ("Enter",)),
    ("BackSpace", ("Backspace",)),
    ("alt+Left", ("Alt", "ArrowLeft")),
    (["ARROWLEFT"], ("ArrowLeft",)),
    (["SUPER", "L"], ("Meta", "l")),
    (["CMD"], ("Meta",)),
    ("ctrl++", ("Control", "+")),
    ("ctrl+minus", ("Control", "-")),
    ("+", ("+",)),
    ([" "], ("Space",)),
    ("F12", ("F12",)),
    ("é", ("é",)),
    (None, ()),
    ([], ()),
]


@pytest.mark.parametrize(("given", "names"), KEYS, ids=[str(given) for given, _ in KEYS])
def test_keys_have_one_name_whoever_names_them(given: Any, names: tuple) -> None:
    assert key_names(given) == names


BAD = [
    (anthropic("fly", coordinate=[1, 2]), "fly: there is no such action"),
    (openai({"type": "fly"}), "fly: there is no such action"),
    (openai({}), "None: there is no such action"),
    (openai("click"), "actions must be a list of objects"),
    (ToolCall("c", "computer", {"actions": 3}, kind="computer"), "actions must be a list"),
    (anthropic("left_click", coordinate=[1]), "2 numbers"),
    (anthropic("left_click", coordinate="1,2"), "2 numbers"),
    (anthropic("left_click", coordinate=["1", True]), "not numbers"),
    (anthropic("left_click", coordinate=[float("nan"), 1]), "not numbers"),
    (openai({"type": "click", "x": 1}), "not numbers"),
    (openai({"type": "click", "x": 1, "y": 2, "button": "nose"}), "button must be one of left"),
    (anthropic("scroll", coordinate=[1, 2], scroll_direction="in"), "scroll_direction must be"),
    (anthropic("key", text="ctrl+flurb"), "no key 'flurb'"),
    (anthropic("key", text=""), "no key is given"),
    (anthropic("key", text=[3]), "keys must be"),
    (anthropic("type"), "text must be a string"),
    (anthropic("wait", duration="long"), "duration must be"),
    (anthropic("wait", duration=-1), "duration must be"),
    (anthropic("zoom", region=[5, 5, 5, 9]), "region"),
    (anthropic("left_click_drag", coordinate=[1, 2]), "2 numbers"),
    (openai({"type": "drag", "path": [{"x": 1, "y": 2}]}), "two points"),
]


@pytest.mark.parametrize(("call", "why"), BAD, ids=[why for _, why in BAD])
def test_what_cannot_be_done_is_told_and_not_raised(call: ToolCall, why: str) -> None:
    done, [result] = done_by(call)
    assert done == []
    assert result.is_error
    assert why in result.content


def test_a_place_that_is_not_on_the_screen_is_told() -> None:
    done, results = done_by(anthropic("screenshot"), anthropic("left_click", coordinate=[200, 5]))
    assert results[1].is_error
    assert "(200, 100) pixels" in results[1].content
    assert done == []


def test_an_error_shows_openai_the_screen_and_anthropic_words_alone() -> None:
    _, [of_openai, of_anthropic] = done_by(openai({"type": "fly"}), anthropic("fly"))
    assert [image.data for image in of_openai.images] == [png(*SIZE)]
    assert of_anthropic.images == ()


def test_what_an_executor_raises_is_told_in_one_line() -> None:
    result = Computer(Recorder("click"), settle=0.0)(anthropic("left_click", coordinate=[1, 2]))
    assert result.is_error
    assert result.content == "left_click: click is broken"


@pytest.mark.parametrize("call", [anthropic("screenshot"), openai({"type": "screenshot"})])
def test_a_screen_that_cannot_be_seen_is_an_error(call: ToolCall) -> None:
    result = Computer(Recorder("screenshot"), settle=0.0)(call)
    assert result.is_error
    assert result.images == ()


def test_a_batch_stops_at_its_first_failure_and_says_which() -> None:
    done, [result] = done_by(
        openai({"type": "move", "x": 1, "y": 1}, {"type": "fly"}, {"type": "type", "text": "x"})
    )
    assert done == [("move", 1, 1, ())]
    assert result.content == "action 2 of 3, fly: there is no such action here"


def test_a_call_that_is_refused_is_not_done_and_shows_what_its_vendor_wants() -> None:
    screen = Recorder()
    computer = Computer(screen, settle=0.0)
    of_anthropic = computer.refuse(anthropic("type", text="x"), "not allowed")
    of_openai = computer.refuse(openai({"type": "type", "text": "x"}), "not allowed")
    assert screen.done == []
    assert of_anthropic == ToolResult(
        "toolu_1", "not allowed", "type", is_error=True, kind="computer"
    )
    assert (of_openai.is_error, of_openai.content) == (True, "not allowed")
    assert of_openai.images


class Stuck(Recorder):
    """One whose first move takes until `gate` is opened, and then fails if it is told to."""

    def __init__(self, *failing: str) -> None:
        super().__init__(*failing)
        self.begun, self.gate = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self.looks = 0

    def screenshot(self) -> bytes:
        self.looks += 1
        return super().screenshot()

    def move(self, x: int, y: int, *, keys: Sequence[str] = ()) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.gate.wait(30)
        super().move(x, y, keys=keys)


TYPE = {"type": "type", "text": "late"}
LATE = {
    "before the next action": (openai(MOVE, TYPE), ()),
    "after the last one": (openai(MOVE), ()),
    "after one that failed": (openai(MOVE, TYPE), ("move",)),
    "after a single one": (anthropic("mouse_move", coordinate=[1, 1]), ()),
}
AFTER: dict[str, Callable[[Computer], ToolResult]] = {
    "its refusal": lambda computer: computer.refuse(openai(MOVE, TYPE), "too late"),
    "another call": lambda computer: computer(anthropic("screenshot")),
}


@pytest.mark.parametrize(("call", "failing"), LATE.values(), ids=LATE)
@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
def test_a_call_that_was_given_up_does_nothing_more_to_the_screen(
    call: ToolCall, failing: tuple[str, ...], after: Callable[[Computer], ToolResult]
) -> None:
    screen = Stuck(*failing)
    computer = Computer(screen, settle=0.5)
    with ThreadPoolExecutor(1) as pool:
        left_behind = pool.submit(computer, call)
        assert screen.begun.wait(30)
        assert after(computer).images
        screen.gate.set()
        result = left_behind.result(30)
    assert screen.done == ([] if failing else [("move", 1, 1, ())])
    assert screen.looks == 1  # the other's
    assert result.is_error
    assert failing or "given up" in result.content


def test_calls_refused_at_the_same_time_all_show_the_screen() -> None:
    both = threading.Barrier(2, timeout=30)

    class Meeting(Recorder):
        def screenshot(self) -> bytes:
            both.wait()
            return super().screenshot()

    computer = Computer(Meeting(), settle=0.0)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: computer.refuse(openai(MOVE), "no"), range(2)))
    assert all(result.images for result in results)


def test_waits_of_one_call_are_capped_together() -> None:
    wait = {"type": "wait", "duration": 4}
    done, results = done_by(openai(wait, wait, wait), anthropic("hold_key", text="a", duration=99),
                            longest_wait=6.0)  # fmt: skip
    assert done == [("wait", 4.0), ("wait", 2.0), ("wait", 0.0), ("key", ("a",), 6.0)]
    assert not any(result.is_error for result in results)


def test_repeats_are_capped() -> None:
    done, _ = done_by(
        anthropic("key", text="Down", repeat=10_000),
        anthropic("scroll", coordinate=[1, 1], scroll_direction="up", scroll_amount=10_000),
    )
    assert len(done) == 101
    assert done[-1] == ("scroll", 1, 1, 0, -10_000, ())


def test_the_screen_settles_after_what_may_change_it_and_not_after_a_look() -> None:
    screen = Recorder()
    computer = Computer(screen, settle=0.25)
    computer(anthropic("screenshot"))
    computer(anthropic("left_click", coordinate=[1, 2]))
    assert screen.done == [("click", 1, 2, "left", 1, ()), ("wait", 0.25)]


CHECK = {"id": "cu_sc_1", "code": "malicious_instructions", "message": "The page gives orders."}
OTHER = {"id": "cu_sc_2", "code": "irrelevant_domain", "message": "An odd place."}


def test_nothing_is_done_while_a_safety_check_is_not_acknowledged() -> None:
    done, [result] = done_by(openai(MOVE, checks=[CHECK]))
    assert done == []
    assert result.is_error
    assert "malicious_instructions" in result.content
    assert result.acknowledged == ()
    assert result.images


@pytest.mark.parametrize("answer", [False, None, "no"])
def test_anything_but_a_yes_to_a_safety_check_is_a_no(answer: Any) -> None:
    done, [result] = done_by(openai(MOVE, checks=[CHECK]), acknowledge=lambda check: answer)
    assert done == []
    assert (result.is_error, result.acknowledged) == (True, ())


def test_a_yes_to_one_safety_check_is_none_to_another() -> None:
    done, [result] = done_by(openai(MOVE, checks=[CHECK, OTHER]),
                             acknowledge=lambda check: check["id"] == "cu_sc_1")  # fmt: skip
    assert done == []
    assert "irrelevant_domain" in result.content
    assert result.acknowledged == ()


def test_safety_checks_that_are_acknowledged_go_back_with_the_answer() -> None:
    asked: list[Any] = []

    def acknowledge(check: Any) -> bool:
        asked.append(check)
        return True

    done, [result] = done_by(openai(MOVE, checks=[CHECK, OTHER]), acknowledge=acknowledge)
    assert asked == [CHECK, OTHER]
    assert done == [("move", 1, 1, ())]
    assert result.acknowledged == (CHECK, OTHER)
    _, [failed] = done_by(openai({"type": "fly"}, checks=[CHECK]), acknowledge=acknowledge)
    assert (failed.is_error, failed.acknowledged) == (True, (CHECK,))


def test_an_acknowledgement_that_raises_is_none() -> None:
    def acknowledge(check: Any) -> bool:
        raise OSError("nobody is there")

    done, [result] = done_by(openai(MOVE, checks=[CHECK]), acknowledge=acknowledge)
    assert done == []
    assert (result.is_error, result.acknowledged) == (True, ())


@pytest.mark.parametrize(
    "options", [{"longest_wait": -1}, {"settle": float("inf")}, {"acknowledge": True}]
)
def test_an_option_that_makes_no_sense_is_an_error_at_once(options: dict) -> None:
    with pytest.raises(ConfigError):
        Computer(Recorder(), **options)


def test_a_computer_is_a_tool_of_which_there_is_one() -> None:
    tool = Computer(Recorder()).tool
    assert tools_of([tool]) == (tool,)
    assert described(tool) == {"name": "computer", "zoom": False}
    assert Computer(Zooming()).tool.zoom
    with pytest.raises(ConfigError, match="two tools have the name 'computer'"):
        tools_of([tool, ComputerTool(zoom=True)])


def test_each_vendor_is_told_of_the_computer_in_its_own_words() -> None:
    catalog = load_catalog()
    claude, gpt = catalog.model("claude-opus-5.5"), catalog.model("gpt-6")
    off = {"zoom": {"enabled": False}}
    plain = anthropic_computer(ComputerTool(), claude)
    zooming = anthropic_computer(ComputerTool(zoom=True), claude)
    assert plain == {"type": "computer_toolset_20260801", "configs": off}
    assert zooming == {"type": "computer_toolset_20260801"}
    assert responses_computer(ComputerTool(zoom=True), gpt) == {"type": "computer"}


def test_the_entries_are_those_of_the_vendors_types() -> None:
    pydantic = pytest.importorskip("pydantic")
    toolset = pytest.importorskip("anthropic.types.computer_toolset_20260801_param")
    computer = pytest.importorskip("openai.types.responses.computer_tool_param")
    catalog = load_catalog()
    claude, gpt = catalog.model("claude-opus-5.5"), catalog.model("gpt-6")
    entry = anthropic_computer(ComputerTool(), claude)
    pydantic.TypeAdapter(toolset.ComputerToolset20260801Param).validate_python(entry)
    entry = responses_computer(ComputerTool(), gpt)
    pydantic.TypeAdapter(computer.ComputerToolParam).validate_python(entry)


def test_a_model_that_uses_no_computer_is_refused_by_name() -> None:
    catalog = load_catalog()
    model = catalog.model("gpt-4.1-mini")
    with pytest.raises(ConfigError, match=r"gpt-4\.1-mini cannot use a computer"):
        responses_computer(ComputerTool(), model)
    with pytest.raises(ConfigError, match=r"gpt-4\.1-mini cannot use a computer"):
        anthropic_computer(ComputerTool(), model)
    assert "computer_use" in str(no_computer(model, "Chat Completions"))


def test_a_screen_without_all_its_methods_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"no method screenshot\(\)"):
        Computer(object())  # type: ignore[arg-type]


def test_a_computer_among_the_tools_is_its_screen() -> None:
    computer = Computer(Zooming())
    assert tools_of([computer]) == (computer.tool,)
