"""The statements about who has a token: clients, logins and executors, each with a sentence above it."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.due import abandoned
from bridge.store.rows import ClientRow, ExecutorRow, LoginRow
from bridge.store.statements import Deferred, Transaction, columns_of, execute, fetch, inserting, values_of
from tools.fingerprint import text_digest
from tools.ticket_states import CallState


class ExecutorStatements:
    """The part of the store that knows the executors."""

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction, self._reading = transaction, reading

    def register(self, executor: ExecutorRow) -> str | None:
        """Write an executor; one that had its name before is forgotten, and its id returned."""
        values = {name: getattr(executor, name) for name in ExecutorRow.__slots__}
        with self._transaction() as connection:
            former = connection.execute(
                select(t.executors.c.id).where(t.executors.c.name == executor.name)
            ).scalar_one_or_none()
            connection.execute(delete(t.executors).where(t.executors.c.name == executor.name))
            connection.execute(insert(t.executors).values(**values))
            return former

    def find(self, executor_id: str) -> ExecutorRow | None:
        """Find the executor with this id."""
        return next((executor for executor in self.all() if executor.id == executor_id), None)

    def all(self) -> list[ExecutorRow]:
        """List all executors that have registered and not left, by name."""
        with self._reading() as connection:
            return [ExecutorRow(*row) for row in fetch(connection, _EXECUTORS)]

    def seen(self, executor_id: str, **values: Any) -> bool:
        """Note that an executor is there, and what it changed; say whether it is known at all."""
        with self._transaction() as connection:
            changed = connection.execute(
                update(t.executors).where(t.executors.c.id == executor_id).values(seen_at=clock.now(), **values)
            )
            return changed.rowcount == 1

    def forget(self, executor_id: str) -> bool:
        """Forget an executor and say whether it was known."""
        with self._transaction() as connection:
            return connection.execute(delete(t.executors).where(t.executors.c.id == executor_id)).rowcount == 1

    def forget_unseen(self, cutoff: float) -> int:
        """Forget who was not seen since `cutoff`, and say how many that were."""
        with self._transaction() as connection:
            return connection.execute(delete(t.executors).where(t.executors.c.seen_at < cutoff)).rowcount

    def schemas(self, executor: str) -> dict[str, str]:
        """Return what is known of the tools of a `[[dify_tools]]`, by what each is called in Dify."""
        with self._reading() as connection:
            rows = connection.execute(
                select(t.dify_schemas.c.tool, t.dify_schemas.c.function).where(t.dify_schemas.c.executor == executor)
            )
            return {row.tool: row.function for row in rows}

    def write_schemas(self, executor: str, schemas: Mapping[str, str]) -> None:
        """Write what is known of the tools of a `[[dify_tools]]`, instead of what was."""
        rows = [{"executor": executor, "tool": tool, "function": function} for tool, function in schemas.items()]
        with self._transaction() as connection:
            connection.execute(delete(t.dify_schemas).where(t.dify_schemas.c.executor == executor))
            if rows:
                connection.execute(insert(t.dify_schemas), rows)

    def loads(self) -> dict[str, int]:
        """Count the calls that each executor holds under a lease, by the executor's id."""
        with self._reading() as connection:
            return {executor: count for executor, count in fetch(connection, _LOADS) if executor}


_LOADS = (
    select(t.calls.c.executor, func.count())
    .where(t.calls.c.state == CallState.LEASED.value)
    .group_by(t.calls.c.executor)
)
_EXECUTORS = select(*columns_of(t.executors, ExecutorRow)).order_by(t.executors.c.name)

DAY_SECONDS = 86_400
Whose = Literal["client", "model"]
"""Whether runs of a client are meant, or those of all clients of an app."""
USED_SECONDS = 60.0
"""How old the note of a client's last use may be."""


