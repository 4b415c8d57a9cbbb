"""Every error that an invocation can end with, and how secrets stay out of its text.

ProviderError
├── Unreachable     InvokeConnectionError          no connection, or it broke off
├── Unavailable     InvokeServerUnavailableError   the other side cannot serve now
│   └── Suspended                                  the run goes on later, when its results are there
├── RateLimited     InvokeRateLimitError           too many requests or no quota left
├── Unauthorized    InvokeBadRequestError          a key is wrong: Dify keeps no word of an authorization error
└── Refused         InvokeBadRequestError          the request cannot work; sending it again does not help
    ├── ContextTooLong                             the prompt does not fit; the text says context_length_exceeded
    ├── Cancelled                                  the bridge ended the run
    ├── ChoiceIgnored                              the model does not keep to tool_choice
    ├── ResultsMissing                             the results did not come in time, and the node is to fail then
    └── RunNotFound                                the bridge knows no run of this node, which is to fail then

On the right are four of the SDK's typed errors: Dify understands no others.
"""

import re
from collections.abc import Iterable

_LONGEST = 600
_SHORTEST_SECRET = 8
"""A shorter one may be an everyday word (`ollama`, `none`), and is hidden only where it stands as a key."""

_SECRET = re.compile(r"\b(sk-|Bearer\s+)[\w.*+/=-]{6,}", re.IGNORECASE)
_AS_KEY = r"((?:api[ _-]?key|key|token|password|bearer)(?:\s+(?:provided|is))?\s*[:=]?\s*[\"'`]?){}(?![\w-])"
_USER_INFO = re.compile(r"(://)[^/\s@]+@")


class ProviderError(Exception):
    """An invocation cannot go on. The text says what to change, and holds no secret."""


class Unreachable(ProviderError):
    """No connection to the upstream or the bridge, or it broke off."""


class Unavailable(ProviderError):
    """The other side cannot serve now."""


class SaidNothing(Unavailable):
    """The upstream answered, and said and called nothing."""


class Suspended(Unavailable):
    """The invocation let go of its workflow; the bridge runs it again when the results are there."""


class RateLimited(ProviderError):
    """Too many requests, or no quota left."""


class Unauthorized(ProviderError):
    """A key or token is wrong."""


class Refused(ProviderError):
    """The request cannot work."""


class ContextTooLong(Refused):
    """The prompt does not fit the upstream's context."""


class Cancelled(Refused):
    """The bridge ended the run."""


class ChoiceIgnored(Refused):
    """The model does not keep to tool_choice, although it was asked twice."""


class ResultsMissing(Refused):
    """The results did not come in time, and the node is to fail then."""


class RunNotFound(Refused):
    """The bridge knows no run that this node belongs to, and the node is to fail then."""


def with_advice(said: str, advice: str) -> str:
    """Return foreign words, which may or may not end like a sentence, and what to do about them."""
    return f"{said}{'' if said.endswith(tuple('.!?…。！？')) else '.'} {advice}"


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Return foreign `text` on one line, shortened, and without `secrets` or anything that looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
        elif secret:
            text = re.sub(_AS_KEY.format(re.escape(secret)), r"\1***", text, flags=re.IGNORECASE)
    text = _USER_INFO.sub(r"\1***@", _SECRET.sub(r"\1***", text))
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
