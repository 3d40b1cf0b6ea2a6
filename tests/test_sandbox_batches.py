"""The sandbox's batches beside what the SDKs show: faults, kills, memory, and the script."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import zlib
from typing import Any

import pytest

from deluge_sync.testing import BatchScript, Fault, Sandbox
from deluge_sync.testing.answers import Answerer, Finished, Question
from deluge_sync.testing.batch_lines import BLOCK, Call, Desk, Lines, Results
from deluge_sync.testing.batches import BatchStore, Order
from deluge_sync.testing.checks import VendorError
from deluge_sync.testing.files import FileStore
from deluge_sync.testing.openai_batches import FORM
from deluge_sync.testing.openai_chat import OpenAIChat
from deluge_sync.testing.openai_responses import OpenAIResponses
from deluge_sync.testing.wire import Route
from deluge_sync.testing.wires import Wires
from deluge_sync.values.response import Usage

CHAT = "/v1/chat/completions"


def batch_file(count: int, url: str = CHAT) -> bytes:
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
    line = {"method": "POST", "url": url, "body": body}
    return b"".join(
        json.dumps({"custom_id": f"p{at}", **line}).encode() + b"\n" for at in range(count)
    )


def call(sandbox: Sandbox, method: str, path: str, body: Any = None, **headers: str):
    """One exchange: status and parsed body. What breaks the connection is raised."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        headers = {"content-type": "application/json", **headers}
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        is_json = answer.getheader("content-type") == "application/json"
        return answer.status, json.loads(text) if is_json else text
    finally:
        connection.close()


def upload(sandbox: Sandbox, data: bytes, name: str = "in.jsonl") -> Any:
    form = (
        b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="' + name.encode() + b'"'
        b"\r\ncontent-type: application/jsonl\r\n\r\n" + data + b"\r\n--x--\r\n"
    )
    kind = "multipart/form-data; boundary=x"
    return call(sandbox, "POST", "/v1/files", form, **{"content-type": kind})


def create(sandbox: Sandbox, file_id: str, **more: Any) -> Any:
    order = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
    return call(sandbox, "POST", "/v1/batches", order)


def look(sandbox: Sandbox, batch_id: str) -> Any:
    return call(sandbox, "GET", f"/v1/batches/{batch_id}")[1]


def results(sandbox: Sandbox, data: bytes) -> bytes:
    batch = create(sandbox, upload(sandbox, data)[1]["id"])[1]
    while batch["status"] != "completed":
        batch = look(sandbox, batch["id"])
    return call(sandbox, "GET", f"/v1/files/{batch['output_file_id']}/content")[1]


