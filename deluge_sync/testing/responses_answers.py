"""Good answers of Responses, whole and in events, as the types of the openai SDK 3.54 have them
(`types/responses/response.py`, `response_stream_event.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .answers import Finished, Question, pieces
from .openai_tools import offered
from .wire import Body

_TIERS = {None: "default", "auto": "default", "fast": "priority"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"


def response_id(serial: int) -> str:
    """The id of the answer to request `serial`."""
    return f"resp_sandbox{serial:032d}"


def frame(question: Question, serial: int, now: float, status: str) -> Body:
    """A response without output and usage."""
    body, text = question.body, question.body.get("text") or {}
    reasoning = body.get("reasoning") or {}
    tier = body.get("service_tier")
    return {
        "id": response_id(serial),
        "object": "response",
        "created_at": int(now),
        "status": status,
        "background": bool(body.get("background")),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "model": question.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": _TIERS.get(tier, tier),
        "temperature": body.get("temperature", 1.0),
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_shown(tool) for tool in body.get("tools") or ()],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
    }


def _shown(tool: Body) -> Body:
    """A tool without the secrets for its server, and with what stands for fields left out."""
    if tool["type"] == "function":
        return {"parameters": None, "strict": None, **tool}
    return {name: value for name, value in tool.items() if name not in ("authorization", "headers")}


def response(question: Question, finished: Finished, serial: int, now: float) -> Body:
    """The whole response, at its end.

    The finish "failed" makes it a failed one, "failed:CODE" one with that code.
    """
    body = frame(question, serial, now, "completed")
    failed, _, code = finished.finish.partition(":")
    if failed == "failed":
        error = {"code": code or "server_error", "message": "The sandbox was told to fail."}
        return {**body, "status": "failed", "error": error, "usage": usage(finished)}
    body.update(output=list(_output(question, finished, serial)), usage=usage(finished))
    if finished.finish in ("stop", "tool_calls", "refusal"):
        return {**body, "completed_at": int(now)}
    reason = _INCOMPLETE.get(finished.finish, finished.finish)
    return {**body, "status": "incomplete", "incomplete_details": {"reason": reason}}


def usage(finished: Finished) -> Body:
    """The tokens."""
    usage = finished.usage
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.cache_write_tokens - usage.cache_write_long_tokens,
                "ttl_12h_tokens": usage.cache_write_long_tokens,
            },
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def events(question: Question, finished: Finished, serial: int, now: float) -> list[Body]:
    """All events of the same answer, numbered from 0."""
    last = response(question, finished, serial, now)
    bodies = list(_events(question, last, serial, now))
    return [{**body, "sequence_number": number} for number, body in enumerate(bodies)]


def _events(question: Question, last: Body, serial: int, now: float) -> Iterator[Body]:
    begun = frame(question, serial, now, "in_progress")
    if last["background"]:
        queued = {**begun, "status": "queued"}
        yield {"type": "response.created", "response": queued}
        yield {"type": "response.queued", "response": queued}
    else:
        yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for at, item in enumerate(last["output"]):
        yield from _item_events(at, item)
    yield {"type": f"response.{last['status']}", "response": last}


def _item_events(at: int, item: Body) -> Iterator[Body]:
    begun, inner = _BEGUN[item["type"]](at, item)
    yield {"type": "response.output_item.added", "output_index": at, "item": {**item, **begun}}
    yield from inner
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _message_events(at: int, item: Body) -> tuple[Body, Iterator[Body]]:
    where = {"item_id": item["id"], "output_index": at}

    def inner() -> Iterator[Body]:
        for index, part in enumerate(item["content"]):
            yield from _part_events({**where, "content_index": index}, part)

    return {"status": "in_progress", "content": []}, inner()


def _part_events(where: Body, part: Body) -> Iterator[Body]:
    name, kind = ("text", "output_text") if "text" in part else ("refusal", "refusal")
    blank = {**part, name: "", **({"logprobs": []} if name == "text" else {})}
    yield {"type": "response.content_part.added", **where, "part": blank}
    tokens = [_without_bytes(token) for token in part.get("logprobs") or ()]
    for index, text in enumerate(pieces(part[name])):
        more = {"logprobs": tokens[index : index + 1]} if name == "text" else {}
        yield {"type": f"response.{kind}.delta", **where, "delta": text, **more}
    more = {"logprobs": tokens} if name == "text" else {}
    yield {"type": f"response.{kind}.done", **where, name: part[name], **more}
    yield {"type": "response.content_part.done", **where, "part": part}


def _without_bytes(token: Body) -> Body:
    """A logprob as events have it."""
    top = [{"token": one["token"], "logprob": one["logprob"]} for one in token["top_logprobs"]]
    return {"token": token["token"], "logprob": token["logprob"], "top_logprobs": top}


def _reasoning_events(at: int, item: Body) -> tuple[Body, Iterator[Body]]:
    where = {"item_id": item["id"], "output_index": at}

    def inner() -> Iterator[Body]:
        for index, part in enumerate(item["summary"]):
            here = {**where, "summary_index": index}
            prefix = "response.reasoning_summary"
            yield {"type": f"{prefix}_part.added", **here, "part": {**part, "text": ""}}
            for text in pieces(part["text"]):
                yield {"type": f"{prefix}_text.delta", **here, "delta": text}
            yield {"type": f"{prefix}_text.done", **here, "text": part["text"]}
            yield {"type": f"{prefix}_part.done", **here, "part": part}

    # What is encrypted is not whole yet, as the SDK warns.
    return {"summary": [], "encrypted_content": item["encrypted_content"][:8]}, inner()


def _call_events(at: int, item: Body) -> tuple[Body, Iterator[Body]]:
    where = {"item_id": item["id"], "output_index": at}

    def inner() -> Iterator[Body]:
        for text in pieces(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **where, "delta": text}
        done = {"arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **where, **done}

    return {"status": "in_progress", "arguments": ""}, inner()


def _custom_events(at: int, item: Body) -> tuple[Body, Iterator[Body]]:
    where = {"item_id": item["id"], "output_index": at}
    kind = "response.custom_tool_call_input"

    def inner() -> Iterator[Body]:
        for text in pieces(item["input"]):
            yield {"type": f"{kind}.delta", **where, "delta": text}
        yield {"type": f"{kind}.done", **where, "input": item["input"]}

    return {"input": ""}, inner()


def _computer_events(at: int, item: Body) -> tuple[Body, Iterator[Body]]:
    """Its actions come with the item, and no events of their own."""
    return {"status": "in_progress"}, iter(())


_BEGUN = {
    "message": _message_events,
    "reasoning": _reasoning_events,
    "function_call": _call_events,
    "custom_tool_call": _custom_events,
    "computer_call": _computer_events,
}


def _output(question: Question, finished: Finished, serial: int) -> Iterator[Body]:
    if finished.thinking is not None:
        yield _reasoning(question, finished.thinking, serial)
    if finished.text or not finished.tool_calls:
        yield _message(question, finished, serial)
    for at, (name, arguments) in enumerate(finished.tool_calls):
        yield _call(question, name, arguments, f"{serial:016d}{at:02d}")


def _call(question: Question, name: str, arguments: Mapping[str, Any], number: str) -> Body:
    call = {"call_id": f"call_sandbox{number}"}
    if name == "computer" and "actions" in arguments:
        return {
            "id": f"cu_sandbox{number}",
            "type": "computer_call",
            "status": "completed",
            **call,
            "actions": arguments["actions"],
            "pending_safety_checks": arguments.get("pending_safety_checks", []),
        }
    call["name"] = name
    if name in offered(question.body, "custom"):
        identity = {"id": f"ctc_sandbox{number}", "type": "custom_tool_call"}
        return {**identity, **call, "input": arguments["input"]}
    identity = {"id": f"fc_sandbox{number}", "type": "function_call", "status": "completed"}
    return {**identity, **call, "arguments": json.dumps(arguments)}


def _reasoning(question: Question, thinking: str, serial: int) -> Body:
    wanted = (question.body.get("reasoning") or {}).get("summary")
    identity = f"rs_sandbox{serial:032d}"
    return {
        "id": identity,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": thinking}] if wanted else [],
        "encrypted_content": encrypted(identity, thinking),
    }


def _message(question: Question, finished: Finished, serial: int) -> Body:
    whole = finished.finish in ("stop", "tool_calls", "refusal")
    part: Body = {"type": "refusal", "refusal": finished.text}
    if finished.finish != "refusal":
        part = {"type": "output_text", "text": finished.text, "annotations": []}
        part["logprobs"] = _logprobs(question, finished.text)
    return {
        "id": f"msg_sandbox{serial:031d}",
        "type": "message",
        "role": "assistant",
        "status": "completed" if whole else "incomplete",
        "phase": "commentary" if finished.tool_calls else "final_answer",
        "content": [part],
    }


def _logprobs(question: Question, text: str) -> list[Body]:
    """Of tokens of four characters each; the likeliest of them was always taken."""
    if LOGPROBS not in (question.body.get("include") or ()):
        return []
    most = question.body.get("top_logprobs") or 0
    return [
        {**_token(token, 0), "top_logprobs": [_token(token, rank) for rank in range(most)]}
        for token in pieces(text)
    ]


def _token(text: str, rank: int) -> Body:
    token = f"{text}{rank}" if rank else text
    encoded = token.encode("utf-8", "replace")
    return {"token": token, "logprob": -0.25 - rank, "bytes": list(encoded)}


def encrypted(identity: str, thinking: str) -> str:
    """Thinking as only the vendor can read it; here, readable by all, with a seal."""
    content = json.dumps([identity, thinking]).encode()
    return base64.urlsafe_b64encode(_seal(content) + content).decode("ascii")


def is_genuine(item: Mapping[str, Any]) -> bool:
    """Whether the encrypted content of a reasoning item is what was given out under its id."""
    try:
        blob = base64.urlsafe_b64decode(item["encrypted_content"])
        seal, content = blob[:16], blob[16:]
        return seal == _seal(content) and json.loads(content)[0] == item["id"]
    except (ValueError, IndexError, TypeError):
        return False


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(b"sandbox" + content).digest()[:16]
