"""A model fills in a form in headless Chromium, by looking at it, clicking and typing.

python examples/computer_use.py                              # the sandbox plays the model: no key
python examples/computer_use.py --vendor openai
python examples/computer_use.py --real --model claude-opus-5.5    # needs the key, and costs money

Needs `pip install 'deluge-sync[computer]'` and a Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import base64
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deluge_sync import Client, Conversation, Text, ToolCall, ToolResult
from deluge_sync.computer import Computer
from deluge_sync.contrib.chromium import ChromiumScreen
from deluge_sync.testing import Question, Reply, Sandbox

SIZE = (800, 600)
TASK = (
    "The browser shows an order form. Order for Ada Lovelace, ada@example.com: drag the kettle "
    "into the basket, read the terms to their end, and send the order. Say when it is done."
)
ORDERED = "Ordered: kettle for Ada Lovelace <ada@example.com>"

PAGE = """<!doctype html><meta charset="utf-8"><title>Order</title><style>
body { font: 16px sans-serif } body > * { position: absolute; margin: 0 }
#basket { border: 2px dashed #888 } #kettle { background: #9cf; cursor: grab }
#terms { overflow: auto; border: 1px solid #888 }</style>
<h1 style="left:40px;top:20px">Order form</h1>
<input id="name" placeholder="Name" style="left:40px;top:80px;width:300px">
<input id="mail" placeholder="E-mail" style="left:40px;top:120px;width:300px">
<div id="basket" style="left:500px;top:180px;width:160px;height:100px">Basket</div>
<div id="kettle" style="left:40px;top:200px;width:100px;height:60px">Kettle</div>
<div id="terms" style="left:40px;top:320px;width:600px;height:100px">
<p style="height:900px">Terms: kettles are hot.</p><p>The end.</p></div>
<button id="send" disabled style="left:40px;top:450px;width:100px;height:30px">Send</button>
<p id="result" style="left:40px;top:510px">Nothing is ordered.</p>
<script>
const of = id => document.getElementById(id), kettle = of("kettle"), terms = of("terms")
let held = false, basket = ""
kettle.onmousedown = event => { held = true; event.preventDefault() }
onmousemove = event => {
  if (!held) return
  kettle.style.left = event.clientX - 50 + "px"
  kettle.style.top = event.clientY - 30 + "px"
}
onmouseup = event => {
  const box = of("basket").getBoundingClientRect()
  if (held) basket = event.clientX > box.left && event.clientX < box.right &&
    event.clientY > box.top && event.clientY < box.bottom ? "kettle" : ""
  held = false
}
terms.onscroll = () => {
  of("send").disabled = terms.scrollTop + terms.clientHeight < terms.scrollHeight - 2
}
of("send").onclick = () => {
  of("result").textContent =
    `Ordered: ${basket || "nothing"} for ${of("name").value} <${of("mail").value}>`
}
</script>"""

Calls = Sequence[tuple[str, dict[str, Any]]]

ANTHROPIC: Sequence[Calls] = [
    [("screenshot", {})],
    [("left_click", {"coordinate": [150, 90]}), ("type", {"text": "Ada Lovelace"})],
    [("key", {"text": "Tab"}), ("type", {"text": "ada@example.com"})],
    [("left_click_drag", {"start_coordinate": [90, 230], "coordinate": [580, 230]})],
    [("scroll", {"coordinate": [300, 370], "scroll_direction": "down", "scroll_amount": 20})],
    [("left_click", {"coordinate": [90, 465]})],
]
OPENAI: Sequence[Calls] = [
    [("computer", {"actions": actions})]
    for actions in (
        [{"type": "screenshot"}],
        [
            {"type": "click", "button": "left", "x": 150, "y": 90},
            {"type": "type", "text": "Ada Lovelace"},
        ],
        [{"type": "keypress", "keys": ["TAB"]}, {"type": "type", "text": "ada@example.com"}],
        [{"type": "drag", "path": [{"x": 90, "y": 230}, {"x": 580, "y": 230}]}],
        [{"type": "scroll", "x": 300, "y": 370, "scroll_x": 0, "scroll_y": 2000}],
        [{"type": "click", "button": "left", "x": 90, "y": 465}],
    )
]
VENDORS = {"anthropic": ("claude-opus-5.5", ANTHROPIC), "openai": ("gpt-6", OPENAI)}


class Script:
    """The model's part, played: step after step, each upon a new picture of the screen."""

    def __init__(self, steps: Sequence[Calls]) -> None:
        self._steps = steps
        self._at = 0
        self._seen = b""

    def __call__(self, question: Question) -> Reply:
        """The next step, or the end."""
        if self._at:
            self._look(pictures(question.body))
        self._at += 1
        if self._at > len(self._steps):
            return Reply("The order is sent.")
        return Reply(f"Step {self._at}.", tool_calls=self._steps[self._at - 1])

    def _look(self, shown: Sequence[bytes]) -> None:
        """An `AssertionError`, which the sandbox answers with a 500, where nothing new is seen."""
        asked = sum(len(calls) for calls in self._steps[: self._at])
        assert len(shown) == asked, f"{len(shown)} pictures for {asked} calls"
        assert shown[-1][:8] == b"\x89PNG\r\n\x1a\n", "not a PNG"
        wide, high = (int.from_bytes(shown[-1][at : at + 4], "big") for at in (16, 20))
        assert (wide, high) == SIZE, f"a picture of {wide} x {high} pixels"
        assert shown[-1] != self._seen, "the screen did not change"
        self._seen = shown[-1]


