"""The statements about the nodes of a run's workflow and their model calls, each with a sentence above it."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import ModelCallRow, NodeRow
from bridge.store.statements import Deferred, Transaction, columns_of, values_of
from tools.results import Message
from tools.wire import ModelCall, Usage

_OF_RUN = select(*columns_of(t.nodes, NodeRow)).where(t.nodes.c.run_id == bindparam("at")).order_by(t.nodes.c.id)


class NodeStatements:
    """The part of the store that knows how a workflow goes. An execution is named by run, attempt and Dify's id.

    Nobody but who watches reads it, so it is written a moment later, with what else is written.
    """

    def __init__(self, reading: Transaction, deferred: Deferred) -> None:
        self._reading = reading
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
        self._deferred.insert(t.nodes, _named(execution), values | nothing)

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
        with self._reading() as connection:
            return [NodeRow(*row) for row in connection.execute(_OF_RUN, {"at": run_id})]

    def _update(self, execution: tuple[str, int, str], **values: object) -> None:
        self._deferred.update(t.nodes, _named(execution), values)


_PRICE = re.compile(r"\d{1,18}(\.\d{1,16})? [A-Z]{3}")


class ModelCallStatements:
    """The part of the store that knows what models were asked. It is written a moment later, as nodes are."""

    def __init__(self, reading: Transaction, deferred: Deferred) -> None:
        self._reading = reading
        self._deferred = deferred

    def add(self, run_id: str, invocation_id: str, calls: Iterable[ModelCall], said: Sequence[Message]) -> None:
        """Write calls of an invocation; one that is known stays as it is. What the client `said` is not kept twice."""
        known = {_digest(message) for message in said}
        for call in calls:
            usage = call.usage or Usage()
            row = ModelCallRow(
                invocation_id=invocation_id,
                number=call.number,
                run_id=run_id,
                round=call.round,
                at=clock.now() - call.ago - call.seconds,
                seconds=call.seconds,
                prompt_tokens=usage.prompt_tokens if call.usage else None,
                completion_tokens=usage.completion_tokens if call.usage else None,
                finish_reason=call.finish_reason[:32],
                error=call.error,
                status=call.status,
                lesson=(call.lesson or ", ".join(call.left_out))[:128] or None,
                request=_kept(call.request, known),
                before=call.before,
                price=call.price if _PRICE.fullmatch(call.price) else "",
            )
            at = {"invocation_id": row.invocation_id, "number": row.number}
            self._deferred.insert(t.model_calls, at, values_of(row, but=list(at)))

    def of_run(self, run_id: str, said: Callable[[], Sequence[Message]] = lambda: ()) -> list[ModelCallRow]:
        """List the run's model calls as they began, each with what the client `said` in its place."""
        self._deferred.write()
        with self._reading() as connection:
            rows = [ModelCallRow(*row) for row in connection.execute(_CALLS_OF_RUN, {"at": run_id})]
        by_digest = {_digest(message): message for message in said()} if any(row.request for row in rows) else {}
        return [replace(row, request=_whole(row.request, by_digest)) for row in rows]


_CALLS_OF_RUN = (
    select(*columns_of(t.model_calls, ModelCallRow))
    .where(t.model_calls.c.run_id == bindparam("at"))
    .order_by(t.model_calls.c.at, t.model_calls.c.number)
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def _digest(message: Message) -> str:
    return hashlib.blake2b(_encode(message).encode(errors="replace"), digest_size=16).hexdigest()


def _kept(request: dict[str, Any] | None, known: Collection[str]) -> str | None:
    if request is None:
        return None
    messages = request.get("messages")
    if isinstance(messages, list):
        digests = [_digest(message) for message in messages]
        kept = [digest if digest in known else each for digest, each in zip(digests, messages, strict=True)]
        request = request | {"messages": kept}
    return _encode(request)


def _whole(request: str | None, by_digest: Mapping[str, Message]) -> str | None:
    if request is None:
        return None
    read = json.loads(request)
    if "messages" in read:
        read["messages"] = [by_digest.get(each, each) if isinstance(each, str) else each for each in read["messages"]]
    return _encode(read)


def _named(execution: tuple[str, int, str]) -> dict[str, object]:
    return dict(zip(("run_id", "attempt", "execution_id"), execution, strict=True))
