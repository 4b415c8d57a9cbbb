"""The statements about what is due: what waits has an end. Each has a sentence above it.

A bridge at rest asks one question every few seconds, `kinds`, and the others where its answer names them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, or_, select

from bridge.store import schema as t
from bridge.store.forms import WAITING
from bridge.store.statements import Transaction
from tools.run_states import UNFINISHED
from tools.ticket_states import CallState

Bound = BindParameter[Any]
Question = Select[Any]
Kind = Literal[
    "tickets",
    "approvals",
    "leases",
    "runs",
    "settled",
    "forms",
    "abandoned",
    "held",
    "settled_executors",
    "silent_executors",
]

_TICKETS_OF_RUN = select(t.tickets.c.id).where(t.tickets.c.run_id == t.runs.c.id)
_FORMS_OF_RUN = select(t.forms.c.id).where(t.forms.c.run_id == t.runs.c.id)
_EXECUTOR_OF_CALL = select(t.executors.c.id).where(t.executors.c.id == t.calls.c.executor)
_IS_OPEN = t.tickets.c.state == "open"


def _overdue_calls(state: CallState, column: str, before: Bound) -> Question:
    return select(t.calls.c.id).join(t.tickets).where(_IS_OPEN, t.calls.c.state == state, t.calls.c[column] < before)


def _runs(direction: str, state: str, *conditions: Any) -> Question:
    return select(t.runs.c.id).where(t.runs.c.direction == direction, t.runs.c.state == state, *conditions)


def abandoned(before: Bound | float) -> ColumnElement[bool]:
    """Whether a client has left a ticket unanswered since `before`, while nobody has to decide on its calls."""
    of_client = select(t.runs.c.id).where(t.runs.c.id == t.tickets.c.run_id, t.runs.c.direction == "endpoint")
    its_own = select(t.calls.c.id).where(t.calls.c.ticket_id == t.tickets.c.id, t.calls.c.place.is_(None))
    undecided = its_own.where(t.calls.c.state == CallState.AWAITING_APPROVAL.value)
    unanswered = its_own.where(t.calls.c.output.is_(None))
    return and_(
        _IS_OPEN,
        t.tickets.c.updated_at < before,
        of_client.correlate(t.tickets).exists(),
        unanswered.correlate(t.tickets).exists(),
        ~undecided.correlate(t.tickets).exists(),
    )


def _heard_since(before: Bound) -> Any:
    return _TICKETS_OF_RUN.where(_IS_OPEN | (t.tickets.c.updated_at >= before)).exists()


_QUESTIONS: dict[Kind, Callable[[Bound], Question]] = {
    # Open tickets whose time is up.
    "tickets": lambda before: select(t.tickets.c.id).where(_IS_OPEN, t.tickets.c.expires_at < before),
    # Calls that nobody has decided about in time.
    "approvals": lambda before: _overdue_calls(CallState.AWAITING_APPROVAL, "decide_until", before),
    # Calls whose lease is over, or whose executor is.
    "leases": lambda before: (
        select(t.calls.c.id)
        .join(t.tickets)
        .where(
            _IS_OPEN,
            t.calls.c.state == CallState.LEASED,
            or_(t.calls.c.leased_until < before, ~_EXECUTOR_OF_CALL.exists()),
        )
    ),
    # Unfinished runs whose time is up.
    "runs": lambda before: select(t.runs.c.id).where(
        t.runs.c.state.in_(sorted(UNFINISHED)), t.runs.c.expires_at < before
    ),
    # Suspended runs of clients that have had all their results for a while, and that nobody has resumed.
    "settled": lambda before: _runs(
        "endpoint",
        "suspended",
        t.runs.c.updated_at < before,
        _TICKETS_OF_RUN.exists(),
        ~_FORMS_OF_RUN.where(t.forms.c.state.in_(WAITING)).exists(),
        ~_TICKETS_OF_RUN.where((t.tickets.c.state != "resolved") | (t.tickets.c.updated_at >= before)).exists(),
    ),
    # Unfinished runs with a form that was answered, or whose time was up, and that nobody has gone on with for a while.
    "forms": lambda before: (
        select(t.runs.c.id)
        .join(t.forms, t.forms.c.run_id == t.runs.c.id)
        .where(
            t.runs.c.state.in_(sorted(UNFINISHED)),
            or_(
                and_(t.forms.c.state == "answered", t.forms.c.answered_at < before),
                and_(t.forms.c.state == "open", t.forms.c.expires_at < before),
                and_(
                    t.forms.c.state == "expired",
                    t.forms.c.attempt == t.runs.c.attempt,
                    t.runs.c.state == "suspended",
                    t.forms.c.expires_at < before,
                ),
            ),
        )
        .distinct()
    ),
    # Runs that keep their workflow for calls that their client has left unanswered.
    "abandoned": lambda before: _runs("endpoint", "running", _TICKETS_OF_RUN.where(abandoned(before)).exists()),
    # Open tickets of executors' runs that are not suspended.
    "held": lambda before: (
        select(t.tickets.c.id)
        .join(t.runs)
        .where(_IS_OPEN, t.tickets.c.created_at < before, t.runs.c.direction == "executor", t.runs.c.state == "running")
    ),
    # Suspended executors' runs that wait for nothing, and with which nothing was tried in vain.
    "settled_executors": lambda before: _runs(
        "executor",
        "suspended",
        t.runs.c.error.is_(None),
        t.runs.c.created_at < before,
        ~_TICKETS_OF_RUN.where(_IS_OPEN).exists(),
    ),
    # Other runs than clients' of which nothing was heard for a while, and which wait for nothing.
    "silent_executors": lambda before: select(t.runs.c.id).where(
        t.runs.c.direction != "endpoint",
        t.runs.c.state == "running",
        t.runs.c.updated_at < before,
        ~_heard_since(before),
    ),
}
_ANY = select(*(question(bindparam(kind)).exists() for kind, question in _QUESTIONS.items()))
_EACH = {kind: question(bindparam("before")) for kind, question in _QUESTIONS.items()}


class DueStatements:
    """The part of the store that knows what is due."""

    def __init__(self, reading: Transaction) -> None:
        self._reading = reading

    def kinds(self, before: Mapping[Kind, float]) -> set[Kind]:
        """Return of which kinds anything is due: `before` says for each which time has to be past."""
        with self._reading() as connection:
            row = connection.execute(_ANY, {str(kind): time for kind, time in before.items()}).one()
        return {kind for kind, is_due in zip(_QUESTIONS, row, strict=True) if is_due}

    def of(self, kind: Kind, before: float) -> list[str]:
        """List the ids of what is due."""
        with self._reading() as connection:
            return list(connection.execute(_EACH[kind], {"before": before}).scalars())
