"""From statuses, codes and headers to errors that know whether to try again."""

from __future__ import annotations

import json
import pickle

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    CallError,
    DecodeError,
    NotFoundError,
    QuotaExhaustedError,
    RefusalError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.wire import HttpResponse

MODEL = Model("m", Provider("vendor", base_url="https://vendor"))


def failed(adapter, status, body=b"", headers=None, received_at=0.0):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(CallError) as caught:
        ADAPTERS[adapter].decode(HttpResponse(status, headers or {}, raw, received_at), MODEL)
    assert type(pickle.loads(pickle.dumps(caught.value))) is type(caught.value)
    return caught.value


def openai(message="No.", code=None, kind=None, **extra):
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **extra}}


def anthropic(kind="invalid_request_error", message="No.", special=None):
    error = {"type": kind, "message": message}
    if special:
        error["details"] = {"error_code": special}
    return {"type": "error", "error": error, "request_id": "req_body"}


def gemini(code, status, message="No.", *details):
    return {"error": {"code": code, "message": message, "status": status, "details": details}}


QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
PER_DAY = {"@type": QUOTA, "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
PER_MINUTE = {"@type": QUOTA, "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (100, DecodeError, True),
        (301, BadRequestError, False),
        (400, BadRequestError, False),
        (401, AuthError, False),
        (402, QuotaExhaustedError, False),
        (403, AuthError, False),
        (404, NotFoundError, False),
        (405, BadRequestError, False),
        (408, TransientError, True),
        (409, TransientError, True),
        (413, TooLongError, False),
        (422, BadRequestError, False),
        (429, ThrottledError, True),
        (500, TransientError, True),
        (503, TransientError, True),
        (529, TransientError, True),
        (599, TransientError, True),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"null", b"[]", b'{"error":1}'])
def test_a_status_alone_gives_the_class(adapter, status, kind, retryable, body):
    error = failed(adapter, status, body)
    assert (type(error), error.retryable, error.status) == (kind, retryable, status)


