"""Tickets: opened by the plugin, answered by whoever runs the calls, waited for without a thread.

open ──results complete──> resolved
  ├────time is up────────> expired
  └────run or plugin gone> cancelled
"""

import logging
import threading
import time
from collections.abc import Sequence

from bridge.errors import Conflict, Gone, InvalidRequest, NotFound, TooLarge
from bridge.requests import Reply
from bridge.runs import Runs
from bridge.store.rows import TicketRow
from tools.results import ToolResult
from tools.wire import TicketRequest, TicketStatus

log = logging.getLogger("clawback.tickets")

SUPERSEDED = "the workflow was run again, and its new run goes on from here"


class Tickets:
    """The pending calls of the runs that this bridge holds."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._store = runs.store

    def open(self, ticket_id: str, request: TicketRequest) -> TicketStatus:
        """Open a ticket and hand it to the client. Opened again with the same id, it stays what it is."""
        with self._runs.lock:
            known = self._store.ticket(ticket_id)
            if known:
                return self.status(known, request.invocation_id)
            refusal = self._refusal(request)
            if refusal:
                return refusal.model_copy(update={"ticket_id": ticket_id})
            now = time.time()
            ticket = self._store.open_ticket(
                TicketRow(
                    id=ticket_id,
                    run_id=request.run_id,
                    invocation_id=request.invocation_id,
                    round=request.round,
                    state="open",
                    content=request.content,
                    shown=request.shown,
                    segment=None,
                    reply=None,
                    reason=None,
                    created_at=now,
                    expires_at=now + self._runs.config.limits.ticket_seconds,
                ),
                request.calls,
            )
            self._hand_out(ticket, request)
        log.info(
            "ticket opened",
            extra={"run": ticket.run_id, "ticket": ticket.id, "tools": [call.name for call in ticket.calls]},
        )
        return TicketStatus(ticket_id=ticket_id, state="open")

    def _refusal(self, request: TicketRequest) -> TicketStatus | None:
        run = self._store.run(request.run_id)
        if run is None:
            raise NotFound(f"there is no run {request.run_id}", code="run_not_found", param="run_id")
        invocation = self._store.invocation(request.invocation_id)
        if invocation is None or invocation.run_id != run.id:
            raise NotFound("this invocation has not attached to the run", param="invocation_id")
        if run.state not in {"running", "suspended"}:
            return TicketStatus(ticket_id="", state="cancelled", reason=run.error or f"the run is {run.state}")
        if invocation.attempt != run.attempt:
            return TicketStatus(ticket_id="", state="cancelled", reason=SUPERSEDED)
        limit = self._runs.config.limits.calls_per_run
        if self._store.count_calls(run.id) + len(request.calls) > limit:
            return TicketStatus(
                ticket_id="", state="expired", reason=f"this run has used up its {limit} calls (limits.calls_per_run)"
            )
        return None

    def _hand_out(self, ticket: TicketRow, request: TicketRequest) -> None:
        live = self._runs.live(ticket.run_id)
        if live is None:
            return
        live.used(request.usage)
        if not request.streamed_text:
            live.deliver(ticket)
            return
        live.hold_ticket(ticket)
        timer = threading.Timer(self._runs.config.limits.boundary_seconds, live.deliver_pending)
        timer.daemon = True
        timer.start()

    def wait(self, ticket_id: str, invocation_id: str | None, seconds: float) -> TicketStatus:
        """Return the ticket's status as soon as it is no longer open, at the latest after `seconds`."""
        with self._runs.wakeups.listen(ticket_id) as hints:
            status = self.status(self._known(ticket_id), invocation_id)
            if status.state == "open" and hints.wait(seconds):
                status = self.status(self._known(ticket_id), invocation_id)
        return status

    def status(self, ticket: TicketRow, invocation_id: str | None) -> TicketStatus:
        """Return what the plugin's invocation needs to know about the ticket."""
        if invocation_id and ticket.invocation_id != invocation_id:
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=SUPERSEDED)
        run = self._store.run(ticket.run_id)
        invocation = self._store.invocation(ticket.invocation_id)
        if run and invocation and invocation.attempt != run.attempt:
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=SUPERSEDED)
        if ticket.state != "resolved":
            return TicketStatus.model_validate({"ticket_id": ticket.id, "state": ticket.state, "reason": ticket.reason})
        reply = Reply.model_validate_json(ticket.reply) if ticket.reply else Reply()
        return TicketStatus(
            ticket_id=ticket.id,
            state="resolved",
            results=ticket.results(),
            messages=reply.messages,
            tools=reply.tools,
            tool_choice=reply.tool_choice,
        )

    def add_results(self, ticket_id: str, results: Sequence[ToolResult], reply: Reply | None = None) -> TicketRow:
        """Take results. The same again changes nothing; a different one for a call that has one is refused.

        Raises NotFound, InvalidRequest (a result of no call of this ticket), TooLarge, Conflict, Gone.
        """
        with self._runs.lock:
            ticket = self._known(ticket_id)
            fresh = self._check(ticket, results)
            if ticket.state in {"expired", "cancelled"}:
                raise Gone(f"ticket {ticket_id} is {ticket.state}: {ticket.reason}", code=f"ticket_{ticket.state}")
            if not fresh:
                return ticket
            changed = self._store.add_results(
                ticket_id, fresh, reply.model_dump_json(exclude_none=True) if reply else None
            )
        if changed.state == "resolved":
            self._runs.wakeups.wake(ticket_id)
            log.info("ticket resolved", extra={"run": ticket.run_id, "ticket": ticket_id})
        return changed

    def _check(self, ticket: TicketRow, results: Sequence[ToolResult]) -> list[ToolResult]:
        calls = {call.id: call for call in ticket.calls}
        limit = self._runs.config.limits.result_bytes
        fresh: dict[str, ToolResult] = {}
        for result in results:
            call = calls.get(result.tool_call_id)
            if call is None:
                raise InvalidRequest(
                    f"{result.tool_call_id} is not a call of ticket {ticket.id}; its calls are {', '.join(calls)}",
                    code="unknown_tool_call_id",
                    param="tool_call_id",
                )
            if len(result.output.encode()) > limit:
                raise TooLarge(
                    f"the result of {call.id} ({call.name}) is larger than {limit} bytes (limits.result_bytes): "
                    "send the part that matters, or a summary",
                    param="output",
                )
            known = call.result() or fresh.get(call.id)
            if known is None:
                fresh[call.id] = result
            elif (known.output, known.is_error) != (result.output, result.is_error):
                raise Conflict(
                    f"{call.id} ({call.name}) already has a different result; the first one counts",
                    code="result_conflict",
                    param="output",
                )
        return list(fresh.values())

    def cancel(self, ticket_id: str, reason: str) -> TicketStatus:
        """The plugin no longer waits."""
        self._known(ticket_id)
        self._store.close_ticket(ticket_id, "cancelled", reason)
        self._runs.wakeups.wake(ticket_id)
        return self.status(self._known(ticket_id), None)

    def suspend(self, ticket_id: str) -> TicketStatus:
        """The plugin lets go of its workflow, unless the results are in already."""
        with self._runs.lock:
            ticket = self._known(ticket_id)
            status = self.status(ticket, None)
            if status.state == "open":
                self._runs.suspend(ticket.run_id)
                log.info("run suspended", extra={"run": ticket.run_id, "ticket": ticket_id})
            return status

    def _known(self, ticket_id: str) -> TicketRow:
        ticket = self._store.ticket(ticket_id)
        if ticket is None:
            raise NotFound(f"there is no ticket {ticket_id}", code="ticket_not_found", param="ticket_id")
        return ticket
