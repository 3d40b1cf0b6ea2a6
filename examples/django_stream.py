"""A Django site in one file: a view that passes a model's answer on as it is written.

python examples/django_stream.py runserver
curl -N 'localhost:8000/?topic=tides'
"""

import os
import sys
from collections.abc import Iterator
from contextlib import closing

import django
from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from deluge_sync import CallError, Client, Response

client = Client(os.environ.get("MODEL", "sandbox/echo"), progress="none")


def pieces(prompt: str) -> Iterator[str]:
    """The answer's text; a visitor who leaves closes the generator, which ends the call."""
    try:
        with closing(client.stream_chat(prompt, timeout=120)) as answer:
            for piece in answer:
                if not isinstance(piece, Response):
                    yield piece
    except CallError as error:
        yield f"\n[the answer broke off: {error.kind}]"


def explain(request: HttpRequest) -> StreamingHttpResponse:
    """Explain a topic, word by word."""
    topic = request.GET.get("topic", "the tides")
    answer = pieces(f"In one sentence, explain {topic}.")
    return StreamingHttpResponse(answer, content_type="text/plain; charset=utf-8")


urlpatterns = [path("", explain)]

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__, SECRET_KEY="example only", ALLOWED_HOSTS=["*"], DEBUG=True
    )
    django.setup()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
