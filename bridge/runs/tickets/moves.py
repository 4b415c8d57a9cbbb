"""The steps of a call from state to state, and what a refused one is to whoever asked for it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bridge.errors import BridgeError, Conflict, Gone
from bridge.store import clock
from bridge.store.rows import CallRow, Move
from tools.results import ToolResult
from tools.ticket_states import AwaitsApproval, CallEvent, CallState, NotAwaited, NotLeased, Over, Refused, after


def refusal(refused: Refused, call: CallRow) -> BridgeError:
    """Return the error that the caller sees; nothing has changed."""
    what = f"{call.id} ({call.name})"
    match refused:
        case Over():
            return Gone(f"{what} is {call.state}; its result is no longer needed", code=f"call_{call.state}")
        case AwaitsApproval():
            return Conflict(f"{what} waits for an approval: `clawback approve {call.id}`", code="approval_missing")
        case NotAwaited():
            return Conflict(f"{what} is {call.state}: there is nothing to decide", code="already_decided")
        case NotLeased():
            why = "it has ended or belongs to another executor; the call may have been handed out again"
            return Conflict(f"this lease does not hold {what}: {why}", code="lease_lost")
        case _:
            return Conflict(
                f"{what} already has a different result; the first one counts", code="result_conflict", param="output"
            )


UNCERTAIN = "unknown whether it ran"
"""The verdict on a call that was sent, and of whose answer nothing is known: only a person lets it run again."""

_NO_LEASE: dict[str, Any] = {"lease": None, "executor": None, "leased_until": None}


def step(call: CallRow, event: CallEvent, actor: str, detail: str = "", **values: Any) -> Move:
    """Return the call's move. Raises the BridgeError that the one who asked for it sees."""
    try:
        then = after(CallState(call.state), event)
    except Refused as refused:
        raise refusal(refused, call) from None
    lease = call.lease if call.state == CallState.LEASED else None
    return Move(call.id, event, call.state, then, actor, detail, values, lease)


def resolve(call: CallRow, result: ToolResult, told: ToolResult, actor: str) -> Move:
    """Return the move that gives a call its result, `told` as the model is told it."""
    return step(call, CallEvent.RESOLVE, actor, **_written(told) | {"digest": digest(result)}, leased_until=None)


def deny(call: CallRow, reason: str, actor: str, detail: str = "") -> Move:
    """Return the move that answers a call with why it is not run."""
    return refuse(call, f"this call was denied. {reason}".strip(), actor, detail)


def refuse(call: CallRow, problem: str, actor: str, detail: str = "") -> Move:
    """Return the move that answers a call with what is wrong with it."""
    said = f"Error: {problem}"
    return step(call, CallEvent.DENY, actor, detail, **_written(_error(call, said)))


def expire(call: CallRow, reason: str) -> Move:
    """Return the move that answers a call with that its time is over."""
    return step(call, CallEvent.EXPIRE, "bridge", **_written(_error(call, f"Error: {reason}")), **_NO_LEASE)


def let_go(call: CallRow, actor: str) -> Move:
    """Return the move that gives a call back, unrun."""
    return step(call, CallEvent.LET_GO, actor, **_NO_LEASE)


def lose(call: CallRow, why: str = "") -> Move:
    """Return the move that takes a call back. Whoever had it may still be running it, and its result may come yet."""
    return step(call, CallEvent.LOSE, "bridge", why, leased_until=None)


def ask(call: CallRow, rule: str, until: float, executors: Mapping[str, str], **values: Any) -> Move:
    """Return the move that leaves a call to a person, who is asked about these executors, by name, and their terms."""
    asked_for = json.dumps(executors)
    changes = {"verdict": rule, "decide_until": until, "asked_for": asked_for}
    return step(call, CallEvent.ASK, "bridge", rule, **changes, **values)


def allow(call: CallRow, rule: str, **values: Any) -> Move:
    """Return the move that lets a call run without asking."""
    return step(call, CallEvent.ALLOW, "bridge", rule, verdict=rule, **values)


def recall(call: CallRow) -> Move:
    """Return the move that opens a call once more, as its verdict was given for executors that are gone."""
    return step(call, CallEvent.RECALL, "bridge")


def is_uncertain(call: CallRow) -> bool:
    """Say whether a person is asked about a call that may have run already."""
    return call.state == CallState.AWAITING_APPROVAL and call.verdict == UNCERTAIN


def _error(call: CallRow, text: str) -> ToolResult:
    return ToolResult(tool_call_id=call.id, output=text, is_error=True)


def _written(result: ToolResult) -> dict[str, Any]:
    return {
        # PostgreSQL has no character 0.
        "output": result.output.replace("\x00", "\ufffd"),
        "is_error": result.is_error,
        "images": json.dumps(result.images) if result.images else None,
        "digest": digest(result),
        "resolved_at": clock.now(),
    }


def digest(result: ToolResult) -> str:
    """Return what tells two results of a call apart."""
    content = json.dumps([result.output, result.is_error, result.images], ensure_ascii=False)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()
