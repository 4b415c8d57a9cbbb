"""The id of the request at hand: in each line of the log, in each answer, and with the plugin on its way through Dify.

A client may give its own in `X-Request-Id`. The run that its request starts keeps it, an invocation of the plugin gets
it when it attaches to that run, and sends it with whatever it asks of the bridge from then on.
"""

import re
from contextvars import ContextVar

from tools.ids import random_name

HEADER = "X-Request-Id"
_SOUND = re.compile(r"^[A-Za-z0-9_.:-]{1,128}$")
_current: ContextVar[str] = ContextVar("clawback_request_id", default="")


def current() -> str:
    """Return the id of the request that this thread works for; empty where it works for none."""
    return _current.get()


def take(given: str) -> None:
    """Begin a request that came with this id; one that came with none, or with nonsense, is given one."""
    go_on_with(given if _SOUND.match(given) else f"req_{random_name(20)}")


def go_on_with(request_id: str) -> None:
    """Let the request at hand be part of another."""
    _current.set(request_id)
