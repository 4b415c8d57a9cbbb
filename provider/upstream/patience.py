"""How long an answer may keep silent: one limit before its first word, another between two pieces.

httpx has one limit for every read. This one ends the connection when the time is up, which wakes whoever reads from it.
"""

import os
import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx


class Patience:
    """Watches one response: `with Patience(response, first, between) as patience`, then `patience.heard()`."""

    def __init__(self, response: httpx.Response, first: float, between: float) -> None:
        self._response = response
        self._between = between
        self._until = time.monotonic() + first
        self._news = threading.Event()
        self._is_over = False
        self.lost = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="Patience", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._news.set()

    def heard(self) -> None:
        """Something came: the silence begins anew."""
        self._until = time.monotonic() + self._between

    def end(self, seconds: float) -> None:
        """Only the end is still to come, for which this is long enough."""
        self._until = time.monotonic() + seconds
        self._news.set()

    def _watch(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            # Never longer than the second limit: the first word may come at once and bring it into force.
            self._news.wait(min(left, self._between))
            self._news.clear()
            if self._is_over:
                return
        if self._response.is_closed:
            return  # its connection may serve another request by now
        self.lost = True
        _hang_up(self._response.extensions.get("network_stream"))


def _hang_up(stream: Any) -> None:
    connection = stream.get_extra_info("socket") if stream else None
    if connection is None:
        return
    # A socket of its own on the same connection: neither TLS nor gevent stands between it and the shutdown.
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as other:
            other.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
