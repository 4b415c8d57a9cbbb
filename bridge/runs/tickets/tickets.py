"""Tickets: opened by the plugin, answered by whoever runs the calls, waited for without a thread.

open ──every call has its result──> resolved
  ├────time is up─────────────────> expired
  └────run or plugin gone─────────> cancelled

Where each call stands meanwhile is the table in tools.ticket_states.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge.errors import Gone, InvalidRequest, NotFound, TooLarge
from bridge.runs import request_id
from bridge.runs.executors.resuming import Resuming
from bridge.runs.requests import Reply
from bridge.runs.runs import Runs
from bridge.runs.tickets import moves as steps
from bridge.runs.tickets.admission import Admission
from bridge.runs.tickets.refusals import refusal
from bridge.store import clock
from bridge.store.rows import CallRow, TicketRow
from bridge.store.store import Overtaken
from tools.ids import random_name
from tools.marker import strip_markers
from tools.openclaw_text.stopping import stopping_text
from tools.results import ToolResult
from tools.shorten import shortened
from tools.ticket_states import CallEvent, CallState, NotLeased, Settled
from tools.wire import TicketRequest, TicketStatus

log = logging.getLogger("clawback.tickets")

OPENED = "opened:"
"""The wake-up of another bridge, which drives the run of the ticket that follows."""

ASKED = "asked:"
"""The wake-up of all other bridges: the plugin asks the bridge that follows for the ticket behind it."""

CALLS = "calls"
"""The wake-up of the executors: a call may be ready for one of them."""

CROWDED_SECONDS = 0.5
"""How long a poll waits while other runs wait for a place at Dify: this one may be asked to give way."""

_RUNS = frozenset({CallState.READY, CallState.LEASED, CallState.RESOLVED})
"""The states of a call that somebody was given to run."""

SUPERSEDED = "the workflow was run again, and its new run goes on from here"


@dataclass(frozen=True, slots=True)
class Holder:
    """An executor that brings results, and the leases under which it ran the calls, by tool_call_id."""

    executor_id: str
    name: str
    leases: Mapping[str, str]

    def holds(self, call: CallRow) -> bool:
        """Whether the call's newest lease is the one that it names, and its own."""
        return call.executor == self.executor_id and call.lease == self.leases.get(call.id)


