"""What becomes of a new call: the policy's rules, and calls that a model repeats without learning from them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.config import Config
from bridge.runs.executors.registry import Offer, Registry
from bridge.runs.tickets import moves as steps
from bridge.runs.tickets.policy import Direction, Policy, Question, Verdict
from bridge.store.rows import CallRow, Move, RunRow, UnclaimedCall
from bridge.store.run_record import RunRecord
from tools.arguments import checked
from tools.ticket_states import CallState


@dataclass(frozen=True, slots=True)
class Made:
    """A call that the run has made before, oldest first; `digest` stands for its result."""

    arguments: str
    digest: str | None


def repetitions(earlier: Sequence[Made], arguments: str) -> int:
    """Count the latest calls with these arguments that all had the same result; `earlier` are those of one tool."""
    same = [made.digest for made in earlier if canonical(made.arguments) == canonical(arguments)]
    if not same or same[-1] is None:
        return 0
    count = 0
    for digest in reversed(same):
        if digest != same[-1]:
            break
        count += 1
    return count


def canonical(arguments: str) -> str:
    """Return the arguments in a form that does not depend on white space or the order of keys."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return arguments


@dataclass(frozen=True, slots=True)
class _Judged:
    """The mildest verdict of those for several executors, and the terms of those that it is for, by their names."""

    verdict: Verdict
    executors: dict[str, str] = field(default_factory=dict)


class Admission:
    """Judges calls: by the tool's schema, by what the run has done before, and by the policy."""

    def __init__(self, config: Config, registry: Registry, policy: Policy) -> None:
        self._limits = config.limits
        self._registry = registry
        self.policy = policy

    def judge(self, record: RunRecord, calls: Sequence[CallRow], now: float) -> list[Move]:
        """Return the first move of each call."""
        return [self._first_move(record, call, now) for call in calls]

    def lets(self, waiting: UnclaimedCall, offer: Offer) -> bool:
        """Say whether this executor may have the call now: by the policy, or by what a person said about it."""
        call = waiting.call
        if steps.is_uncertain(call):
            return False
        action = self.policy.judge(_question(waiting.app, call, direction_of(waiting, call), offer)).action
        return action == "allow" or (action == "ask" and call.grants().get(offer.executor) == offer.terms)

    def asks(self, waiting: UnclaimedCall, offers: Sequence[Offer]) -> bool:
        """Say whether a person may let one of these executors have the call."""
        return (
            self._mildest(waiting.app, waiting.call, direction_of(waiting, waiting.call), offers).verdict.action
            != "deny"
        )

    def judge_again(self, waiting: UnclaimedCall, offers: Sequence[Offer], now: float) -> list[Move]:
        """Return the moves of a ready call that none of these executors may have."""
        opened = replace(waiting.call, state=CallState.OPEN)
        judged = self._mildest(waiting.app, opened, direction_of(waiting, opened), offers)
        return [steps.recall(waiting.call), self._move(opened, judged, now, {})]

    def ask_what_became(self, call: CallRow, now: float, why: str) -> list[Move]:
        """Return the moves of a leased call of which nobody knows whether it ran: a person has to say."""
        ready = replace(call, state=CallState.READY)
        opened = replace(call, state=CallState.OPEN)
        offers = {offer.executor: offer.terms for offer in self._registry.offers_for(call)}
        until = now + self._limits.approval_seconds
        return [steps.lose(call, why), steps.recall(ready), steps.ask(opened, steps.UNCERTAIN, until, offers)]

    def denial(self, run: RunRow, call: CallRow) -> Verdict | None:
        """Return the rule that denies a call to all that could run it, if that is so."""
        direction = direction_of(run, call)
        verdict = self._mildest(run.model, call, direction, self._offers(direction, call)).verdict
        return verdict if verdict.action == "deny" else None

    def is_certain(self, record: RunRecord, tool: str) -> bool:
        """Say whether a call of this client's tool will be handed out, whatever its arguments become."""
        if self.policy.may_withhold(tool, "endpoint", record.run.model):
            return False
        earlier = _earlier(record, tool)
        known = {made.arguments for made in earlier}
        return all(repetitions(earlier, arguments) < self._limits.identical_calls for arguments in known)

    def _offers(self, direction: Direction, call: CallRow) -> list[Offer]:
        return [] if direction == "endpoint" else self._registry.offers_for(call)

    def _first_move(self, record: RunRecord, call: CallRow, now: float) -> Move:
        run, direction = record.run, direction_of(record.run, call)
        offers = self._offers(direction, call)
        changes: dict[str, Any] = {}
        if offers:
            found = checked(call.arguments, offers[0].definition.function.parameters)
            if found.problem:
                return steps.refuse(call, f"{found.problem}. Nothing was run.", "bridge", "schema")
            if found.arguments != call.arguments:
                call = replace(call, arguments=found.arguments)
                changes["arguments"] = found.arguments
        loop = self._loop(record, call)
        judged = _Judged(loop) if loop else self._mildest(run.model, call, direction, offers)
        return self._move(call, judged, now, changes)

    def _move(self, call: CallRow, judged: _Judged, now: float, changes: dict[str, Any]) -> Move:
        verdict = judged.verdict
        match verdict.action:
            case "allow":
                return steps.allow(call, verdict.rule, **changes)
            case "ask":
                until = now + self._limits.approval_seconds
                return steps.ask(call, verdict.rule, until, judged.executors, **changes)
            case "deny":
                return steps.deny(call, verdict.reason or "The policy does not allow it.", "bridge", verdict.rule)

    def _mildest(self, app: str, call: CallRow, direction: Direction, offers: Sequence[Offer]) -> _Judged:
        """Judge the call for each executor that could run it; the one that gets it is one that may."""
        if not offers:
            return _Judged(self.policy.judge(_question(app, call, direction)))
        judged = [(offer, self.policy.judge(_question(app, call, direction, offer))) for offer in offers]
        by_action = {
            action: [(offer, verdict) for offer, verdict in judged if verdict.action == action]
            for action in ("allow", "ask", "deny")
        }
        found = by_action["allow"] or by_action["ask"] or by_action["deny"]
        return _Judged(found[0][1], {offer.executor: offer.terms for offer, _ in found})

    def _loop(self, record: RunRecord, call: CallRow) -> Verdict | None:
        earlier = _earlier(record, call.name)
        count = repetitions(earlier, call.arguments)
        if count < self._limits.identical_calls:
            return None
        return Verdict(
            "deny",
            "loop",
            f"It was made {count} times in this run with the same arguments and the same result. Do something else, "
            "or answer with what is known.",
        )


def _earlier(record: RunRecord, tool: str) -> list[Made]:
    """List the calls of a tool that were run; what was denied has shown nothing about the tool."""
    return [Made(call.arguments, call.digest) for call in record.calls() if call.name == tool and not call.withheld]


def direction_of(run: RunRow | UnclaimedCall, call: CallRow) -> Direction:
    """Return which direction's rules are for a call: an executor's may belong to a client's run."""
    match run.direction:
        case "executor" | "mcp" as direction:
            return direction
        case _:
            return "endpoint" if call.place is None else "executor"


def _question(app: str, call: CallRow, direction: Direction, offer: Offer | None = None) -> Question:
    return Question(
        tool=call.name,
        arguments=call.arguments,
        direction=direction,
        app=app,
        executor=offer.executor if offer else None,
        read_only=bool(offer and offer.read_only),
        called=call.tool or "",
        longer=offer.longer_name if offer else "",
        of_dify=bool(offer and offer.is_of_dify),
    )
