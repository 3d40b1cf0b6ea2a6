"""The requests of a batch as lines of JSON, one answered at a time, and the results kept small."""

from __future__ import annotations

import time
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Optional

from ..values.response import Usage
from .answers import Answerer, Question
from .batch_script import Failing
from .checks import VendorError
from .wire import Body, Wire
from .wires import Wires

BLOCK = 1 << 18
"""Bytes of results that are packed together."""


class Lines:
    """Lines of JSON, kept as the bytes that came; blank ones are passed over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._starts = array("Q", _starts(data))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, at: int) -> bytes:
        start = self._starts[at]
        end = self._data.find(b"\n", start)
        return self._data[start:] if end < 0 else self._data[start:end]

    def __iter__(self) -> Iterator[bytes]:
        return (self[at] for at in range(len(self)))


def _starts(data: bytes) -> Iterator[int]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if data[start:end].strip():
            yield start
        start = end + 1


class Results:
    """Lines of results, compressed block by block. Given out with the newest block first, for the
    vendors keep no order; or else in the order they came.
    """

    def __init__(self, *, in_order: bool = False) -> None:
        self._blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._open_size = 0
        self._in_order = in_order
        self.size = 0

    def __len__(self) -> int:
        """How many blocks there are: 0 for no results."""
        return len(self._blocks) + bool(self._open)

    def add(self, line: bytes) -> None:
        """Keep one line, without its line feed."""
        self._open.append(line)
        self._open_size += len(line) + 1
        self.size += len(line) + 1
        if self._open_size > BLOCK:
            self.close_block()

    def close_block(self) -> None:
        """What comes is in a block of its own."""
        if self._open:
            self._blocks.append(zlib.compress(b"\n".join(self._open) + b"\n", 1))
            self._open, self._open_size = [], 0

    def clear(self) -> None:
        """Forget all."""
        self._blocks, self._open, self._open_size, self.size = [], [], 0, 0

    def __iter__(self) -> Iterator[bytes]:
        """The blocks, unpacked one by one."""
        self.close_block()
        return map(zlib.decompress, self._blocks if self._in_order else self._blocks[::-1])


class Call(NamedTuple):
    """One line as the live request it stands for."""

    custom_id: str
    path: str
    body: Any


class Outcome(NamedTuple):
    """What a live request would have been answered with: status and body, and its usage."""

    status: int
    body: Body
    usage: Optional[Usage] = None


class Desk:
    """Answers the lines of batches in the way of live requests: `Wire.question`, the answerer (or
    the wire's own `finish`, where no answerer chooses), `Wire.answer`. `models` as in `Policy`.
    """

    def __init__(
        self,
        wires: Wires,
        answerer: Answerer,
        *,
        models: Iterable[str] | None,
        strict: bool,
        failing: Failing | None,
    ) -> None:
        self._wires = wires
        self._answerer = answerer
        self._models = None if models is None else frozenset(models)
        self._strict = strict
        self._failing = failing

    def tokens(self, call: Call, headers: Mapping[str, str]) -> int:
        """What of the queue's limit a line takes: its input; none for one that cannot be read."""
        try:
            return self._question(self._wire(call, headers), call, headers).input_tokens
        except VendorError:
            return 0

    def answer(self, call: Call, headers: Mapping[str, str], serial: int) -> Outcome:
        """The answer to one line: a good one, or the error it is refused with."""
        wire = self._wire(call, headers)
        try:
            question = self._question(wire, call, headers)
            self._fail(call.custom_id, question.prompt)
            finished = getattr(wire, "finish", self._answerer.finish)(question)
            body = wire.answer(question, finished, serial, time.time())
        except VendorError as problem:
            return Outcome(problem.status, wire.problem(problem, serial)[0])
        except Exception as error:  # an `answer` or `failing` of the user's that raises
            broken = VendorError(500, f"the sandbox failed: {type(error).__name__}: {error}")
            return Outcome(500, wire.problem(broken, serial)[0])
        if wire is self._wires.responses:
            self._wires.responses.forget(serial)  # a million kept responses would be too many
        return Outcome(200, body, finished.usage)

    def _wire(self, call: Call, headers: Mapping[str, str]) -> Wire:
        return self._wires.of("POST", call.path, headers)

    def _question(self, wire: Wire, call: Call, headers: Mapping[str, str]) -> Question:
        question = wire.question(wire.route("POST", call.path), call.body, headers, self._strict)
        if question.stream or question.body.get("background"):
            raise VendorError(400, "Streaming is not supported in batches.", param="stream")
        if self._models is not None and question.model not in self._models:
            raise wire.unknown_model(question.model)
        return question

    def _fail(self, custom_id: str, prompt: str) -> None:
        status = self._failing(custom_id, prompt) if self._failing is not None else None
        if status is not None:
            raise VendorError(status, f"The sandbox was told to answer {status}.")