class TestFaults:
    """Lost answers, and work that is not done."""

    @pytest.mark.parametrize("kind", ["reset", "truncated", "reset_body", "html", "empty"])
    def test_a_creation_whose_answer_is_lost_is_done(self, sandbox, kind):
        file_id = upload(sandbox, batch_file(2))[1]["id"]
        sandbox.script([Fault(kind, match="POST /v1/batches")])
        assert call(sandbox, "GET", "/v1/batches")[1]["data"] == []
        try:
            answer = create(sandbox, file_id, metadata={"name": "mine"})
        except (OSError, http.client.HTTPException, ValueError):
            answer = (None, None)
        assert not isinstance(answer[1], dict)
        assert sandbox.pending_faults == 0
        (record,) = sandbox.batches
        assert (record.metadata, record.requests, record.status) == ({"name": "mine"}, 2, "waiting")
        (found,) = call(sandbox, "GET", "/v1/batches")[1]["data"]
        assert (found["id"], found["metadata"]) == (record.id, {"name": "mine"})

    @pytest.mark.parametrize("kind", ["500", "503", "429", "quota"])
    def test_a_creation_that_is_answered_with_an_error_is_not_done(self, sandbox, kind):
        file_id = upload(sandbox, batch_file(2))[1]["id"]
        sandbox.script([Fault(kind, match="POST /v1/batches")])
        assert create(sandbox, file_id)[0] in (429, 500, 503)
        assert sandbox.batches == []
        assert create(sandbox, file_id)[0] == 200
        assert len(sandbox.batches) == 1

    def test_an_upload_whose_answer_is_lost_is_there_and_one_refused_is_not(self, sandbox):
        sandbox.script([Fault("reset", match="POST /v1/files"), Fault("503", match="POST /v1/f")])
        with pytest.raises(ConnectionError):
            upload(sandbox, batch_file(2), "lost.jsonl")
        assert upload(sandbox, batch_file(2), "refused.jsonl")[0] == 503
        assert [file.name for file in sandbox.files] == ["lost.jsonl"]
        found = call(sandbox, "GET", "/v1/files?purpose=batch")[1]["data"]
        assert [file["filename"] for file in found] == ["lost.jsonl"]

    def test_results_that_break_off_can_be_read_again(self, sandbox):
        batch = create(sandbox, upload(sandbox, batch_file(9))[1]["id"])[1]
        look(sandbox, batch["id"])
        done = look(sandbox, batch["id"])
        path = f"/v1/files/{done['output_file_id']}/content"
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
        bodies = []
        for fault in (None, "chunked", "truncated", None):
            sandbox.script([fault])
            connection.request("GET", path)
            try:
                bodies.append(connection.getresponse().read())
            except http.client.IncompleteRead as error:
                bodies.append(error.partial)
                connection.close()
        connection.close()
        assert bodies[0] == bodies[1] == bodies[3]
        assert len(bodies[0].splitlines()) == 9
        assert bodies[0].startswith(bodies[2])
        assert len(bodies[2]) < len(bodies[0])

    def test_a_look_that_fails_is_no_look(self, sandbox):
        batch = create(sandbox, upload(sandbox, batch_file(2))[1]["id"])[1]
        for _ in range(3):
            sandbox.script(["500"])
            look(sandbox, batch["id"])
        assert look(sandbox, batch["id"])["status"] == "in_progress"
        assert look(sandbox, batch["id"])["status"] == "completed"


CLIENT = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
order = {"input_file_id": sys.argv[2], "endpoint": "/v1/chat/completions",
         "completion_window": "24h"}