class Tickets:
    """The pending calls of the runs that this bridge holds."""

    def __init__(self, runs: Runs, admission: Admission, resuming: Resuming) -> None:
        self._runs = runs
        self._resuming = resuming
        self._admission = admission
        self._store = runs.store
        runs.wakeups.when(OPENED, self._opened_elsewhere)
        self._name = random_name()
        runs.wakeups.when(ASKED, self._asked_elsewhere)

    def open(self, ticket_id: str, request: TicketRequest) -> TicketStatus:
        """Open a ticket and hand it to the client. Opened again with the same id, it stays what it is."""
        with self._runs.lock:
            known = self._store.ticket(ticket_id)
            if known:
                self._hand_out_again(known, request)
                return self._told(self.status(known, request.invocation_id), asks_again=not request.stops)
            no_ticket = self._no_ticket(request)
            if no_ticket:
                return no_ticket.model_copy(update={"ticket_id": ticket_id})
            ticket = self._write(ticket_id, request)
            self._hand_out(ticket, request)
        log.info(
            "ticket opened",
            extra={"run": ticket.run_id, "ticket": ticket.id, "tools": [call.name for call in ticket.calls]},
        )
        return self._told(self.status(ticket, request.invocation_id), asks_again=not request.stops)

    def _write(self, ticket_id: str, request: TicketRequest) -> TicketRow:
        now = clock.now()
        calls = [
            CallRow(call.id, ticket_id, call.name, call.arguments, None, None, state=CallState.OPEN.value)
            for call in request.calls
        ]
        ticket = TicketRow(
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
            calls=calls,
            reasoning=json.dumps(request.reasoning) if request.reasoning else None,
            request_id=request_id.current() or None,
        )
        run = self._store.run(request.run_id)
        assert run is not None  # noqa: S101 - `_no_ticket` has looked it up
        self._runs.observers.used_upstream(run.model, request.usage)
        return self._store.open_ticket(ticket, self._admission.judge(run, calls, now))

    def _no_ticket(self, request: TicketRequest) -> TicketStatus | None:
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
        if live is None or self._runs.is_elsewhere(live):
            self._runs.wakeups.wake(CALLS)
            self._runs.wakeups.wake(OPENED + ticket.id)
            return
        live.used(request.usage)
        if request.stops and ticket.state == "open":
            live.stop(ticket, stopping_text(request.shown, request.calls))
            return
        if ticket.undecided or ticket.state != "open":
            return
        if request.streamed_text:
            self._runs.deliver_soon(live, ticket)
        else:
            live.deliver(ticket)

    def _opened_elsewhere(self, ticket_id: str) -> None:
        """Deliver a ticket of a run that this process drives, and that the plugin opened at another bridge."""
        with self._runs.lock:
            ticket = self._store.ticket(ticket_id)
            live = self._runs.live(ticket.run_id) if ticket else None
            if not (ticket and live) or self._runs.is_elsewhere(live) or live.holds(ticket_id):
                return
            if ticket.state == "open" and ticket.segment is None and not ticket.undecided:
                self._runs.deliver_soon(live, ticket)

    def _hand_out_again(self, ticket: TicketRow, request: TicketRequest) -> None:
        """Do what the request that wrote the ticket did not come to: the bridge or its disk may have failed there."""
        live = self._runs.live(ticket.run_id)
        if live and ticket.state == "open" and ticket.segment is None and not live.holds(ticket.id):
            self._hand_out(ticket, request)

    def wait(
        self, ticket_id: str, invocation_id: str | None, seconds: float, is_there: Callable[[], bool] = lambda: True
    ) -> TicketStatus:
        """Return the ticket's status as soon as it is no longer open, at the latest after `seconds`.

        `is_there` says whether anybody is left to be told: the end of a ticket is news until a plugin hears of it.
        """
        self._runs.polls.heard(ticket_id, seconds)
        self._runs.wakeups.wake(f"{ASKED}{self._name}:{ticket_id}")
        with self._runs.wakeups.listen(ticket_id) as hints:
            status = self._waiting(ticket_id, invocation_id)
            pause = min(seconds, CROWDED_SECONDS) if self._runs.crowded else seconds
            if status.state == "open" and not status.let_go and hints.wait(pause):
                status = self._waiting(ticket_id, invocation_id)
        if is_there():
            return self._told(status)
        self._runs.polls.heard(ticket_id)
        return status

    def _asked_elsewhere(self, said: str) -> None:
        """The plugin asks another bridge now, which looks after it. Our own words come back to us, too."""
        who, _, ticket_id = said.partition(":")
        if who != self._name:
            self._runs.polls.told(ticket_id)

    def _waiting(self, ticket_id: str, invocation_id: str | None) -> TicketStatus:
        ticket = self.known(ticket_id)
        status = self.status(ticket, invocation_id)
        if status.state == "open" and ticket.segment is None and self._runs.live(ticket.run_id) is None:
            self._runs.wakeups.wake(OPENED + ticket_id)
        lets_go = status.state == "open" and self._runs.gives_way(ticket)
        return status.model_copy(update={"let_go": True}) if lets_go else status

    def _told(self, status: TicketStatus, *, asks_again: bool = True) -> TicketStatus:
        """Note what the plugin is told, and whether it will ask again."""
        if status.state == "open" and asks_again:
            self._runs.polls.heard(status.ticket_id)
        else:
            self._runs.polls.told(status.ticket_id)
        if status.state == "resolved":
            self._runs.stays(self.known(status.ticket_id).run_id)
        return status

    def status(self, ticket: TicketRow, invocation_id: str | None) -> TicketStatus:
        """Return what the plugin's invocation needs to know about the ticket."""
        if invocation_id and ticket.invocation_id != invocation_id:
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=SUPERSEDED)
        run = self._store.run(ticket.run_id)
        invocation = self._store.invocation(ticket.invocation_id)
        if run and invocation and invocation.attempt != run.attempt:
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=SUPERSEDED)
        if run and run.state == "suspended" and ticket.state == "resolved":
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=SUPERSEDED)
        if ticket.state != "resolved":
            came = ticket.results() if ticket.state == "expired" else []
            return TicketStatus.model_validate(
                {"ticket_id": ticket.id, "state": ticket.state, "reason": ticket.reason, "results": came}
            )
        reply = Reply.model_validate_json(ticket.reply) if ticket.reply else Reply()
        return TicketStatus(
            ticket_id=ticket.id,
            state="resolved",
            results=ticket.results(),
            messages=reply.messages,
            tools=reply.tools,
            tool_choice=reply.tool_choice,
        )

    def add_results(
        self,
        ticket_id: str,
        results: Sequence[ToolResult],
        reply: Reply | None = None,
        holder: Holder | None = None,
    ) -> TicketRow:
        """Take results. The same again changes nothing; a different one for a call that has one is refused.

        They come from the executor that holds the calls' leases, or, without a `holder`, from the run's own client.
        Raises NotFound, InvalidRequest (a result of no call of this ticket), TooLarge, Conflict, Gone.
        """
        try:
            return self._add(ticket_id, results, reply, holder)
        except Overtaken:
            # Another bridge that shares the store was first: what it wrote is read now.
            return self._add(ticket_id, results, reply, holder)

    def _add(
        self,
        ticket_id: str,
        results: Sequence[ToolResult],
        reply: Reply | None,
        holder: Holder | None,
    ) -> TicketRow:
        actor = f"executor {holder.name}" if holder else "client"
        with self._runs.lock:
            ticket = self.known(ticket_id)
            fresh = self._check(ticket, results, holder)
            if ticket.state in {"expired", "cancelled"}:
                raise Gone(f"ticket {ticket_id} is {ticket.state}: {ticket.reason}", code=f"ticket_{ticket.state}")
            if not fresh:
                return ticket
            moves = [steps.resolve(call, result, self._as_told(call, result, actor), actor) for call, result in fresh]
            written = reply.model_dump_json(exclude_none=True) if reply else None
            changed = self._store.move_calls(ticket_id, moves, written)
        if changed.state == "resolved":
            self._runs.wakeups.wake(ticket_id)
            log.info("ticket resolved", extra={"run": ticket.run_id, "ticket": ticket_id})
        return changed

    def _as_told(self, call: CallRow, result: ToolResult, actor: str) -> ToolResult:
        """Return the result as the model is told it. What an endpoint's client sends, it sends again every turn."""
        output = strip_markers(result.output)
        if actor != "client":
            output = shortened(output, self._runs.config.limits.result_characters)
        if call.asked is not None:
            output = f"(A person changed the arguments to {call.arguments} before this call was run.)\n{output}"
        return result.model_copy(update={"output": output})

    def check(self, ticket: TicketRow, results: Sequence[ToolResult]) -> None:
        """Raise what `add_results` would raise for these results of a client."""
        self._check(ticket, results, None)

    def _check(
        self, ticket: TicketRow, results: Sequence[ToolResult], holder: Holder | None
    ) -> list[tuple[CallRow, ToolResult]]:
        calls = {call.id: call for call in ticket.calls}
        fresh: dict[str, tuple[CallRow, ToolResult]] = {}
        for result in results:
            call = calls.get(result.tool_call_id)
            if call is None:
                raise InvalidRequest(
                    f"{result.tool_call_id} is not a call of ticket {ticket.id}; its calls are {', '.join(calls)}",
                    code="unknown_tool_call_id",
                    param="tool_call_id",
                )
            if call.state in _RUNS and not (holder.holds(call) if holder else call.lease is None):
                raise refusal(NotLeased(call.state, CallEvent.RESOLVE), call)
            self._check_size(call, result)
            known = call.digest or (steps.digest(fresh[call.id][1]) if call.id in fresh else None)
            if known is None:
                fresh[call.id] = (call, result)
            elif known != steps.digest(result):
                raise refusal(Settled(call.state, CallEvent.CONTRADICT), call)
        return list(fresh.values())

    def _check_size(self, call: CallRow, result: ToolResult) -> None:
        limit = self._runs.config.limits.result_bytes
        if len(result.output.encode(errors="replace")) > limit:
            raise TooLarge(
                f"the result of {call.id} ({call.name}) is larger than {limit} bytes (limits.result_bytes): "
                "send the part that matters, or a summary",
                param="output",
            )
        if sum(map(len, result.images)) > self._runs.config.limits.image_bytes:
            raise TooLarge(
                f"the images in the result of {call.id} ({call.name}) are larger than "
                f"{self._runs.config.limits.image_bytes} bytes (limits.image_bytes): send smaller ones",
                param="output",
            )

    def moved(self, ticket: TicketRow) -> None:
        """Do what follows from the moves of a ticket's calls that its run's client did not make itself."""
        run = self._store.run(ticket.run_id)
        if run is None:
            return
        if ticket.state == "resolved":
            self._runs.wakeups.wake(ticket.id)
            app = self._runs.app(run.model)
            if run.state == "suspended" and run.direction == "endpoint" and app:
                self._runs.go_on(run, app)
            self._resuming.soon(run.id)
        elif run.direction == "executor":
            self._runs.wakeups.wake(CALLS)
        elif not ticket.undecided and ticket.segment is None:
            if live := self._runs.live(run.id):
                live.deliver(ticket)
            else:
                self._runs.wakeups.wake(OPENED + ticket.id)

    def cancel(self, ticket_id: str, reason: str, invocation_id: str | None = None) -> TicketStatus:
        """The plugin no longer waits. An invocation whose ticket a later one has taken over changes nothing."""
        with self._runs.lock:
            status = self.status(self.known(ticket_id), invocation_id)
            if status.state != "open":
                return status
            self._runs.polls.told(ticket_id)
            self._store.close_ticket(ticket_id, "cancelled", reason, "plugin")
        self._runs.wakeups.wake(ticket_id)
        return self.status(self.known(ticket_id), None)

    def expire(self, ticket_id: str, invocation_id: str | None = None) -> TicketStatus:
        """The plugin goes on without the results that are not there, unless a later invocation waits for them."""
        with self._runs.lock:
            status = self.status(self.known(ticket_id), invocation_id)
            if status.state != "open":
                return status
            self._runs.polls.told(ticket_id)
            self._store.close_ticket(ticket_id, "expired", "the node did not wait any longer", "plugin")
            log.info("ticket expired", extra={"ticket": ticket_id})
        self._runs.wakeups.wake(ticket_id)
        return self.status(self.known(ticket_id), invocation_id)

    def suspend(self, ticket_id: str, invocation_id: str | None = None) -> TicketStatus:
        """The plugin lets go of its workflow, unless the results are in or a later invocation waits for them."""
        with self._runs.lock:
            ticket = self.known(ticket_id)
            status = self.status(ticket, invocation_id)
            if status.state != "open":
                return status
            if not self._store.suspend_for(ticket_id):
                return self.status(self.known(ticket_id), invocation_id)
            self._runs.suspended(ticket.run_id)
            self._runs.polls.told(ticket_id)
            log.info("run suspended", extra={"run": ticket.run_id, "ticket": ticket_id})
            return status

    def known(self, ticket_id: str) -> TicketRow:
        """Return the ticket. Raises NotFound."""
        ticket = self._store.ticket(ticket_id)
        if ticket is None:
            raise NotFound(f"there is no ticket {ticket_id}", code="ticket_not_found", param="ticket_id")
        return ticket
