"""A Flask app in one file: a view that passes a model's answer on as it is written.

flask --app examples/flask_stream.py run
curl -N 'localhost:5000/?topic=tides'
"""

import os
from collections.abc import Generator, Iterator
from contextlib import closing

from flask import Flask, Response, request

from deluge_sync import CallError
from deluge_sync.contrib.flask import DelugeSync, current_client

app = Flask(__name__)
app.config["DELUGE_SYNC"] = {"model_names": os.environ.get("MODEL", "sandbox/echo")}
DelugeSync(app)


def pieces(answer: Generator[object, None, None]) -> Iterator[str]:
    """The answer's text; a visitor who leaves closes the generator, which ends the call."""
    try:
        with closing(answer):
            for piece in answer:
                if isinstance(piece, str):
                    yield piece
    except CallError as error:
        yield f"\n[the answer broke off: {error.kind}]"


@app.route("/")
def explain() -> Response:
    """Explain a topic, word by word."""
    topic = request.args.get("topic", "the tides")
    answer = current_client.stream_chat(f"In one sentence, explain {topic}.", timeout=120)
    return Response(pieces(answer), mimetype="text/plain")
