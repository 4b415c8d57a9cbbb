"""Tickets: opened by the plugin, answered by whoever runs the calls, waited for without a thread.

open ──every call has its result──> resolved
  ├────time is up─────────────────> expired
  └────run or plugin gone─────────> cancelled

Where each call stands meanwhile is the table in tools.ticket_states.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.errors import Gone, InvalidRequest, NotFound, TooLarge
from bridge.runs import request_id
from bridge.runs.dify_slots import DifySlots
from bridge.runs.executors.resuming import Resuming
from bridge.runs.live import LiveRun, LiveRuns
from bridge.runs.requests import Reply, RunRequest
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.tickets.admission import Admission
from bridge.runs.tickets.moves import digest, refusal, resolve
from bridge.store import clock
from bridge.store.rows import CallRow, Move, RunRow, SegmentRow, TicketRow
from bridge.store.run_record import Change, RunRecord
from bridge.store.wakeups import Listening
from tools.calls import ToolCall
from tools.ids import random_name
from tools.marker import strip_markers
from tools.openclaw_text.stopping import stopping_text
from tools.results import ToolResult
from tools.run_states import UNFINISHED, RunEvent
from tools.shorten import shortened
from tools.ticket_states import CallEvent, CallState, NotLeased, Settled
from tools.wire import TicketRequest, TicketStatus

log = logging.getLogger("clawback.tickets")

OPENED = "opened:"
"""The wake-up of another bridge, which drives the run that follows: a ticket of it is to be handed out."""

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
    """The pending calls of runs."""

    def __init__(
        self,
        services: Services,
        live_runs: LiveRuns,
        slots: DifySlots,
        runs: Runs,
        admission: Admission,
        resuming: Resuming,
    ) -> None:
        self._services, self._store, self._wakeups = services, services.store, services.wakeups
        self._limits = services.config.limits
        self._live_runs, self._polls = live_runs, live_runs.polls
        self._slots = slots
        self._runs = runs
        self._resuming = resuming
        self._admission = admission
        self._name = random_name()
        self._wakeups.when(OPENED, self._opened_elsewhere)
        self._wakeups.when(ASKED, self._asked_elsewhere)

    def open(
        self,
        ticket_id: str,
        request: TicketRequest,
        seconds: float = 0,
        is_there: Callable[[], bool] = lambda: True,
    ) -> TicketStatus:
        """Open a ticket and hand it to the client, then wait for it. Opened again with the same id, it stays as it is.

        See `wait` for `seconds` and `is_there`.
        """
        # Whoever changes it from here on wakes this: what was written does not have to be read once more.
        with self._wakeups.listen(ticket_id) as hints:
            with self._services.locks.of(request.run_id):
                self._count(ticket_id, request)
                status = self._store.decide(request.run_id, lambda change: self._open(change, ticket_id, request))
                if status is None:
                    raise NotFound(f"there is no run {request.run_id}", code="run_not_found", param="run_id")
            if seconds and status.state == "open":
                return self._waited(hints, ticket_id, request.invocation_id, seconds, is_there)
        return self._told(status, asks_again=not request.stops)

    def _count(self, ticket_id: str, request: TicketRequest) -> None:
        """Count what the round cost, once, before the response that it ends."""
        record, live = self._store.record(request.run_id), self._live_runs.get(request.run_id)
        if record is None or ticket_id in record.tickets:
            return
        self._services.used_upstream(record.run, request.usage)
        self._services.note_model_calls(request.run_id, request.invocation_id, request.model_calls)
        if live and live.attempt == record.run.attempt:
            live.used(request.usage)
            live.sent_without(request.model_calls)

    def _open(self, change: Change, ticket_id: str, request: TicketRequest) -> TicketStatus:
        record = change.was
        known = record.tickets.get(ticket_id)
        if known:
            self._hand_out_again(known, request)
            return self._status(known, record, request.invocation_id)
        no_ticket = self._no_ticket(record, request)
        if no_ticket:
            return no_ticket.model_copy(update={"ticket_id": ticket_id})
        ticket = self._written(change, ticket_id, request)
        live = self._live_runs.get(ticket.run_id)
        self._hand_out(change, live, ticket, request)
        if not change.is_written:
            self._store.commit(change)
        self._hand_out_later(live, ticket, request)
        log.info(
            "ticket opened",
            extra={"run": ticket.run_id, "ticket": ticket.id, "tools": [call.name for call in ticket.calls]},
        )
        return self._status(self.known(ticket_id), change.state, request.invocation_id)

    def _written(self, change: Change, ticket_id: str, request: TicketRequest) -> TicketRow:
        now = clock.now()
        calls = [self._placed(change.was, ticket_id, request.invocation_id, call) for call in request.calls]
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
            expires_at=now + self._limits.ticket_seconds,
            calls=calls,
            reasoning=json.dumps(request.reasoning) if request.reasoning else None,
            request_id=request_id.current() or None,
        )
        return change.open_ticket(ticket, self._admission.judge(change.state, calls, now))

    def _placed(self, record: RunRecord, ticket_id: str, invocation_id: str, call: ToolCall) -> CallRow:
        row = CallRow(call.id, ticket_id, call.name, call.arguments, None, None, state=CallState.OPEN.value)
        live = self._live_runs.get(record.run.id)
        place = self._services.requests.place_of(record, invocation_id, call.name, live.latest if live else None)
        if place is None:
            return row
        return replace(row, place=place.executor, tool=place.tool if place.tool != call.name else None)

    def _no_ticket(self, record: RunRecord, request: TicketRequest) -> TicketStatus | None:
        run, invocation = record.run, record.invocations.get(request.invocation_id)
        if invocation is None:
            raise NotFound("this invocation is not attached to the run", param="invocation_id")
        if run.state not in UNFINISHED:
            return TicketStatus(ticket_id="", state="cancelled", reason=run.error or f"the run is {run.state}")
        if invocation.attempt != run.attempt:
            return TicketStatus(ticket_id="", state="cancelled", reason=SUPERSEDED)
        limit = self._limits.calls_per_run
        if sum(1 for _ in record.calls()) + len(request.calls) > limit:
            return TicketStatus(
                ticket_id="", state="expired", reason=f"this run has used up its {limit} calls (limits.calls_per_run)"
            )
        return None

    def _hand_out(self, change: Change, live: LiveRun | None, ticket: TicketRow, request: TicketRequest) -> None:
        """Write a ticket that goes to its client at once together with the segment that it ends."""
        if live is None or live.attempt != change.was.run.attempt:
            return
        at_once = not (request.stops or request.streamed_text) and ticket.state == "open" and ticket.is_deliverable
        if at_once and live.is_plain:

            def write(segment: SegmentRow) -> None:
                change.add_segment(segment)
                self._store.commit(change)

            live.deliver(ticket, write)

    def _hand_out_later(self, live: LiveRun | None, ticket: TicketRow, request: TicketRequest) -> None:
        """Hand a ticket that is written to those who run its calls, as far as they do not have them."""
        if ticket.is_for_executors:
            self._wakeups.wake(CALLS)
        if live is None or self._live_runs.is_elsewhere(live):
            self._wakeups.wake(CALLS)
            self._wakeups.wake(OPENED + ticket.run_id)
        elif ticket.state != "open" or self.known(ticket.id).segment is not None or live.holds(ticket.id):
            return
        elif request.stops:
            live.stop(ticket, stopping_text(request.shown, request.calls))
        elif not ticket.is_deliverable:
            return
        elif request.streamed_text:
            self._live_runs.deliver_soon(live, ticket)
        else:
            live.deliver(ticket)

    def _hand_out_again(self, ticket: TicketRow, request: TicketRequest) -> None:
        """Do what the request that wrote the ticket did not come to: the bridge or its disk may have failed there."""
        live = self._live_runs.get(ticket.run_id)
        if live and ticket.state == "open" and ticket.segment is None:
            self._hand_out_later(live, ticket, request)

    def _opened_elsewhere(self, run_id: str) -> None:
        """Deliver a ticket of a run that this process drives, and that the plugin opened at another bridge."""
        if live := self._live_runs.get(run_id):
            self.catch_up_with(live)

    def catch_up_with(self, live: LiveRun) -> None:
        """Learn what other bridges have done to a run that this one drives: the wake-up may have been lost."""
        with self._services.locks.of(live.run_id):
            is_current = self._live_runs.get(live.run_id) is live and not live.over
            record = self._store.record(live.run_id) if is_current else None
            if record is None:
                return
            if record.run.attempt > live.attempt:
                self._runs.hand_over(live)
            elif record.run.state == "cancelled":
                self._runs.note_cancellation(live, record.run)
            else:
                live.suspended = live.suspended or record.run.state == "suspended"
                for ticket in record.tickets_in("open"):
                    if ticket.is_deliverable and not live.holds(ticket.id):
                        self._live_runs.deliver_soon(live, ticket)

    def wait(
        self, ticket_id: str, invocation_id: str | None, seconds: float, is_there: Callable[[], bool] = lambda: True
    ) -> TicketStatus:
        """Return the ticket's status as soon as it is no longer open, at the latest after `seconds`.

        `is_there` says whether anybody is left to be told: the end of a ticket is news until a plugin hears of it.
        """
        with self._wakeups.listen(ticket_id) as hints:
            return self._waited(hints, ticket_id, invocation_id, seconds, is_there)

    def _waited(
        self,
        hints: Listening,
        ticket_id: str,
        invocation_id: str | None,
        seconds: float,
        is_there: Callable[[], bool],
    ) -> TicketStatus:
        self._polls.heard(ticket_id, seconds)
        self._wakeups.wake(f"{ASKED}{self._name}:{ticket_id}")
        status = self._waiting(ticket_id, invocation_id)
        pause = min(seconds, CROWDED_SECONDS) if self._slots.is_crowded else seconds
        if status.state == "open" and not status.let_go and hints.wait(pause):
            status = self._waiting(ticket_id, invocation_id)
        if is_there():
            return self._told(status)
        self._polls.heard(ticket_id)
        return status

    def _asked_elsewhere(self, said: str) -> None:
        """The plugin asks another bridge now, which looks after it. Our own words come back to us, too."""
        who, _, ticket_id = said.partition(":")
        if who != self._name:
            self._polls.told(ticket_id)

    def _waiting(self, ticket_id: str, invocation_id: str | None) -> TicketStatus:
        ticket = self.known(ticket_id)
        status = self.status(ticket, invocation_id)
        if status.state == "open" and ticket.is_deliverable and self._live_runs.get(ticket.run_id) is None:
            self._wakeups.wake(OPENED + ticket.run_id)
        lets_go = status.state == "open" and (self._is_released(ticket) or self._slots.gives_way(ticket))
        return status.model_copy(update={"let_go": True}) if lets_go else status

    def _is_released(self, ticket: TicketRow) -> bool:
        """Whether the workflow in which the plugin waits is of no more use."""
        run = self._store.run(ticket.run_id)
        return run is not None and run.state == "suspended"

    def _told(self, status: TicketStatus, *, asks_again: bool = True) -> TicketStatus:
        """Note what the plugin is told, and whether it will ask again."""
        if status.state == "open" and asks_again:
            self._polls.heard(status.ticket_id)
        else:
            self._polls.told(status.ticket_id)
        if status.state == "resolved":
            self._slots.stays(self.known(status.ticket_id).run_id)
        return status

    def status(self, ticket: TicketRow, invocation_id: str | None) -> TicketStatus:
        """Return what the plugin's invocation needs to know about the ticket."""
        record = self._store.record(ticket.run_id)
        assert record is not None  # noqa: S101 - a ticket has a run
        return self._status(ticket, record, invocation_id)

    def _status(self, ticket: TicketRow, record: RunRecord, invocation_id: str | None) -> TicketStatus:
        run, invocation = record.run, record.invocations.get(ticket.invocation_id)
        is_anothers = invocation_id is not None and ticket.invocation_id != invocation_id
        is_former = invocation is not None and invocation.attempt != run.attempt
        if is_anothers or is_former or (run.state == "suspended" and ticket.state == "resolved"):
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=SUPERSEDED)
        if run.state in {"cancelled", "failed"} and ticket.state == "resolved":
            # Its results came in time, and nobody waits for what the model would make of them.
            return TicketStatus(ticket_id=ticket.id, state="cancelled", reason=run.error or f"the run is {run.state}")
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
            also=self._services.also(reply.places),
            tool_choice=reply.tool_choice,
        )

    def add_results(
        self,
        ticket_id: str,
        results: Sequence[ToolResult],
        reply: Reply | None = None,
        holder: Holder | None = None,
        latest: RunRequest | None = None,
        taken: RunRow | None = None,
    ) -> TicketRow:
        """Take results, and do what follows from them: a run that was suspended goes on when it has all.

        The same result again changes nothing; a different one for a call that has one is refused. They come from the
        executor that holds the calls' leases, or, without a `holder`, from the run's own client; `latest` is the
        client's request. `taken` is the run as it was read, where this bridge makes it its own, before whoever drove it
        can go on with them: the plugin of a bridge that was killed, or another bridge. Raises NotFound, InvalidRequest
        (a result of no call of this ticket), TooLarge, Conflict, Gone.
        """
        actor = f"executor {holder.name}" if holder else "client"
        run_id = self.known(ticket_id).run_id

        def decision(change: Change) -> tuple[TicketRow, bool]:
            ticket = change.was.tickets[ticket_id]
            fresh = self._check(ticket, results, holder)
            if ticket.state in {"expired", "cancelled"}:
                raise Gone(f"ticket {ticket_id} is {ticket.state}: {ticket.reason}", code=f"ticket_{ticket.state}")
            if not fresh:
                return ticket, False
            if taken and change.was.run.state == "running" and change.step(RunEvent.TAKE_OVER, taken.attempt):
                self._store.leave_workflow(change)
            moves = [resolve(call, result, self._as_told(call, result, actor), actor) for call, result in fresh]
            return change.move_calls(ticket_id, moves, self._reply(change.was, reply)), True

        with self._services.locks.of(run_id):
            decided = self._store.decide(run_id, decision)
            assert decided is not None  # noqa: S101 - its run is there
            ticket, is_changed = decided
            if is_changed:
                if ticket.state == "resolved":
                    log.info("ticket resolved", extra={"run": run_id, "ticket": ticket_id})
                self._follow(ticket, latest)
        return ticket

    def _reply(self, record: RunRecord, reply: Reply | None) -> str | None:
        """Return a reply as it is kept, without the tools that the plugin has had since it attached."""
        if reply is None:
            return None
        replies = [Reply.model_validate_json(ticket.reply) for ticket in record.tickets.values() if ticket.reply]
        has_first, began = all(told.tools is None for told in replies), self._services.requests.of(record.run)
        if has_first and (reply.tools, reply.places) == (began.tools, began.places):
            reply = reply.model_copy(update={"tools": None, "places": None})
        return reply.model_dump_json(exclude_none=True)

    def move(self, ticket_id: str, moves: Sequence[Move]) -> TicketRow:
        """Move calls of a ticket, and do what follows. Raises CallMoved where somebody else was first."""
        with self._services.locks.of(self.known(ticket_id).run_id):
            ticket = self._store.move_calls(ticket_id, moves)
            self._follow(ticket)
        return ticket

    def decide(self, ticket: TicketRow, judge: Callable[[RunRecord], Move | None]) -> list[Move]:
        """Make the move that `judge` wants, if any, of a call of the ticket, and do what follows; return it."""

        def decision(change: Change) -> list[Move]:
            move = judge(change.was)
            if move:
                change.move_calls(ticket.id, [move])
            return [move] if move else []

        with self._services.locks.of(ticket.run_id):
            moves = self._store.decide(ticket.run_id, decision) or []
            if moves:
                self._follow(self.known(ticket.id))
        return moves

    def _follow(self, ticket: TicketRow, latest: RunRequest | None = None) -> None:
        """Do what follows from the moves of a ticket's calls: wake, go on, hand out."""
        run = self._store.run(ticket.run_id)
        if run is None:
            return
        if ticket.state == "resolved":
            self._wakeups.wake(ticket.id)
            if run.direction == "executor":
                self._resuming.soon(run.id)
            elif run.state == "suspended" and not self._store.tickets_of_run(run.id, "open"):
                self._runs.go_on(run, latest)
            return
        if run.direction != "endpoint" or ticket.is_for_executors:
            self._wakeups.wake(CALLS)
        if run.direction == "endpoint" and ticket.is_deliverable:
            live = self._live_runs.get(run.id)
            if live and not self._live_runs.is_elsewhere(live):
                live.deliver(ticket)
            else:
                self._wakeups.wake(OPENED + ticket.run_id)

    def _as_told(self, call: CallRow, result: ToolResult, actor: str) -> ToolResult:
        """Return the result as the model is told it. What an endpoint's client sends, it sends again every turn."""
        output = strip_markers(result.output)
        if actor != "client":
            output = shortened(output, self._limits.result_characters)
        if call.asked is not None:
            output = f"(A person changed the arguments to {call.arguments} before this call was run.)\n{output}"
        return result.model_copy(update={"output": output})

    def check(self, ticket: TicketRow, results: Sequence[ToolResult]) -> None:
        """Raise what `add_results` would raise for these results of a client."""
        self._check(ticket, results, None)

    def _check(
        self, ticket: TicketRow, results: Sequence[ToolResult], holder: Holder | None
    ) -> list[tuple[CallRow, ToolResult]]:
        calls = {call.id: call for call in (ticket.calls if holder else ticket.client_calls)}
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
            known = call.digest or (digest(fresh[call.id][1]) if call.id in fresh else None)
            if known is None:
                fresh[call.id] = (call, result)
            elif known != digest(result):
                raise refusal(Settled(call.state, CallEvent.CONTRADICT), call)
        return list(fresh.values())

    def _check_size(self, call: CallRow, result: ToolResult) -> None:
        limit = self._limits.result_bytes
        if len(result.output.encode(errors="replace")) > limit:
            raise TooLarge(
                f"the result of {call.id} ({call.name}) is larger than {limit} bytes (limits.result_bytes): "
                "send the part that matters, or a summary",
                param="output",
            )
        if sum(map(len, result.images)) > self._limits.image_bytes:
            raise TooLarge(
                f"the images in the result of {call.id} ({call.name}) are larger than "
                f"{self._limits.image_bytes} bytes (limits.image_bytes): send smaller ones",
                param="output",
            )

    def cancel(self, ticket_id: str, reason: str, invocation_id: str | None = None) -> TicketStatus:
        """The plugin no longer waits. An invocation whose ticket a later one has taken over changes nothing."""
        return self._close(ticket_id, invocation_id, "cancelled", reason, None)

    def expire(self, ticket_id: str, invocation_id: str | None = None) -> TicketStatus:
        """The plugin goes on without the results that are not there, unless a later invocation waits for them."""
        return self._close(ticket_id, invocation_id, "expired", "the node did not wait any longer", invocation_id)

    def _close(
        self, ticket_id: str, invocation_id: str | None, state: str, reason: str, told: str | None
    ) -> TicketStatus:
        def decision(change: Change) -> TicketStatus | None:
            status = self._status(change.was.tickets[ticket_id], change.was, invocation_id)
            if status.state != "open":
                return status
            change.close_ticket(ticket_id, state, reason, "plugin")
            return None

        run_id = self.known(ticket_id).run_id
        with self._services.locks.of(run_id):
            if status := self._store.decide(run_id, decision):
                return status
            self._polls.told(ticket_id)
        log.info("ticket closed", extra={"run": run_id, "ticket": ticket_id, "state": state})
        self._wakeups.wake(ticket_id)
        return self.status(self.known(ticket_id), told)

    def suspend(self, ticket_id: str, invocation_id: str | None = None) -> TicketStatus:
        """The plugin lets go of its workflow, unless the results are in or a later invocation waits for them."""

        def decision(change: Change) -> TicketStatus:
            status = self._status(change.was.tickets[ticket_id], change.was, invocation_id)
            if status.state == "open":
                change.step(RunEvent.SUSPEND)
            return status

        run_id = self.known(ticket_id).run_id
        with self._services.locks.of(run_id):
            status = self._store.decide(run_id, decision)
            assert status is not None  # noqa: S101 - its run is there
            if status.state == "open":
                self._runs.note_suspension(run_id)
                self._polls.told(ticket_id)
                log.info("run suspended", extra={"run": run_id, "ticket": ticket_id})
            return status

    def known(self, ticket_id: str) -> TicketRow:
        """Return the ticket. Raises NotFound."""
        ticket = self._store.ticket(ticket_id)
        if ticket is None:
            raise NotFound(f"there is no ticket {ticket_id}", code="ticket_not_found", param="ticket_id")
        return ticket