@pytest.mark.parametrize(
    ("adapter", "status", "body", "kind", "code"),
    [
        # OpenAI
        (
            "openai_chat",
            429,
            openai(code="rate_limit_exceeded", kind="tokens"),
            ThrottledError,
            "rate_limit_exceeded",
        ),
        ("openai_chat", 429, openai(kind="insufficient_quota"), QuotaExhaustedError, None),
        (
            "openai_chat",
            429,
            openai(code="credit_balance_exhausted", kind="insufficient_quota"),
            QuotaExhaustedError,
            "credit_balance_exhausted",
        ),
        (
            "openai_chat",
            429,
            openai(code="organization_spend_limit_exceeded"),
            QuotaExhaustedError,
            None,
        ),
        (
            "openai_chat",
            429,
            openai(code="project_spend_limit_exceeded"),
            QuotaExhaustedError,
            None,
        ),
        (
            "openai_chat",
            429,
            openai(code="organization_usage_limit_exceeded"),
            QuotaExhaustedError,
            None,
        ),
        # the words of a message do not count where there is a code
        (
            "openai_chat",
            429,
            openai("You exceeded your current quota", code="slow_down"),
            ThrottledError,
            "slow_down",
        ),
        ("openai_chat", 400, openai(code="context_length_exceeded"), TooLongError, None),
        ("openai_chat", 400, openai(code="content_filter"), RefusalError, "content_filter"),
        ("openai_chat", 400, openai(code="unsupported_value"), BadRequestError, None),
        ("openai_chat", 503, openai(code="server_is_overloaded"), TransientError, None),
        ("openai_chat", 401, openai(code="invalid_api_key"), AuthError, "invalid_api_key"),
        # a request that no minute has room for would be throttled for ever
        (
            "openai_chat",
            429,
            openai("Request too large ... (TPM): Limit 30000, Requested 30601.", "x", "tokens"),
            TooLongError,
            None,
        ),
        (
            "openai_chat",
            429,
            openai("Rate limit ... (TPM): Limit 10000, Used 8554, Requested 3082.", "x", "tokens"),
            ThrottledError,
            None,
        ),
        # its like
        (
            "openai_chat",
            400,
            openai("This model's maximum context length is 131072 tokens.", 400, "BadRequestError"),
            TooLongError,
            "400",
        ),
        (
            "openai_chat",
            400,
            {"object": "error", "message": "Invalid model: x", "code": "1500"},
            BadRequestError,
            "1500",
        ),
        (
            "openai_chat",
            422,
            {"detail": [{"loc": ["body"], "msg": "field required"}]},
            BadRequestError,
            None,
        ),
        ("openai_chat", 404, {"error": "model 'x' not found"}, NotFoundError, None),
        ("openai_chat", 402, openai("Insufficient Balance"), QuotaExhaustedError, None),
        ("openai_chat", 429, openai("Please recharge", code="1113"), QuotaExhaustedError, "1113"),
        (
            "openai_chat",
            403,
            openai("Flagged", 403, metadata={"flagged_input": "..."}),
            RefusalError,
            "403",
        ),
        # Anthropic
        ("anthropic", 429, anthropic("rate_limit_error"), ThrottledError, "rate_limit_error"),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", special="enforced_spend_limit_reached"),
            QuotaExhaustedError,
            "enforced_spend_limit_reached",
        ),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", special="contract_spend_limit_reached"),
            QuotaExhaustedError,
            None,
        ),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", special="ramp_limit_exceeded"),
            ThrottledError,
            "ramp_limit_exceeded",
        ),
        ("anthropic", 402, anthropic("billing_error"), QuotaExhaustedError, "billing_error"),
        ("anthropic", 400, anthropic(), BadRequestError, "invalid_request_error"),
        (
            "anthropic",
            400,
            anthropic(message="prompt is too long: 208310 tokens > 200000 maximum"),
            TooLongError,
            None,
        ),
        (
            "anthropic",
            400,
            anthropic(message="input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
            TooLongError,
            None,
        ),
        (
            "anthropic",
            400,
            anthropic(message="Your credit balance is too low to access the Anthropic API."),
            QuotaExhaustedError,
            None,
        ),
        ("anthropic", 413, anthropic("request_too_large"), TooLongError, None),
        ("anthropic", 529, anthropic("overloaded_error"), TransientError, "overloaded_error"),
        # Gemini
        (
            "gemini",
            429,
            gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", PER_MINUTE),
            ThrottledError,
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gemini",
            429,
            gemini(429, "RESOURCE_EXHAUSTED", "You exceeded", PER_MINUTE, WAIT, PER_DAY),
            QuotaExhaustedError,
            "RESOURCE_EXHAUSTED",
        ),
        (
            "gemini",
            429,
            gemini(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            QuotaExhaustedError,
            None,
        ),
        (
            "gemini",
            400,
            gemini(400, "INVALID_ARGUMENT", "API key not valid.", BAD_KEY),
            AuthError,
            "API_KEY_INVALID",
        ),
        (
            "gemini",
            400,
            [
                gemini(
                    400,
                    "INVALID_ARGUMENT",
                    "The input token count (3475108) exceeds the maximum number of tokens "
                    "allowed (1048576).",
                )
            ],
            TooLongError,
            "INVALID_ARGUMENT",
        ),
        ("gemini", 400, gemini(400, "INVALID_ARGUMENT"), BadRequestError, "INVALID_ARGUMENT"),
        ("gemini", 504, gemini(504, "DEADLINE_EXCEEDED"), TransientError, "DEADLINE_EXCEEDED"),
    ],
)
def test_codes_decide_before_statuses_and_words(adapter, status, body, kind, code):
    error = failed(adapter, status, body)
    assert type(error) is kind
    assert error.status == status
    if code is not None:
        assert error.code == code


@pytest.mark.parametrize(
    ("adapter", "body", "kind"),
    [
        ("openai_chat", openai(code=429), ThrottledError),
        ("openai_chat", openai(code=402), QuotaExhaustedError),
        ("openai_chat", openai(code="502"), TransientError),
        ("openai_chat", openai(code=400), BadRequestError),
        ("openai_chat", openai("maximum context length is 5", code=400), TooLongError),
        ("openai_chat", openai(kind="invalid_request_error"), BadRequestError),
        ("openai_chat", openai(code="rate_limit_exceeded"), ThrottledError),
        ("openai_chat", {"error": "it broke"}, TransientError),
        ("anthropic", anthropic("overloaded_error"), TransientError),
        ("anthropic", anthropic("rate_limit_error"), ThrottledError),
        ("anthropic", anthropic("authentication_error"), AuthError),
        ("gemini", gemini(503, "UNAVAILABLE"), TransientError),
        ("gemini", gemini(429, "RESOURCE_EXHAUSTED"), ThrottledError),
    ],
)
def test_an_error_inside_a_good_status_is_classified_too(adapter, body, kind):
    error = failed(adapter, 200, body)
    assert (type(error), error.status) == (kind, 200)
    assert "answered 200 with an error" in str(error)


