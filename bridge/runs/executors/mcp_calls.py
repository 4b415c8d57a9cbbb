"""Calls that MCP clients make: each is a run of one ticket, which an executor answers.

Nobody drives a workflow for it. Policy, approvals, leases and the audit trail are those of any call of an executor's
tool; to the policy its `direction` is `mcp`, and its `app` is `mcp:` and the client's name.
"""

import json
import logging
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bridge.config import Token
from bridge.errors import Conflict
from bridge.runs.executors.registry import Registry, is_at
from bridge.runs.requests import Place, RunRequest
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.tickets.tickets import Tickets
from bridge.store import clock
from bridge.store.rows import ClientRow, RunRow
from bridge.store.store import MayBegin
from tools.calls import ToolCall
from tools.definitions import ToolDefinition
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


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool that a client may call. Its calls go to `place`; `read_only` says that they change nothing there."""

    definition: ToolDefinition
    place: Place
    read_only: bool

    def is_called(self, pattern: str) -> bool:
        """Whether the pattern is for its name here, or for the one that it has where it runs."""
        return any(fnmatchcase(name, pattern) for name in (self.definition.name, self.place.tool))


class McpCalls:
    """What each client is offered, and the calls that it makes."""

    def __init__(self, services: Services, runs: Runs, registry: Registry, tickets: Tickets) -> None:
        self._store, self._limits = services.store, services.config.limits
        self._locks = services.locks
        self._runs = runs
        self._registry = registry
        self._tickets = tickets

    def offers(self, client: ClientRow) -> list[McpTool]:
        """List the tools that a client may call, by the names under which a model is offered them.

        A tool of several executors only reads where it does so in all of them: any of them may get the call. Patterns
        are for its own name, too.
        """
        patterns = None if client.tools is None else json.loads(client.tools)
        catalogue, offers = self._registry.catalogue(), self._registry.offers()
        found = []
        for definition in sorted(catalogue.tools, key=lambda tool: tool.name):
            place = catalogue.places[definition.name]
            own = [each for each in offers if each.definition.name == place.tool and is_at(place.executor, each)]
            tool = McpTool(definition, place, read_only=bool(own) and all(each.read_only for each in own))
            if tool.read_only if patterns is None else any(tool.is_called(pattern) for pattern in patterns):
                found.append(tool)
        return found

    def begin(
        self, client: ClientRow, key: str, offer: McpTool, arguments: str, may_begin: MayBegin | None = None
    ) -> McpCall:
        """Make a call. `key` names the client's request, so that it can cancel it: `cancel_named`.

        Raises Conflict where a call of that name is under way: the same request came twice. `may_begin` raises where
        the client may make none.
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
            self._store.begin_with(run, lambda change: change.attach(call.invocation_id, ""), may_begin)
        try:
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

    def _new_run(self, client: ClientRow, key: str, offer: McpTool) -> RunRow:
        now, run_id = clock.now(), random_name()
        asked = RunRequest(
            messages=[],
            turn=None,
            query="",
            tools=[offer.definition],
            places={offer.definition.name: offer.place},
            asker=Token.MCP,
            client=client.name,
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
