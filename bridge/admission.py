"""What happens to a call when it is made: it runs, it waits for a person, or it is denied at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bridge import steps
from bridge.config import Config
from bridge.loops import Made, repetitions
from bridge.policy import Direction, Policy, Question, Verdict
from bridge.registry import Offer, Registry
from bridge.store import Store
from bridge.store.rows import CallRow, Move, RunRow
from tools.arguments import checked
from tools.ticket_states import CallEvent


class Admission:
    """Judges the calls of a ticket: by the tool's schema, by what the run has done before, and by the policy."""

    def __init__(self, config: Config, store: Store, registry: Registry, policy: Policy) -> None:
        self._limits = config.limits
        self._store = store
        self._registry = registry
        self.policy = policy

    def judge(self, run: RunRow, calls: Sequence[CallRow], now: float) -> list[Move]:
        """Return the first move of each call."""
        return [self._first_move(run, call, now) for call in calls]

    def is_certain(self, run: RunRow, tool: str) -> bool:
        """Say whether a call of this tool will be handed out, whatever its arguments become."""
        if self.policy.may_withhold(tool, "executor" if run.direction == "executor" else "endpoint", run.model):
            return False
        earlier = self._earlier(run, tool)
        known = {made.arguments for made in earlier}
        return all(repetitions(earlier, arguments) < self._limits.identical_calls for arguments in known)

    def _earlier(self, run: RunRow, tool: str) -> list[Made]:
        """List the calls of a tool that were run; what was denied has shown nothing about the tool."""
        calls = self._store.calls_of_tool(run.id, tool)
        return [Made(made.arguments, made.digest) for made in calls if not made.withheld]

    def _first_move(self, run: RunRow, call: CallRow, now: float) -> Move:
        offers = self._registry.offers(call.name) if run.direction == "executor" else []
        changes: dict[str, Any] = {}
        if offers:
            found = checked(call.arguments, offers[0].definition.function.parameters)
            if found.problem:
                return steps.refuse(call, f"{found.problem}. Nothing was run.", "bridge", "schema")
            if found.arguments != call.arguments:
                call = replace(call, arguments=found.arguments)
                changes["arguments"] = found.arguments
        verdict = self._loop(run, call) or self.policy.judge(_question(run, call, offers))
        if verdict.action == "deny":
            return steps.deny(call, verdict.reason or "The policy does not allow it.", "bridge", verdict.rule)
        changes["verdict"] = verdict.rule
        if verdict.action == "ask":
            changes["decide_until"] = now + self._limits.approval_seconds
            return steps.step(call, CallEvent.ASK, "bridge", verdict.rule, **changes)
        return steps.step(call, CallEvent.ALLOW, "bridge", verdict.rule, **changes)

    def _loop(self, run: RunRow, call: CallRow) -> Verdict | None:
        earlier = self._earlier(run, call.name)
        count = repetitions(earlier, call.arguments)
        if count < self._limits.identical_calls:
            return None
        return Verdict(
            "deny",
            "loop",
            f"It was made {count} times in this run with the same arguments and the same result. Do something else, "
            "or answer with what is known.",
        )


def _question(run: RunRow, call: CallRow, offers: Sequence[Offer]) -> Question:
    direction: Direction = "executor" if run.direction == "executor" else "endpoint"
    return Question(
        tool=call.name,
        arguments=call.arguments,
        direction=direction,
        app=run.model,
        executors=[offer.executor for offer in offers],
        read_only=bool(offers) and all(offer.read_only for offer in offers),
    )
