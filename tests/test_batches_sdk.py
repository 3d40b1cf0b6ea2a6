"""The vendors' own SDKs send batches through the sandbox, and read what is left of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

import pytest

from deluge_sync.testing import BatchScript, Sandbox

from .test_sandbox_sdks import anthropic_client, gemini_client, openai_client

CHAT = "/v1/chat/completions"
PROMPTS = [f"Question {n}" for n in range(10)]


def chat_body(prompt: str, **more) -> dict:
    return {"model": "echo", "messages": [{"role": "user", "content": prompt}], **more}


def openai_file(prompts: Iterable[str], url: str = CHAT, **more) -> bytes:
    return b"".join(
        json.dumps(
            {
                "custom_id": f"p{at}",
                "method": "POST",
                "url": url,
                "body": chat_body(prompt, **more),
            }
        ).encode()
        + b"\n"
        for at, prompt in enumerate(prompts)
    )


def lines(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def fail_odd(custom_id: str, prompt: str) -> int | None:
    return 500 if int(prompt.split()[-1]) % 2 else None


def said(line: dict) -> str:
    return line["response"]["body"]["choices"][0]["message"]["content"]


def submit(client, data: bytes, **options):
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    options = {"endpoint": CHAT, "completion_window": "24h", **options}
    return client.batches.create(input_file_id=file.id, **options)


def ended(client, batch_id: str, most: int = 5):
    """The batch after as many looks as it needs."""
    for _ in range(most):
        batch = client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
    raise AssertionError(f"still {batch.status} after {most} looks")


class TestOpenAI:
    """openai 3.x."""

    @pytest.mark.sandbox(batches=BatchScript(polls=3))
    def test_a_batch_goes_from_upload_to_results_and_its_counts_grow(self, sandbox):
        client = openai_client(sandbox)
        made = submit(client, openai_file(PROMPTS), metadata={"name": "mine"})
        assert (made.status, made.object, made.endpoint) == ("validating", "batch", CHAT)
        assert made.metadata == {"name": "mine"}
        looks = [client.batches.retrieve(made.id) for _ in range(3)]
        assert [look.status for look in looks] == ["in_progress", "in_progress", "completed"]
        assert [look.request_counts.completed for look in looks] == [3, 6, 10]
        assert looks[-1].error_file_id is None
        assert looks[-1].usage.output_tokens > 0
        output = client.files.retrieve(looks[-1].output_file_id)
        content = client.files.content(output.id).read()
        assert (output.bytes, output.purpose) == (len(content), "batch_output")
        results = lines(content)
        assert {line["custom_id"]: said(line) for line in results} == {
            f"p{at}": prompt for at, prompt in enumerate(PROMPTS)
        }
        assert [line["custom_id"] for line in results] != [f"p{at}" for at in range(10)]
        assert {line["response"]["status_code"] for line in results} == {200}
        types = pytest.importorskip("openai.types.chat")
        answers = [types.ChatCompletion(**line["response"]["body"]) for line in results]
        assert len({answer.id for answer in answers}) == 10

    def test_responses_go_in_a_batch_too(self, sandbox):
        client = openai_client(sandbox)
        line = {"custom_id": "r", "method": "POST", "url": "/v1/responses"}
        line["body"] = {"model": "echo", "input": "Hello"}
        made = submit(client, json.dumps(line).encode(), endpoint="/v1/responses")
        done = ended(client, made.id)
        (result,) = lines(client.files.content(done.output_file_id).read())
        types = pytest.importorskip("openai.types.responses")
        answer = types.Response(**result["response"]["body"])
        assert answer.output_text == "Hello"

    @pytest.mark.sandbox(batches=BatchScript(failing=fail_odd))
    def test_requests_that_fail_are_in_the_error_file(self, sandbox):
        client = openai_client(sandbox)
        done = ended(client, submit(client, openai_file(PROMPTS)).id)
        counts = done.request_counts
        assert (done.status, counts.total, counts.completed, counts.failed) == (
            "completed",
            10,
            5,
            5,
        )
        good = lines(client.files.content(done.output_file_id).read())
        bad = lines(client.files.content(done.error_file_id).read())
        assert {line["custom_id"] for line in good} == {f"p{at}" for at in range(0, 10, 2)}
        assert {line["custom_id"] for line in bad} == {f"p{at}" for at in range(1, 10, 2)}
        assert {line["response"]["status_code"] for line in bad} == {500}
        assert bad[0]["response"]["body"]["error"]["type"] == "server_error"

    def test_a_bad_body_is_answered_as_a_live_request_with_it(self, sandbox):
        openai = pytest.importorskip("openai")
        client = openai_client(sandbox)
        bad = {"temperature": "hot"}
        with pytest.raises(openai.BadRequestError) as live:
            client.chat.completions.create(**chat_body("Hi"), extra_body=bad)
        done = ended(client, submit(client, openai_file(["Hi"], **bad)).id)
        assert done.output_file_id is None
        (line,) = lines(client.files.content(done.error_file_id).read())
        assert line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"] == live.value.body

    @pytest.mark.sandbox(batches=BatchScript(share=0.7, end="expired"))
    def test_an_expired_batch_gives_what_is_done_and_names_the_others(self, sandbox):
        client = openai_client(sandbox)
        done = ended(client, submit(client, openai_file(PROMPTS)).id)
        assert (done.status, done.expired_at is not None) == ("expired", True)
        good = lines(client.files.content(done.output_file_id).read())
        assert {line["custom_id"] for line in good} == {f"p{at}" for at in range(7)}
        bad = lines(client.files.content(done.error_file_id).read())
        assert {line["custom_id"] for line in bad} == {"p7", "p8", "p9"}
        assert {(line["response"], line["error"]["code"]) for line in bad} == {
            (None, "batch_expired")
        }

    def test_a_cancelled_batch_keeps_what_is_done(self, sandbox):
        openai = pytest.importorskip("openai")
        client = openai_client(sandbox)
        made = submit(client, openai_file(PROMPTS))
        client.batches.retrieve(made.id)
        assert client.batches.cancel(made.id).status == "cancelling"
        done = ended(client, made.id)
        assert (done.status, done.request_counts.completed) == ("cancelled", 5)
        good = lines(client.files.content(done.output_file_id).read())
        bad = lines(client.files.content(done.error_file_id).read())
        assert {line["custom_id"] for line in good} == {f"p{at}" for at in range(5)}
        assert {line["error"]["code"] for line in bad} == {"batch_cancelled"}
        with pytest.raises(openai.ConflictError, match="Cannot cancel"):
            client.batches.cancel(made.id)

    @pytest.mark.parametrize(
        ("data", "code", "line"),
        [
            (b"nonsense\n", "invalid_json_line", 1),
            (openai_file(["a"]) + openai_file(["b"]), "duplicate_custom_id", 2),
            (openai_file(["a"], url="/v1/embeddings"), "url_mismatch", 1),
            (b'{"method":"POST"}', "missing_required_parameter", 1),
            (
                openai_file(["a"]) + openai_file(["b"], model="other").replace(b"p0", b"p1"),
                "model_mismatch",
                2,
            ),
            (b"\n", "empty_file", None),
        ],
    )
    def test_a_file_that_is_not_right_fails_the_batch_by_line(self, sandbox, data, code, line):
        client = openai_client(sandbox)
        done = ended(client, submit(client, data).id)
        assert (done.status, done.output_file_id, done.request_counts.total) == ("failed", None, 0)
        assert (done.errors.data[0].code, done.errors.data[0].line) == (code, line)

    @pytest.mark.sandbox(batches=BatchScript(enqueued_tokens=40))
    def test_a_full_queue_fails_a_batch_until_others_have_ended(self, sandbox):
        client = openai_client(sandbox)
        data = openai_file(PROMPTS)
        first = submit(client, data)
        second = ended(client, submit(client, data).id)
        assert second.status == "failed"
        assert second.errors.data[0].code == "token_limit_exceeded"
        assert "Enqueued token limit reached for echo" in second.errors.data[0].message
        assert ended(client, first.id).status == "completed"
        assert ended(client, submit(client, data).id).status == "completed"

    @pytest.mark.sandbox(batches=BatchScript(without_output=True))
    def test_a_batch_may_be_completed_and_name_no_file(self, sandbox):
        client = openai_client(sandbox)
        done = ended(client, submit(client, openai_file(PROMPTS)).id)
        assert (done.status, done.output_file_id, done.error_file_id) == ("completed", None, None)

    def test_batches_are_listed_the_newest_first_and_page_by_page(self, sandbox):
        client = openai_client(sandbox)
        ids = [submit(client, openai_file([f"{n}"]), metadata={"n": str(n)}).id for n in range(5)]
        first = client.batches.list(limit=2)
        assert ([batch.id for batch in first.data], first.has_more) == (ids[:2:-1], True)
        assert [batch.id for batch in client.batches.list(limit=2)] == ids[::-1]
        assert [record.metadata["n"] for record in sandbox.batches] == list("01234")

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"endpoint": "/v1/nonsense"}, "Invalid value"),
            ({"metadata": {"name": "x" * 513}}, "Invalid 'metadata'"),
            ({"extra_body": {"nonsense": 1}}, "Unknown parameter"),
        ],
    )
    def test_what_the_vendor_refuses_at_creation_is_refused(self, sandbox, options, problem):
        openai = pytest.importorskip("openai")
        with pytest.raises(openai.BadRequestError, match=problem):
            submit(openai_client(sandbox), openai_file(["a"]), **options)
        assert sandbox.batches == []

    def test_an_unknown_batch_or_file_is_a_404(self, sandbox):
        openai = pytest.importorskip("openai")
        client = openai_client(sandbox)
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve("batch_none")
        with pytest.raises(openai.NotFoundError):
            client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")


class TestGroq:
    """groq 1.x: OpenAI's pages under /openai."""

    def test_a_batch_goes_from_upload_to_results(self, sandbox):
        groq = pytest.importorskip("groq")
        client = groq.Groq(base_url=sandbox.url, api_key="key", max_retries=0)
        made = submit(client, openai_file(PROMPTS), metadata={"name": "mine"})
        assert made.status == "validating"
        done = ended(client, made.id)
        results = lines(client.files.content(done.output_file_id).read())
        assert {said(line) for line in results} == set(PROMPTS)
        assert [batch.id for batch in client.batches.list().data] == [made.id]
        assert client.files.info(done.output_file_id).purpose == "batch_output"
        assert len(client.files.list().data) == 2
        assert client.files.delete(done.output_file_id).deleted
        cancelled = submit(client, openai_file(["x"]))
        assert client.batches.cancel(cancelled.id).status == "cancelling"


