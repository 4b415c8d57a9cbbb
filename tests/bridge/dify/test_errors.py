"""Every failure says what it is and what to change."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bridge.dify import errors


def answered(status: int, code: str | None, message: str, **headers: str) -> errors.DifyError:
    body = {"code": code, "message": message, "status": status}
    return errors.refused(status, headers, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (401, "unauthorized", "Access token is invalid", errors.BadKey),
        (403, "forbidden", "The app's API service has been disabled.", errors.AppUnavailable),
        (400, "app_unavailable", "App unavailable, please check your app configurations.", errors.AppUnavailable),
        (400, "not_chat_app", "Please check if your app mode matches the right API route.", errors.AppUnavailable),
        (400, "invalid_param", "Workflow not published", errors.AppUnavailable),
        (404, "not_found", "Conversation Not Exists.", errors.ConversationGone),
        (
            404,
            "not_found",
            "Conversation Not Exists. You have requested this URI [/v1/chat-messages] but did you mean "
            "/v1/chat-messages or /v1/chat-messages/<string:task_id>/stop ?",
            errors.ConversationGone,
        ),
        (400, "conversation_completed", "The conversation has ended.", errors.ConversationGone),
        (400, "invalid_param", "city is required in input form", errors.InvalidInput),
        (422, "unprocessable_entity", "no", errors.InvalidInput),
        (429, "too_many_requests", "Too many requests. Please try again later.", errors.TooManyRequests),
        (429, "rate_limit_error", "Rate Limit Error", errors.RateLimited),
        (400, "provider_not_initialize", "No valid model provider credentials found.", errors.ModelMissing),
        (400, "provider_quota_exceeded", "Your quota has been exhausted.", errors.QuotaUsedUp),
        (400, "completion_request_error", "Rate limit reached", errors.RateLimited),
        (400, "completion_request_error", "the model is moody", errors.RunFailed),
        (500, "internal_server_error", "Internal Server Error", errors.ServerError),
        (503, None, "draining", errors.ServerError),
        (404, "not_found", "The requested URL was not found on the server.", errors.NotDify),
    ],
)
def test_an_http_error_becomes_one_of_ours_with_difys_words(
    status: int, code: str | None, message: str, kind: type[errors.DifyError]
) -> None:
    error = answered(status, code, message)
    assert type(error) is kind
    assert error.message == message
    assert message.rstrip(".") in str(error)
    assert kind.advice
    assert kind.advice in str(error)


def test_only_what_may_pass_is_said_to_pass() -> None:
    waiting = [answered(429, "too_many_requests", "x"), answered(500, None, "x"), errors.run_failed("rate limit")]
    lasting = [answered(401, "unauthorized", "x"), answered(400, "invalid_param", "x"), errors.run_failed("boom")]
    assert all(error.waiting_helps for error in waiting)
    assert not any(error.waiting_helps for error in lasting)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, errors.NotDify),
        (400, errors.NotDify),
        (403, errors.NotDify),
        (404, errors.NotDify),
        (405, errors.NotDify),
        (413, errors.InvalidInput),
        (429, errors.TooManyRequests),
        (502, errors.ServerError),
    ],
)
def test_an_answer_that_is_not_difys_is_not_taken_for_dify(status: int, kind: type[errors.DifyError]) -> None:
    assert type(errors.refused(status, {}, b"<html>nginx</html>")) is kind
    assert type(errors.refused(status, {}, b'["json"]')) is kind


def test_how_long_to_wait_is_read_as_seconds_or_as_a_date() -> None:
    assert answered(429, "too_many_requests", "x", **{"retry-after": "7"}).retry_after == 7
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    until_then = answered(429, "too_many_requests", "x", **{"retry-after": later}).retry_after
    assert until_then is not None
    assert 3000 < until_then <= 3600
    for nonsense in ("", "soon"):
        assert answered(429, "too_many_requests", "x", **{"retry-after": nonsense}).retry_after is None


DAEMON = "req_id: 0123456789 PluginInvokeError: "


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # The five typed errors arrive with nothing but their message, the last line of the plugin's words.
        ("Rate limit reached for requests per min", errors.RateLimited),
        ("HTTP 429: slow down", errors.RateLimited),
        ("[Clawback] Incorrect model credentials provided, please check and try again.", errors.CredentialsRefused),
        ("Incorrect API key provided: sk-***", errors.CredentialsRefused),
        ("The upstream answered 401: no such key. Check upstream_api_key", errors.CredentialsRefused),
        ("The upstream answered 403: not from here. Check upstream_api_key", errors.CredentialsRefused),
        ("The upstream answered 403: no. The account at the upstream has no quota left", errors.QuotaUsedUp),
        ("The upstream answered 429: over your current quota. Please retry in 35 s", errors.RateLimited),
        ("The upstream's filter refuses what is asked: Error code: 403 - no", errors.RequestRefused),
        ("Bad Request Error", errors.RequestRefused),
        ("the upstream refused the request: HTTP 400 messages.2.role is unknown", errors.RequestRefused),
        ("Connection Error", errors.UpstreamUnavailable),
        ("Server Unavailable Error", errors.UpstreamUnavailable),
        ("error code: 503 - overloaded", errors.UpstreamUnavailable),
        ("Request to Plugin Daemon Service failed-500", errors.UpstreamUnavailable),
        ("req_id: 0a PluginDaemonInternalServerError: no proper instance", errors.UpstreamUnavailable),
        ("req_id: 0a PluginDaemonInternalServerError: write |1: broken pipe", errors.UpstreamUnavailable),
        ("Error code: 400 - {'error': {'code': 'context_length_exceeded'}}", errors.ContextTooLong),
        ("This model's maximum context length is 8192 tokens", errors.ContextTooLong),
        ("prompt is too long: 210000 tokens > 200000 maximum", errors.ContextTooLong),
        ("Error code: 429 - {'error': {'code': 'insufficient_quota'}}", errors.QuotaUsedUp),
        ("Model provider langgenius/openai quota exceeded.", errors.QuotaUsedUp),
        ("[Clawback] Error: req_id: 0a PluginDaemonInternalServerError: killed by timeout", errors.KilledByTimeout),
        ("The answer was not finished within 580 s, the time that Dify gives a model. To", errors.KilledByTimeout),
        ("The bridge cannot be reached at http://bridge:8765 (timed out). Is it running?", errors.UpstreamUnavailable),
        ("Aborted: Maximum execution time exceeded: 1201.2s > 1200s", errors.RanTooLong),
        ("Maximum execution time exceeded: 1201.2s > 1200s", errors.RanTooLong),
        ("Maximum execution steps exceeded: 501 > 500", errors.RanTooLong),
        ("Aborted: Workflow stopped because the worker is shutting down.", errors.WorkerStopped),
        ("Provider clawback/clawback/clawback does not exist.", errors.ModelMissing),
        ("Model main does not exist.", errors.ModelMissing),
        ("Model main credentials is not initialized.", errors.ModelMissing),
        ("Run failed: Model is not configured", errors.ModelMissing),
        ("[Clawback] Error: req_id: 0a PluginNotFoundError: plugin not found", errors.ModelMissing),
        ("city is required in input form", errors.InputRefused),
        ("Output parse failed: 'city'", errors.RunFailed),
        ("the room 429 is full", errors.RunFailed),
    ],
)
def test_what_a_failed_run_says_is_understood(text: str, kind: type[errors.RunFailed]) -> None:
    assert type(errors.run_failed(text)) is kind
    assert type(errors.run_failed(f"Run failed: {text}")) is kind
    assert type(errors.failed(400, "invalid_param", text)) in {kind, errors.InvalidInput}


@pytest.mark.parametrize(
    ("error_type", "message", "kind"),
    [
        ("InvokeRateLimitError", "slow", errors.RateLimited),
        ("InvokeError", "the run is suspended", errors.RunFailed),
        ("KeyError", "'choices'", errors.RunFailed),
        ("InvokeBadRequestError", "", errors.RequestRefused),
    ],
)
def test_of_a_plugins_json_error_only_the_message_is_shown(
    error_type: str, message: str, kind: type[errors.RunFailed]
) -> None:
    traceback = 'Traceback (most recent call last):\n  File "/app/storage/cwd/x.py", rate limit, HTTP 429'
    shown = json.dumps({"args": {"traceback": traceback}, "error_type": error_type, "message": message})
    error = errors.run_failed(f"[Clawback] Error: {DAEMON}{shown}")
    assert type(error) is kind
    assert error.message == (message or error_type)
    assert "Traceback" not in str(error)


def test_a_failure_without_words_is_still_a_failure() -> None:
    for nothing in (None, "", "  "):
        assert "without saying why" in str(errors.run_failed(nothing))


def test_a_hostile_text_is_only_a_text() -> None:
    assert type(errors.run_failed('{"a":' * 100_000)) is errors.RunFailed
    assert type(errors.refused(400, {}, b'{"a":' * 100_000)) is errors.NotDify


def test_a_long_text_is_cut() -> None:
    assert len(errors.run_failed("x" * 100_000).message) < 1000


def test_an_error_event_is_understood_as_the_http_error_of_its_code() -> None:
    assert type(errors.failed(400, "provider_not_initialize", "none")) is errors.ModelMissing
    assert type(errors.failed(400, "invalid_param", "city is required in input form")) is errors.InvalidInput
    assert type(errors.failed(400, "invalid_param", "Run failed: killed by timeout")) is errors.KilledByTimeout
    assert type(errors.failed(500, "internal_server_error", "Internal Server Error")) is errors.ServerError
    assert type(errors.failed(429, "rate_limit_error", "slow")) is errors.RateLimited
