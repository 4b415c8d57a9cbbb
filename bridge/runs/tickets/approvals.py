"""Calls that wait for a person: listed, approved, denied, expired.

A decision binds one call alone, with the arguments that it was made for, and the executors that the person was asked
about. The same decision once more changes nothing; another one is refused.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bridge.errors import InvalidRequest, NotFound
from bridge.runs.services import Services
from bridge.runs.tickets import moves as steps
from bridge.runs.tickets.admission import Admission, canonical
from bridge.runs.tickets.tickets import Tickets
from bridge.store.rows import CallRow, Move, RunRow, TicketRow
from bridge.store.run_record import RunRecord
from tools.arguments import checked
from tools.calls import arguments_problem
from tools.ticket_states import CallEvent, CallState

log = logging.getLogger("clawback.approvals")


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

        def judged(run: RunRow, call: CallRow) -> Move | None:
            was_approved = _was_approved(call)
            wanted = call.asked_call().arguments if was_approved else call.arguments
            if arguments is not None:
                wanted = self._sound(run, call, arguments)
            edits = canonical(wanted) != canonical(call.arguments)
            if was_approved and not edits:
                return None
            move = self._approval(call, who, wanted if edits else None)
            if edits:
                self._check_policy(run, replace(call, arguments=wanted))
            return move

        return self._decide(call_id, judged)

    def _approval(self, call: CallRow, who: str, edited: str | None) -> Move:
        """Return the move. What was granted before was so with the arguments that the call had then."""
        granted = call.asks_for() if edited else call.grants() | call.asks_for()
        changes = {"granted": json.dumps(granted)}
        if edited is None:
            return steps.step(call, CallEvent.APPROVE, f"operator {who}", **changes)
        changes |= {"arguments": edited, "asked": call.asked_call().arguments}
        told = f": {edited}" if self._services.config.log_content else ""
        return steps.step(call, CallEvent.APPROVE, f"operator {who}", f"with other arguments{told}", **changes)

    def _sound(self, run: RunRow, call: CallRow, arguments: dict[str, Any]) -> str:
        """Return a person's arguments as the tool takes them. Raises InvalidRequest."""
        text = json.dumps(arguments, ensure_ascii=False)
        found = checked(text, self._schema(run, call))
        problem = arguments_problem(text) or found.problem
        if problem:
            raise InvalidRequest(problem, param="arguments")
        return found.arguments

    def _check_policy(self, run: RunRow, call: CallRow) -> None:
        """Raise InvalidRequest where the policy denies what a person has written: nobody would run it."""
        verdict = self._admission.denial(run, call)
        if verdict:
            raise InvalidRequest(f"the policy denies these arguments ({verdict.rule})", param="arguments")

    def deny(self, call_id: str, who: str, reason: str) -> CallRow:
        """Answer a call with an error that says why it was denied. Once more changes nothing.

        Raises NotFound, Conflict (it was decided otherwise), Gone.
        """
        detail = reason if self._services.config.log_content else ""

        def judged(_: RunRow, call: CallRow) -> Move | None:
            if call.state == CallState.DENIED:
                return None
            told = f"It is {steps.UNCERTAIN}. {reason}" if steps.is_uncertain(call) else reason
            return steps.deny(call, told.strip(), f"operator {who}", detail)

        return self._decide(call_id, judged)

    def expire(self, call_id: str, now: float) -> None:
        """Answer a call that nobody decided about in time."""

        def judged(_: RunRow, call: CallRow) -> Move | None:
            waits = call.state == CallState.AWAITING_APPROVAL and (call.decide_until or 0) < now
            became = "It is unknown whether it ran." if steps.is_uncertain(call) else "It was not run."
            return steps.expire(call, f"nobody approved this call in time. {became}") if waits else None

        self._decide(call_id, judged)

    def _decide(self, call_id: str, judge: Callable[[RunRow, CallRow], Move | None]) -> CallRow:
        ticket, _ = self._found(call_id)

        def decided(record: RunRecord) -> Move | None:
            call = next(call for call in record.tickets[ticket.id].calls if call.id == call_id)
            return judge(record.run, call)

        if moves := self._tickets.decide(ticket, decided):
            log.info("call decided", extra={"call": call_id, "state": str(moves[-1].after)})
        return self._found(call_id)[1]

    def _schema(self, run: RunRow, call: CallRow) -> dict[str, Any] | None:
        """Return the schema that the tool had when the run was asked, if it had one."""
        tools = self._services.requests.of(run).tools
        return next((tool.function.parameters for tool in tools if tool.name == call.name), None)

    def _found(self, call_id: str) -> tuple[TicketRow, CallRow]:
        found = self._store.call(call_id)
        if found is None:
            raise NotFound(f"there is no call {call_id}; `clawback tickets` lists those that wait", param="call_id")
        return found


def _was_approved(call: CallRow) -> bool:
    return call.decide_until is not None and call.state in {
        CallState.READY,
        CallState.LEASED,
        CallState.RESOLVED,
    }
