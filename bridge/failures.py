"""What a client is told when Dify or the upstream fails: by what the client does with each status.

    400 context_length_exceeded   the client compacts its history and tries again
    429, 503 with Retry-After     waiting helps: the client tries again by itself
    422                           someone has to change something: the client shows the text

Never 401, 402 or 403, whatever the app's key or the upstream's credentials are worth: clients switch the whole
provider off on these.
"""

import re

from bridge.dify import errors as dify
from bridge.errors import BridgeError, ContextTooLong, TooManyRequests, Unavailable, UnprocessableRun

RETRY_SECONDS = 5.0


def client_error(error: dify.DifyError) -> BridgeError:
    """Return the error that a client of the bridge sees."""
    kind = next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
    match error:
        case dify.ContextTooLong():
            return ContextTooLong(f"maximum context length exceeded: {error}")
        case dify.TooManyRequests() | dify.RateLimited():
            return TooManyRequests(str(error), retry_after=error.retry_after or RETRY_SECONDS)
        case _ if error.waiting_helps:
            return Unavailable(str(error), code=code, retry_after=error.retry_after or RETRY_SECONDS)
        case _:
            return UnprocessableRun(str(error), code=code)
