"""What an upstream's refusal means."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from provider.errors import (
    ContextTooLong,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    clean,
)
from provider.events import UpstreamFailed

# How OpenAI, vLLM, llama.cpp, DeepSeek, Anthropic, Qwen and Ollama say that a prompt does not fit.
_TOO_LONG = re.compile(
    r"context.?length|context.?window|maximum context|context size|prompt is too long|input is too long"
    r"|too many (input )?tokens|range of input length|exceeds? the (model'?s )?(maximum|available) (context|number of)"
    r"|reduce the length of (the )?(messages|prompt|input)",
    re.IGNORECASE,
)
_NO_QUOTA = re.compile(r"insufficient.?(quota|balance)|billing|exceeded your current quota", re.IGNORECASE)
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}


def from_response(status: int, body: bytes, retry_after: str | None, secrets: Sequence[str] = ()) -> UpstreamFailed:
    """Return what an error response of the upstream means."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = {"error": {"message": body.decode(errors="replace")}}
    failed = from_body(status, parsed if isinstance(parsed, dict) else {"error": {"message": str(parsed)}}, secrets)
    return UpstreamFailed(failed.error, failed.transient, seconds_of(retry_after), status)


def from_body(status: int | None, body: Mapping[str, Any], secrets: Sequence[str] = ()) -> UpstreamFailed:
    """Return what an error body means; within a stream there is no `status` beside it, at best a number inside."""
    error = body.get("error", body)
    fields = error if isinstance(error, dict) else {}
    message = fields.get("message") or body.get("message") or body.get("detail") or error
    code = str(fields.get("code") or fields.get("type") or "")
    if status is None:
        status = int(code) if code.isdigit() else 500
    said = clean(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False), secrets)
    out_of_quota = bool(_NO_QUOTA.search(f"{code} {said}"))
    return UpstreamFailed(
        error=_error(status, code, said, out_of_quota=out_of_quota),
        transient=status in _TRANSIENT and not (status == 429 and out_of_quota),
        status=status,
    )


def _error(status: int, code: str, said: str, *, out_of_quota: bool) -> ProviderError:
    told = f"The upstream answered {status}: {said or 'nothing more'}"
    if status in {400, 413, 422} and (code == "context_length_exceeded" or _TOO_LONG.search(said)):
        return ContextTooLong(f"context_length_exceeded. {told}")
    if status in {401, 403}:
        return Unauthorized(f"{told}. Check upstream_api_key")
    if status == 402 or (status == 429 and out_of_quota):
        return RateLimited(f"{told}. The account at the upstream has no quota left")
    if status == 429:
        return RateLimited(told)
    if status == 404 or 300 <= status < 400:
        return Refused(f"{told}. Check upstream_base_url (it usually ends in /v1) and upstream_model")
    if status in _TRANSIENT or status >= 500:
        return Unavailable(told)
    return Refused(told)


def seconds_of(retry_after: str | None) -> float | None:
    """Return a Retry-After header in seconds; a date, which no model server sends, counts as none."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
