"""Logs for people, or as JSON. Only what a log line names as its extras is shown; no content, no secrets."""

import json
import logging
import sys
from datetime import UTC, datetime

_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _PLAIN}


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        return f"{super().format(record)} {extras}".rstrip()


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
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, as_json: bool, *filters: logging.Filter) -> None:
    """Log to standard error, from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Readable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for each in filters:
        handler.addFilter(each)
    root = logging.getLogger("clawback")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
