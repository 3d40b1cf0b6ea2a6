"""The samples of the document this project grew from, with `async` and `await` deleted and the
renames of DESIGN section 2: `LLMClient` is `Client`, `APIResponse` is `Response`, `start_nowait`
gives a `Future`.
"""

# ruff: noqa: T201  (the samples print)

from __future__ import annotations

from pathlib import Path

import pytest

from deluge_sync import Client, Conversation, Response
from deluge_sync.batch import job
from deluge_sync.embed import embed_parallel, stack_results
from deluge_sync.rerank import rerank_parallel
from deluge_sync.testing import Sandbox


@pytest.fixture(autouse=True)
def at_the_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sandbox.anthropic_url)


def test_streaming_responses(capsys: pytest.CaptureFixture[str]) -> None:
    def stream_once() -> None:
        client = Client("gpt-4.1-mini")
        final = client.stream(Conversation().user("Count to five"))
        print("\nFinal response:", final.completion)

    stream_once()
    assert capsys.readouterr().out == "Count to five\nFinal response: Count to five\n"


def test_every_delta_string_followed_by_the_final_response() -> None:
    *deltas, final = Client("gpt-4.1-mini").stream_chat(Conversation().user("Count to five"))
    assert all(isinstance(delta, str) for delta in deltas)
    assert isinstance(final, Response)
    assert "".join(deltas) == final.completion


@pytest.mark.filterwarnings("ignore:anthropic/claude-sonnet-4-5 is retired")
@pytest.mark.filterwarnings("ignore:anthropic/claude-sonnet-4-5 will be")
def test_starting_tasks_manually(capsys: pytest.CaptureFixture[str]) -> None:
    def fan_out(prompts: list[str]) -> None:
        client = Client("claude-4.5-sonnet", name="batch-job")
        client.open(total=len(prompts))
        futures = [client.submit(Conversation().user(p)) for p in prompts]

        for future in client.as_completed(futures):
            print(future.result().completion)

        client.close()

    fan_out(["fact 1", "fact 2", "fact 3"])
    assert sorted(capsys.readouterr().out.split("\n")) == ["", "fact 1", "fact 2", "fact 3"]


def test_batch_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job, "FIRST_LOOK", 0.0)
    monkeypatch.setenv("DELUGE_SYNC_BATCHES", str(tmp_path))

    def submit_batch(prompts: list[str]) -> list[Response]:
        client = Client("gpt-4.1-mini")
        batch_ids = client.submit_batch_job(
            [Conversation().user(p) for p in prompts],
            batch_size=10_000,
        )
        return client.wait_for_batch_job(batch_ids, provider="openai")

    responses = submit_batch(["prompt 1", "prompt 2"])
    assert [response.completion for response in responses] == ["prompt 1", "prompt 2"]


def test_post_processing_hooks() -> None:
    def trim_completion(response: Response) -> Response:
        return response.replace(finish_reason=(response.completion or "").strip())

    client = Client("gpt-4.1-mini", postprocess=trim_completion)
    assert client.complete("  padded  ").finish_reason == "padded"


def test_background_mode(sandbox: Sandbox) -> None:
    client = Client(
        "gpt-4.1-mini",
        use_responses_api=True,
        background=True,
        extra_headers={"openai-beta": "responses_multi_agent=v1"},
    )
    assert client.complete("A long job", timeout=30).completion == "A long job"
    assert sandbox.journal[0].headers["openai-beta"] == "responses_multi_agent=v1"
    assert sandbox.journal[0].body["background"] is True


def test_completions_only() -> None:
    texts = Client("gpt-4.1-mini").map(["a", "b"], return_completions_only=True, progress="none")
    assert texts == ["a", "b"]


def test_embeddings() -> None:
    def embed_docs(texts: list[str]) -> list[list[float]]:
        responses = embed_parallel(texts, model="text-embedding-3-small")
        return stack_results(responses)

    assert [len(vector) for vector in embed_docs(["hello", "world"])] == [1536, 1536]


def test_reranking(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO_API_KEY", "test")
    monkeypatch.setenv("CO_API_URL", sandbox.anthropic_url)

    def rerank(query: str, documents: list[str]) -> list[str]:
        results = rerank_parallel([query], [documents])
        return results[0].ranked_documents

    assert rerank("hello world", ["good night", "hello, world"]) == ["hello, world", "good night"]
