"""The statements about the forms of Human Input nodes, each with a sentence above it.

open ──somebody answers──> answered ──Dify has the answer──> submitted
  │                           └──────Dify refuses it───────> open
  ├────time is up──────────────────────────────────────────> expired
  ├────answered in Dify itself─────────────────────────────> submitted
  └────its run has ended───────────────────────────────────> cancelled

Each step is made from the state that was read, so that of two answers one counts.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, or_, select, update

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.rows import FormRow, RunRow
from bridge.store.statements import Statement, Transaction, columns_of, inserting, values_of
from tools.run_states import UNFINISHED, RunState

WAITING = ("open", "answered")
"""The states of a form that still pauses its workflow run."""

_FORMS = select(*columns_of(t.forms, FormRow)).order_by(t.forms.c.created_at, t.forms.c.id)
_OF_RUN = _FORMS.where(t.forms.c.run_id == bindparam("at"))
_BY_ID = _FORMS.where(t.forms.c.id == bindparam("at"))
_OPEN = _FORMS.join(t.runs).where(
    t.forms.c.state == "open", t.forms.c.ticket_id.is_(None), t.runs.c.state.in_(sorted(UNFINISHED))
)


class FormStatements:
    """The part of the store that knows which forms wait for a person."""

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction, self._reading = transaction, reading

    def adding(self, form: FormRow) -> Statement:
        """Return the statement that writes a new form, to go with the change that suspends its run."""
        return inserting(t.forms, values_of(form))

    def pausing_again(self, form_id: str, attempt: int) -> Statement:
        """Return the statement by which a form pauses another attempt of its run: another form was answered before."""
        changed = update(t.forms).where(t.forms.c.id == bindparam("form")).values(attempt=bindparam("now"))
        return changed, {"form": form_id, "now": attempt}

    def handing(self, form_id: str, ticket_id: str | None) -> Statement:
        """Return the statement by which a client asks its user by this ticket, or nobody by any."""
        changed = update(t.forms).where(t.forms.c.id == bindparam("form")).values(ticket_id=bindparam("ticket"))
        return changed, {"form": form_id, "ticket": ticket_id}

    def taking_over(self, former: FormRow, form: FormRow) -> Statement:
        """Return the statement by which an answered form leaves its answer to the same form of a rerun."""
        changed = update(t.forms).where(t.forms.c.id == bindparam("form")).values(successor=bindparam("heir"))
        return changed, {"form": former.id, "heir": form.id}

    def cancelling(self, run_id: str) -> Statement:
        """Return the statement that ends what still waits of a run, to go with the change that ends it."""
        waits = or_(*(t.forms.c.state == bindparam(state) for state in WAITING))
        ended = update(t.forms).where(t.forms.c.run_id == bindparam("run"), waits).values(state=bindparam("then"))
        return ended, {"run": run_id, "then": "cancelled"} | {state: state for state in WAITING}

    def moving(self, run_id: str, former: int, attempt: int) -> list[Statement]:
        """Return the statements by which all that belongs to an attempt belongs to one that goes on in its workflow."""
        moved: list[Statement] = []
        for table in (t.nodes, t.markers):
            own = (table.c.run_id == bindparam("run"), table.c.attempt == bindparam("former"))
            changed = update(table).where(*own).values(attempt=bindparam("now"))
            moved.append((changed, {"run": run_id, "former": former, "now": attempt}))
        return moved

    def get(self, form_id: str) -> FormRow | None:
        """Find the form with this id."""
        return next(iter(self._found(_BY_ID, at=form_id)), None)

    def of_run(self, run_id: str) -> list[FormRow]:
        """List the run's forms, oldest first."""
        return self._found(_OF_RUN, at=run_id)

    def open(self) -> list[FormRow]:
        """List the forms that wait for a person at the bridge, oldest first."""
        return self._found(_OPEN)

    def pausing(self, run: RunRow) -> list[FormRow]:
        """List the forms that pause the run's workflow run, or that its attempt was paused with and are settled by now.

        Without any, the workflow has gone on since, and can only be run again.
        """
        own = [
            form for form in self.of_run(run.id) if run.workflow_run_id and form.workflow_run_id == run.workflow_run_id
        ]
        is_suspended = run.state == RunState.SUSPENDED
        return [form for form in own if form.state in WAITING or (is_suspended and form.attempt == run.attempt)]

    def answer(self, form_id: str, action: str, inputs: str, by: str) -> bool:
        """Write the answer of an open form; return whether it was open."""
        now = clock.now()
        values = {"state": "answered", "action": action, "inputs": inputs, "answered_by": by, "answered_at": now}
        return self._moved(form_id, ["open"], values, "answer", by)

    def submit(self, form_id: str, by: str = "bridge") -> bool:
        """Write that Dify has a form's answer, this one or another."""
        return self._moved(form_id, [*WAITING, "expired"], {"state": "submitted"}, "submit", by)

    def expire(self, form_id: str) -> bool:
        """Write that a form's time is up."""
        return self._moved(form_id, WAITING, {"state": "expired"}, "expire", "bridge")

    def reopen(self, form_id: str) -> bool:
        """Write that Dify refuses a form's answer: a person at the bridge has to give another one."""
        nothing = {"action": None, "inputs": None, "answered_by": None, "answered_at": None, "ticket_id": None}
        return self._moved(form_id, ["answered"], {"state": "open", **nothing}, "refuse", "bridge")

    def owe(self, run_id: str, *, is_owed: bool) -> None:
        """Write whether the run's client was sent away without its answer."""
        with self._transaction() as connection:
            connection.execute(update(t.forms).where(t.forms.c.run_id == run_id).values(is_owed=is_owed))

    def is_owed(self, run_id: str) -> bool:
        """Whether the run's client was sent away, and was not given its answer since."""
        return any(form.is_owed for form in self.of_run(run_id))

    def _found(self, statement: Any, **values: object) -> list[FormRow]:
        with self._reading() as connection:
            return [FormRow(**row._mapping) for row in connection.execute(statement, values)]

    def _moved(self, form_id: str, before: Sequence[str], values: dict[str, Any], event: str, actor: str) -> bool:
        """Make a step, and write it into the audit trail, without what was filled in."""
        with self._transaction() as connection:
            row = connection.execute(_BY_ID, {"at": form_id}).first()
            if row is None or row.state not in before:
                return False
            at = (t.forms.c.id == form_id, t.forms.c.state == row.state)
            if not connection.execute(update(t.forms).where(*at).values(**values)).rowcount:
                return False
            said = {"actor": actor, "event": event, "before": row.state, "after": values["state"], "detail": ""}
            where = {"at": clock.now(), "run_id": row.run_id, "ticket_id": form_id, "call_id": None}
            connection.execute(insert(t.events).values(**where, **said))
            return True
