"""What an upstream's refusal means."""

import json
import math
import re
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
from provider.upstream.wordings import tells_rate, tells_too_long

_NO_QUOTA = re.compile(r"insufficient.?(quota|balance)|billing|exceeded your current quota", re.IGNORECASE)
_BAD_CALL = "tool_use_failed"
"""Groq's word for a call that it could not read; the model writes another one when it is asked again."""
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}


def from_response(status: int, body: bytes, headers: Mapping[str, str], secrets: Sequence[str] = ()) -> UpstreamFailed:
    """Return what an error response of the upstream means."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = {"error": {"message": body.decode(errors="replace")}}
    failed = from_body(status, parsed if isinstance(parsed, dict) else {"error": {"message": str(parsed)}}, secrets)
    return UpstreamFailed(failed.error, failed.transient, retry_after(headers), status)


def from_body(status: int | None, body: Mapping[str, Any], secrets: Sequence[str] = ()) -> UpstreamFailed:
    """Return what an error body means; within a stream there is no `status` beside it, at best a number inside."""
    error = body.get("error", body)
    fields = error if isinstance(error, dict) else {}
    message = fields.get("message") or body.get("message") or body.get("detail") or error
    code = str(fields.get("code") or fields.get("type") or "")
    message, param = _cause(fields) or message, fields.get("param")
    if param and isinstance(message, str) and str(param) not in message:
        message = f"{message} ({param})"
    if status is None:
        status = int(code) if code.isdigit() and 400 <= int(code) < 600 else 500
    said = clean(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False), secrets)
    out_of_quota = bool(_NO_QUOTA.search(f"{code} {said}"))
    meant = _error(status, code, said, out_of_quota=out_of_quota)
    rated = isinstance(meant, RateLimited) and status != 402
    passes = (
        (status in _TRANSIENT or rated or code == _BAD_CALL)
        and not out_of_quota
        and not isinstance(meant, ContextTooLong)
    )
    return UpstreamFailed(meant, transient=passes, status=status)


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


def _error(status: int, code: str, said: str, *, out_of_quota: bool) -> ProviderError:
    told = f"The upstream answered {status}: {said or 'nothing more'}"
    if tells_too_long(status, code, said):
        return ContextTooLong(f"context_length_exceeded. {told}")
    if status == 413 and tells_rate(said):
        return RateLimited(told)
    if status in {401, 403}:
        return Unauthorized(with_advice(told, "Check upstream_api_key"))
    if status == 402 or (status == 429 and out_of_quota):
        return RateLimited(with_advice(told, "The account at the upstream has no quota left"))
    if status == 429:
        return RateLimited(told)
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
