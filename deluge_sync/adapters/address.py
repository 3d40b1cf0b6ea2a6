"""Where a request goes: the vendor's own path, or the one of a host that has another.

Amazon Bedrock and Vertex AI speak Anthropic's wire format, but name the model in the path, and want
the API version in the body (the anthropic SDK 2.12, `lib/bedrock`, `lib/vertex`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..values.errors import ConfigError
from ..values.model import Model
from .body import join_url


def address(model: Model, path: str, *, stream: bool = False, stream_path: str = "") -> str:
    """The URL of a call: `path` (or `stream_path`, for a stream, where there is one) behind the
    base URL, unless the model's entry gives others.
    """
    own = (stream and model.stream_path) or model.path
    chosen = own or (stream and stream_path) or path
    return join_url(model.provider.base_url, _filled(chosen, model.id))


def placed(body: dict[str, Any], model: Model, version: str) -> dict[str, Any]:
    """`body` without what the host's path says already, and with the API version where it wants
    that here.
    """
    if not model.in_path and not model.version_field:
        return body
    kept = {name: value for name, value in body.items() if name not in model.in_path}
    return {model.version_field: version, **kept} if model.version_field else kept


def version_header(model: Model, name: str, version: str) -> Mapping[str, str]:
    """The header `name` with the API version, unless the host wants that in the body."""
    return {} if model.version_field else {name: version}


@functools.lru_cache(maxsize=256)
def _filled(path: str, model_id: str) -> str:
    if "{id}" not in path:
        return path
    if model_id in (".", ".."):
        raise ConfigError(f"{model_id!r} cannot be the id of a model")
    return path.replace("{id}", quote(model_id, safe="@"))
