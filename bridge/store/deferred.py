"""Writes that may be late: they go with the next commit, or are written by themselves a moment later.

What is deferred is of use to those who watch, or is learned again where it is lost: a process that is killed takes what
it has not written with it.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from bridge.store.faults import StoreUnavailable
from bridge.store.statements import Statement

log = logging.getLogger("clawback.store")

LATEST_SECONDS = 0.5
MOST = 10_000
"""Beyond so many, which a store that cannot be written leads to, the oldest are lost."""


class Deferred:
    """The writes that wait."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._waiting: list[Statement] = []
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def add(self, statement: Statement) -> None:
        """Write this soon."""
        self._waiting = [*self._waiting[-MOST:], statement]
        if self._timer is None and not self._is_closed:
            self._timer = threading.Timer(LATEST_SECONDS, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def waiting(self) -> Sequence[Statement]:
        """Return what waits; `written` takes it away."""
        return self._waiting

    def written(self, statements: Sequence[Statement]) -> None:
        """These are written."""
        self._waiting = self._waiting[len(statements) :]

    def write(self) -> None:
        """Write what waits now."""
        statements = self._waiting
        if statements:
            with self._transaction() as connection:
                for statement in statements:
                    connection.execute(*statement)
            self.written(statements)

    def close(self) -> None:
        """Write what waits, and nothing from then on."""
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
        self._on_time()

    def _on_time(self) -> None:
        self._timer = None
        try:
            self.write()
        except StoreUnavailable as error:
            log.warning("what those who watch would see is not written yet: %s", error.reason)
        except SQLAlchemyError as error:
            log.warning("what those who watch would see could not be written: %s", type(error).__name__)
