"""What the plugin says when an invocation fails reaches the bridge as bare text, and is understood there."""

import pytest

from bridge.dify import errors
from bridge.dify.failures import client_error
from provider.upstream.completion import CUT_OFF
from provider.upstream.failures import from_response


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": {"message": "no", "code": "context_length_exceeded"}}', errors.ContextTooLong),
        (400, b'{"error": {"message": "the request exceeds the available context size"}}', errors.ContextTooLong),
        (400, b'{"error": {"message": "unknown role", "type": "invalid_request_error"}}', errors.RequestRefused),
        (404, b'{"error": {"message": "no such model"}}', errors.RequestRefused),
        (422, b'{"detail": "temperature"}', errors.RequestRefused),
        (429, b'{"error": {"message": "slow down"}}', errors.RateLimited),
        (429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}', errors.QuotaUsedUp),
        (402, b'{"error": {"message": "Insufficient Balance"}}', errors.QuotaUsedUp),
        (408, b"", errors.UpstreamUnavailable),
        (500, b"oops", errors.UpstreamUnavailable),
        (502, b"<html>", errors.UpstreamUnavailable),
        (529, b'{"error": {"message": "busy"}}', errors.UpstreamUnavailable),
    ],
)
def test_an_upstreams_refusal_is_understood(status: int, body: bytes, kind: type[errors.RunFailed]) -> None:
    text = str(from_response(status, body, {}).error)
    assert type(errors.run_failed(text)) is kind, text


def test_a_node_that_came_too_late_is_one_to_ask_again_for() -> None:
    text = (
        'PluginInvokeError: {"error_type":"InvokeBadRequestError","message":"The bridge answered 410: the run of this"}'
    )
    assert type(errors.run_failed(text)) is errors.NodeTooLate
    assert client_error(errors.run_failed(text)).status == 503


def test_an_upstream_that_breaks_off_is_understood() -> None:
    assert type(errors.run_failed(CUT_OFF)) is errors.UpstreamUnavailable
