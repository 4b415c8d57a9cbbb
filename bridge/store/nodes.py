"""The statements about the nodes of a run's workflow, each with a sentence above it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, insert, select, update

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import NodeRow


class NodeStatements:
    """The part of the store that knows how a workflow goes. An execution is named by run, attempt and Dify's id."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def started(self, run_id: str, attempt: int, execution_id: str, title: str, node_type: str) -> None:
        """Write that a node has begun; one that is there already, as it is tried again, goes on."""
        with self._transaction() as connection:
            here = _execution(run_id, attempt, execution_id)
            known = connection.execute(update(t.nodes).where(*here).values(status="running", ended_at=None))
            if known.rowcount:
                return
            connection.execute(
                insert(t.nodes).values(
                    run_id=run_id,
                    attempt=attempt,
                    execution_id=execution_id[:64],
                    title=title,
                    node_type=node_type[:64],
                    status="running",
                    started_at=clock.now(),
                )
            )

    def retried(self, run_id: str, attempt: int, execution_id: str, error: str | None) -> None:
        """Write that a node failed and is tried again."""
        with self._transaction() as connection:
            here = _execution(run_id, attempt, execution_id)
            connection.execute(update(t.nodes).where(*here).values(retries=t.nodes.c.retries + 1, error=error))

    def ended(
        self,
        run_id: str,
        attempt: int,
        execution_id: str,
        status: str,
        error: str | None,
        *,
        total_tokens: int,
        price: str,
        currency: str,
    ) -> None:
        """Write how a node ended, and what it cost."""
        values = {"status": status[:32], "error": error, "ended_at": clock.now(), "total_tokens": total_tokens}
        with self._transaction() as connection:
            here = _execution(run_id, attempt, execution_id)
            cost = {"price": price[:32], "currency": currency[:8]}
            connection.execute(update(t.nodes).where(*here).values(**values, **cost))

    def of_run(self, run_id: str) -> list[NodeRow]:
        """List the run's nodes, in the order in which they began."""
        columns = [t.nodes.c[name] for name in NodeRow.__slots__]
        with self._transaction() as connection:
            rows = connection.execute(select(*columns).where(t.nodes.c.run_id == run_id).order_by(t.nodes.c.id))
            return [NodeRow(**row._mapping) for row in rows]


def _execution(run_id: str, attempt: int, execution_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        t.nodes.c.run_id == run_id,
        t.nodes.c.attempt == attempt,
        t.nodes.c.execution_id == execution_id[:64],
    )
