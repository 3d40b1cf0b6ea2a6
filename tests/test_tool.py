"""Tools as values: made of functions, their arguments checked, their results written, pickled."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import functools
import json
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

import pytest

from deluge_sync import Conversation, Image, MCPServer, Message, Tool, ToolCall, ToolResult
from deluge_sync.values.errors import ConfigError, OutputError, PromptError
from deluge_sync.values.plain import MalformedError, message_from_plain, message_to_plain
from deluge_sync.values.prompt import Text, Thinking, VendorBlock
from deluge_sync.values.response import Response
from deluge_sync.values.tool import choice_of, described, result_of, tools_of

if TYPE_CHECKING:
    from nowhere import Missing

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PICTURE = Image(PNG, media_type="image/png")


class Unit(enum.Enum):
    """Of heat."""

    CELSIUS = "C"
    FAHRENHEIT = "F"


@dataclass
class Place:
    """Where it is."""

    city: str
    country: str = "DE"


def weather(place: Place, days: int = 3, unit: Unit = Unit.CELSIUS) -> Missing:
    """The weather of the days to come.

    As the stations have it.

    Args:
        place: Where to look,
            by its name: in English.
        days (int, optional): How many.
        unit: Of heat.

    Returns:
        A text.

    """
    return place, days, unit


def now() -> str:
    """The time of day."""
    return "12:00"


def properties(tool: Tool) -> Any:
    return tool.parameters["properties"]


def call(tool: Tool, arguments: Any) -> ToolCall:
    return ToolCall("call_1", tool.name, arguments)


class TestFromFunction:
    """What is told by types, defaults and docstrings."""

    def test_name_description_and_schema_are_the_functions_own(self):
        tool = Tool.from_function(weather)
        assert tool.name == "weather"
        assert tool.description == ("The weather of the days to come.\n\nAs the stations have it.")
        assert tool.parameters["type"] == "object"
        assert tool.parameters["required"] == ["place", "days", "unit"]
        assert tool.parameters["additionalProperties"] is False
        assert properties(tool)["place"]["description"] == (
            "Where to look, by its name: in English."
        )
        assert properties(tool)["days"] == {
            "description": "How many. (default: 3)",
            "anyOf": [{"type": "integer"}, {"type": "null"}],
        }
        assert properties(tool)["unit"]["anyOf"][0] == {"type": "string", "enum": ["C", "F"]}
        assert tool.parameters["$defs"]["Place"]["description"] == "Where it is."

    def test_a_function_without_arguments_asks_for_none(self):
        tool = Tool.from_function(now)
        assert properties(tool) == {}
        assert tool.arguments_of(call(tool, {})) == {}
        with pytest.raises(OutputError, match="extra"):
            tool.arguments_of(call(tool, {"extra": 1}))

    def test_what_is_given_goes_before_what_is_told(self):
        tool = Tool.from_function(now, name="clock", description="", strict=True, timeout=2.5)
        assert (tool.name, tool.description, tool.strict, tool.timeout) == ("clock", "", True, 2.5)

    def test_sphinx_docstrings_describe_arguments_too(self):
        def look(at: str, twice: bool = False, deep: int = 1) -> str:
            """Looks.

            :param at: The place,
                by name.
            :type at: str
            :param bool twice: Whether to look again.
            :param deep: How deep.
            :returns: What is there.
            """

        tool = Tool.from_function(look)
        assert tool.description == "Looks."
        told = {name: schema["description"] for name, schema in properties(tool).items()}
        assert told == {
            "at": "The place, by name.",
            "twice": "Whether to look again. (default: false)",
            "deep": "How deep. (default: 1)",
        }

    def test_the_model_is_told_each_default_that_json_has_a_form_for(self):
        def look(
            unit: Unit = Unit.CELSIUS,
            deep: Annotated[int, "How deep."] = 2,
            words: Optional[list[str]] = None,
            at: Annotated[Any, "Where."] = object(),  # noqa: B008
            text: str = "x" * 1_000,
        ) -> None: ...

        told = properties(Tool.from_function(look))
        assert told["unit"]["description"] == '(default: "C")'
        assert told["deep"]["description"] == "How deep. (default: 2)"
        assert told["at"]["description"] == "Where."
        assert "description" not in told["words"]
        assert "description" not in told["text"]

    def test_pydantics_field_describes_an_argument(self):
        field = pytest.importorskip("pydantic").Field(description="The place.")

        def look(at: str) -> None: ...

        look.__annotations__["at"] = Annotated[str, field]
        assert properties(Tool.from_function(look))["at"]["description"] == "The place."

    def test_googles_own_two_spaces_are_read_alike(self):
        def look(at: str, deep: int) -> str:
            """Looks.

            Args:
              at: The place,
                for example: Bonn.
              deep: How deep.

            """

        told = properties(Tool.from_function(look))
        assert told["at"]["description"] == "The place, for example: Bonn."
        assert told["deep"]["description"] == "How deep."

    def test_annotated_goes_before_the_docstring(self):
        def look(at: Annotated[str, "By type."]) -> str:
            """Looks.

            Args:
                at: By docstring.

            """

        assert properties(Tool.from_function(look))["at"]["description"] == "By type."

    def test_choices_lists_and_maps_have_their_schemas(self):
        def look(
            way: Literal["up", "down"], at: list[str], sizes: dict[str, float], other: Optional[int]
        ) -> None: ...

        told = properties(Tool.from_function(look))
        assert told["way"] == {"type": "string", "enum": ["up", "down"]}
        assert told["at"] == {"type": "array", "items": {"type": "string"}}
        assert told["sizes"]["additionalProperties"] == {"type": "number"}
        assert told["other"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}

    def test_methods_lose_their_self(self):
        class Station:
            def __init__(self, name: str) -> None:
                self.name = name

            def at(self, hour: int) -> str:
                """At that hour."""
                return f"{self.name} at {hour}"

            @classmethod
            def named(cls, name: str) -> str:
                return name

            @staticmethod
            def count(of: int) -> int:
                return of

        tool = Tool.from_function(Station("Bonn").at)
        assert (tool.name, tool.description, list(properties(tool))) == (
            "at", "At that hour.", ["hour"],
        )  # fmt: skip
        assert tool.run(**tool.arguments_of(call(tool, {"hour": 3}))) == "Bonn at 3"
        assert list(properties(Tool.from_function(Station.named))) == ["name"]
        assert list(properties(Tool.from_function(Station.count))) == ["of"]

    def test_a_partials_own_arguments_are_nobody_elses(self):
        tool = Tool.from_function(functools.partial(weather, days=5))
        assert (tool.name, list(properties(tool))) == ("weather", ["place", "unit"])
        assert tool.description.startswith("The weather")
        with pytest.raises(OutputError, match="days"):
            tool.arguments_of(call(tool, {"place": {"city": "Bonn"}, "days": 1}))
        given = tool.arguments_of(call(tool, {"place": {"city": "Bonn"}}))
        assert tool.run(**given) == (Place("Bonn"), 5, Unit.CELSIUS)
        first = Tool.from_function(functools.partial(functools.partial(weather, Place("Bonn"))))
        assert list(properties(first)) == ["days", "unit"]

    def test_an_object_with_call_is_a_function(self):
        class Look:
            """A class."""

            depth: str

            def __call__(self, deep: int) -> str:
                """Looks."""
                return str(deep)

        tool = Tool.from_function(Look())
        assert (tool.name, tool.description, list(properties(tool))) == ("Look", "Looks.", ["deep"])
        assert properties(tool)["deep"] == {"type": "integer"}

    def test_a_class_is_a_function_that_makes_one(self):
        tool = Tool.from_function(Place)
        assert (tool.name, list(properties(tool))) == ("Place", ["city", "country"])
        assert tool.run(**tool.arguments_of(call(tool, {"city": "Bonn"}))) == Place("Bonn")

    def test_what_wraps_a_function_takes_what_it_takes(self):
        @functools.wraps(weather)
        def wrapped(*args, **options):
            return weather(*args, **options)

        assert list(properties(Tool.from_function(wrapped))) == ["place", "days", "unit"]

    def test_pydantic_models_are_arguments(self):
        pydantic = pytest.importorskip("pydantic")

        class Order(pydantic.BaseModel):
            number: int = pydantic.Field(ge=1, description="Of the order.")

        def ship(order: Order) -> int:
            return order.number

        ship.__annotations__["order"] = Order
        tool = Tool.from_function(ship)
        assert tool.run(**tool.arguments_of(call(tool, {"order": {"number": 4}}))) == 4
        with pytest.raises(OutputError, match="order"):
            tool.arguments_of(call(tool, {"order": {"number": 0}}))


def lacking(at) -> str: ...


def spread(*places: str) -> str: ...


def options(**places: str) -> str: ...


def unnamed(at: str, /) -> str: ...


def unheard(at: Missing) -> str: ...


def shapeless(at: bytes) -> str: ...


async def later(at: str) -> str: ...


async def several(at: str):
    yield at


class Later:
    """Calls it later."""

    async def __call__(self, at: str) -> str: ...


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tool.from_function(lacking), "tool lacking: argument 'at' has no type"),
        (lambda: Tool.from_function(spread), "'places' cannot be given by name"),
        (lambda: Tool.from_function(options), "'places' cannot be given by name"),
        (lambda: Tool.from_function(unnamed), "'at' cannot be given by name"),
        (lambda: Tool.from_function(unheard), "tool unheard: a type .* cannot be read"),
        (lambda: Tool.from_function(shapeless), "tool shapeless: .*bytes"),
        (lambda: Tool.from_function(later), "tool later: an async function"),
        (lambda: Tool.from_function(several), "tool several: an async function"),
        (lambda: Tool.from_function(Later()), "tool Later: an async function"),
        (lambda: Tool.from_function(functools.partial(later, "x")), "an async function"),
        (lambda: Tool.from_function(lambda: 1), "<lambda>"),
        (lambda: Tool.from_function("look"), "takes a function, not 'look'"),
        (lambda: Tool.from_function(dict.fromkeys), "cannot be given by name|does not say"),
        (lambda: Tool.from_function(now, name="not a name"), "'not a name'"),
        (lambda: Tool("x" * 65), "at most 64"),
        (lambda: Tool(""), "a tool's name"),
        (lambda: Tool(None), "a tool's name"),
        (lambda: Tool("look", parameters=["at"]), "tool look: parameters must be"),
        (lambda: Tool("look", parameters={"type": "array"}), "not of 'array'"),
        (lambda: Tool("look", parameters={}), "not of None"),
        (lambda: Tool("look", parameters={"type": "objekt"}), "tool look: schema.type"),
        (lambda: Tool("look", description=None), "description must be a string"),
        (lambda: Tool("look", run="now"), "run must be a function"),
        (lambda: Tool("look", strict="yes"), "strict must be"),
        (lambda: Tool("look", timeout=0), "timeout must be seconds"),
        (lambda: Tool("look", timeout=float("nan")), "timeout must be seconds"),
        (lambda: MCPServer("docs", "http://docs"), "https://"),
        (lambda: MCPServer("the docs", "https://docs"), "an MCP server's name"),
        (lambda: MCPServer("docs", "https://x", authorization=5), "docs: authorization must be"),
        (lambda: MCPServer("docs", "https://x", headers=["a"]), "docs: headers must map"),
        (lambda: MCPServer("docs", "https://x", allowed_tools="look"), "docs: allowed_tools must"),
        (lambda: MCPServer("docs", "https://x", allowed_tools=[1]), "docs: allowed_tools must"),
        (lambda: MCPServer("docs", "https://x", allowed_tools=5), "docs: allowed_tools must"),
        (lambda: tools_of([Tool("look"), Tool("look")]), "two tools have the name 'look'"),
        (lambda: tools_of([MCPServer("look", "https://x"), Tool("look")]), "two tools"),
        (lambda: tools_of([now, now]), "two tools have the name 'now'"),
        (lambda: tools_of([now, {"type": "custom", "name": "now"}]), "two tools have the name"),
        (
            lambda: tools_of([{"type": "function", "function": {"name": "now"}}, now]),
            "two tools have the name 'now'",
        ),
        (lambda: tools_of([1]), "not 1"),
        (lambda: tools_of(["look"]), "not 'look'"),
        (lambda: tools_of(now), "must be a list"),
        (lambda: tools_of({"googleSearch": {}}), "must be a list"),
        (lambda: choice_of("auto", ()), "needs tools"),
        (lambda: choice_of("go", (Tool("look"),)), "not 'go'"),
        (lambda: choice_of(["look"], (Tool("look"),)), "tool_choice must be"),
        (lambda: choice_of("docs", (MCPServer("docs", "https://x"),)), "not 'docs'"),
    ],
)  # fmt: skip
def test_what_makes_no_tool_is_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_what_a_server_may_be_asked_for_is_any_list_of_names():
    server = MCPServer("docs", "https://x", allowed_tools=["look"])
    assert server.allowed_tools == ("look",)


def test_a_list_of_tools_may_hold_all_kinds():
    own, server = {"type": "web_search"}, MCPServer("docs", "https://x")
    tools = tools_of(item for item in (now, Tool("look"), own, own, server))
    assert [type(tool) for tool in tools] == [Tool, Tool, dict, dict, MCPServer]
    assert tools_of(None) == ()
    assert choice_of(tools[1], tools) == "look"
    assert choice_of(None, tools) is None


def test_what_describes_a_tool_holds_no_secret_and_no_function():
    server = MCPServer("docs", "https://x", "hush", {"X-Key": "hush"})
    assert "hush" not in f"{described(server)}{server!r}"
    assert "hush" not in repr(MCPServer("docs", "https://x?key=hush"))
    assert json.loads(json.dumps(described(Tool.from_function(now))))["name"] == "now"


class TestArguments:
    """What the model gave, as the function takes it."""

    def test_they_are_of_the_functions_own_types(self):
        tool = Tool.from_function(weather)
        given = tool.arguments_of(
            call(tool, {"place": {"city": "Bonn", "country": None}, "days": 2, "unit": "F"})
        )
        assert given == {"place": Place("Bonn"), "days": 2, "unit": Unit.FAHRENHEIT}

    @pytest.mark.parametrize("left_out", [{}, {"days": None, "unit": None}])
    def test_null_is_how_one_with_a_default_is_left_out(self, left_out):
        tool = Tool.from_function(weather)
        given = tool.arguments_of(call(tool, {"place": {"city": "Bonn"}, **left_out}))
        assert given == {"place": Place("Bonn")}
        assert tool.run(**given) == (Place("Bonn"), 3, Unit.CELSIUS)

    def test_null_is_a_value_where_the_type_has_it(self):
        def look(at: Optional[str] = "here", day: Union[datetime.date, None] = None) -> None: ...

        tool = Tool.from_function(look)
        assert tool.arguments_of(call(tool, {"at": None})) == {"at": None}
        assert tool.arguments_of(call(tool, {"day": "2026-11-22"})) == {
            "day": datetime.date(2026, 11, 22)
        }

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ({}, "place"),
            ({"place": "Bonn"}, "place"),
            ({"place": {"city": 5}}, "place.city"),
            ({"place": {"city": "Bonn"}, "days": "two"}, "days"),
            ({"place": {"city": "Bonn"}, "days": 1.5}, "days"),
            ({"place": {"city": "Bonn"}, "unit": "K"}, "unit"),
            ({"place": {"city": "Bonn"}, "hours": 3}, "hours"),
            ({"place": {"city": "Bonn", "zip": 1}}, "zip"),
        ],
    )
    def test_what_does_not_fit_is_said_to_the_model(self, arguments, word):
        tool = Tool.from_function(weather)
        with pytest.raises(OutputError, match="the arguments of weather do not fit") as caught:
            tool.arguments_of(call(tool, arguments))
        assert any(word in problem for problem in caught.value.problems)
        assert len(caught.value.message) <= 500

    def test_raw_schemas_are_held_to_as_well(self):
        schema = {
            "type": "object",
            "properties": {"at": {"type": "string", "minLength": 2}},
            "required": ["at"],
        }
        tool = Tool("look", "Looks.", schema)
        assert tool.arguments_of(call(tool, {"at": "Bonn"})) == {"at": "Bonn"}
        for bad in ({}, {"at": "B"}, {"at": 4}):
            with pytest.raises(OutputError, match="at"):
                tool.arguments_of(call(tool, bad))

    def test_a_schema_is_a_copy_that_nobody_changes(self):
        schema = {"type": "object", "properties": {}}
        tool = Tool("look", "", schema)
        schema["properties"]["at"] = {"type": "string"}
        assert tool.parameters["properties"] == {}


ASKED = ToolCall("call_1", "look", {}, kind="custom")


@dataclass
class Node:
    """It may hold others."""

    name: str
    others: Any = None


class TestResults:
    """What a tool gave, as the model reads it."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("Grüß dich", "Grüß dich"),
            ("", ""),
            (None, "null"),
            (4, "4"),
            ({"a": [1, True]}, '{"a": [1, true]}'),
            (Place("Köln"), '{"city": "Köln", "country": "DE"}'),
            ([Node("a", Place("Bonn"))],
             '[{"name": "a", "others": {"city": "Bonn", "country": "DE"}}]'),
            (datetime.date(2026, 11, 22), '"2026-11-22"'),
            ({3, 1}, "[1, 3]"),
            ({"unit": Unit.CELSIUS}, '{"unit": "C"}'),
            ([], "[]"),
            (["a", "b"], '["a", "b"]'),
        ],
    )  # fmt: skip
    def test_a_string_is_itself_and_all_else_json(self, value, text):
        assert result_of(value, ASKED) == ToolResult("call_1", text, "look", kind="custom")

    def test_pydantic_models_are_json_too(self):
        pydantic = pytest.importorskip("pydantic")

        class Order(pydantic.BaseModel):
            number: int
            day: datetime.date

        Order.model_rebuild(_types_namespace={"datetime": datetime})
        order = Order(number=1, day=datetime.date(2026, 11, 22))
        assert json.loads(result_of([order], ASKED).content) == [{"number": 1, "day": "2026-11-22"}]

    def test_pictures_stay_pictures(self):
        assert result_of(PICTURE, ASKED).images == (PICTURE,)
        mixed = result_of(["Before", PICTURE, "after"], ASKED)
        assert (mixed.content, mixed.images) == ("Before\nafter", (PICTURE,))

    def test_a_result_made_by_hand_is_given_to_its_call(self):
        made = ToolResult("", "No.", is_error=True, images=(PICTURE,))
        assert result_of(made, ASKED) == ToolResult(
            "call_1", "No.", "look", True, (PICTURE,), "custom"
        )

    @pytest.mark.parametrize(
        "value",
        [b"bytes", object(), float("nan"), {("a", "b"): 1}, {"at": PICTURE}, "\ud800",
         {"a": "\udfff"}, iter(()), Place, datetime.datetime],
    )  # fmt: skip
    def test_what_cannot_be_written_is_named_with_its_tool(self, value):
        with pytest.raises(PromptError, match="tool look"):
            result_of(value, ASKED)

    def test_what_holds_itself_cannot_be_written(self):
        node = Node("a")
        node.others = [node]
        with pytest.raises(PromptError, match="tool look"):
            result_of(node, ASKED)