class LoginStatements:
    """The part of the store that knows who is logged in."""

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction, self._reading = transaction, reading

    def add(self, login: LoginRow) -> None:
        """Write a login, and forget those that are over."""
        with self._transaction() as connection:
            connection.execute(delete(t.logins).where(t.logins.c.expires_at <= time.time()))
            connection.execute(insert(t.logins).values(**{name: getattr(login, name) for name in LoginRow.__slots__}))

    def find(self, digest: str) -> LoginRow | None:
        """Find a login that is not over."""
        columns = [t.logins.c[name] for name in LoginRow.__slots__]
        with self._reading() as connection:
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
        transaction: Transaction,
        reading: Transaction,
        deferred: Deferred,
        upsert: Callable[[Any], Any],
    ) -> None:
        self._transaction, self._reading = transaction, reading
        self._deferred = deferred
        self._unlimited: set[str] = set()
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
            if client.kind == "executor":
                # One that has the name with the shared token has to choose another.
                connection.execute(delete(t.executors).where(t.executors.c.name == client.name))
        return True

    def revoke(self, name: str) -> bool:
        """Forget a client, or an executor with a token of its own, and say whether it was known.

        What it did is kept; what an executor holds is no longer its own.
        """
        with self._transaction() as connection:
            if connection.execute(_IS_EXECUTOR, {"at": name}).first():
                connection.execute(delete(t.executors).where(t.executors.c.name == name))
            return connection.execute(delete(t.clients).where(t.clients.c.name == name)).rowcount == 1

    def is_executor(self, name: str) -> bool:
        """Whether an executor of this name has a token of its own."""
        with self._transaction() as connection:
            return connection.execute(_IS_EXECUTOR, {"at": name}).first() is not None

    def all(self) -> list[ClientRow]:
        """List the clients, by name, as they were last here."""
        self._deferred.write()
        with self._reading() as connection:
            return [ClientRow(*row) for row in connection.execute(_CLIENTS)]

    def with_hash(self, token_hash: str) -> ClientRow | None:
        """Find the client with this token, unless it has expired."""
        with self._reading() as connection:
            found = fetch(connection, _CLIENT_WITH_HASH, at=token_hash)
        client = ClientRow(*found[0]) if found else None
        if client:
            (self._unlimited.add if client.tokens_per_day is None else self._unlimited.discard)(client.name)
        return client if client and (client.expires_at is None or client.expires_at > clock.now()) else None

    def used(self, client: ClientRow) -> None:
        """Note that a client was here."""
        now = clock.now()
        if now - (client.used_at or 0) > USED_SECONDS:
            self._deferred.update(t.clients, {"name": client.name}, {"used_at": now})

    def spend(self, name: str, tokens: int, *, is_limited: bool | None = None) -> None:
        """Count tokens that a client has used today: at once, unless it is known to have no limit."""
        if not tokens:
            return
        at, values = {"client": name, "day": _today()}, {"tokens": tokens}
        if name in self._unlimited if is_limited is None else not is_limited:
            self._deferred.count(self._adding, t.spent, at, values)
        else:
            with self._transaction() as connection:
                execute(connection, (self._adding, at | values))

    def spent_today(self, name: str) -> int:
        """Return how many tokens a client has used today."""
        self._deferred.write()
        with self._reading() as connection:
            return self.spent(connection, name)

    def spent(self, connection: Connection, name: str) -> int:
        """Return how many tokens one with a limit has used today."""
        found: int | None = connection.execute(_SPENT, {"client": name, "day": _today()}).scalar_one_or_none()
        return found or 0

    def one_by_one(self, connection: Connection, name: str) -> None:
        """Let nobody else decide about the same client until this transaction has ended."""
        if connection.dialect.name != "sqlite":
            connection.execute(_ALONE, {"at": int(text_digest(name)[:15], 16)})

    def held(self, connection: Connection, whose: Whose, name: str, left_before: float, driven_since: float) -> int:
        """Count what a client, or all of an app, may have to wait for: open tickets, and turns that may open one.

        Without tickets that have been left unanswered since a time, and turns that nobody has driven since another.
        """
        open_tickets, may_open = _HELD[whose]
        of = {"at": name, "before": left_before}
        running = {"at": name, "since": driven_since}
        return sum(
            int(connection.execute(counting, values).scalar_one())
            for counting, values in ((open_tickets, of), (may_open, running))
        )

    def begun(self, connection: Connection, whose: Whose, name: str, driven_since: float) -> int:
        """Count the turns under way of which no use of tokens is known yet."""
        return int(connection.execute(_BEGUN[whose], {"at": name, "since": driven_since}).scalar_one())


def spender(model: str) -> str:
    """Return under which name an app's tokens are counted; no client can have it."""
    return f"app {text_digest(model)[:48]}"


def _today() -> int:
    return int(clock.now() // DAY_SECONDS)


_CLIENTS = select(*columns_of(t.clients, ClientRow)).order_by(t.clients.c.name)
_CLIENT_NAMED = select(t.clients.c.name).where(t.clients.c.name == bindparam("at"))
_CLIENT_WITH_HASH = select(*columns_of(t.clients, ClientRow)).where(t.clients.c.token_hash == bindparam("at"))
_IS_EXECUTOR = _CLIENT_NAMED.where(t.clients.c.kind == "executor")
_SPENT = select(t.spent.c.tokens).where(t.spent.c.client == bindparam("client"), t.spent.c.day == bindparam("day"))
_ALONE = select(func.pg_advisory_xact_lock(bindparam("at", type_=BigInteger)))
_OF: Mapping[Whose, tuple[ColumnElement[bool], ...]] = {
    "client": (t.runs.c.client == bindparam("at"),),
    "model": (t.runs.c.model == bindparam("at"), t.runs.c.direction == "endpoint"),
}
_OPEN_TICKETS = (
    select(func.count())
    .select_from(t.tickets)
    .join(t.runs, t.runs.c.id == t.tickets.c.run_id)
    .where(t.tickets.c.state == "open", ~abandoned(bindparam("before")))
)
_TICKETS = select(t.tickets.c.id).where(t.tickets.c.run_id == t.runs.c.id)
_TOLD = select(t.invocations.c.id).where(t.invocations.c.run_id == t.runs.c.id, t.invocations.c.state != "running")
_UNDER_WAY = (
    select(func.count())
    .select_from(t.runs)
    .where(
        t.runs.c.state == "running",
        or_(t.runs.c.driven_at >= bindparam("since"), t.runs.c.direction == "mcp"),
    )
)
_MAY_OPEN = _UNDER_WAY.where(t.runs.c.auxiliary.is_(None), ~_TICKETS.where(t.tickets.c.state == "open").exists())
_NOTHING_KNOWN = _UNDER_WAY.where(~_TICKETS.exists(), ~_TOLD.exists())
_HELD = {whose: (_OPEN_TICKETS.where(*of), _MAY_OPEN.where(*of)) for whose, of in _OF.items()}
_BEGUN = {whose: _NOTHING_KNOWN.where(*of) for whose, of in _OF.items()}