def anthropic_requests(prompts: Iterable[str], **more) -> list[dict]:
    return [
        {"custom_id": f"p{at}", "params": {**chat_body(prompt), "max_tokens": 100, **more}}
        for at, prompt in enumerate(prompts)
    ]


def anthropic_end(client, batch_id: str):
    batches = client.messages.batches
    for _ in range(5):
        batch = batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch, {line.custom_id: line.result for line in batches.results(batch_id)}
    raise AssertionError("it does not end")


class TestAnthropic:
    """anthropic 2.x."""

    def test_a_batch_goes_from_creation_to_results(self, sandbox):
        client = anthropic_client(sandbox)
        made = client.messages.batches.create(requests=anthropic_requests(PROMPTS))
        assert (made.processing_status, made.results_url) == ("in_progress", None)
        assert made.request_counts.processing == 10
        assert client.messages.batches.retrieve(made.id).request_counts.processing == 10
        batch, results = anthropic_end(client, made.id)
        assert batch.request_counts.succeeded == 10
        assert {key: one.message.content[0].text for key, one in results.items()} == {
            f"p{at}": prompt for at, prompt in enumerate(PROMPTS)
        }
        assert list(results) != [f"p{at}" for at in range(10)]
        assert client.messages.batches.delete(made.id).type == "message_batch_deleted"
        assert client.messages.batches.list().data == []
        assert [record.id for record in sandbox.batches] == [made.id]

    @pytest.mark.sandbox(batches=BatchScript(failing=fail_odd, share=0.7, end="expired"))
    def test_errored_and_expired_requests_stand_among_the_results(self, sandbox):
        client = anthropic_client(sandbox)
        made = client.messages.batches.create(requests=anthropic_requests(PROMPTS))
        batch, results = anthropic_end(client, made.id)
        counts = batch.request_counts
        assert (counts.succeeded, counts.errored, counts.expired, counts.processing) == (4, 3, 3, 0)
        kinds = [results[f"p{at}"].type for at in range(10)]
        assert kinds == ["succeeded", "errored"] * 3 + ["succeeded"] + ["expired"] * 3
        assert results["p1"].error.error.type == "api_error"

    def test_params_are_looked_at_late_and_as_those_of_live_requests(self, sandbox):
        client = anthropic_client(sandbox)
        requests = [
            *anthropic_requests(["good"]),
            {"custom_id": "bad", "params": {"model": "echo"}},
            {"custom_id": "stream", "params": {**anthropic_requests(["s"])[0]["params"]}},
        ]
        requests[2]["params"]["stream"] = True
        made = client.messages.batches.create(requests=requests)
        _, results = anthropic_end(client, made.id)
        assert results["p0"].type == "succeeded"
        assert results["bad"].error.error.message == "max_tokens: Field required"
        assert results["stream"].error.error.type == "invalid_request_error"

    def test_a_cancelled_batch_keeps_what_is_done(self, sandbox):
        client = anthropic_client(sandbox)
        made = client.messages.batches.create(requests=anthropic_requests(PROMPTS))
        client.messages.batches.retrieve(made.id)
        stopped = client.messages.batches.cancel(made.id)
        assert stopped.processing_status == "canceling"
        assert stopped.cancel_initiated_at is not None
        batch, results = anthropic_end(client, made.id)
        assert (batch.request_counts.succeeded, batch.request_counts.canceled) == (5, 5)
        assert [results[f"p{at}"].type for at in (0, 9)] == ["succeeded", "canceled"]

    @pytest.mark.sandbox(batches=BatchScript(share=0.5, end="failed"))
    def test_what_a_broken_batch_has_not_done_is_errored(self, sandbox):
        client = anthropic_client(sandbox)
        made = client.messages.batches.create(requests=anthropic_requests(PROMPTS))
        batch, results = anthropic_end(client, made.id)
        assert (batch.request_counts.succeeded, batch.request_counts.errored) == (5, 5)
        assert results["p9"].error.error.type == "api_error"

    def test_batches_are_listed_in_both_directions(self, sandbox):
        client = anthropic_client(sandbox)
        batches = client.messages.batches
        ids = [batches.create(requests=anthropic_requests([f"{n}"])).id for n in range(5)][::-1]
        assert [batch.id for batch in batches.list(limit=2)] == ids
        page = batches.list(limit=2, before_id=ids[3])
        assert ([batch.id for batch in page.data], page.has_more) == (ids[1:3], True)

    @pytest.mark.parametrize(
        ("requests", "problem"),
        [
            ([], "at least 1"),
            ([{"custom_id": "not ok!", "params": {}}], "pattern"),
            ([{"custom_id": "a", "params": {}}] * 2, "comes twice"),
            ([{"custom_id": "a"}], "Field required"),
        ],
    )
    def test_what_the_vendor_refuses_at_creation_is_refused(self, sandbox, requests, problem):
        anthropic = pytest.importorskip("anthropic")
        with pytest.raises(anthropic.BadRequestError, match=problem):
            anthropic_client(sandbox).messages.batches.create(requests=requests)
        assert sandbox.batches == []

    @pytest.mark.sandbox(batches=BatchScript(enqueued_tokens=40))
    def test_a_full_queue_refuses_a_batch(self, sandbox):
        anthropic = pytest.importorskip("anthropic")
        batches = anthropic_client(sandbox).messages.batches
        batches.create(requests=anthropic_requests(PROMPTS))
        with pytest.raises(anthropic.RateLimitError):
            batches.create(requests=anthropic_requests(PROMPTS))