class TestPickling:
    """Tools go to other processes."""

    @pytest.mark.parametrize(
        "tool",
        [
            Tool.from_function(weather, strict=True, timeout=3),
            Tool.from_function(now),
            Tool.from_function(functools.partial(weather, days=5), name="five-days"),
            Tool("look", "Looks.", {"type": "object"}, run=now),
            Tool("look"),
        ],
    )
    def test_a_tool_of_a_modules_function_does_what_it_did(self, tool):
        again = pickle.loads(pickle.dumps(tool))
        assert dataclasses.replace(again, run=tool.run) == tool
        assert (again.record is None) == (tool.record is None)
        arguments = {"place": {"city": "Bonn"}, "unit": "F"} if tool.record else {}
        given = again.arguments_of(call(again, arguments))
        assert given == tool.arguments_of(call(tool, arguments))
        if tool.run is not None and tool.name != "look":
            assert again.run(**given) == tool.run(**given)

    def test_copies_are_tools_as_well(self):
        tool = Tool.from_function(weather)
        for again in (copy.copy(tool), copy.deepcopy(tool), dataclasses.replace(tool, name="w")):
            given = again.arguments_of(call(again, {"place": {"city": "Bonn"}}))
            assert given == {"place": Place("Bonn")}

    def test_servers_results_and_blocks_pickle(self):
        for value in (
            MCPServer("docs", "https://x", "token", {"a": "b"}, ("find",)),
            ToolResult("c", "x", images=(PICTURE,), acknowledged=({"id": "1"},)),
            VendorBlock({"type": "x"}, "gemini"),
        ):
            assert pickle.loads(pickle.dumps(value)) == value


