"""The runs that this process drives, in memory, and the ways to find one by what belongs to it."""

from collections.abc import Iterable

from bridge.store.run_record import RunRecord


class HeldRuns:
    """Each run as it was last read or written here."""

    def __init__(self) -> None:
        self._states: dict[str, RunRecord] = {}
        self._run_of: dict[str, str] = {}

    def get(self, run_id: str) -> RunRecord | None:
        """Return a run that is held."""
        return self._states.get(run_id)

    def of_ticket(self, ticket_id: str) -> RunRecord | None:
        """Return the run of a ticket."""
        return self._found("ticket", ticket_id)

    def of_call(self, call_id: str) -> RunRecord | None:
        """Return the run of a call."""
        return self._found("call", call_id)

    def of_invocation(self, invocation_id: str) -> RunRecord | None:
        """Return the run of an invocation."""
        return self._found("invocation", invocation_id)

    def of_user(self, dify_user: str) -> list[RunRecord]:
        """Return the newest run of a Dify user, if it is held."""
        state = self._found("user", dify_user)
        return [state] if state else []

    def _found(self, kind: str, name: str) -> RunRecord | None:
        return self._states.get(self._run_of.get(f"{kind} {name}", ""))

    def put(self, state: RunRecord) -> None:
        """Hold a run from now on, or what has become of it."""
        self._states[state.run.id] = state
        self._run_of |= dict.fromkeys(_names(state), state.run.id)

    def renew(self, state: RunRecord) -> None:
        """Take what has become of a run, if it is held and nothing newer is known."""
        known = self._states.get(state.run.id)
        if known and known.run.version < state.run.version:
            self.put(state)

    def drop(self, run_id: str) -> None:
        """Hold a run no longer."""
        if state := self._states.pop(run_id, None):
            for name in _names(state):
                if self._run_of.get(name) == run_id:
                    del self._run_of[name]

    def __len__(self) -> int:
        return len(self._states)


def _names(state: RunRecord) -> Iterable[str]:
    yield f"user {state.run.dify_user}"
    yield from (f"invocation {each}" for each in state.invocations)
    yield from (f"ticket {each}" for each in state.tickets)
    yield from (f"call {call.id}" for call in state.calls())