def gemini_file(prompts: Iterable[str]) -> bytes:
    return b"".join(
        json.dumps(
            {
                "key": f"p{at}",
                "request": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
            }
        ).encode()
        + b"\n"
        for at, text in enumerate(prompts)
    )


def gemini_end(client, name: str):
    for _ in range(5):
        batch = client.batches.get(name=name)
        if batch.done:
            return batch
    raise AssertionError("it does not end")


class TestGemini:
    """google-genai 3.x."""

    def begin(self, client, prompts: Iterable[str] = PROMPTS, name: str = "mine"):
        file = client.files.upload(
            file=io.BytesIO(gemini_file(prompts)),
            config={"mime_type": "application/jsonl", "display_name": name},
        )
        return client.batches.create(model="echo", src=file.name, config={"display_name": name})

    @pytest.mark.sandbox(batches=BatchScript(failing=fail_odd))
    def test_a_batch_of_a_file_goes_from_upload_to_results(self, sandbox):
        client = gemini_client(sandbox)
        made = self.begin(client)
        assert (made.state.name, made.display_name) == ("JOB_STATE_PENDING", "mine")
        assert client.batches.get(name=made.name).state.name == "JOB_STATE_RUNNING"
        done = gemini_end(client, made.name)
        assert done.state.name == "JOB_STATE_SUCCEEDED"
        results = lines(client.files.download(file=done.dest.file_name))
        assert [line["key"] for line in results] != [f"p{at}" for at in range(10)]
        types = pytest.importorskip("google.genai.types")
        for line in results:
            number = int(line["key"][1:])
            if number % 2:
                assert line["error"]["code"] == 500
            else:
                answer = types.GenerateContentResponse.model_validate(line["response"])
                assert answer.text == PROMPTS[number]
        assert client.files.get(name=done.dest.file_name).source.name == "GENERATED"

    def test_a_batch_of_inline_requests_is_answered_in_order(self, sandbox):
        client = gemini_client(sandbox)
        requests = [
            {
                "contents": [{"role": "user", "parts": [{"text": prompt}]}],
                "metadata": {"key": prompt},
                "config": {"temperature": 0.5, "system_instruction": {"parts": [{"text": "S"}]}},
            }
            for prompt in PROMPTS
        ]
        made = client.batches.create(model="echo", src=requests)
        done = gemini_end(client, made.name)
        answers = [(one.response.text, one.metadata["key"]) for one in done.dest.inlined_responses]
        assert answers == [(prompt, prompt) for prompt in PROMPTS]

    def test_a_cancelled_batch_keeps_what_is_done(self, sandbox):
        client = gemini_client(sandbox)
        made = self.begin(client)
        client.batches.get(name=made.name)
        client.batches.cancel(name=made.name)
        done = gemini_end(client, made.name)
        assert done.state.name == "JOB_STATE_CANCELLED"
        assert {line["key"] for line in lines(client.files.download(file=done.dest.file_name))} == {
            f"p{at}" for at in range(5)
        }

    @pytest.mark.parametrize("end", ["expired", "failed"])
    def test_an_expired_or_failed_batch_has_no_results(self, end):
        with Sandbox(batches=BatchScript(share=0.7, end=end)) as sandbox:
            client = gemini_client(sandbox)
            done = gemini_end(client, self.begin(client).name)
            assert (done.state.name, done.dest) == (f"JOB_STATE_{end.upper()}", None)

    def test_batches_are_listed_and_deleted(self, sandbox):
        client = gemini_client(sandbox)
        names = [self.begin(client, [f"{n}"], name=f"batch {n}").name for n in range(5)]
        assert [batch.name for batch in client.batches.list(config={"page_size": 2})] == names[::-1]
        client.batches.delete(name=names[0])
        errors = pytest.importorskip("google.genai.errors")
        with pytest.raises(errors.ClientError):
            client.batches.get(name=names[0])
        assert [record.name for record in sandbox.batches] == [f"batch {n}" for n in range(5)]

    def test_a_file_that_is_not_right_fails_the_batch(self, sandbox):
        client = gemini_client(sandbox)
        file = client.files.upload(
            file=io.BytesIO(b"nonsense"), config={"mime_type": "application/jsonl"}
        )
        made = client.batches.create(model="echo", src=file.name)
        assert gemini_end(client, made.name).state.name == "JOB_STATE_FAILED"


