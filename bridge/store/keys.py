"""The statements about who shows what: logins to the web page, and clients with tokens of their own.

Each has a sentence above it. Only digests are kept: nobody can log in, or ask, with what is here.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.due import abandoned
from bridge.store.rows import ClientRow, LoginRow
from bridge.store.statements import Deferred, columns_of, execute, inserting, updating, values_of
from tools.fingerprint import text_digest

DAY_SECONDS = 86_400
USED_SECONDS = 60.0
"""How old the note of a client's last use may be."""


class LoginStatements:
    """The part of the store that knows who is logged in."""

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


class ClientStatements:
    """The part of the store that knows the clients, and what each has used."""

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        deferred: Deferred,
        upsert: Callable[[Any], Any],
    ) -> None:
        self._transaction = transaction
        self._deferred = deferred
        adding = upsert(t.spent)
        self._adding = adding.on_conflict_do_update(
            index_elements=["client", "day"], set_={"tokens": t.spent.c.tokens + adding.excluded.tokens}
        )

    def add(self, client: ClientRow) -> bool:
        """Write a client; say no where the name is taken."""
        with self._transaction() as connection:
            if connection.execute(_CLIENT_NAMED, {"at": client.name}).first():
                return False
            execute(connection, inserting(t.clients, values_of(client)))
        return True

    def revoke(self, name: str) -> bool:
        """Forget a client and say whether it was known. What it did is kept."""
        with self._transaction() as connection:
            return connection.execute(delete(t.clients).where(t.clients.c.name == name)).rowcount == 1

    def all(self) -> list[ClientRow]:
        """List the clients, by name."""
        with self._transaction() as connection:
            return [ClientRow(*row) for row in connection.execute(_CLIENTS)]

    def with_hash(self, token_hash: str) -> ClientRow | None:
        """Find the client with this token, unless it has expired."""
        with self._transaction() as connection:
            row = connection.execute(_CLIENT_WITH_HASH, {"at": token_hash}).first()
        client = ClientRow(*row) if row else None
        return client if client and (client.expires_at is None or client.expires_at > clock.now()) else None

    def used(self, client: ClientRow) -> None:
        """Note that a client was here."""
        now = clock.now()
        if now - (client.used_at or 0) > USED_SECONDS:
            self._deferred.add(updating(t.clients, {"name": client.name}, {"used_at": now}))

    def spend(self, name: str, tokens: int) -> None:
        """Count tokens that a client has used today."""
        values = {"client": name, "day": _today(), "tokens": tokens}
        if tokens:
            self._deferred.add((self._adding, values))

    def spent_today(self, name: str) -> int:
        """Return how many tokens a client has used today."""
        self._deferred.write()
        with self._transaction() as connection:
            found: int | None = connection.execute(_SPENT, {"client": name, "day": _today()}).scalar_one_or_none()
        return found or 0

    def open_tickets_of_model(self, model: str, left_before: float) -> int:
        """Count the open tickets of all clients' runs of an app, without those left unanswered since a time."""
        with self._transaction() as connection:
            return int(connection.execute(_OPEN_TICKETS_OF_MODEL, {"at": model, "before": left_before}).scalar_one())

    def open_tickets(self, name: str, left_before: float) -> int:
        """Count the open tickets of a client's runs, without those that it has left unanswered since a time."""
        with self._transaction() as connection:
            return int(connection.execute(_OPEN_TICKETS, {"at": name, "before": left_before}).scalar_one())


def spender(model: str) -> str:
    """Return under which name an app's tokens are counted; no client can have it."""
    return f"app {text_digest(model)[:48]}"


def _today() -> int:
    return int(clock.now() // DAY_SECONDS)


_CLIENTS = select(*columns_of(t.clients, ClientRow)).order_by(t.clients.c.name)
_CLIENT_NAMED = select(t.clients.c.name).where(t.clients.c.name == bindparam("at"))
_CLIENT_WITH_HASH = select(*columns_of(t.clients, ClientRow)).where(t.clients.c.token_hash == bindparam("at"))
_SPENT = select(t.spent.c.tokens).where(t.spent.c.client == bindparam("client"), t.spent.c.day == bindparam("day"))
_OF_OPEN_TICKETS = (
    select(func.count())
    .select_from(t.tickets)
    .join(t.runs, t.runs.c.id == t.tickets.c.run_id)
    .where(t.tickets.c.state == "open", ~abandoned(bindparam("before")))
)
_OPEN_TICKETS = _OF_OPEN_TICKETS.where(t.runs.c.client == bindparam("at"))
_OPEN_TICKETS_OF_MODEL = _OF_OPEN_TICKETS.where(t.runs.c.model == bindparam("at"), t.runs.c.direction == "endpoint")
