"""The same requests for every wire format: what `tests/golden/<adapter>/<feature>.json` is of."""

from __future__ import annotations

from deluge_sync import Conversation, Message, SamplingParams, Text, Thinking, ToolCall, ToolResult
from deluge_sync.values.media import Audio, File, Image
from deluge_sync.values.request import OutputFormat, PromptCache, Request
from deluge_sync.values.tool import MCPServer, Tool

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PDF = b"%PDF-1.7\n"
WAV = b"RIFF\x04\x00\x00\x00WAVE"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}

HELLO = Conversation().system("Be brief.").user("Say hello.")
TALK = HELLO.assistant("Hello.").user("And in French?").assistant("Bonjour.").user("In Welsh?")


def asking(*parts: object) -> Conversation:
    """One user message of a text and `parts`."""
    return Conversation((Message("user", (Text("What is this?"), *parts)),))


def get_weather(city: str, days: int = 3) -> str:
    """The weather in a city."""
    return f"Rain in {city} for {days} days"


def now() -> str:
    """The time."""
    return "12:00"


TOOLS = (Tool.from_function(get_weather), Tool.from_function(now))
WEATHER = Conversation().user("What is the weather in Bonn, and what time is it?")
CALLED = WEATHER.add(
    Message(
        "assistant",
        (
            Text("Let me look."),
            ToolCall("call_1", "get_weather", {"city": "Bonn", "days": 1}),
            ToolCall("call_2", "now", {}),
        ),
    )
)
CLICKED = (
    Conversation()
    .user("Press the button.")
    .add(
        Message(
            "assistant",
            (ToolCall("call_1", "left_click", {"coordinate": [10, 20]}, kind="computer"),),
        )
    )
)
SCREEN = Image(PNG, media_type="image/png")
CHECK = {"id": "cu_sc_1", "code": "malicious_instructions", "message": "Look twice."}
ACTIONS = (
    Conversation()
    .user("Press the button.")
    .add(
        Message(
            "assistant",
            (
                ToolCall(
                    "call_3",
                    "computer",
                    {
                        "actions": [{"type": "click", "button": "left", "x": 405, "y": 157}],
                        "pending_safety_checks": [CHECK],
                    },
                    "cu_1",
                    kind="computer",
                ),
            ),
        )
    )
    .with_tool_results(
        ToolResult(
            "call_3",
            "",
            "computer",
            images=(SCREEN,),
            kind="computer",
            acknowledged=(CHECK,),
        )
    )
)

FEATURES = {
    "plain": Request(HELLO),
    "parameters": Request(
        HELLO,
        SamplingParams(temperature=0.5, top_p=0.9, max_new_tokens=100, stop=("END",), seed=7),
    ),
    "effort": Request(HELLO, SamplingParams(reasoning_effort="high", max_new_tokens=4_000)),
    "logprobs": Request(HELLO, SamplingParams(logprobs=True, top_logprobs=2)),
    "service tier": Request(HELLO, SamplingParams(service_tier="flex")),
    "stream": Request(HELLO, stream=True),
    "stream with tool calls": Request(HELLO, stream=True),
    "stream with thinking": Request(HELLO, SamplingParams(reasoning_effort="high"), stream=True),
    "schema": Request(HELLO, output=OutputFormat(SCHEMA, "place")),
    "schema, not strict": Request(HELLO, output=OutputFormat(SCHEMA, "place", strict=False)),
    "json mode": Request(HELLO, output=OutputFormat()),
    "picture": Request(asking(Image(PNG, media_type="image/png", detail="low"))),
    "picture by URL": Request(asking(Image(url="https://example.com/cat.png"))),
    "picture by id": Request(asking(Image(file_id="file-1", media_type="image/png"))),
    "document": Request(asking(File(PDF, media_type="application/pdf", name="report.pdf"))),
    "document by URL": Request(
        asking(File(url="https://example.com/report.pdf", media_type="application/pdf"))
    ),
    "document by id": Request(asking(File(file_id="file-2", media_type="application/pdf"))),
    "text file": Request(asking(File(b"a,b\n", media_type="text/csv", name="table.csv"))),
    "sound": Request(asking(Audio(WAV, media_type="audio/wav"))),
    "thinking and tools echoed": Request(
        Conversation(
            (
                Message.user("What is the weather in Bonn?"),
                Message(
                    "assistant",
                    (
                        Thinking("I should look.", "signature", id="rs_1"),
                        ToolCall("call_1", "weather", {"city": "Bonn"}, "call signature"),
                    ),
                ),
                Message("tool", (ToolResult("call_1", "Rain", "weather"),)),
            )
        )
    ),
    "cache: system and tools": Request(HELLO, prompt_cache=PromptCache("system_and_tools")),
    "cache: last user message": Request(TALK, prompt_cache=PromptCache("last_user_message")),
    "cache: last three, long": Request(
        TALK, prompt_cache=PromptCache("last_3_user_messages", ttl="1h")
    ),
    "background": Request(HELLO, background=True, completion_window="2h"),
    "previous response": Request(HELLO, previous_response_id="resp_1"),
    "continuation": Request(HELLO, continuation="token"),
    "tools": Request(WEATHER, tools=TOOLS),
    "tool_results": Request(
        CALLED.with_tool_results(
            ToolResult("call_1", "Rain", "get_weather"),
            ToolResult("call_2", "The clock is broken.", "now", is_error=True),
        ),
        tools=TOOLS,
    ),
    "tool_results with a picture": Request(
        CALLED.with_tool_results(
            ToolResult("call_1", "A map", "get_weather", images=(SCREEN,)),
            ToolResult("call_2", "12:00", "now"),
        ),
        tools=TOOLS,
    ),
    "tool_choice": Request(WEATHER, tools=TOOLS, tool_choice="get_weather"),
    "parallel_tools": Request(WEATHER, tools=TOOLS, parallel_tool_calls=False),
    "computer, OpenAI's": Request(ACTIONS, tools=({"type": "computer"},)),
    "computer, Anthropic's": Request(
        CLICKED.with_tool_results(ToolResult("call_1", "", images=(SCREEN,), kind="computer")),
        tools=({"type": "computer_toolset_20260801"},),
    ),
    "mcp_server": Request(
        WEATHER,
        tools=(
            MCPServer(
                "weather",
                "https://mcp.example.com/weather",
                authorization="token",
                allowed_tools=("forecast",),
            ),
        ),
    ),
    "mcp_server with headers": Request(
        WEATHER,
        tools=(MCPServer("docs", "https://example.com/mcp", "secret token", {"X-Team": "a"}),),
    ),
}
"""Where a wire format has no form for one of them it has no file, and `encode` raises."""
