"""Logs for people, or as JSON. Only what a log line names as its extras is shown; no content, no secrets.

A line stays one line, and shows what it holds of control characters.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from tools.visible import visible, visible_json

_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _PLAIN}


class Readable(logging.Formatter):
    """Writes a line for people, with a traceback below it where there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the standard library
        """Return the line."""
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        return visible(f"{super().formatMessage(record)} {extras}".rstrip())

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name of the standard library
        """Return the traceback."""
        return visible(super().formatException(ei), lines=True)


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return visible_json(_encode(line))


def configure(level: str, as_json: bool, *filters: logging.Filter) -> None:
    """Log to standard error, from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else Readable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for each in filters:
        handler.addFilter(each)
    root = logging.getLogger("clawback")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
