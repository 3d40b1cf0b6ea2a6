"""Answers as objects, over real HTTP against the sandbox."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional

import pytest

from deluge_sync import ConfigError, Conversation, DelugeError, MemoryStore, OutputError
from deluge_sync.testing import Reply, Sandbox

from .helpers import client_for
from .test_streaming import WIRES, read, streaming_client


@dataclasses.dataclass
class Place:
    """A town."""

    city: str
    people: int
    country: Optional[str] = None


BONN = '{"city": "Bonn", "people": 330000, "country": null}'
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("wire", WIRES)
def test_a_dataclass_is_what_the_answer_becomes(wire: str) -> None:
    with Sandbox(answer=BONN) as sandbox:
        response = streaming_client(sandbox, wire).complete("Where?", output_schema=Place)
    assert response.parsed == Place("Bonn", 330_000)
    assert response.completion == BONN


@pytest.mark.parametrize("wire", WIRES)
def test_the_sandbox_answers_with_what_fits_the_schema(sandbox: Sandbox, wire: str) -> None:
    responses = streaming_client(sandbox, wire).map(["a", "b"], output_schema=SCHEMA)
    assert all(list(response.parsed) == ["city"] for response in responses)


def test_a_pydantic_model_gives_its_instance() -> None:
    pydantic = pytest.importorskip("pydantic", minversion="2")
    town = pydantic.create_model("Town", city=(str, ...), people=(int, ...))
    with Sandbox(answer='{"city": "Bonn", "people": 1}') as sandbox:
        response = client_for(sandbox).complete("Where?", output_schema=town)
    assert response.parsed == town(city="Bonn", people=1)


def test_streams_give_the_object_at_their_end() -> None:
    with Sandbox(answer=BONN) as sandbox:
        text, response = read(client_for(sandbox).stream_chat("Where?", output_schema=Place))
    assert text == BONN
    assert response.parsed == Place("Bonn", 330_000)


@pytest.mark.parametrize("wire", WIRES)
def test_what_does_not_fit_is_an_error_with_the_text_and_the_cost(wire: str) -> None:
    with Sandbox(answer='{"city": 7, "people": 1}') as sandbox:
        client = streaming_client(sandbox, wire)
        with pytest.raises(OutputError, match="city") as caught:
            client.complete("Where?", output_schema=Place)
    assert caught.value.response.completion == '{"city": 7, "people": 1}'
    assert caught.value.response.cost > 0
    assert client.usage().cost == caught.value.response.cost


def test_one_bad_object_costs_the_others_nothing() -> None:
    with Sandbox(answer=lambda asked: BONN if asked.prompt != "b" else "Bonn!") as sandbox:
        responses = client_for(sandbox).map(["a", "b", "c"], output_schema=Place)
    assert [response.is_error for response in responses] == [False, True, False]
    assert isinstance(responses[1].error, OutputError)


@pytest.mark.parametrize("wire", WIRES)
def test_a_repair_tells_the_model_what_was_wrong_and_is_paid_for(wire: str) -> None:
    with Sandbox(answer=['{"city": 7}', BONN]) as sandbox:
        client = streaming_client(sandbox, wire)
        response = client.complete("Where?", output_schema=Place, repair=1)
        last = str(sandbox.journal[-1].body)
    assert response.parsed == Place("Bonn", 330_000)
    assert response.attempts == 2
    assert '{"city": 7}' in last.replace('\\"', '"')
    assert "city" in last
    one = client.models[0].prices.cost(response.usage)
    assert response.cost == pytest.approx(one)
    assert response.usage.input_tokens > 2


def test_repairs_end() -> None:
    with Sandbox(answer=Reply("no")) as sandbox:
        client = client_for(sandbox)
        with pytest.raises(OutputError):
            client.complete("Where?", output_schema=Place, repair=2)
        assert sandbox.requests == 3
        assert client.usage().attempts == 3


def test_what_was_paid_before_a_repair_failed_is_counted() -> None:
    with Sandbox(answer="nonsense") as sandbox:
        sandbox.script([None, "400"])
        client = client_for(sandbox)
        (response,) = client.map(["Where?"], output_schema=SCHEMA, repair=1)
    assert response.is_error
    assert response.completion == "nonsense"
    assert response.usage.output_tokens > 0
    assert client.last_run.cost == response.cost > 0


def test_a_cut_off_answer_is_not_repaired() -> None:
    with Sandbox(answer=BONN) as sandbox:
        client = client_for(sandbox)
        with pytest.raises(OutputError, match="max_new_tokens"):
            client.complete("Where?", output_schema=Place, max_new_tokens=3, repair=2)
        assert sandbox.requests == 1


def test_a_budget_holds_for_repairs_whose_prompts_are_longer() -> None:
    with Sandbox(answer=lambda asked: "word " * 9_000) as sandbox:
        client = client_for(sandbox, max_cost=0.0165)
        with pytest.raises(DelugeError):
            client.complete("Where?", output_schema=SCHEMA, max_new_tokens=5_000, repair=1)
    assert client.usage().cost <= 0.0165


def test_an_answer_cut_off_by_its_length_says_so() -> None:
    with Sandbox(answer=BONN) as sandbox, pytest.raises(OutputError, match="max_new_tokens"):
        client_for(sandbox).complete("Where?", output_schema=Place, max_new_tokens=3)


def test_json_mode_gives_a_dict() -> None:
    with Sandbox(answer='{"a": [1]}') as sandbox:
        assert client_for(sandbox).complete("JSON, please", json_mode=True).parsed == {"a": [1]}
        assert client_for(sandbox, json_mode=True).complete("JSON!").parsed == {"a": [1]}
        assert sandbox.journal[0].body["response_format"] == {"type": "json_object"}


def test_answers_out_of_the_cache_are_objects_too_and_bad_ones_are_not_kept() -> None:
    with Sandbox(answer=["?", BONN]) as sandbox:
        client = client_for(sandbox, cache=MemoryStore())
        with pytest.raises(OutputError):
            client.complete("Where?", output_schema=Place)
        assert client.complete("Where?", output_schema=Place).parsed == Place("Bonn", 330_000)
        again = client.complete("Where?", output_schema=Place)
        assert again.cached
        assert again.parsed == Place("Bonn", 330_000)
        assert sandbox.requests == 2


def test_a_journal_gives_objects_back(tmp_path: Path) -> None:
    with Sandbox(answer=BONN) as sandbox:
        client = client_for(sandbox)
        first = client.map(["a", "b"], output_schema=Place, journal=tmp_path / "journal.jsonl")
        again = client.map(["a", "b"], output_schema=Place, journal=tmp_path / "journal.jsonl")
        assert sandbox.requests == 2
    assert (
        [row.parsed for row in first]
        == [row.parsed for row in again]
        == [Place("Bonn", 330000)] * 2
    )


def test_tool_calls_are_not_held_against_the_schema() -> None:
    with Sandbox(answer=Reply(tool_calls=[("look", {})])) as sandbox:
        response = client_for(sandbox).complete("Where?", output_schema=Place)
    assert response.parsed is None
    assert response.content.tool_calls


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output_schema": 7}, "output_schema"),
        ({"output_schema": {"type": "nonsense"}}, "type"),
        ({"output_schema": Place, "json_mode": True}, "not both"),
        ({"repair": 1}, "repair needs"),
        ({"repair": 99, "json_mode": True}, "repair must be"),
        ({"output_shema": Place}, "did you mean 'output_schema'"),
    ],
)
def test_bad_options_are_named_before_sending(sandbox: Sandbox, options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        client_for(sandbox).complete("Where?", **options)
    assert sandbox.requests == 0


def test_repairs_cannot_take_back_what_was_streamed(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="repair"):
        client_for(sandbox).stream_chat("Where?", output_schema=Place, repair=1)


def test_a_conversation_keeps_its_place_in_a_repair() -> None:
    prompt = Conversation().system("Be exact.").user("Where?")
    with Sandbox(answer=["?", BONN]) as sandbox:
        client_for(sandbox).complete(prompt, output_schema=Place, repair=1)
        roles = [message["role"] for message in sandbox.journal[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
