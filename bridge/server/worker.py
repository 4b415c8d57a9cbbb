"""gunicorn's gevent worker, with an end to every wait for a client."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.ggevent import GeventWorker

from bridge.config import Limits
from bridge.errors import InvalidRequest, TooSlow
from bridge.runs.services import breathe

KERNEL_BYTES = 64 * 1024


class Worker(GeventWorker):
    """Knows which of its connections wait for a next request, and lets no client keep one for nothing.

    A stop does not wait for connections that nobody uses.
    """

    limits = Limits()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: dict[Any, gevent.Timeout] = {}

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:  # type: ignore[override]
        """Bound how long a connection waits for its next request and its headers."""
        waiting = gevent.getcurrent()
        with gevent.Timeout(self.cfg.keepalive, False) as limit:  # type: ignore[arg-type]
            self._idle[waiting] = limit
            try:
                yield
            finally:
                del self._idle[waiting]

    def release_idle(self) -> None:
        """Close the connections that wait for a next request, as if their time were up."""
        for waiting, limit in list(self._idle.items()):
            waiting.kill(limit, block=False)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection. The kernel ends one whose client takes nothing of what was written for it.

        It keeps little of it: what lies there counts neither as read by the client nor as the bridge's own memory.
        """
        with suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT") and client.family != socket.AF_UNIX:
            with suppress(OSError):
                milliseconds = round(self.limits.stalled_seconds * 1000)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        super().handle(listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:  # type: ignore[override]
        """Serve a request, whose body has to arrive in time too."""
        reader = TimelyReader(req.body.reader, self.limits.request_seconds)
        req.body.reader = reader
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client takes nothing any more") from error
        finally:
            # What was left unread is thrown away under the limit for the next request.
            reader.until = None


class TimelyReader:
    """Reads a request's body, all of which has to arrive within `seconds` from now."""

    def __init__(self, reader: Any, seconds: float) -> None:
        self.until: float | None = time.monotonic() + seconds
        self._reader = reader
        self._seconds = seconds
        self._unbroken = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises TooSlow and InvalidRequest, after which the connection is used no more.

        What comes after the answer has nobody to tell: gunicorn ends the connection as if its client had.
        """
        try:
            return self._timely(size)
        except (ParseException, OSError) as error:
            if self.until is None:
                raise NoMoreData from error
            raise InvalidRequest(f"the body cannot be read: {error}", code="invalid_body") from None

    def _timely(self, size: int) -> bytes:
        if self.until is None:
            return self._read(size)
        late = TooSlow(f"the request's body did not arrive within {self._seconds:g} s (limits.request_seconds)")
        with gevent.Timeout(max(0.0, self.until - time.monotonic()), late):
            return self._read(size)

    def _read(self, size: int) -> bytes:
        """Read on. What has arrived already comes without a wait, in pieces so small that many of them take long."""
        read = bytes(self._reader.read(size))
        self._unbroken += len(read)
        if self._unbroken > KERNEL_BYTES:
            self._unbroken = 0
            breathe()
        return read