connection.request("POST", "/v1/batches", json.dumps(order), {"content-type": "application/json"})
print(connection.getresponse().read(), flush=True)
"""


class TestOnRequest:
    """The hook for tests that kill their client."""

    def test_it_is_called_ahead_of_the_work_and_behind_it(self):
        seen: list[tuple[str, str, str, int]] = []

        def on_request(method: str, path: str, phase: str) -> None:
            seen.append((method, path, phase, len(sandbox.batches)))

        with Sandbox(on_request=on_request) as sandbox:
            file_id = upload(sandbox, batch_file(1))[1]["id"]
            create(sandbox, file_id)
            create(sandbox, "file-none")
        assert seen == [
            ("POST", "/v1/files", "before", 0),
            ("POST", "/v1/files", "after", 0),
            ("POST", "/v1/batches", "before", 0),
            ("POST", "/v1/batches", "after", 1),
            ("POST", "/v1/batches", "before", 1),
            ("POST", "/v1/batches", "after", 1),
        ]

    @pytest.mark.parametrize(
        ("phase", "fault", "made"),
        [("after", None, 1), ("before", None, 1), ("before", "503", 0)],
    )
    def test_a_client_killed_in_it_never_gets_its_answer(self, phase, fault, made):
        clients: list[subprocess.Popen[bytes]] = []

        def on_request(method: str, path: str, now: str) -> None:
            if (path, now) == ("/v1/batches", phase):
                sandbox.script([fault] if fault else [])
                os.kill(clients[0].pid, signal.SIGKILL)
                clients[0].wait()

        with Sandbox(on_request=on_request) as sandbox:
            file_id = upload(sandbox, batch_file(1))[1]["id"]
            command = [sys.executable, "-c", CLIENT, str(sandbox.port), file_id]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
                clients.append(client)
                assert client.communicate(timeout=30)[0] == b""
            assert client.returncode == -signal.SIGKILL
            sandbox.wait_for(2)
            assert len(sandbox.batches) == made

    def test_one_that_raises_is_logged_and_the_server_lives(self, caplog):
        def on_request(method: str, path: str, phase: str) -> None:
            raise RuntimeError("mine")

        with caplog.at_level(logging.ERROR), Sandbox(on_request=on_request) as sandbox:
            assert call(sandbox, "GET", "/v1/batches")[0] == 200
        assert caplog.text.count("on_request failed") == 2


class TestScript:
    """What `BatchScript` says."""

    @pytest.mark.parametrize(
        "bad", [{"polls": 0}, {"share": 1.1}, {"share": -0.1}, {"end": "nonsense"}]
    )
    def test_nonsense_is_refused(self, bad):
        with pytest.raises(ValueError, match="must be"):
            BatchScript(**bad)

    def test_the_same_seed_gives_the_same_disorder_and_another_another(self):
        orders = []
        for seed in (1, 1, 2):
            with Sandbox(seed=seed, batches=BatchScript(polls=1)) as sandbox:
                text = results(sandbox, batch_file(20))
            orders.append([json.loads(line)["custom_id"] for line in text.splitlines()])
        assert orders[0] == orders[1] != orders[2]
        assert sorted(orders[0]) == sorted(orders[2]) == sorted(f"p{at}" for at in range(20))

    @pytest.mark.parametrize("seed", range(20))
    def test_even_two_results_are_out_of_order(self, seed):
        for polls in (1, 2):
            with Sandbox(seed=seed, batches=BatchScript(polls=polls)) as sandbox:
                text = results(sandbox, batch_file(2))
            assert [json.loads(line)["custom_id"] for line in text.splitlines()] == ["p1", "p0"]

    def test_the_answer_of_a_line_is_asked_for_once(self):
        asked = []

        def answer(question):
            asked.append(question.prompt)
            return "Yes"

        with Sandbox(answer=answer) as sandbox:
            batch = create(sandbox, upload(sandbox, batch_file(3))[1]["id"])[1]
            look(sandbox, batch["id"])
            done = look(sandbox, batch["id"])
            for _ in range(3):
                call(sandbox, "GET", f"/v1/files/{done['output_file_id']}/content")
                look(sandbox, batch["id"])
        assert asked == ["Hi"] * 3

    @pytest.mark.sandbox(models=("other",))
    def test_a_model_that_does_not_exist_is_the_error_of_each_line(self, sandbox):
        batch = create(sandbox, upload(sandbox, batch_file(2))[1]["id"])[1]
        look(sandbox, batch["id"])
        done = look(sandbox, batch["id"])
        assert (done["request_counts"]["failed"], done["output_file_id"]) == (2, None)

    @pytest.mark.sandbox(requests_per_minute=1, clock=lambda: 0.0)
    def test_lines_and_pages_draw_nothing_from_the_limits(self, sandbox):
        assert len(results(sandbox, batch_file(5)).splitlines()) == 5

    @pytest.mark.sandbox(api_key="right")
    def test_batches_need_the_key(self, sandbox):
        assert call(sandbox, "GET", "/v1/batches")[0] == 401
        assert call(sandbox, "GET", "/v1/batches", authorization="Bearer right")[0] == 200

    def test_a_method_that_a_page_does_not_have_is_a_405(self, sandbox):
        version = {"anthropic-version": "2023-06-01"}
        assert call(sandbox, "PUT", "/v1/batches")[0] == 405
        assert call(sandbox, "DELETE", "/v1/batch/jobs")[0] == 405
        assert call(sandbox, "PUT", "/v1/messages/batches", **version)[0] == 405
        assert call(sandbox, "POST", "/v1beta/batches")[0] == 405

    def test_anthropics_batches_need_a_version(self, sandbox):
        assert call(sandbox, "GET", "/v1/messages/batches")[0] == 400

    def test_groqs_batches_are_found_under_its_prefix(self, sandbox):
        file_id = upload(sandbox, batch_file(1))[1]["id"]
        batch_id = create(sandbox, file_id)[1]["id"]
        assert call(sandbox, "GET", f"/openai/v1/batches/{batch_id}")[1]["id"] == batch_id
        assert call(sandbox, "GET", f"/openai/v1/files/{file_id}")[1]["id"] == file_id


def desk(answer: Any = None, wires: Wires | None = None, **settings: Any) -> Desk:
    usual = {"models": None, "strict": True, "failing": None}
    return Desk(wires or Wires(OpenAIResponses()), Answerer(answer), **{**usual, **settings})


class Upper(OpenAIChat):
    """A wire that no answerer chooses for, as those of embeddings are none."""

    def route(self, method: str, path: str) -> Route:
        return Route("generate")

    def question(self, route: Route, body: Any, headers: Any, strict: bool) -> Question:
        if "input" not in body:
            raise VendorError(400, "no input")
        return Question("openai", "m", body["input"], None, (), 1, None, (), body)

    def finish(self, question: Question) -> Finished:
        return Finished(question.prompt.upper(), None, "stop", None, (), Usage(1, 0))

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> dict:
        return {"said": finished.text, "serial": serial}


class WithUpper(Wires):
    """Wires with another at OpenAI's path for embeddings."""

    def of(self, method: str, path: str, headers: Any) -> Any:
        return Upper() if path == "/v1/embeddings" else super().of(method, path, headers)