def pictures(body: Any) -> list[bytes]:
    """The pictures in a request of either vendor's, in order."""
    if isinstance(body, list):
        return [picture for item in body for picture in pictures(item)]
    if not isinstance(body, dict):
        return []
    if body.get("type") == "computer_screenshot":
        return [base64.b64decode(body["image_url"].partition(",")[2])]
    if body.get("type") == "image":
        return [base64.b64decode(body["source"]["data"])]
    return [picture for value in body.values() for picture in pictures(value)]


@contextmanager
def served() -> Iterator[str]:
    """The page's address, on this machine only."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.encode() if self.path == "/" else b"")

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client_for(options: argparse.Namespace, stack: ExitStack) -> Client:
    """A client of the real provider, or of a sandbox that plays the model."""
    model, steps = VENDORS[options.vendor]
    if options.real:
        return Client(options.model or model)
    sandbox = stack.enter_context(Sandbox(answer=Script(steps)))
    url = sandbox.base_url if options.vendor == "openai" else sandbox.anthropic_url
    return Client(model, base_url=url, api_key="any")


def told(conversation: Conversation) -> Iterator[str]:
    """The conversation in lines."""
    for message in conversation.messages:
        for part in message.parts:
            if isinstance(part, Text):
                yield f"{message.role}: {part.text}"
            elif isinstance(part, ToolCall):
                yield f"{message.role}: {part.name} {dict(part.arguments)}"
            elif isinstance(part, ToolResult):
                failed = "FAILED: " if part.is_error else ""
                sizes = [f"PNG of {len(image.data):,} bytes" for image in part.images]
                yield f"screen: {failed}{' '.join([part.content, *sizes]).strip()}"


def main() -> int:
    """Run the loop, say what happened, and whether the order is what it was to be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vendor", choices=VENDORS, default="anthropic")
    parser.add_argument("--real", action="store_true", help="call the provider, for money")
    parser.add_argument("--model", help="with --real: another model")
    parser.add_argument("--screenshot", type=Path, default=Path("computer_use.png"))
    options = parser.parse_args()

    with ExitStack() as stack:
        url = stack.enter_context(served())
        screen = stack.enter_context(ChromiumScreen(url, size=SIZE, hosts=["127.0.0.1"]))
        computer = Computer(screen)
        client = client_for(options, stack)
        conversation, response = client.run_agent_loop(
            Conversation().user(TASK), tools=[computer.tool], computer=computer, max_rounds=20
        )
        result = screen.call(lambda page: page.inner_text("#result"))
        options.screenshot.write_bytes(screen.screenshot())

    print("\n".join(told(conversation)))
    print(f"the page: {result}")
    print(f"{response.model}; the last screen is in {options.screenshot}")
    return 0 if result == ORDERED else 1


if __name__ == "__main__":
    sys.exit(main())