PARTS = (
    Text("So."),
    Thinking("Hm.", "c2ln", origin="gemini", model="google/m"),
    ToolCall("c1", "look", {"at": [1, {"a": None}]}, "c2ln", "gemini"),
    ToolCall("c2", "click", {"x": 0}, kind="computer"),
    ToolResult("c1", "", "look", True, (PICTURE, Image(url="https://x/a.png"))),
    ToolResult("c2", "", kind="computer", acknowledged=({"id": "1", "code": "m"},)),
    ToolResult("c3", "Rain"),
    VendorBlock({"type": "web_search_call", "action": {"query": "a", "none": None}}, "gemini"),
    VendorBlock({}),
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_what_tools_say_is_the_same_after_it_was_written_as_json(part):
    message = Message("assistant", (Text("Well."), part))
    written = json.dumps(message_to_plain(message))
    assert message_from_plain(json.loads(written)) == message


@pytest.mark.parametrize(
    "plain",
    [
        {"type": "vendor_block"},
        {"type": "vendor_block", "data": []},
        {"type": "vendor_block", "data": "x"},
        {"type": "vendor_block", "data": {}, "origin": 1},
        {"type": "vendor_block", "data": {}, "more": 1},
        {"type": "tool_call", "id": "c", "name": "look", "arguments": []},
        {"type": "tool_call", "id": "c", "name": "look", "arguments": {}, "kind": 1},
        {"type": "tool_call", "id": "c"},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": []},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": "x"},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": ["x"]},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": [{"type": "image"}]},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": [
            {"type": "image", "data": "not base64!", "media_type": "image/png"}]},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": [
            {"type": "image", "data": "\u00e9", "media_type": "image/png"}]},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "images": [
            {"type": "file", "url": "https://x"}]},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "acknowledged": [1]},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "acknowledged": {}},
        {"type": "tool_result", "tool_call_id": "c", "content": "", "is_error": "yes"},
        {"type": "tool_result", "tool_call_id": "c", "content": 5},
        {"type": "tool_result", "tool_call_id": "c"},
        {"type": ["tool_result"]},
        {"type": "nothing"},
        5,
        None,
    ],
)  # fmt: skip
def test_what_was_not_written_so_is_refused(plain):
    with pytest.raises(MalformedError):
        message_from_plain({"role": "assistant", "parts": ["Well.", plain]})


