"""The statements about executors, each with a sentence above it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import ExecutorRow
from tools.ticket_states import CallState


class ExecutorStatements:
    """The part of the store that knows the executors."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

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
        return next(iter(self._executors(t.executors.c.id == executor_id)), None)

    def all(self) -> list[ExecutorRow]:
        """List all executors that have registered and not left, by name."""
        return self._executors()

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
        with self._transaction() as connection:
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
        with self._transaction() as connection:
            rows = connection.execute(
                select(t.calls.c.executor, func.count())
                .where(t.calls.c.state == CallState.LEASED.value)
                .group_by(t.calls.c.executor)
            )
            return {executor: count for executor, count in rows if executor}

    def _executors(self, *conditions: Any) -> list[ExecutorRow]:
        columns = [t.executors.c[name] for name in ExecutorRow.__slots__]
        with self._transaction() as connection:
            rows = connection.execute(select(*columns).where(*conditions).order_by(t.executors.c.name))
            return [ExecutorRow(**row._mapping) for row in rows]
