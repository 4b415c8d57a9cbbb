"""What an upstream's refusal means."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from provider.engine.events import UpstreamFailed
from provider.errors import (
    ContextTooLong,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    clean,
    with_advice,
)
from provider.upstream.wordings import seconds_in, tells_filtered, tells_no_quota, tells_rate, tells_too_long

_BAD_CALL = "tool_use_failed"
"""Groq's word for a call that it could not read; the model writes another one when it is asked again."""
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}


def from_response(status: int, body: bytes, headers: Mapping[str, str], secrets: Sequence[str] = ()) -> UpstreamFailed:
    """Return what an error response of the upstream means."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = {"error": {"message": body.decode(errors="replace")}}
    # Gemini's errors stand in a list.
    parsed = parsed[0] if isinstance(parsed, list) and parsed else parsed
    failed = from_body(status, parsed if isinstance(parsed, dict) else {"error": {"message": str(parsed)}}, secrets)
    asked = retry_after(headers)
    return UpstreamFailed(failed.error, failed.transient, failed.retry_after if asked is None else asked, status)


def from_body(status: int | None, body: Mapping[str, Any], secrets: Sequence[str] = ()) -> UpstreamFailed:
    """Return what an error body means; within a stream there is no `status` beside it, at best a number inside."""
    error = body.get("error", body)
    fields = error if isinstance(error, dict) else {}
    message = fields.get("message") or body.get("message") or body.get("detail") or error
    code = str(fields.get("code") or fields.get("type") or "")
    message, param = _cause(fields) or message, fields.get("param")
    if param and isinstance(message, str) and str(param) not in message:
        message = f"{message} ({param})"
    said = clean(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False), secrets)
    words = f"{code} {fields.get('type') or ''} {said}"
    if status is None:
        numbered = code.isdigit() and 400 <= int(code) < 600
        status = int(code) if numbered else 429 if tells_rate(429, words) else 500
    meant = _error(status, code, said, words)
    if isinstance(meant, RateLimited):
        passes = status != 402 and not tells_no_quota(words)
    else:
        passes = code == _BAD_CALL or (status in _TRANSIENT and not isinstance(meant, Refused))
    return UpstreamFailed(meant, passes, seconds_in(said), status)


def _cause(fields: Mapping[str, Any]) -> Any:
    """Return what the server behind a gateway said: OpenRouter's own words only say that there is one."""
    metadata = fields.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return None
    try:
        inner = json.loads(raw)
    except ValueError:
        return raw.strip() or None
    error = inner.get("error", inner) if isinstance(inner, dict) else inner
    return (error.get("message") if isinstance(error, dict) else None) or error


def _error(status: int, code: str, said: str, words: str) -> ProviderError:
    told = f"The upstream answered {status}: {said or 'nothing more'}"
    if tells_too_long(status, code, said):
        return ContextTooLong(f"context_length_exceeded. {told}")
    if tells_filtered(words):
        return Refused(f"The upstream's filter refuses what is asked: {said}")
    if status == 402 or (status != 404 and tells_no_quota(words)):
        return RateLimited(with_advice(told, "The account at the upstream has no quota left"))
    if status == 429 or (status in {400, 403, 413} and tells_rate(status, words)):
        return RateLimited(told)
    if status in {401, 403}:
        return Unauthorized(with_advice(told, "Check upstream_api_key"))
    if status == 404 or 300 <= status < 400:
        return Refused(with_advice(told, "Check upstream_base_url (it usually ends in /v1) and upstream_model"))
    if status in _TRANSIENT or status >= 500:
        return Unavailable(told)
    return Refused(told)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how many seconds the upstream asks us to wait: OpenAI's milliseconds, or else Retry-After.

    That is a number of seconds or a date; source: RFC 9110, section 10.2.3.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    asked = headers.get("retry-after", "")
    seconds = _number(asked)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        date = parsedate_to_datetime(asked)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
