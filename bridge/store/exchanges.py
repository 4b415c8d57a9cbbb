"""The statements about what was said last in each conversation, each with a sentence above it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, select

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import ExchangeRow
from bridge.store.statements import Statement, inserting


class ExchangeStatements:
    """The part of the store that leads a client without a name of its own back to its conversation."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    @staticmethod
    def adding(session_key: str, digest: str, whole: str, inputs: str, frame: str) -> Statement:
        """Return the statement that writes what was said last in a session."""
        values = {"session_key": session_key, "digest": digest, "whole": whole, "inputs": inputs, "frame": frame}
        return inserting(t.exchanges, values | {"updated_at": clock.now()})

    def with_digest(self, digest: str) -> list[ExchangeRow]:
        """List the exchanges in these words, of all sessions, oldest first."""
        return self._read(t.exchanges.c.digest == digest)

    def latest(self, session_key: str) -> ExchangeRow | None:
        """Find what was said last in a session."""
        return next(iter(self._read(t.exchanges.c.session_key == session_key)[-1:]), None)

    def up_to(self, exchange: ExchangeRow) -> list[str]:
        """List the digests of what was said in an exchange's session, up to it, oldest first."""
        here = (t.exchanges.c.session_key == exchange.session_key, t.exchanges.c.id <= exchange.id)
        return [row.digest for row in self._read(*here)]

    def _read(self, *conditions: object) -> list[ExchangeRow]:
        columns = [t.exchanges.c[name] for name in ExchangeRow.__slots__]
        with self._transaction() as connection:
            rows = connection.execute(select(*columns).where(*conditions).order_by(t.exchanges.c.id))  # type: ignore[arg-type]
            return [ExchangeRow(**row._mapping) for row in rows]