def response(content: Any, model: str = "google/m") -> Response:
    return Response(model=model, prompt=Conversation().user("Hi"), content=content)


class TestConversation:
    """How a conversation goes on."""

    def test_it_knows_the_model_that_spoke_last_and_keeps_it(self):
        said = Message("assistant", (ToolCall("c1", "look"),))
        conversation = Conversation().user("Hi").with_response(response(said))
        assert conversation.model == "google/m"
        more = conversation.with_tool_results(ToolResult("c1", "Rain"), ToolResult("c2", "Sun"))
        assert more.model == more.user("And?").model == "google/m"
        assert [message.role for message in more.messages] == ["user", "assistant", "tool"]
        assert len(more.messages[2].parts) == 2
        assert more.going_over("openai_chat").model == "google/m"
        assert more.with_response(response(said, "openai/n")).model == "openai/n"

    def test_the_model_is_no_part_of_what_makes_it_equal(self):
        conversation = Conversation().user("Hi")
        assert dataclasses.replace(conversation, model="a") == conversation

    def test_a_response_without_an_answer_is_no_turn(self):
        with pytest.raises(PromptError, match="no answer"):
            Conversation().with_response(response(None))

    def test_it_pickles_with_its_model_and_pictures(self):
        conversation = Conversation((Message("tool", PARTS[4:7]),), "google/m")
        again = pickle.loads(pickle.dumps(conversation))
        assert (again, again.model) == (conversation, "google/m")


def test_signed_thinking_goes_back_to_the_model_that_thought_and_to_no_other():
    thought = Thinking("Hm.", "c2ln")
    said = Message("assistant", (thought, ToolCall("c1", "look", {}, "c2ln"), VendorBlock({})))
    marked = said.coming_over("anthropic", "anthropic/a")
    assert marked.going_over("anthropic", "anthropic/a") is marked
    assert marked.going_over("anthropic", "anthropic/b").parts == (
        Thinking("Hm."),
        *marked.parts[1:],
    )
    old = said.coming_over("anthropic")  # as written before models were noted
    assert old.going_over("anthropic", "anthropic/b") is old


def test_a_raw_schema_that_says_nothing_of_other_arguments_allows_none() -> None:
    silent = {"type": "object", "properties": {"query": {"type": "string"}}}
    call = ToolCall("1", "search", {"query": "x", "admin": True})
    with pytest.raises(OutputError, match="admin: is a field that is not asked for"):
        Tool("search", parameters=silent).arguments_of(call)
    open_to_more = {**silent, "additionalProperties": True}
    assert Tool("search", parameters=open_to_more).arguments_of(call) == call.arguments
