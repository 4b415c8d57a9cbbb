"""Logs for people, or as JSON. Only what a log line names as its extras is shown; no content, no secrets."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from gunicorn.glogging import Logger

from bridge.runs import request_id

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


class _RequestId(logging.Filter):
    """Names the request that a line belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id") and (current := request_id.current()):
            record.request_id = current
        return True


class ServerLog(Logger):
    """gunicorn's own lines, in the form of all others."""

    def setup(self, cfg: Any) -> None:
        """Let our handler write them."""
        super().setup(cfg)
        self.error_log.handlers[:] = logging.getLogger("clawback").handlers


def configure(level: str, as_json: bool) -> None:
    """Log to standard error, from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Readable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_RequestId())
    root = logging.getLogger("clawback")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
