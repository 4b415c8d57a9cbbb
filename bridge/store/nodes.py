"""The statements about the nodes of a run's workflow, each with a sentence above it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, bindparam, select

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import NodeRow
from bridge.store.statements import Deferred, columns_of, inserting, updating

_OF_RUN = select(*columns_of(t.nodes, NodeRow)).where(t.nodes.c.run_id == bindparam("at")).order_by(t.nodes.c.id)


class NodeStatements:
    """The part of the store that knows how a workflow goes. An execution is named by run, attempt and Dify's id.

    Nobody but who watches reads it, so it is written a moment later, with what else is written.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]], deferred: Deferred) -> None:
        self._transaction = transaction
        self._deferred = deferred
        self._retries: dict[tuple[str, int, str], int] = {}

    def started(
        self, run_id: str, attempt: int, execution_id: str, title: str, node_type: str, node_id: str | None = None
    ) -> None:
        """Write that a node has begun; one that is known already, as it is tried again, goes on."""
        execution = (run_id, attempt, execution_id[:64])
        if execution in self._retries:
            self._update(execution, status="running", ended_at=None)
            return
        self._retries[execution] = 0
        values = {"title": title, "node_type": node_type[:64], "status": "running", "started_at": clock.now()}
        values |= {"node_id": node_id and node_id[:64]}
        nothing = {"error": None, "retries": 0, "total_tokens": 0, "price": "", "currency": "", "ended_at": None}
        self._deferred.add(inserting(t.nodes, _named(execution) | values | nothing))

    def retried(self, run_id: str, attempt: int, execution_id: str, error: str | None) -> None:
        """Write that a node failed and is tried again."""
        execution = (run_id, attempt, execution_id[:64])
        self._retries[execution] = self._retries.get(execution, 0) + 1
        self._update(execution, retries=self._retries[execution], error=error)

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
        self._update(
            (run_id, attempt, execution_id[:64]),
            status=status[:32],
            error=error,
            ended_at=clock.now(),
            total_tokens=total_tokens,
            price=price[:32],
            currency=currency[:8],
        )

    def move(self, run_id: str, former: int, attempt: int) -> None:
        """What was written of an attempt belongs to another one from now on."""
        moved = [key for key in self._retries if key[:2] == (run_id, former)]
        self._retries |= {(run_id, attempt, key[2]): self._retries[key] for key in moved}

    def forget(self, run_id: str) -> None:
        """Nothing more will be said of a run's nodes here."""
        self._retries = {execution: retries for execution, retries in self._retries.items() if execution[0] != run_id}

    def of_run(self, run_id: str) -> list[NodeRow]:
        """List the run's nodes, in the order in which they began."""
        self._deferred.write()
        with self._transaction() as connection:
            return [NodeRow(*row) for row in connection.execute(_OF_RUN, {"at": run_id})]

    def _update(self, execution: tuple[str, int, str], **values: object) -> None:
        self._deferred.add(updating(t.nodes, _named(execution), values))


def _named(execution: tuple[str, int, str]) -> dict[str, object]:
    return dict(zip(("run_id", "attempt", "execution_id"), execution, strict=True))
