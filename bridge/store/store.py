"""The statements about sessions, runs and what belongs to them, each with a sentence above it."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, lru_cache
from importlib import import_module
from itertools import batched
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    union,
    update,
)
from sqlalchemy.exc import IntegrityError

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.due import DueStatements, abandoned
from bridge.store.engine import CONNECTIONS, Disk, Durability, engine_of
from bridge.store.exchanges import ExchangeStatements, Learned, Pieces, PiecesGone, PieceStatements
from bridge.store.faults import DAMAGED, RESTORE, StoreUnavailable, told, unavailable
from bridge.store.figures import IS_OVER, FigureStatements
from bridge.store.forms import FormStatements
from bridge.store.keys import ClientStatements, ExecutorStatements, LoginStatements
from bridge.store.nodes import ModelCallStatements, NodeStatements
from bridge.store.place import path_of
from bridge.store.rows import (
    OWN_USER,
    CallRow,
    EventRow,
    InvocationRow,
    MarkerRow,
    Move,
    RunRow,
    SegmentRow,
    SessionRow,
    TicketRow,
    UnclaimedCall,
)
from bridge.store.run_record import LEFT, CallMoved, Change, HeldRuns, Overtaken, RunRecord, load, ticket_of, version_of
from bridge.store.statements import Deferred, Statement, execute, fetch, fetch_together, inserting, updating, values_of
from bridge.store.upgrade import prepare
from tools.marker import marker_digest
from tools.run_states import UNFINISHED, RunEvent, RunState
from tools.ticket_states import CallState

__all__ = ["CallMoved", "Overtaken", "Store"]

log = logging.getLogger("clawback.store")

PADDING_BYTES = 256 * 1024
TOLD_SECONDS = 60.0
"""How often the log repeats that the store cannot be used."""

_FORGOTTEN_AT_ONCE = 50
"""So many runs, with all that belongs to them, are deleted in one transaction. Nobody else is served meanwhile."""

_REMEMBERED = 500
"""How many turns of a conversation Dify's memory holds at most: core/memory/token_buffer_memory.py."""

_DRIVEN_AT_ONCE = 1000
_ASKED_AT_ONCE = 512

MayBegin = Callable[[Connection], None]
"""Raises where a run may not begin that the transaction at hand writes."""

TRIES = 20
"""How often a decision is made again because somebody else changed its run meanwhile."""


