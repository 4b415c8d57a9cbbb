"""Reads a segment for one client: keeps the connection alive, and notices when the client has gone."""

import logging
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

from bridge.errors import Gone
from bridge.runs import Runs
from bridge.segments import Event, Segment

log = logging.getLogger("clawback.endpoint")

_LOOK_SECONDS = 1.0


class ClientGone(Gone):
    """The client closed its connection; nobody will read this error."""

    def __init__(self) -> None:
        super().__init__("the client closed its connection", code="client_gone")


def connection_of(environ: dict[str, Any]) -> socket.socket | None:
    """Return the client's socket where the server shows it (gunicorn does)."""
    connection = environ.get("gunicorn.socket")
    return connection if isinstance(connection, socket.socket) else None


def is_gone(connection: socket.socket | None) -> bool:
    """Say whether the client has closed its side, without waiting."""
    if connection is None:
        return False
    try:
        # gevent's sockets wait whatever the flags say, so the end of the stream is only looked for where there is news.
        news = select.poll()
        news.register(connection, select.POLLIN)
        return bool(news.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def follow(
    runs: Runs, run_id: str, segment: Segment, connection: socket.socket | None, keepalive_seconds: float
) -> Iterator[Event | None]:
    """Yield the segment's events from its beginning, and None whenever there was none for `keepalive_seconds`.

    Raises ClientGone. However it ends, the run learns that this reader has left.
    """
    runs.enter(segment)
    try:
        position, said_at = 0, time.monotonic()
        while True:
            events = segment.read(position, min(_LOOK_SECONDS, keepalive_seconds))
            yield from events
            position += len(events)
            if events:
                said_at = time.monotonic()
                if segment.closed and position >= segment.length:
                    return
                continue
            if is_gone(connection):
                raise ClientGone
            if time.monotonic() - said_at >= keepalive_seconds:
                said_at = time.monotonic()
                yield None
    finally:
        runs.leave(run_id, segment)
