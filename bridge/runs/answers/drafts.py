"""The calls that a response has begun to tell, while the model still writes them.

A client puts the pieces of a call together and runs it once the response ends with `tool_calls`. So a response may end
that way only where every call that it began is whole: drafts are told of one invocation at a time, a ticket of another
one waits meanwhile, and the calls of the ticket must begin as the drafts did.
"""

from collections.abc import Sequence

from bridge.runs.segments import Draft
from bridge.store.rows import TicketRow
from tools.wire import DraftDelta


class Drafts:
    """The drafts of one run."""

    def __init__(self) -> None:
        self._writer: str | None = None
        self._told: dict[str, str] = {}
        self._rounds: dict[str, int] = {}

    def take(self, invocation_id: str, round_: int, deltas: Sequence[DraftDelta]) -> list[Draft]:
        """Return what is new of them. What comes late, twice or after a gap is left to the ticket."""
        if self._writer not in (None, invocation_id) or round_ <= self._rounds.get(invocation_id, -1):
            return []
        fresh: list[Draft] = []
        for delta in deltas:
            told = self._told.get(delta.id)
            if delta.offset != len(told or ""):
                continue
            self._writer = invocation_id
            self._told[delta.id] = (told or "") + delta.arguments
            fresh.append(Draft(delta.id, delta.name, delta.arguments))
        return fresh

    def __bool__(self) -> bool:
        return bool(self._told)

    def keep_waiting(self, ticket: TicketRow) -> bool:
        """Say whether another invocation is writing, so that this ticket has to wait."""
        return self._writer not in (None, ticket.invocation_id)

    def belongs_to(self, invocation_id: str) -> bool:
        """Say whether this invocation is writing."""
        return self._writer == invocation_id

    def are_completed_by(self, ticket: TicketRow) -> bool:
        """Whether the ticket completes every draft."""
        # A call that the client is not given must not be one that it was told of.
        calls = {call.id: call.arguments for call in ticket.handed_out()}
        return all(calls.get(call_id, "").startswith(told) and call_id in calls for call_id, told in self._told.items())

    def end(self, ticket: TicketRow) -> None:
        """The ticket's round is over, and so are its drafts."""
        self._rounds[ticket.invocation_id] = ticket.round
        self.clear()

    def clear(self) -> None:
        """The response is over."""
        self._writer = None
        self._told.clear()