class TestMistral:
    """mistralai 3.x."""

    def client(self, sandbox: Sandbox):
        client = pytest.importorskip("mistralai.client")
        return client.Mistral(api_key="key", server_url=sandbox.url)

    def submit(self, client, prompts: Iterable[str] = PROMPTS, **options):
        data = b"".join(
            json.dumps({"custom_id": f"p{at}", "body": {"messages": chat_body(text)["messages"]}})
            .encode() + b"\n"
            for at, text in enumerate(prompts)
        )  # fmt: skip
        file = client.files.upload(file={"file_name": "in.jsonl", "content": data}, purpose="batch")
        assert (file.num_lines, file.sample_type) == (len(list(prompts)), "batch_request")
        return client.batch.jobs.create(
            input_files=[file.id], model="echo", endpoint=CHAT, **options
        )

    def end(self, client, job_id: str):
        for _ in range(5):
            job = client.batch.jobs.get(job_id=job_id)
            if job.status not in ("QUEUED", "RUNNING", "CANCELLATION_REQUESTED"):
                return job
        raise AssertionError("it does not end")

    def read(self, client, file_id: str) -> list[dict]:
        return lines(client.files.download(file_id=file_id).read())

    @pytest.mark.sandbox(batches=BatchScript(failing=fail_odd))
    def test_a_job_goes_from_upload_to_results(self, sandbox):
        client = self.client(sandbox)
        made = self.submit(client, metadata={"name": "mine"})
        assert (made.status, made.metadata) == ("QUEUED", {"name": "mine"})
        assert client.batch.jobs.get(job_id=made.id).completed_requests == 5
        done = self.end(client, made.id)
        assert (done.status, done.succeeded_requests, done.failed_requests) == ("SUCCESS", 5, 5)
        good, bad = self.read(client, done.output_file), self.read(client, done.error_file)
        assert {said(line) for line in good} == set(PROMPTS[::2])
        assert {line["response"]["status_code"] for line in bad} == {500}

    @pytest.mark.sandbox(batches=BatchScript(share=0.7, end="expired"))
    def test_a_job_out_of_time_keeps_what_is_done(self, sandbox):
        client = self.client(sandbox)
        done = self.end(client, self.submit(client).id)
        assert (done.status, done.error_file) == ("TIMEOUT_EXCEEDED", None)
        good = self.read(client, done.output_file)
        assert {line["custom_id"] for line in good} == {f"p{at}" for at in range(7)}

    def test_jobs_are_found_by_metadata_and_cancelled(self, sandbox):
        client = self.client(sandbox)
        jobs = [self.submit(client, ["a"], metadata={"name": f"n{n}"}) for n in range(3)]
        found = client.batch.jobs.list(metadata={"name": "n1"})
        assert (found.total, [job.id for job in found.data]) == (1, [jobs[1].id])
        assert [job.id for job in client.batch.jobs.list(page_size=2, page=1).data] == [jobs[0].id]
        assert client.batch.jobs.cancel(job_id=jobs[0].id).status == "CANCELLATION_REQUESTED"
        assert self.end(client, jobs[0].id).status == "CANCELLED"
        assert client.batch.jobs.list(status=["CANCELLED"]).total == 1
        assert client.batch.jobs.delete(job_id=jobs[0].id).deleted
        assert len(client.files.list(purpose="batch").data) == 3

    def test_inline_requests_are_answered_inline(self, sandbox):
        client = self.client(sandbox)
        requests = [{"custom_id": text, "body": chat_body(text)} for text in PROMPTS]
        made = client.batch.jobs.create(requests=requests, model="echo", endpoint=CHAT)
        self.end(client, made.id)
        done = client.batch.jobs.get(job_id=made.id, inline=True)
        assert [said(line) for line in done.outputs] == PROMPTS
