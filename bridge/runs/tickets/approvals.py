"""Calls that wait for a person: listed, approved, denied, expired.

A decision binds one call alone, with the arguments that it was made for, and the executors that the person was asked
about. The same decision once more changes nothing; another one is refused.
"""

import json
import logging
from dataclasses import replace
from typing import Any

from bridge.errors import InvalidRequest, NotFound
from bridge.runs.requests import RunRequest
from bridge.runs.services import Services
from bridge.runs.tickets import moves as steps
from bridge.runs.tickets.admission import Admission
from bridge.runs.tickets.loops import canonical
from bridge.runs.tickets.tickets import Tickets
from bridge.store.rows import CallRow, Move, RunRow, TicketRow
from tools.arguments import checked
from tools.calls import arguments_problem
from tools.ticket_states import CallEvent, CallState

log = logging.getLogger("clawback.approvals")

APPROVALS = "approvals"
"""The lock under which this process takes people's decisions."""


class Approvals:
    """What people decide about calls."""

    def __init__(self, services: Services, tickets: Tickets, admission: Admission) -> None:
        self._services, self._store = services, services.store
        self._admission = admission
        self._tickets = tickets

    def waiting(self) -> list[tuple[TicketRow, CallRow]]:
        """List the calls that wait for a decision, oldest first."""
        return self._store.calls_in(CallState.AWAITING_APPROVAL.value)

    def approve(self, call_id: str, who: str, arguments: dict[str, Any] | None = None) -> CallRow:
        """Let a call run, with other `arguments` if they are given. Once more changes nothing.

        Raises NotFound, InvalidRequest, Conflict (it was decided otherwise), Gone.
        """
        with self._services.locks.of(APPROVALS):
            ticket, call = self._found(call_id)
            run = self._store.run(ticket.run_id)
            was_approved = _was_approved(call)
            wanted = call.asked_call().arguments if was_approved else call.arguments
            if arguments is not None:
                wanted = self._sound(run, call, arguments)
            edits = canonical(wanted) != canonical(call.arguments)
            if was_approved and not edits:
                return call
            move = self._approval(call, who, wanted if edits else None)
            if edits:
                self._check_policy(run, replace(call, arguments=wanted))
            return self._decide(call, move)

    def _approval(self, call: CallRow, who: str, edited: str | None) -> Move:
        """Return the move. What was granted before was so with the arguments that the call had then."""
        granted = call.asks_for() if edited else call.grants() | call.asks_for()
        changes = {"granted": json.dumps(granted)}
        if edited is None:
            return steps.step(call, CallEvent.APPROVE, f"operator {who}", **changes)
        changes |= {"arguments": edited, "asked": call.asked_call().arguments}
        told = f": {edited}" if self._services.config.log_content else ""
        return steps.step(call, CallEvent.APPROVE, f"operator {who}", f"with other arguments{told}", **changes)

    def _sound(self, run: RunRow | None, call: CallRow, arguments: dict[str, Any]) -> str:
        """Return a person's arguments as the tool takes them. Raises InvalidRequest."""
        text = json.dumps(arguments, ensure_ascii=False)
        found = checked(text, _schema(run, call))
        problem = arguments_problem(text) or found.problem
        if problem:
            raise InvalidRequest(problem, param="arguments")
        return found.arguments

    def _check_policy(self, run: RunRow | None, call: CallRow) -> None:
        """Raise InvalidRequest where the policy denies what a person has written: nobody would run it."""
        verdict = self._admission.denial(run, call) if run else None
        if verdict:
            raise InvalidRequest(f"the policy denies these arguments ({verdict.rule})", param="arguments")

    def deny(self, call_id: str, who: str, reason: str) -> CallRow:
        """Answer a call with an error that says why it was denied. Once more changes nothing.

        Raises NotFound, Conflict (it was decided otherwise), Gone.
        """
        with self._services.locks.of(APPROVALS):
            call = self._known(call_id)
            if call.state == CallState.DENIED:
                return call
            detail = reason if self._services.config.log_content else ""
            return self._decide(call, steps.deny(call, reason, f"operator {who}", detail))

    def expire(self, now: float) -> None:
        """Answer the calls that nobody decided about in time."""
        with self._services.locks.of(APPROVALS):
            for call in self._store.overdue_calls(CallState.AWAITING_APPROVAL, "decide_until", now):
                self._decide(call, steps.expire(call, "nobody approved this call in time. It was not run."))

    def _decide(self, call: CallRow, move: Move) -> CallRow:
        self._tickets.move(call.ticket_id, [move])
        log.info("call decided", extra={"call": call.id, "tool": call.name, "state": str(move.after)})
        return self._known(call.id)

    def _known(self, call_id: str) -> CallRow:
        return self._found(call_id)[1]

    def _found(self, call_id: str) -> tuple[TicketRow, CallRow]:
        found = self._store.call(call_id)
        if found is None:
            raise NotFound(f"there is no call {call_id}; `clawback tickets` lists those that wait", param="call_id")
        return found


def _schema(run: RunRow | None, call: CallRow) -> dict[str, Any] | None:
    """Return the schema that the tool had when the run was asked, if it had one."""
    tools = RunRequest.model_validate_json(run.request).tools if run else []
    return next((tool.function.parameters for tool in tools if tool.name == call.name), None)


def _was_approved(call: CallRow) -> bool:
    return call.decide_until is not None and call.state in {
        CallState.READY,
        CallState.LEASED,
        CallState.RESOLVED,
    }