@pytest.mark.parametrize(
    ("status", "wish", "retryable"),
    [
        (500, "false", False),
        (429, "false", False),
        (500, "true", True),
        (412, "true", True),
        (425, None, False),
        (400, "true", False),
        (401, "true", False),
        (402, "true", False),
        (413, "true", False),
    ],
)
def test_x_should_retry_is_obeyed_but_for_what_no_retry_can_cure(status, wish, retryable):
    error = failed("openai_chat", status, headers={"x-should-retry": wish} if wish else {})
    assert error.retryable is retryable
    assert pickle.loads(pickle.dumps(error)).retryable is retryable


def test_exhausted_quota_is_not_retried_whatever_the_headers_say():
    body = openai(code="insufficient_quota")
    assert not failed("openai_chat", 429, body, {"x-should-retry": "true"}).retryable


NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "5, 5"}, 5.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0.0),
        # the server's own clock, where it tells it
        (
            {
                "retry-after": "Fri, 15 Jan 2027 08:00:30 GMT",
                "date": "Fri, 15 Jan 2027 08:00:20 GMT",
            },
            10.0,
        ),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "junk"}, 30.0),
        ({"retry-after": "9" * 500}, 1e9),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 99 Jan 99999 99:99:99 GMT"}, None),
    ],
)
@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_retry_after_is_read_in_all_its_forms(adapter, headers, seconds):
    assert failed(adapter, 429, headers=headers, received_at=NOW).retry_after == seconds


def test_a_date_without_any_clock_gives_no_wait():
    headers = {"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}
    assert failed("openai_chat", 503, headers=headers).retry_after is None


def test_gemini_says_how_long_to_wait_in_the_body():
    body = gemini(429, "RESOURCE_EXHAUSTED", "No.", PER_MINUTE, WAIT)
    assert failed("gemini", 429, body).retry_after == 34.5
    assert failed("gemini", 429, body, {"retry-after": "3"}).retry_after == 3.0


@pytest.mark.parametrize(
    ("adapter", "name"), [("openai_chat", "x-request-id"), ("anthropic", "request-id")]
)
def test_errors_carry_the_request_id(adapter, name):
    assert failed(adapter, 500, headers={name: "req_1"}).request_id == "req_1"
    assert ADAPTERS[adapter].request_id(HttpResponse(200, {name: "req_1"}, b"")) == "req_1"
    assert ADAPTERS[adapter].request_id(HttpResponse(200, {}, b"")) is None


def test_messages_name_vendor_status_code_and_what_the_vendor_said():
    error = failed("openai_chat", 429, openai("Slow\n  down.", code="slow_down"))
    assert str(error) == "vendor answered 429 (slow_down): Slow down."


def test_messages_are_short():
    error = failed("openai_chat", 400, openai("word " * 1_000_000))
    assert len(str(error)) < 350


def test_a_proxys_page_is_shown_without_its_markup():
    error = failed("openai_chat", 502, b"<html><h1>502 Bad Gateway</h1><hr>nginx</html>")
    assert str(error) == "vendor answered 502: 502 Bad Gateway nginx"


def test_a_missing_path_points_at_base_url():
    assert "check base_url" in str(failed("openai_chat", 404, b"<h1>Not Found</h1>"))


def test_a_redirect_names_the_fix_and_hides_what_the_target_holds():
    headers = {"location": "https://user:pass@new.example/v1/chat?token=abcdefgh12345"}
    message = str(failed("openai_chat", 307, headers=headers))
    assert "redirects are not followed; set base_url" in message
    assert "new.example/v1/chat" in message
    assert "pass" not in message
    assert "abcdefgh12345" not in message


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456_7890",
        "sk-ant-api03-abc-DEF",
        "gsk_abcdef1234567890",
        "xai-abcdef1234567890",
        "AIzaSyA-1234567890abcdef",
        "AQ.Ab8RN6abcdef-123",
        "0123456789abcdef0123456789abcdef",
    ],
)
@pytest.mark.parametrize(
    "form", ["key {}", "Bearer {}", "?key={}", '"api_key": "{}"', "provided: {}.", "({})"]
)
@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_no_key_shows_in_an_error(adapter, secret, form):
    message = form.format(secret)
    for body in (openai(message), openai(code=message), message.encode()):
        error = failed(adapter, 401, body)
        assert secret not in str(error)
        assert secret not in repr(error.__dict__)


def test_ordinary_words_are_not_mistaken_for_keys():
    text = "max_tokens: 16000 > 8192 for claude-sonnet-4-5-20250929 (req_011CUB2XUHWkFnQzxc)"
    assert text in str(failed("anthropic", 400, anthropic(message=text)))
