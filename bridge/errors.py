"""Every error that a client of the bridge can see, in OpenAI's shape.

BridgeError
├── InvalidRequest          400   what the client sent cannot work; sending it again does not help
│   ├── ContextTooLong      400   the prompt is too long: clients compact their history and try again
│   └── UnprocessableRun    422   the chatflow itself refused or failed; someone has to change the app
├── Unauthorized            401   the bearer token is missing or wrong (never used for a problem behind the bridge:
│                                 OpenClaw switches the whole provider off on 401, 402 and 403)
├── Forbidden               403   the caller is known, and this is for somebody else; no client of the endpoint gets it
├── NotFound                404   no such model, ticket, run
├── TooSlow                 408   the request did not arrive in time
├── Conflict                409   the request contradicts what was accepted already
├── Gone                    410   the ticket or run ended before this arrived
├── TooLarge                413   a body or a result exceeds its limit
├── UnsupportedEncoding     415   the body is packed in a way that is not read
├── TooManyRequests         429   waiting helps
├── Unavailable             503   waiting helps: Dify or the upstream is out of reach for now
└── Internal                500   a fault of the bridge itself
"""

from typing import Any, Self


class BridgeError(Exception):
    """An error with everything that its OpenAI-shaped body needs. The text says what to change."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after

    def fresh(self) -> Self:
        """Return the same error as one that was never raised.

        A raised one keeps the frames that it went through, and all that they hold. What is kept to be raised once more,
        or by several, is kept fresh and raised fresh.
        """
        made = type(self).__new__(type(self), *self.args)
        made.__dict__.update(self.__dict__)
        return made

    def body(self) -> dict[str, Any]:
        """Return `{"error": {message, type, param, code}}`."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the headers that tell a client when to come back."""
        # Codex gives up at a 429 that does not say when to come back.
        seconds = 1 if self.retry_after is None and self.status == 429 else self.retry_after
        return {} if seconds is None else {"Retry-After": str(max(1, round(seconds)))}


class InvalidRequest(BridgeError):
    """The request is wrong. Sending it again does not help."""

    status = 400
    type = "invalid_request_error"


class ContextTooLong(InvalidRequest):
    """The prompt is too long for the upstream's context."""

    code = "context_length_exceeded"


class UnprocessableRun(BridgeError):
    """The chatflow refused the request or failed. Sending it again does not help."""

    status = 422
    type = "invalid_request_error"
    code = "chatflow_failed"


class Unauthorized(BridgeError):
    """The bearer token is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(BridgeError):
    """The caller may not do this."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(BridgeError):
    """The named object does not exist."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class TooSlow(BridgeError):
    """The request did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class Conflict(BridgeError):
    """The request contradicts an earlier one, and changed nothing."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class Gone(BridgeError):
    """The ticket or run ended before the request arrived."""

    status = 410
    type = "invalid_request_error"
    code = "gone"


class TooLarge(BridgeError):
    """A body or a result is larger than its limit."""

    status = 413
    type = "invalid_request_error"
    code = "too_large"


class UnsupportedEncoding(BridgeError):
    """The bridge does not support the encoding of the body."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_encoding"


class TooManyRequests(BridgeError):
    """There are too many requests. Waiting helps."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class Unavailable(BridgeError):
    """Dify or the upstream cannot be reached at the moment."""

    status = 503
    type = "server_error"
    code = "unavailable"


class Internal(BridgeError):
    """The bridge failed."""

    code = "internal_error"
