"""How a faulty answer goes over the wire: one small function per kind of fault."""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Callable

from .checks import VendorError
from .connection import Connection, http_date
from .faults import Fault
from .http import Answer, head
from .wire import Wire

RST_DELAY = 0.02
"""Seconds between the half body and the RST, so that the client has read the half."""

PIECE = 1 << 18


def deliver(connection: Connection, answer: Answer, fault: Fault) -> None:
    """Send `answer` the way `fault` spoils it."""
    if fault.headers:
        answer = answer._replace(headers=answer.headers + tuple(fault.headers.items()))
    _WAYS.get(fault.kind, _plain)(connection, answer, fault)


def status_of(fault: Fault, status: int) -> int | None:
    """The status the client sees for an answer of `status`; None where no answer begins."""
    if fault.kind in ("reset", "black_hole"):
        return None
    if fault.kind == "html":
        return fault.status or 502
    return 307 if fault.kind == "redirect" else status


def problem_of(fault: Fault, status: int, wire: Wire) -> VendorError:
    """The error that `fault` stands for, in that vendor's words."""
    if fault.kind == "quota":
        problem = wire.out_of_quota()
        problem.code = fault.code or problem.code
        problem.message = fault.message or problem.message
        return problem
    message = fault.message or f"The sandbox was told to answer {status}."
    problem = VendorError(status, message, code=fault.code)
    if fault.retry_after is None:
        return problem
    if fault.retry_after_form == "seconds":
        problem.retry_after = fault.retry_after
    elif fault.retry_after_form == "ms":
        problem.headers = (("retry-after-ms", f"{fault.retry_after * 1000:.12g}"),)
    else:
        moment = math.ceil(time.time() + fault.retry_after)
        problem.headers = (("retry-after", formatdate(moment, usegmt=True)),)
    return problem


def _plain(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.deliver(answer)


def _reset(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.reset()


def _black_hole(connection: Connection, answer: Answer, fault: Fault) -> None:
    """Nothing is sent; the connection stays open until the client or the sandbox closes it."""


def _reset_body(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.send(_head(connection, answer) + _half(answer.body))
    connection.later(RST_DELAY, connection.reset)


def _truncated(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.send(_head(connection, answer) + _half(answer.body))
    connection.done(close=True)


def _malformed(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.deliver(answer._replace(body=_half(answer.body)))


def _empty(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.deliver(answer._replace(body=b""))


def _html(connection: Connection, answer: Answer, fault: Fault) -> None:
    status = fault.status or 502
    page = f"<html><head><title>{status}</title></head><body>nginx</body></html>\n"
    kept = tuple(line for line in answer.headers if line[0] != "content-type")
    headers = (*kept, ("content-type", "text/html; charset=utf-8"))
    connection.deliver(Answer(status, headers, page.encode()))


def _redirect(connection: Connection, answer: Answer, fault: Fault) -> None:
    headers = (*answer.headers, ("location", fault.location))
    connection.deliver(Answer(307, headers, b""))


def _gzip(connection: Connection, answer: Answer, fault: Fault) -> None:
    headers = (*answer.headers, ("content-encoding", "gzip"))
    connection.deliver(Answer(answer.status, headers, gzip.compress(answer.body, 1)))


def _early_hints(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.send(head(103, (("link", "</style.css>; rel=preload"),), None))
    connection.deliver(answer)


def _close(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.send(_head(connection, answer, close=True) + answer.body)
    connection.done(close=True)


def _chunked(connection: Connection, answer: Answer, fault: Fault) -> None:
    headers = (*answer.headers, ("transfer-encoding", "chunked"))
    connection.send(head(answer.status, headers, None, date=http_date(), close=connection.closes))
    chunks = (b"%x\r\n%s\r\n" % (len(piece), piece) for piece in cut(answer.body, fault.size or 16))
    connection.send(b"".join(chunks) + b"0\r\n\r\n")
    connection.done()


def _oversized(connection: Connection, answer: Answer, fault: Fault) -> None:
    size = max(fault.size or 64 << 20, len(answer.body))
    connection.send(
        head(answer.status, answer.headers, size, date=http_date(), close=connection.closes)
        + answer.body
    )
    connection.send_all(_spaces(size - len(answer.body)))


def _drip(connection: Connection, answer: Answer, fault: Fault) -> None:
    connection.send(_head(connection, answer))
    _drop(connection, cut(answer.body, fault.size or 1), fault.seconds, connection.done)


def _slow_headers(connection: Connection, answer: Answer, fault: Fault) -> None:
    def finish() -> None:
        connection.send(answer.body)
        connection.done()

    pieces = cut(_head(connection, answer), fault.size or 16)
    _drop(connection, pieces, fault.seconds, finish)


def _drop(
    connection: Connection, pieces: list[bytes], seconds: float, finish: Callable[[], None]
) -> None:
    """Send the first piece, wait, and so on; `finish` right after the last."""
    connection.send(b"".join(pieces[:1]))
    if len(pieces) > 1:
        connection.later(seconds, _drop, connection, pieces[1:], seconds, finish)
    else:
        finish()


def _head(connection: Connection, answer: Answer, close: bool = False) -> bytes:
    close = close or connection.closes
    return head(answer.status, answer.headers, len(answer.body), date=http_date(), close=close)


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def cut(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes, the last maybe shorter."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def _spaces(count: int) -> Iterator[bytes]:
    block = b" " * PIECE
    while count > 0:
        yield block[:count]
        count -= PIECE


Way = Callable[[Connection, Answer, Fault], None]

_WAYS: Mapping[str, Way] = {
    "reset": _reset,
    "black_hole": _black_hole,
    "reset_body": _reset_body,
    "truncated": _truncated,
    "malformed": _malformed,
    "empty": _empty,
    "html": _html,
    "redirect": _redirect,
    "gzip": _gzip,
    "early_hints": _early_hints,
    "close": _close,
    "chunked": _chunked,
    "oversized": _oversized,
    "drip": _drip,
    "slow_headers": _slow_headers,
}
