"""Vectors out of an answer: float32, in the order of the texts, all of one length."""

from __future__ import annotations

import binascii
import math
import sys
from array import array
from collections.abc import Callable
from typing import Any

from ..values.embedding import Embedded, EmbedRequest
from ..values.errors import DecodeError
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpResponse
from .body import LONG_MARK, MalformedError, as_list, as_object, details, load_long_apart
from .failures import Fault, read_answer, unreadable
from .packs import sized

_BIG = sys.byteorder == "big"
_TOP = 0 if _BIG else 3
"""Which of a float's four bytes holds its sign and most of its exponent."""


def decode_embedded(
    response: HttpResponse,
    request: EmbedRequest,
    model: Model,
    read: Callable[[dict[str, Any], EmbedRequest], Embedded],
    fault: Callable[[Any, int], Fault],
) -> Embedded:
    """What `response` says; see `base.EmbedAdapter.decode`. `read` takes a good body apart."""
    found = read_answer(
        response,
        model,
        lambda body, _response, _model: read(body, request),
        lambda body, status: sized(fault(body, status), status),
        lambda response: _read_packed(response, request, read),
    )
    _check_dimensions(found, response, request, model)
    return found


def _read_packed(
    response: HttpResponse,
    request: EmbedRequest,
    read: Callable[[dict[str, Any], EmbedRequest], Embedded],
) -> Embedded | None:
    """The vectors of a good body that has them in base64, in OpenAI's shape; None for others."""
    apart = load_long_apart(response.body)
    if apart is None or not apart[1]:
        return None
    body, longs = apart
    if type(body) is not dict or body.get("error") or type(body.get("data")) is not list:
        return None
    put_back = 0
    for item in body["data"]:
        value = details(item, "embedding")
        if type(value) is str and value.startswith(LONG_MARK):
            item["embedding"] = longs[int(value[1:])]
            put_back += 1
    return read(body, request) if put_back == len(longs) else None


def embedded(
    values: list[Any], request: EmbedRequest, usage: Usage, response_id: str | None = None
) -> Embedded:
    """The vectors of `values`, each a list of numbers or the base64 of their bytes, one for each
    text, in their order.
    """
    _check_count(len(values), request)
    vectors = tuple([_vector(value, index) for index, value in enumerate(values)])
    for index, vector in enumerate(vectors):
        if len(vector) != len(vectors[0]):
            raise MalformedError(
                f"embedding {index} has {len(vector)} dimensions, embedding 0 has {len(vectors[0])}"
            )
    return Embedded(vectors, usage, response_id)


def by_index(data: Any, request: EmbedRequest) -> list[Any]:
    """The `embedding` of each item of `data`, in the order of their `index`.

    Items without one are taken in the order they come in (Mistral's type has it as optional).
    """
    items = as_list(data, "data")
    _check_count(len(items), request)
    values: list[Any] = [None] * len(items)
    for position, item in enumerate(items):
        item = as_object(item, "an item of data")
        index, value = item.get("index"), item.get("embedding")
        if index is None:
            index = position
        if type(index) is not int or not 0 <= index < len(items):
            raise MalformedError(f"there is no text {index!r}, but an embedding for it")
        if value is None:
            raise MalformedError(f"embedding {index} is missing")
        if values[index] is not None:
            raise MalformedError(f"embedding {index} is there twice")
        values[index] = value
    return values


def _check_count(found: int, request: EmbedRequest) -> None:
    if found != len(request.texts):
        raise MalformedError(f"there are {found} embeddings for {len(request.texts)} texts")


def _check_dimensions(
    found: Embedded, response: HttpResponse, request: EmbedRequest, model: Model
) -> None:
    """Raise `DecodeError` for vectors of another length than was asked for. A server that does not
    know the field would do so each time, so that is not tried again.
    """
    wanted = request.dimensions
    if wanted is None or not found.vectors or len(found.vectors[0]) == wanted:
        return
    what = f"{wanted} dimensions were asked for, the vectors have {len(found.vectors[0])}"
    error: DecodeError = unreadable(response, model, MalformedError(what))
    error.retryable = False
    raise error


def _vector(value: Any, index: int) -> array[float]:
    if type(value) in (str, bytes):
        vector = _unpacked(value, index)
    else:
        try:
            vector = array("f", as_list(value, f"embedding {index}"))
        except (TypeError, OverflowError):
            raise MalformedError(f"embedding {index} holds what is no number") from None
    if not vector:
        raise MalformedError(f"embedding {index} is empty")
    if not _is_finite(vector):
        raise MalformedError(f"embedding {index} holds NaN or infinity")
    return vector


def _unpacked(text: str | bytes, index: int) -> array[float]:
    """The floats whose little-endian bytes `text` is in base64."""
    try:
        packed = binascii.a2b_base64(text)
    except ValueError:
        raise MalformedError(f"embedding {index} is not base64") from None
    # Characters that are none of base64's are passed over, so the text must not be longer.
    if len(packed) % 4 or len(text) != (len(packed) + 2) // 3 * 4:
        raise MalformedError(f"embedding {index} is not the base64 of floats")
    vector = array("f")
    vector.frombytes(packed)
    if _BIG:
        vector.byteswap()
    return vector


def _is_finite(vector: array[float]) -> bool:
    """Looks at the exponents' bytes first: a tenth of the time of asking each number."""
    top = vector.tobytes()[_TOP::4]
    if 0x7F not in top and 0xFF not in top:
        return True
    return all(map(math.isfinite, vector))
