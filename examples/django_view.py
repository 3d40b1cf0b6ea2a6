"""A Django site in one file: a view that answers with a model, within a web worker's patience.

python examples/django_view.py runserver
curl 'localhost:8000/?topic=tides'
"""

import os
import sys

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path

from deluge_sync import CallError, Client

# One client for the whole site. It starts nothing here, so gunicorn may fork after this import.
client = Client(os.environ.get("MODEL", "sandbox/echo"), progress="none")


def explain(request: HttpRequest) -> JsonResponse:
    """Explain a topic; 25 seconds stay below gunicorn's own timeout of 30."""
    topic = request.GET.get("topic", "the tides")
    try:
        reply = client.complete(f"In one sentence, explain {topic}.", timeout=25)
    except CallError as error:
        return JsonResponse({"error": str(error)}, status=503)
    return JsonResponse({"answer": reply.completion, "cost": reply.cost})


urlpatterns = [path("", explain)]

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__, SECRET_KEY="example only", ALLOWED_HOSTS=["*"], DEBUG=True
    )
    django.setup()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