class Store:
    """The bridge's memory. Every method is one transaction: what it returned from survives kill -9, and the loss of
    power unless `durability` says otherwise.

    What is read of a run that this process holds comes from memory. Where bridges share the store, its version is
    asked for each time.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS, durability: Durability = "power") -> None:
        self._url = url
        path = path_of(url)
        self._disk = Disk(path, durability) if path else None
        self._engine = engine_of(url, connections, self._disk)
        self._connection: Connection | None = None
        self._is_ready = False
        self._faulty = False
        self._damaged: StoreUnavailable | None = None
        """Why its file is of no use any more. SQLite would go on with what it remembers, and write it into the file."""
        self._told_at = -math.inf
        # SQLite has one writer; one connection behind a lock is both simplest and fastest there.
        self._lock = threading.RLock() if self._engine.dialect.name == "sqlite" else None
        self.is_shared = self._lock is None
        """Whether other bridges may change what is in it."""
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT") if self.is_shared else None
        self._held = HeldRuns()
        self.executors = ExecutorStatements(self.transaction, self.reading)
        # Each dialect takes megabytes of memory; the other one's are not needed.
        self._insert = import_module(f"sqlalchemy.dialects.{self._engine.dialect.name}").insert
        self._deferred = Deferred(self.reading, self._insert)
        self._end_users: dict[str, str] = {}
        taken = [*SessionRow.__slots__, "updated_at"]
        upsert = self._insert(t.sessions).values({name: bindparam(name) for name in taken})
        self._upsert_session = upsert.on_conflict_do_update(
            index_elements=["key"], set_={"updated_at": upsert.excluded.updated_at}
        ).returning(t.sessions.c.dify_user, _HAS_PIECES, *([] if self.is_shared else [_IS_BUSY]))
        self.nodes = NodeStatements(self.reading, self._deferred)
        self.model_calls = ModelCallStatements(self.reading, self._deferred)
        self.due = DueStatements(self.reading)
        self.forms = FormStatements(self.transaction, self.reading)
        self.exchanges = ExchangeStatements(self.reading)
        self.pieces = PieceStatements(self.reading)
        self.figures = FigureStatements(self.transaction, self.reading, self._insert)
        self.logins = LoginStatements(self.transaction, self.reading)
        self.clients = ClientStatements(self.transaction, self.reading, self._deferred, self._insert)
        try:
            # Where it is away for now, the bridge begins all the same.
            with suppress(StoreUnavailable), self.transaction():
                pass
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connections."""
        self._deferred.close()
        with self._lock or nullcontext():
            if self._connection:
                self._connection.close()
                self._connection = None
            self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run one transaction: for statements that live beside this file. Raises StoreUnavailable."""
        try:
            with self._lock or nullcontext(), told():
                self._prepare()
                with self._opened() as connection:
                    yield connection
            if self._disk:
                # What was read, too, may be what others have only just committed.
                self._disk.wait()
        except StoreUnavailable as fault:
            self._note(fault)
            raise

    def _note(self, fault: StoreUnavailable) -> None:
        self._faulty = True
        if fault.reason == DAMAGED and self._lock:
            fault = self._damaged = self._damaged or unavailable(DAMAGED, f"{fault.detail}: {RESTORE}")
        if time.monotonic() - self._told_at > TOLD_SECONDS:
            self._told_at = time.monotonic()
            log.error("the store cannot be used: %s (%s)", fault.reason, fault.detail)

    def probe(self) -> None:
        """Write something that changes. Raises StoreUnavailable.

        After a failure it takes some room, so that a full disk is noticed.
        """
        padding = os.urandom(PADDING_BYTES // 2).hex() if self._faulty else ""
        with self.transaction() as connection:
            connection.execute(update(t.store).values(probed_at=time.time(), padding=padding))
        if padding:
            with self.transaction() as connection:
                connection.execute(update(t.store).values(padding=""))
            self._faulty = False
            self._told_at = -math.inf
            log.info("the store can be used again")

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        """Begin a transaction, and end it: in SQLite always on the same connection, since to take one takes longer."""
        if self._lock is None:
            with self._engine.begin() as connection:
                yield connection
            return
        if self._connection is None:
            self._connection = self._engine.connect()
        connection = self._connection
        driver: Any = connection.connection.dbapi_connection
        driver.check()
        if self._damaged:
            raise self._damaged.fresh()
        try:
            yield connection
            # What went past SQLAlchemy began what it knows nothing of.
            connection.commit()
            driver.commit()
        except BaseException:
            connection.rollback()
            driver.rollback()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read. Where the database is a server it is asked once, not three times: each statement is for itself, and so
        are those that are sent together, which may write."""
        if self._reader is None:
            with self.transaction() as connection:
                yield connection
            return
        try:
            with told():
                self._prepare()
                with self._reader.connect() as connection:
                    yield connection
        except StoreUnavailable as fault:
            self._note(fault)
            raise

    def _prepare(self) -> None:
        if not self._is_ready:
            prepare(self._engine, self._url)
            self._is_ready = True

    @contextmanager
    def watching(self) -> Iterator[Connection]:
        """Read for who watches: what may be late is written first."""
        self._deferred.write()
        with self.reading() as connection:
            yield connection

    # Sessions

    def session(self, key: str) -> SessionRow | None:
        """Find the session with this key."""
        with self.reading() as connection:
            found = fetch(connection, _SESSION, at=key)
            return SessionRow(*found[0]) if found else None

    def take_session_of_transcript(self, model: str, digest: str) -> SessionRow | None:
        """Find the model's session that a version before 0.2 knew by its transcript; it is found so once."""
        with self.transaction() as connection:
            row = connection.execute(
                _select(t.sessions, SessionRow)
                .join(t.transcripts, t.transcripts.c.session_key == t.sessions.c.key)
                .where(t.sessions.c.model == model, t.transcripts.c.digest == digest)
            ).first()
            if row is None:
                return None
            connection.execute(delete(t.transcripts).where(t.transcripts.c.digest == digest))
            return SessionRow(**row._mapping)

    def save_session(self, session: SessionRow) -> None:
        """Write the session, whether it is new or not."""
        self._upsert(t.sessions, "key", {name: getattr(session, name) for name in SessionRow.__slots__})

    # End users

    def end_user(self, uuid: str) -> str | None:
        """Find the Dify user that an EndUser UUID stands for."""
        if known := self._end_users.get(uuid):
            return known
        with self.reading() as connection:
            found = connection.execute(_END_USER, {"at": uuid}).scalar_one_or_none()
        if found:
            self._end_users[uuid] = found
        return found

    def attaching(self, invocation_id: str, uuid: str) -> tuple[str | None, str | None]:
        """Find the run of an invocation, where it is known, and the Dify user that an EndUser UUID stands for."""
        held, user = self._held.of_invocation(invocation_id), self._end_users.get(uuid)
        if held:
            return held.run.id, user
        with self.reading() as connection:
            [(run_id, found)] = fetch(connection, _ATTACHING, at=invocation_id, uuid=uuid)
        if found:
            self._end_users[uuid] = found
        return run_id, user or found

    def save_end_user(self, uuid: str, dify_user: str) -> None:
        """Remember which Dify user an EndUser UUID stands for, which Dify would say again."""
        self._end_users[uuid] = dify_user
        self._deferred.insert(t.end_users, {"uuid": uuid}, {"dify_user": dify_user, "updated_at": clock.now()})

    # Runs, as they are held and changed

    def hold(self, run_id: str) -> None:
        """Keep a run in memory from now on: this process drives it."""
        if state := self.record(run_id):
            self._held.drive(state, self._held.as_of(run_id))

    def catch_up(self) -> None:
        """Read the runs that are held and that another bridge has changed since."""
        if not self.is_shared:
            return
        held, as_of = self._held.driven(), time.monotonic()
        with self.reading() as connection:
            rows = connection.execute(_VERSIONS, {"ids": list(held)}).all() if held else []
        for run_id, version in rows:
            if version != held[run_id].run.version:
                self._reload(run_id)
            else:
                self._held.confirm(held[run_id], as_of)

    def release(self, run_id: str) -> None:
        """Keep a run in memory no longer."""
        self._held.drop(run_id)
        self.nodes.forget(run_id)

    def record(self, run_id: str) -> RunRecord | None:
        """Return a run with all that belongs to it."""
        if held := self._of_memory(self._held.get(run_id)):
            return held
        as_of, state = time.monotonic(), self._load(run_id)
        if state and self.is_shared:
            self._held.visit(state, as_of)
        return state and self._held.newest(state)

    def decide[T](self, run_id: str, decision: Callable[[Change], T]) -> T | None:
        """Make a decision about a run and write what it changes; None where there is no such run.

        Where somebody else changed the run meanwhile, the decision is made again. What it raises is raised. It may
        commit the change itself, before it tells anybody of it.
        """
        for _ in range(TRIES):
            state = self.record(run_id)
            if state is None:
                return None
            change = Change(state)
            try:
                result = decision(change)
                if change and not change.is_written:
                    self.commit(change)
            except CallMoved:
                raise
            except Overtaken:
                now = self._held.get(run_id)
                # It may have been this process.
                if now is None or now.run.version <= state.run.version:
                    self._reload(run_id)
            else:
                return result
        raise Overtaken(f"run {run_id} is changed by somebody else all the time")

    def commit(self, change: Change) -> None:
        """Write a change. Raises Overtaken where the run is not as it was read."""
        as_of = time.monotonic()
        # What is counted no longer is so together with the change.
        opened = self.transaction if change.was_over else self.reading
        with self._deferred.ripe() as deferred, opened() as connection:
            if change.was_over:
                self.figures.take_out(connection, [change.run_id])
            change.write(connection, deferred)
        change.is_written = True
        self._held.renew(change.state, as_of)

    def _load(self, run_id: str) -> RunRecord | None:
        with self.reading() as connection:
            return load(connection, run_id)

    def _reload(self, run_id: str) -> RunRecord | None:
        """Read a run that is held anew."""
        as_of, state = time.monotonic(), self._load(run_id)
        if state is None:
            self._held.drop(run_id)
        elif self._held.get(run_id):
            return self._held.put(state, as_of)
        return state

    def _of_memory(self, state: RunRecord | None) -> RunRecord | None:
        """Return a run that is held as it is now: another bridge may have changed it."""
        if state is None or not self.is_shared or self._held.is_fresh(state.run.id):
            return state
        as_of = time.monotonic()
        with self.reading() as connection:
            version = version_of(connection, state.run.id)
        # This process may have changed it while the store was asked.
        newest = self._held.newest(state)
        if version is None or version > newest.run.version:
            return self._reload(state.run.id)
        if version == newest.run.version:
            self._held.confirm(newest, as_of)
        return newest

    def insert_run(self, run: RunRow, pieces: Pieces | None = None, may_begin: MayBegin | None = None) -> RunRow:
        """Write a new run; this process holds it. Return it as it is kept. `may_begin` raises where it may not."""

        def check(connection: Connection) -> bool:
            if may_begin:
                may_begin(connection)
            return True

        kept = self._written(run, pieces, check)
        assert kept is not None  # noqa: S101 - nothing speaks against it
        return kept

    def begin_with(
        self, run: RunRow, decision: Callable[[Change], object], may_begin: MayBegin | None = None
    ) -> RunRecord:
        """Write a new run together with its first invocation, which `decision` adds; this process holds it.

        `may_begin` raises where it may not begin.
        """
        change, as_of = Change(RunRecord(run)), time.monotonic()
        decision(change)
        with self.transaction() as connection:
            if may_begin:
                may_begin(connection)
            change.begin(connection)
        self._began(change.state, as_of)
        return change.state

    def update_run(self, run_id: str, **values: Any) -> None:
        """Change some columns of a run."""
        self.decide(run_id, lambda change: change.run(**values))

    def begin_run(
        self, run: RunRow, session: SessionRow, pieces: Pieces, may_begin: MayBegin | None = None
    ) -> RunRow | None:
        """Write a new run of a session's Dify user, and the session if it is new. Return it as it is kept.

        Return None where a run of that user is unfinished, or the session has got another user meanwhile. `may_begin`
        raises where no run may begin.
        """

        def is_free(connection: Connection) -> bool:
            if may_begin:
                may_begin(connection)
            user, is_busy, has_pieces = self._take_session(connection, session)
            if not has_pieces:
                self.pieces.begin(session.key)
            return not is_busy and user == session.dify_user

        return self._written(run, pieces, is_free)

    def _take_session(self, connection: Connection, session: SessionRow) -> tuple[str, bool, bool]:
        """Hold a session's row until the end: of two runs that begin at the same time, one does.

        Return its user, whether that one is busy, and whether the session has pieces.
        """
        values = values_of(session) | {"updated_at": clock.now(), "of": session.key}
        whose = {"user": session.dify_user}
        if not self.is_shared:
            [(user, has_pieces, is_busy)] = fetch(connection, self._upsert_session, **values, **whose)
            return user, is_busy, has_pieces
        # What was committed while the row was waited for, only the next statement sees.
        [(user, has_pieces)], [(is_busy,)] = fetch_together(connection, (self._upsert_session, values), (_BUSY, whose))
        return user, is_busy, has_pieces

    def _written(self, run: RunRow, pieces: Pieces | None, is_free: Callable[[Connection], bool]) -> RunRow | None:
        def write(connection: Connection) -> tuple[RunRow | None, Learned | None]:
            if not is_free(connection):
                return None, None
            kept, learned = self.pieces.keep(connection, run, pieces) if pieces else (run, None)
            execute(connection, inserting(t.runs, values_of(kept)))
            return kept, learned

        as_of, kept = time.monotonic(), self.keeping(run.session_key, write, tries=3 if pieces else 1)
        if kept:
            self._began(RunRecord(kept), as_of)
        return kept

    def keeping[T](
        self, session_key: str, write: Callable[[Connection], tuple[T, Learned | None]], tries: int = 3
    ) -> T:
        """Run a transaction that keeps pieces of a session; `write` returns its result, and what to learn of them."""
        try:
            with self.transaction() as connection:
                result, learned = write(connection)
        except BaseException as error:
            self.pieces.forget(session_key)
            # Somebody else has written the session's next pieces, or forgotten some.
            if isinstance(error, IntegrityError | PiecesGone) and tries > 1:
                return self.keeping(session_key, write, tries - 1)
            raise
        if learned:
            self.pieces.learn(session_key, learned)
        return result

    def _began(self, record: RunRecord, as_of: float) -> None:
        """Hold a new run."""
        self._held.drive(record, as_of)

    def begun(self, run: RunRow, session: SessionRow | None, **values: Any) -> bool:
        """Write what Dify calls the workflow of a run's attempt, and the session where its conversation is another one.

        Return whether that attempt is still the run's last.
        """

        def decision(change: Change) -> bool:
            if change.was.run.attempt != run.attempt:
                return False
            change.run(**values)
            if session:
                row = values_of(session, but=["key"]) | {"updated_at": clock.now()}
                change.also(updating(t.sessions, {"key": session.key, "dify_user": session.dify_user}, row))
            return True

        return self.decide(run.id, decision) or False

    def step(self, run: RunRow, event: RunEvent, **values: Any) -> bool:
        """Do with the attempt of a run that was read what the table of states says; return whether it was so."""
        return self.decide(run.id, lambda change: change.step(event, run.attempt, **values)) or False

    def run_again(self, run: RunRow, untold: int | None = None) -> bool:
        """Begin the attempt after the one that was read.

        Return whether it was so: somebody else may have begun it, or told this segment, meanwhile.
        """

        def decision(change: Change) -> bool:
            if untold in change.was.segments:
                return False
            if not change.step(RunEvent.RESUME, run.attempt, task_id="", error=None):
                return False
            self.leave_workflow(change)
            return True

        return self.decide(run.id, decision) or False

    def leave_workflow(self, change: Change) -> None:
        """Go on as another Dify user where a node of the workflow that is left may yet attach.

        Whoever goes on has waited for one, but maybe for that of an attempt before.
        """
        left = change.was.run
        if user := change.leave_user():
            change.run(dify_user=user, conversation_id="")
            change.also(self.naming(MarkerRow(marker_digest(left.dify_user), left.id, left.attempt)))

    def go_on(self, run: RunRow) -> bool:
        """Go on in the workflow run of the attempt that was read, in an attempt to which all of it belongs from now on.

        Return whether it was so: of two that go on with a run, one does.
        """

        def decision(change: Change) -> bool:
            if not change.step(RunEvent.RESUME, run.attempt, error=None):
                return False
            change.move_invocations(run.attempt)
            for statement in self.forms.moving(run.id, run.attempt, change.state.run.attempt):
                change.also(statement)
            return True

        # What is said of the former attempt's nodes is theirs, too.
        self._deferred.write()
        went_on = self.decide(run.id, decision) or False
        if went_on:
            self.nodes.move(run.id, run.attempt, run.attempt + 1)
        return went_on

    def suspend(self, run_id: str, attempt: int | None = None) -> bool:
        """Suspend an unfinished run, in this attempt if one is given; return whether that was so."""
        return self.decide(run_id, lambda change: change.step(RunEvent.SUSPEND, attempt)) or False

    def note_end(self, run_id: str, attempt: int) -> None:
        """The workflow of a suspended run's attempt is over: no node of it begins any more."""

        def decision(change: Change) -> None:
            if change.was.run.attempt == attempt and change.was.run.state == RunState.SUSPENDED:
                change.run(began_at=None)

        self.decide(run_id, decision)

    def drive(self, attempts: Mapping[str, int], at: float) -> None:
        """Say that these attempts of runs are driven, or that they are LEFT: other bridges then go on with them.

        A run that is being written is left out where it is driven: that is said again soon.
        """
        for these in batched(attempts.items(), _DRIVEN_AT_ONCE):
            # One statement needs no transaction around it, which would keep the runs locked from trip to trip.
            with self.reading() as connection:
                connection.execute(_LEAVE if at == LEFT else _DRIVE, {"these": these, "at": at})

    def is_driven(self, run: RunRow, since: float) -> bool:
        """Whether somebody has said since a time that the attempt of a run that was read is driven."""
        with self.reading() as connection:
            return bool(fetch(connection, _IS_DRIVEN, **{"of": run.id, "in": run.attempt, "since": since}))

    def end_run(self, run_id: str, event: RunEvent, error: str | None = None) -> bool:
        """Bring an unfinished run to its end and say whether it was still unfinished."""
        return self.decide(run_id, lambda change: change.step(event, error=error)) or False

    # Runs

    def run(self, run_id: str) -> RunRow | None:
        """Find the run with this id."""
        held = self._of_memory(self._held.get(run_id))
        return held.run if held else self._newest_run(_RUN, run_id)

    def run_of_user(self, dify_user: str) -> RunRow | None:
        """Find the run that this Dify user is being driven for, else the newest that it was driven for."""
        for state in self._held.of_user(dify_user):
            if (now := self._of_memory(state)) and now.run.state == "running":
                return now.run
        return self._newest_run(_RUN_OF_USER, dify_user)

    def run_ids(self) -> list[str]:
        """List all runs, oldest first."""
        with self.reading() as connection:
            return list(connection.execute(select(t.runs.c.id).order_by(t.runs.c.created_at)).scalars())

    def has_given_up(self, run: RunRow) -> bool:
        """Return whether an earlier attempt of a run, or run of its Dify user, ended without an answer."""
        if run.attempt > 1:
            return True
        with self.reading() as connection:
            return bool(fetch(connection, _GIVEN_UP, user=run.dify_user, but=run.id))

    def latest_run_of_turn(self, turn_key: str) -> RunRow | None:
        """Find the newest run that answers the same request."""
        return self._newest_run(_RUN_OF_TURN, turn_key)

    def runs_of_turn(self, turn_key: str) -> list[RunRow]:
        """List the runs that answer the same request, newest first."""
        return self._runs(t.runs.c.turn_key == turn_key)

    def runs_of_request(self, request_key: str, since: float) -> list[RunRow]:
        """List the runs that the same whole request began since a time, newest first."""
        return self._runs(t.runs.c.request_key == request_key, t.runs.c.updated_at >= since)

    def run_of_idempotency_key(self, digest: str, since: float) -> RunRow | None:
        """Find the newest run that a request with this key began since a time."""
        return self._one_run(t.runs.c.idempotency == digest, t.runs.c.created_at >= since)

    def latest_turn_of_session(self, session_key: str) -> RunRow | None:
        """Find the newest run of a session that is its user's turn."""
        return self._one_run(t.runs.c.session_key == session_key, t.runs.c.auxiliary.is_(None))

    def unfinished_runs_of_session(self, session_key: str) -> list[RunRow]:
        """List the session's runs that still run or are suspended, newest first."""
        with self.reading() as connection:
            return [RunRow(*row) for row in fetch(connection, _UNFINISHED_OF_SESSION, at=session_key)]

    def add_marker(self, marker: MarkerRow) -> None:
        """Write what names an attempt in texts."""
        with self.transaction() as connection:
            execute(connection, self.naming(marker))

    @staticmethod
    def naming(marker: MarkerRow) -> Statement:
        """Return the statement that writes it, to go with another change of its run."""
        return inserting(t.markers, values_of(marker))

    def markers(self, digests: Sequence[str]) -> list[MarkerRow]:
        """List which attempts these markers name; what names none is left out."""
        with self.reading() as connection:
            rows = connection.execute(_select(t.markers, MarkerRow).where(t.markers.c.digest.in_(digests)))
            return [MarkerRow(**row._mapping) for row in rows]

    def was_left(self, dify_user: str) -> bool:
        """Say whether a run has gone on as another Dify user than this one."""
        return dify_user.startswith(OWN_USER) and bool(self.markers([marker_digest(dify_user)]))

    def has_marker(self, run_id: str) -> bool:
        """Say whether anything names an attempt of this run in texts."""
        with self.reading() as connection:
            found = connection.execute(select(t.markers.c.digest).where(t.markers.c.run_id == run_id).limit(1))
            return found.first() is not None

    def past_queries(self, run: RunRow) -> list[str]:
        """List the digests of the queries that a run's Dify conversation has had, the run's own aside."""
        if not run.conversation_id:
            return []
        values = {"at": run.conversation_id, "session": run.session_key, "before": run.id}
        with self.reading() as connection:
            return [digest for (said,) in fetch(connection, _PAST_QUERIES, **values) for digest in said.split()]

    # Segments

    def save_segment(self, segment: SegmentRow, attempt: int) -> bool:
        """Write what a response told its client, before the client is told that it is complete.

        Return whether the run is still in the attempt that told it: a later one goes on from what is written.
        """

        def decision(change: Change) -> bool:
            if change.was.run.attempt > attempt:
                return False
            change.add_segment(segment)
            return True

        return self.decide(segment.run_id, decision) or False

    def segments(self, run_id: str) -> list[SegmentRow]:
        """List what the run has told its client so far, in order."""
        if held := self._of_memory(self._held.get(run_id)):
            return [held.segments[number] for number in sorted(held.segments)]
        with self.reading() as connection:
            rows = connection.execute(
                _select(t.segments, SegmentRow).where(t.segments.c.run_id == run_id).order_by(t.segments.c.number)
            )
            return [SegmentRow(*row) for row in rows]

    # Invocations

    def invocation(self, invocation_id: str) -> InvocationRow | None:
        """Find the invocation with this id."""
        if held := self._of_memory(self._held.of_invocation(invocation_id)):
            return held.invocations.get(invocation_id)
        with self.reading() as connection:
            row = connection.execute(_INVOCATION, {"at": invocation_id}).first()
            return InvocationRow(*row) if row else None

    def has_invocations(self, run_id: str) -> bool:
        """Say whether any node of the run has attached."""
        state = self._held.get(run_id)
        # One that has, has for good.
        state = state if state and state.invocations else self.record(run_id)
        return bool(state and state.invocations)

    def fruitful_attempt(self, run_id: str) -> int:
        """Find the last attempt of a run in which a ticket was opened, or which a form paused; 0 where none was."""
        newest = select(func.max(t.tickets.c.created_at)).where(t.tickets.c.run_id == run_id).scalar_subquery()
        with self.reading() as connection:
            opened = select(func.max(t.invocations.c.attempt)).where(
                t.invocations.c.run_id == run_id, t.invocations.c.created_at <= newest
            )
            paused = select(func.max(t.forms.c.attempt)).where(t.forms.c.run_id == run_id)
            return max(connection.execute(found).scalar_one() or 0 for found in (opened, paused))

    # Tickets

    def open_ticket(self, ticket: TicketRow, moves: Sequence[Move]) -> TicketRow:
        """Write a ticket and its calls, and the first moves of these; one that is there already stays as it is."""
        opened = self.decide(
            ticket.run_id, lambda change: change.state.tickets.get(ticket.id) or change.open_ticket(ticket, moves)
        )
        assert opened is not None  # noqa: S101 - its run is there
        return opened

    def move_calls(self, ticket_id: str, moves: Sequence[Move], reply: str | None = None) -> TicketRow:
        """Move calls of a ticket; it resolves when none of them waits any more. All of the moves happen, or none.

        Raises Overtaken where a call is no longer in the state that it is moved from.
        """
        changed = self.decide(self._run_of_ticket(ticket_id), lambda change: change.move_calls(ticket_id, moves, reply))
        assert changed is not None  # noqa: S101 - its run is there
        return changed

    def close_ticket(self, ticket_id: str, state: str, reason: str, actor: str = "bridge") -> bool:
        """Bring an open ticket to an end without results, its calls with it, and say whether it was open."""
        closed = self.decide(
            self._run_of_ticket(ticket_id), lambda change: change.close_ticket(ticket_id, state, reason, actor)
        )
        return closed or False

    def _run_of_ticket(self, ticket_id: str) -> str:
        """Return the run's id, empty where there is no such ticket."""
        if held := self._held.of_ticket(ticket_id):
            return held.run.id
        with self.reading() as connection:
            return connection.execute(_RUN_OF_TICKET, {"at": ticket_id}).scalar_one_or_none() or ""

    def ticket(self, ticket_id: str) -> TicketRow | None:
        """Find a ticket with its calls."""
        if held := self._of_memory(self._held.of_ticket(ticket_id)):
            return held.tickets.get(ticket_id)
        with self.reading() as connection:
            rows = fetch(connection, _TICKET, at=ticket_id)
            return next(iter(_with_calls(connection, rows)), None)

    def tickets_of_calls(
        self, call_ids: Sequence[str], client: str = "default", *, with_reasoning: bool = False
    ) -> list[TicketRow]:
        """List the tickets of a client's runs that these tool_call_ids belong to, oldest first; those alone that keep
        reasoning, where so asked.

        Executors' calls, and those of others, are none of a client's business: it neither reads nor answers them.
        """
        if not call_ids:
            return []
        found: dict[str, TicketRow] = {}
        held = {call_id: self._held.of_call(call_id) for call_id in call_ids}
        unknown = [call_id for call_id, state in held.items() if state is None]
        for call_id in held.keys() - set(unknown):
            state = self._of_memory(held[call_id])
            if state and state.run.direction == "endpoint" and state.run.client == client:
                its = (each for each in state.tickets.values() if any(call.id == call_id for call in each.client_calls))
                found |= {ticket.id: ticket for ticket in its}
        for some in batched(unknown, _ASKED_AT_ONCE):
            values = _numbered(some)
            query = _of_calls(len(values), with_reasoning=with_reasoning)
            with self.reading() as connection:
                rows = fetch(connection, query, client=client, **values)
                found |= {ticket.id: ticket for ticket in _with_calls(connection, rows)}
        wanted = [ticket for ticket in found.values() if ticket.reasoning or not with_reasoning]
        return sorted(wanted, key=lambda ticket: ticket.created_at)

    def tickets_of_run(self, run_id: str, *states: str) -> list[TicketRow]:
        """List the run's tickets, oldest first; all of them, or those in one of `states`."""
        if held := self._of_memory(self._held.get(run_id)):
            return held.tickets_in(*states)
        return self._tickets(t.tickets.c.run_id == run_id, *([t.tickets.c.state.in_(states)] if states else []))

    def call(self, call_id: str) -> tuple[TicketRow, CallRow] | None:
        """Find a call and its ticket."""
        if held := self._of_memory(self._held.of_call(call_id)):
            tickets = held.tickets_in()
        else:
            ids = select(t.calls.c.ticket_id).where(t.calls.c.id == call_id).scalar_subquery()
            tickets = self._tickets(t.tickets.c.id.in_(ids))
        return next(((ticket, call) for ticket in tickets for call in ticket.calls if call.id == call_id), None)

    def events(self, ticket_id: str) -> list[EventRow]:
        """List what happened to a ticket and its calls, oldest first."""
        return self._events(t.events.c.ticket_id == ticket_id)

    def events_of_run(self, run_id: str) -> list[EventRow]:
        """List what happened to a run's tickets and calls, oldest first."""
        return self._events(t.events.c.run_id == run_id)

    def calls_in(self, state: str) -> list[tuple[TicketRow, CallRow]]:
        """List the calls of open tickets that are in this state, oldest first."""
        calls = select(t.calls.c.ticket_id).where(t.calls.c.state == state)
        tickets = self._tickets(t.tickets.c.state == "open", t.tickets.c.id.in_(calls))
        return [(ticket, call) for ticket in tickets for call in ticket.calls if call.state == state]

    def unclaimed_calls(
        self, state: CallState, places: Sequence[str], names: Sequence[str], first: int, limit: int
    ) -> list[UnclaimedCall]:
        """List calls of these tools, in this state, for one of these places: the oldest, from number `first` on."""
        if not names:
            return []
        query = _unclaimed(len(places), len(names))
        asked = {"state": state.value, "first": first, "most": limit}
        asked |= {f"place_{number}": place for number, place in enumerate(places)}
        asked |= {f"name_{number}": name for number, name in enumerate(names)}
        with self.reading() as connection:
            found = fetch(connection, query, **asked)
        return [UnclaimedCall(run_id, app, direction, CallRow(*call)) for run_id, app, direction, *call in found]

    def tickets(self, *states: str, limit: int = 200, left_before: float | None = None) -> list[TicketRow]:
        """List the newest tickets in one of these states, newest first, without those abandoned before a time."""
        conditions = [t.tickets.c.state.in_(states)] if states else []
        return self._newest_tickets(limit, *conditions, *([] if left_before is None else [~abandoned(left_before)]))

    def abandoned_tickets(self, before: float, limit: int = 200) -> list[TicketRow]:
        """List the newest tickets that clients have left unanswered since a time, newest first."""
        return self._newest_tickets(limit, abandoned(before))

    def _newest_tickets(self, limit: int, *conditions: ColumnElement[bool]) -> list[TicketRow]:
        with self.reading() as connection:
            fitting = select(t.tickets.c.id).where(*conditions)
            newest = fitting.order_by(t.tickets.c.created_at.desc()).limit(limit)
            return self._tickets_in(connection, t.tickets.c.id.in_(newest))[::-1]

    # Housekeeping

    def forget_before(self, cutoff: float) -> int:
        """Delete what ended before `cutoff`, and say how many runs that were."""
        return sum(self.forgetting(cutoff))

    def forgetting(self, cutoff: float) -> Iterator[int]:
        """Delete what ended before `cutoff`, a little in each transaction; yield how many runs that were each time."""
        self._deferred.write()
        while gone := self._forget_runs(cutoff):
            yield gone
        self.figures.drop_empty()
        # A session is written when its conversation changes, so its age says nothing: it is old with its last run.
        used = select(t.runs.c.session_key).where(t.runs.c.session_key == t.sessions.c.key).exists()
        for table, condition in ((t.sessions, ~used), (t.transcripts, true()), (t.end_users, true())):
            (key,) = table.primary_key.columns
            yield from self._forget_unused(key, and_(table.c.updated_at < cutoff, condition))
        with self.reading() as connection:
            unused = {
                t.exchanges: t.exchanges.c.updated_at < cutoff,
                t.pieces: self.pieces.are_unused(connection, cutoff),
            }
        for table, condition in unused.items():
            of_table = table.primary_key.columns
            some = select(*of_table).where(condition).limit(_FORGOTTEN_AT_ONCE * 10)
            while self._forget(delete(table).where(tuple_(*of_table).in_(some))):
                yield 0

    def _forget_unused(self, key: ColumnElement[str], is_unused: ColumnElement[bool]) -> Iterator[int]:
        """Look at all rows of a table, a few in each transaction: what is old there is not found by an index."""
        last: str | None = ""
        while last is not None:
            rest = select(key).where(key > last).order_by(key)
            with self.transaction() as connection:
                end = connection.execute(rest.offset(_FORGOTTEN_AT_ONCE * 10).limit(1)).scalar()
                until = key <= end if end else true()
                connection.execute(delete(key.table).where(key > last, until, is_unused))
            last = end
            yield 0

    def _forget(self, statement: Delete) -> int:
        with self.transaction() as connection:
            self.pieces.forget_all()
            return connection.execute(statement).rowcount

    def _forget_runs(self, cutoff: float) -> int:
        with self.transaction() as connection:
            ended = select(t.runs.c.id).where(IS_OVER, t.runs.c.updated_at < cutoff).order_by(t.runs.c.updated_at)
            old = list(connection.execute(ended.limit(_FORGOTTEN_AT_ONCE)).scalars())
            if not old:
                return 0
            self._keep_queries(connection, old)
            self.figures.take_out(connection, old, gone=len(old))
            old_tickets = select(t.tickets.c.id).where(t.tickets.c.run_id.in_(old))
            connection.execute(delete(t.calls).where(t.calls.c.ticket_id.in_(old_tickets)))
            for table in (t.events, t.tickets, t.invocations, t.segments, t.nodes, t.model_calls, t.markers, t.forms):
                connection.execute(delete(table).where(table.c.run_id.in_(old)))
            return connection.execute(delete(t.runs).where(t.runs.c.id.in_(old))).rowcount

    @staticmethod
    def _keep_queries(connection: Connection, old: Sequence[str]) -> None:
        """Keep by which Dify's memory of these runs is recognised: their conversation may go on for years."""
        kept: dict[str, list[str]] = {}
        before: dict[str, str] = {}
        for key, forgotten, digest in connection.execute(_FORGOTTEN_QUERIES.where(t.runs.c.id.in_(old))):
            kept.setdefault(key, []).append(digest)
            before[key] = forgotten or ""
        for key, digests in kept.items():
            newest = list(dict.fromkeys([*digests, *before[key].split()]))[:_REMEMBERED]
            execute(connection, updating(t.sessions, {"key": key}, {"forgotten": " ".join(newest)}))

    # Pieces

    def _upsert(self, table: Table, key: str, values: dict[str, Any]) -> None:
        values = values | {"updated_at": clock.now()}
        change = update(table).where(table.c[key] == values[key]).values(**values)
        try:
            with self.transaction() as connection:
                if not connection.execute(change).rowcount:
                    connection.execute(insert(table).values(**values))
        except IntegrityError:
            # Another process wrote it first.
            with self.transaction() as connection:
                connection.execute(change)

    def _newest_run(self, query: Select[Any], at: str) -> RunRow | None:
        with self.reading() as connection:
            found = fetch(connection, query, at=at)
        return RunRow(*found[0]) if found else None

    def _one_run(self, *conditions: Any) -> RunRow | None:
        return next(iter(self._runs(*conditions, limit=1)), None)

    def _runs(self, *conditions: Any, limit: int | None = None) -> list[RunRow]:
        newest = _select(t.runs, RunRow).where(*conditions).order_by(t.runs.c.created_at.desc()).limit(limit)
        with self.reading() as connection:
            rows = connection.execute(newest)
            return [RunRow(*row) for row in rows]

    def _events(self, *conditions: Any) -> list[EventRow]:
        with self.reading() as connection:
            rows = connection.execute(_select(t.events, EventRow).where(*conditions).order_by(t.events.c.id))
            return [EventRow(*row) for row in rows]

    def _tickets(self, *conditions: Any) -> list[TicketRow]:
        with self.reading() as connection:
            return self._tickets_in(connection, *conditions)

    def _tickets_in(self, connection: Connection, *conditions: Any) -> list[TicketRow]:
        return _with_calls(connection, connection.execute(_oldest_tickets(*conditions)).all())


