"""The statements about who is logged in to the web page, each with a sentence above it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, delete, insert, select

from bridge.store import schema as t
from bridge.store.rows import LoginRow


class LoginStatements:
    """The part of the store that knows who is logged in. Only digests are kept: nobody can log in with what is here."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def add(self, login: LoginRow) -> None:
        """Write a login, and forget those that are over."""
        with self._transaction() as connection:
            connection.execute(delete(t.logins).where(t.logins.c.expires_at <= time.time()))
            connection.execute(insert(t.logins).values(**{name: getattr(login, name) for name in LoginRow.__slots__}))

    def find(self, digest: str) -> LoginRow | None:
        """Find a login that is not over."""
        columns = [t.logins.c[name] for name in LoginRow.__slots__]
        with self._transaction() as connection:
            row = connection.execute(
                select(*columns).where(t.logins.c.digest == digest, t.logins.c.expires_at > time.time())
            ).first()
            return LoginRow(**row._mapping) if row else None

    def end(self, digest: str) -> None:
        """Forget a login."""
        with self._transaction() as connection:
            connection.execute(delete(t.logins).where(t.logins.c.digest == digest))
