"""A Flask app in one file: a view that passes a model's answer on as it is written.

flask --app examples/flask_stream.py run
curl -N 'localhost:5000/?topic=tides'
"""

import os
from collections.abc import Iterator

from flask import Flask, Response, request

from deluge_sync import CallError, Client

app = Flask(__name__)
client = Client(os.environ.get("MODEL", "sandbox/echo"), progress="none")


def pieces(prompt: str) -> Iterator[str]:
    """The answer's text; a visitor who leaves closes the generator, which ends the call."""
    try:
        for piece in client.stream_chat(prompt, timeout=120):
            if isinstance(piece, str):
                yield piece
    except CallError as error:
        yield f"\n[the answer broke off: {error.kind}]"


@app.route("/")
def explain() -> Response:
    """Explain a topic, word by word."""
    topic = request.args.get("topic", "the tides")
    answer = pieces(f"In one sentence, explain {topic}.")
    return Response(answer, mimetype="text/plain")
