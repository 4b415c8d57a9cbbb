"""The bridge's log lines name the request that they belong to, and gunicorn's own have their form."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from bridge.runs import request_id
from tools import logs


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
    logs.configure(level, as_json, _RequestId())
