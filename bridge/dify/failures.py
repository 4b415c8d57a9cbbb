"""What a client is told when Dify or the upstream fails: by what the client does with each status.

    400 context_length_exceeded   the client compacts its history and tries again
    429, 503 with Retry-After     waiting helps: the client tries again by itself
    400 with param inputs.NAME    the request gave a variable of the app a value that does not fit
    422                           someone has to change something: the client shows the text

Never 401, 402 or 403, whatever the app's key or the upstream's credentials are worth: clients switch the whole
provider off on these.
"""

import re

from bridge.dify import errors as dify
from bridge.errors import BridgeError, ContextTooLong, InvalidRequest, TooManyRequests, Unavailable, UnprocessableRun

RETRY_SECONDS = 5.0
_REFUSED_INPUT = re.compile(r"(\w+)(?: is required)? in input form")
"""How Dify speaks of a Start node's variable: `core/app/apps/base_app_generator.py` of 1.16."""


def client_error(error: dify.DifyError) -> BridgeError:
    """Return the error that a client of the bridge sees."""
    match error:
        case dify.ContextTooLong():
            return ContextTooLong(f"maximum context length exceeded: {error}")
        case dify.TooManyRequests() | dify.RateLimited():
            return TooManyRequests(str(error), retry_after=error.retry_after or RETRY_SECONDS)
        case dify.InputRefused() | dify.InvalidInput() if refused := _REFUSED_INPUT.search(error.message):
            return InvalidRequest(str(error), code="invalid_input", param=f"inputs.{refused[1]}")
        case _ if error.waiting_helps:
            return Unavailable(str(error), code=error.code, retry_after=error.retry_after or RETRY_SECONDS)
        case _:
            return UnprocessableRun(str(error), code=error.code)
