"""Calls that MCP clients make: each is a run of one ticket, which an executor answers.

Nobody drives a workflow for it. Policy, approvals, leases and the audit trail are those of any call of an executor's
tool; to the policy its `direction` is `mcp`, and its `app` is `mcp:` and the client's name.
"""

import json
import logging
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bridge.config import Token
from bridge.errors import Conflict
from bridge.runs.executors.registry import Offer, Registry
from bridge.runs.requests import RunRequest
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.tickets.tickets import Tickets
from bridge.store import clock
from bridge.store.rows import ClientRow, RunRow
from tools.calls import ToolCall
from tools.fingerprint import text_digest
from tools.ids import new_tool_call_id, random_name
from tools.run_states import RunEvent
from tools.ticket_states import CallState
from tools.wire import TicketRequest, TicketStatus

log = logging.getLogger("clawback.mcp")

CANCELLED = "the client cancelled this call"
LEFT = "the client closed its connection"
UNWAITED = "nobody waits for this call any more"

_PHASES = {
    CallState.AWAITING_APPROVAL: "Waits for a person to approve it.",
    CallState.READY: "Waits for an executor.",
    CallState.LEASED: "An executor runs it.",
}


@dataclass(frozen=True, slots=True)
class McpCall:
    """A call under way."""

    run_id: str
    invocation_id: str
    ticket_id: str


class McpCalls:
    """What each client is offered, and the calls that it makes."""

    def __init__(self, services: Services, runs: Runs, registry: Registry, tickets: Tickets) -> None:
        self._store, self._limits = services.store, services.config.limits
        self._locks = services.locks
        self._runs = runs
        self._registry = registry
        self._tickets = tickets

    def offers(self, client: ClientRow) -> list[Offer]:
        """List the tools that a client may call, each once, by name.

        A tool of several executors only reads where it does so in all of them: any of them may get the call.
        """
        by_name: defaultdict[str, list[Offer]] = defaultdict(list)
        for offer in self._registry.offers():
            by_name[offer.definition.name].append(offer)
        patterns = None if client.tools is None else json.loads(client.tools)
        found = []
        for name, offers in sorted(by_name.items()):
            reads = all(offer.read_only for offer in offers)
            if reads if patterns is None else any(fnmatchcase(name, pattern) for pattern in patterns):
                best = max(offers, key=lambda offer: (offer.weight, not offer.read_only))
                found.append(best if reads else _as_writing(best))
        return found

    def begin(self, client: ClientRow, key: str, offer: Offer, arguments: str) -> McpCall:
        """Make a call. `key` names the client's request, so that it can cancel it: `cancel_named`.

        Raises Conflict where a call of that name is under way: the same request came twice.
        """
        run = self._new_run(client, key, offer)
        call = McpCall(run.id, f"mcp{random_name()}", random_name())
        tool_call = ToolCall(id=new_tool_call_id(), name=offer.definition.name, arguments=arguments)
        with self._locks.of(run.turn_key):
            known = self._store.latest_run_of_turn(run.turn_key)
            if known and known.state == "running":
                raise Conflict(
                    "the call of this id is still under way in this session: wait for it, or give another call an id "
                    "of its own"
                )
            self._store.insert_run(run)
        try:
            self._store.attach_invocation(call.invocation_id, run.id, run.attempt, "")
            status = self._tickets.open(
                call.ticket_id,
                TicketRequest(run_id=run.id, invocation_id=call.invocation_id, round=0, calls=[tool_call]),
            )
        except BaseException:
            self._runs.cancel(run.id, "the bridge failed to make its call")
            raise
        if status.state == "resolved":
            self._runs.end(run.id, RunEvent.FINISH, None, "")
        return call

    def _new_run(self, client: ClientRow, key: str, offer: Offer) -> RunRow:
        now, run_id = clock.now(), random_name()
        asked = RunRequest(
            messages=[], turn=None, query="", tools=[offer.definition], asker=Token.MCP, client=client.name
        )
        return RunRow(
            id=run_id,
            model=f"mcp:{client.name}",
            session_key=text_digest(f"mcp\n{client.name}"),
            turn_key=_turn(client, key),
            dify_user=f"mcp-{run_id}",
            conversation_id="",
            query_digest="",
            auxiliary=None,
            state="running",
            attempt=1,
            task_id="",
            workflow_run_id="",
            request=asked.model_dump_json(),
            error=None,
            created_at=now,
            updated_at=now,
            expires_at=now + self._limits.forsaken_seconds,
            direction="mcp",
            client=client.name,
        )

    def look(self, call: McpCall, seconds: float) -> TicketStatus:
        """Return how a call stands as soon as it has ended, at the latest after `seconds`.

        A call for which nobody looks for `limits.forsaken_seconds` is cancelled: the bridge was killed meanwhile.
        """
        status = self._tickets.wait(call.ticket_id, call.invocation_id, seconds)
        if status.state == "open":
            self._prolong(call)
        else:
            self._store.release(call.run_id)
        return status

    def _prolong(self, call: McpCall) -> None:
        run, now, seconds = self._store.run(call.run_id), clock.now(), self._limits.forsaken_seconds
        if run and run.expires_at - now < seconds * 2 / 3:
            self._store.update_run(run.id, expires_at=now + seconds)

    def phase(self, call: McpCall) -> str:
        """Return in words what a call waits for."""
        ticket = self._tickets.known(call.ticket_id)
        return next((_PHASES[CallState(each.state)] for each in ticket.calls if each.state in _PHASES), "")

    def cancel(self, call: McpCall, reason: str) -> None:
        """End a call for which nobody waits any more."""
        self._runs.cancel(call.run_id, reason)

    def cancel_named(self, client: ClientRow, key: str) -> None:
        """End the call that a client made under this key, if it still waits, wherever it was made."""
        run = self._store.latest_run_of_turn(_turn(client, key))
        if run and run.state == "running":
            self._runs.cancel(run.id, CANCELLED)


def _turn(client: ClientRow, key: str) -> str:
    return text_digest(f"mcp\n{client.name}\n{key}")


def _as_writing(offer: Offer) -> Offer:
    return Offer(offer.executor, offer.executor_id, offer.definition, read_only=False, weight=offer.weight)