class TestDesk:
    """One line at a time."""

    def test_a_wire_that_computes_its_answers_is_asked_itself(self):
        failing = {"x": 503}.get
        wires = WithUpper(OpenAIResponses())
        one = desk("Chosen", wires, failing=lambda name, text: failing(name))
        good = one.answer(Call("a", "/v1/embeddings", {"input": "Hi"}), {}, 7)
        assert (good.status, good.body) == (200, {"said": "HI", "serial": 7})
        bad = one.answer(Call("a", "/v1/embeddings", {}), {}, 7)
        assert (bad.status, bad.body["error"]["message"]) == (400, "no input")
        assert one.answer(Call("x", "/v1/embeddings", {"input": "Hi"}), {}, 7).status == 503

    def test_an_answer_of_the_users_that_raises_fails_its_line_only(self):
        def answer(question):
            raise RuntimeError("mine")

        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
        one = desk(answer)
        outcome = one.answer(Call("a", CHAT, body), {}, 0)
        assert (outcome.status, "mine" in outcome.body["error"]["message"]) == (500, True)

    def test_responses_of_batches_are_not_kept(self):
        wires = Wires(OpenAIResponses())
        one = desk(wires=wires)
        made = one.answer(Call("a", "/v1/responses", {"model": "echo", "input": "Hi"}), {}, 5)
        assert made.status == 200
        with pytest.raises(VendorError, match="not found"):
            wires.responses.route("GET", f"/v1/responses/{made.body['id']}")


class TestMemory:
    """What many lines cost."""

    def test_lines_are_read_from_the_bytes_and_blank_ones_passed_over(self):
        lines = Lines(b'\n{"a":1}\r\n  \n{"b":2}\n\n{"c":3}')
        assert len(lines) == 3
        assert [json.loads(line) for line in lines] == [{"a": 1}, {"b": 2}, {"c": 3}]
        assert len(Lines(b"")) == len(Lines(b"\n \n")) == 0

    def test_results_are_kept_compressed_and_read_block_by_block(self):
        kept = Results()
        line = json.dumps({"custom_id": "p", "text": "x" * 500}).encode()
        for _ in range(5000):
            kept.add(line)
        packed = sum(len(zlib.compress(block, 1)) for block in kept)
        blocks = list(kept)
        assert kept.size == sum(map(len, blocks)) == 5000 * (len(line) + 1)
        assert packed < kept.size / 20
        assert max(map(len, blocks)) <= BLOCK + len(line) + 1

    def test_a_batch_gets_on_a_part_at_each_look(self):
        script = BatchScript(polls=4)
        store = BatchStore(script, desk(), FileStore(), 0)
        order = Order(FORM, Lines(batch_file(10)), CHAT, {})
        batch = store.add("batch_{}", order, 0.0)
        seen = [(store.look(batch, 1.0).done, batch.status) for _ in range(5)]
        assert seen == [
            (2, "running"),
            (5, "running"),
            (7, "running"),
            (10, "completed"),
            (10, "completed"),
        ]
