"""How a failed run is told: the `error` event of a stream, and the same as an HTTP error in blocking mode.

Sources: core/app/task_pipeline/based_generate_task_pipeline.py (handle_error) and
core/app/apps/base_app_generate_response_converter.py (_error_to_stream_response).
"""

from typing import Any

from graphon.model_runtime.errors.invoke import InvokeAuthorizationError, InvokeError, InvokeRateLimitError

from demo.box.errors import ProviderTokenNotInitError

# Later entries win, as in Dify: a rate limit error is also an invoke error, which is also a value error.
_CODES: tuple[tuple[type[Exception], str, int], ...] = (
    (ValueError, "invalid_param", 400),
    (ProviderTokenNotInitError, "provider_not_initialize", 400),
    (InvokeError, "completion_request_error", 400),
    (InvokeRateLimitError, "rate_limit_error", 429),
)


def run_failure(error: str) -> Exception:
    """The exception that stands for a workflow that failed."""
    return ValueError(f"Run failed: {error}")


def as_told(error: Exception) -> Exception:
    """What Dify makes of an exception outside of the graph before it tells anybody."""
    if isinstance(error, InvokeAuthorizationError):
        return InvokeAuthorizationError("Incorrect API key provided")
    if isinstance(error, InvokeError | ValueError):
        return error
    return Exception(described(error))


def described(error: Exception) -> str:
    """The text kept with the message."""
    return str(getattr(error, "description", None) or error) or "Internal Server Error, please contact support."


def error_response(error: Exception) -> dict[str, Any]:
    """The `error` event. It carries no task_id, unlike every other event."""
    found = [(code, status) for kind, code, status in _CODES if isinstance(error, kind)]
    if not found:
        message = "Internal Server Error, please contact support."
        return {"event": "error", "code": "internal_server_error", "message": message, "status": 500}
    code, status = found[-1]
    return {"event": "error", "code": code, "status": status, "message": described(error)}
