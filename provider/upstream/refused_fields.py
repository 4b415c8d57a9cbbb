"""Fields that some upstreams refuse and that a request can do without.

It is sent again without them, and so is every later one. What a node sets itself (a temperature, a seed) is not among
them: there the upstream's words name what to change.
"""

import logging
import re
from dataclasses import dataclass
from typing import Any

from provider.engine.events import UpstreamFailed
from provider.errors import ContextTooLong

log = logging.getLogger(__name__)

_STATUSES = {400, 404, 422, 500, 501}


@dataclass(frozen=True, slots=True)
class Field:
    """A field, how a refusal speaks of it, and what it is called instead, if there is another name.

    `needed_by` is a field that makes no sense without it.
    """

    name: str
    refusal: re.Pattern[str]
    instead: str | None = None
    needed_by: str | None = None


FIELDS = (
    Field("stream_options", re.compile(r"stream_options|include_usage")),
    Field("tool_choice", re.compile(r"tool_choice|tool choice", re.IGNORECASE)),
    Field("parallel_tool_calls", re.compile(r"parallel_tool_calls|parallel tool", re.IGNORECASE)),
    Field("max_tokens", re.compile(r"max_completion_tokens"), "max_completion_tokens"),
    Field("max_completion_tokens", re.compile(r"max_completion_tokens"), "max_tokens"),
    Field("user", re.compile(r"[\"'`]user(_id)?[\"'`](?! role)|parameters?:? user\b")),
    Field(
        "stream",
        re.compile(
            r"\bstream(ing)?\b.{0,60}(not|un)[ -]?(be )?(supported|allowed|available)|"
            r"not support.{0,20}\bstream(ing)?\b",
            re.IGNORECASE,
        ),
        needed_by="stream_options",
    ),
)

_refused: dict[tuple[str, str], tuple[Field, ...]] = {}
"""What each upstream (its address and the model) has refused since this process began."""


def learn(upstream: tuple[str, str], body: dict[str, Any], failed: UpstreamFailed) -> str | None:
    """Remember which field of `body` was refused, and return its name if it is one that a request can do without."""
    if failed.status not in _STATUSES or isinstance(failed.error, ContextTooLong):
        return None
    said = str(failed.error)
    for field in FIELDS:
        if body.get(field.name) not in (None, False) and field.refusal.search(said):
            known = _refused.get(upstream, ())
            if field not in known:  # another request may have learned it meanwhile
                _refused[upstream] = (*known, field)
                log.warning("this upstream refuses %s, so it is left out from now on: %s", field.name, said)
            return field.name
    return None


def without_refused(upstream: tuple[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` as the upstream has shown that it wants it."""
    written = dict(body)
    for field in _refused.get(upstream, ()):
        value = written.pop(field.name, None)
        if value is not None and field.instead:
            written[field.instead] = value
        if field.needed_by:
            written.pop(field.needed_by, None)
    return written


def refuses(upstream: tuple[str, str], name: str) -> bool:
    """Say whether the upstream has refused a field."""
    return any(field.name == name for field in _refused.get(upstream, ()))


def forget() -> None:
    """Forget what was refused."""
    _refused.clear()