def _with_calls(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[TicketRow]:
    """Return tickets as they were read, with their calls."""
    by_id = {ticket.id: ticket for ticket in map(ticket_of, rows)}
    for some in batched(by_id, _ASKED_AT_ONCE):
        values = _numbered(some)
        for row in fetch(connection, _calls_of(len(values)), **values):
            call = CallRow(*row)
            by_id[call.ticket_id].calls.append(call)
    return list(by_id.values())


def _numbered(ids: Sequence[str]) -> dict[str, str]:
    """Return ids as the values `id_0`, `id_1` ..., of which there are a power of two: each number is a statement."""
    number = 1 << (len(ids) - 1).bit_length()
    return {f"id_{place}": ids[min(place, len(ids) - 1)] for place in range(number)}


def _among(column: ColumnElement[str], number: int) -> ColumnElement[bool]:
    return column.in_([bindparam(f"id_{place}") for place in range(number)])


@cache
def _calls_of(number: int) -> Select[Any]:
    """Return the statement that reads the calls of so many tickets."""
    calls = _select(t.calls, CallRow).where(_among(t.calls.c.ticket_id, number))
    return calls.order_by(t.calls.c.ticket_id, t.calls.c.position)


@cache
def _of_calls(number: int, *, with_reasoning: bool) -> Select[Any]:
    """Return the statement that reads the tickets of so many calls that a client runs."""
    of_client = (t.calls.c.place.is_(None), t.runs.c.direction == "endpoint", t.runs.c.client == bindparam("client"))
    ids = (
        select(t.calls.c.ticket_id)
        .join(t.tickets, t.tickets.c.id == t.calls.c.ticket_id)
        .join(t.runs, t.runs.c.id == t.tickets.c.run_id)
        .where(_among(t.calls.c.id, number), *of_client)
        .where(*([t.tickets.c.reasoning.is_not(None)] if with_reasoning else []))
    )
    return _oldest_tickets(t.tickets.c.id.in_(ids))


def _oldest_tickets(*conditions: Any) -> Select[Any]:
    """Return the statement that reads tickets without their calls, oldest first."""
    return _select(t.tickets, TicketRow).where(*conditions).order_by(t.tickets.c.created_at, t.tickets.c.round)


@cache
def _select(table: Table, row: type) -> Select[Any]:
    """Return the statement that reads whole rows; made once, since to make one takes longer than to run it."""
    return select(*(table.c[name] for name in row.__slots__ if name in table.c))  # type: ignore[attr-defined]


def _newest(*conditions: Any, first: ColumnElement[bool] | None = None) -> Select[Any]:
    """Return the statement that reads runs, newest first; before all others those for which `first` holds."""
    before = [] if first is None else [first.desc()]
    return _select(t.runs, RunRow).where(*conditions).order_by(*before, t.runs.c.created_at.desc())


@lru_cache(maxsize=100)
def _unclaimed(places: int, names: int) -> Select[Any]:
    """Return the statement that lists unclaimed calls for so many places, of tools of so many names."""
    is_for_any = and_(t.calls.c.place.is_(None), t.runs.c.direction != "endpoint")
    is_for_these = (t.calls.c.place == bindparam(f"place_{number}") for number in range(places))
    called = func.coalesce(t.calls.c.tool, t.calls.c.name)
    return (
        select(t.tickets.c.run_id, t.runs.c.model, t.runs.c.direction, *_select(t.calls, CallRow).selected_columns)
        .join(t.tickets, t.tickets.c.id == t.calls.c.ticket_id)
        .join(t.runs, t.runs.c.id == t.tickets.c.run_id)
        .where(t.calls.c.state == bindparam("state"), t.tickets.c.state == "open", or_(is_for_any, *is_for_these))
        .where(called.in_([bindparam(f"name_{number}") for number in range(names)]))
        .order_by(t.tickets.c.created_at, t.tickets.c.id, t.calls.c.position)
        .limit(bindparam("most"))
        .offset(bindparam("first"))
    )


# A list of states becomes SQL each time anew.
_IS_UNFINISHED = or_(*(t.runs.c.state == state for state in sorted(UNFINISHED)))
_RUN = _newest(t.runs.c.id == bindparam("at"))
_RUN_OF_TURN = _newest(t.runs.c.turn_key == bindparam("at")).limit(1)
_RUN_OF_USER = _newest(t.runs.c.dify_user == bindparam("at"), first=t.runs.c.state == "running").limit(1)
_TICKET = _oldest_tickets(t.tickets.c.id == bindparam("at"))
_GIVEN_UP = (
    select(t.runs.c.id)
    .where(t.runs.c.dify_user == bindparam("user"), t.runs.c.id != bindparam("but"))
    .where(or_(*(t.runs.c.state == state for state in (RunState.FAILED, RunState.CANCELLED)), t.runs.c.attempt > 1))
    .limit(1)
)
_UNFINISHED_OF_SESSION = _newest(t.runs.c.session_key == bindparam("at"), _IS_UNFINISHED)
_PAST_QUERIES = union(
    select(t.runs.c.query_digest).where(
        t.runs.c.conversation_id == bindparam("at"), t.runs.c.id != bindparam("before")
    ),
    select(t.sessions.c.forgotten).where(
        t.sessions.c.key == bindparam("session"),
        t.sessions.c.conversation_id == bindparam("at"),
        t.sessions.c.forgotten.is_not(None),
    ),
)
_FORGOTTEN_QUERIES = (
    select(t.sessions.c.key, t.sessions.c.forgotten, t.runs.c.query_digest)
    .join(t.runs, t.runs.c.session_key == t.sessions.c.key)
    .where(t.runs.c.conversation_id == t.sessions.c.conversation_id, t.runs.c.conversation_id != "")
    .order_by(t.runs.c.created_at.desc())
)
_SESSION = _select(t.sessions, SessionRow).where(t.sessions.c.key == bindparam("at"))
_IS_BUSY = select(t.runs.c.id).where(t.runs.c.dify_user == bindparam("user"), _IS_UNFINISHED).exists()
_BUSY = select(_IS_BUSY)
_HAS_PIECES = select(t.pieces.c.number).where(t.pieces.c.session_key == bindparam("of")).exists()
_ATTACHING = select(
    select(t.invocations.c.run_id).where(t.invocations.c.id == bindparam("at")).scalar_subquery(),
    select(t.end_users.c.dify_user).where(t.end_users.c.uuid == bindparam("uuid")).scalar_subquery(),
)
_END_USER = select(t.end_users.c.dify_user).where(t.end_users.c.uuid == bindparam("at"))
_VERSIONS = select(t.runs.c.id, t.runs.c.version).where(t.runs.c.id.in_(bindparam("ids", expanding=True)))
_IS_ATTEMPT = and_(t.runs.c.id == bindparam("of"), t.runs.c.attempt == bindparam("in"))
_ARE_ATTEMPTS = tuple_(t.runs.c.id, t.runs.c.attempt).in_(bindparam("these", expanding=True))
_LEAVE = update(t.runs).where(_ARE_ATTEMPTS).values(driven_at=bindparam("at"))
# Who waits for one would keep the others locked meanwhile.
_UNLOCKED = select(t.runs.c.id).where(_ARE_ATTEMPTS).with_for_update(skip_locked=True, key_share=True)
_DRIVE = update(t.runs).where(t.runs.c.id.in_(_UNLOCKED)).values(driven_at=bindparam("at"))
_IS_DRIVEN = select(t.runs.c.id).where(_IS_ATTEMPT, t.runs.c.driven_at >= bindparam("since"))
_RUN_OF_TICKET = select(t.tickets.c.run_id).where(t.tickets.c.id == bindparam("at"))
_INVOCATION = _select(t.invocations, InvocationRow).where(t.invocations.c.id == bindparam("at"))
