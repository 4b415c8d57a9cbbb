"""What a refused transition is to whoever asked for it."""

from bridge.errors import BridgeError, Conflict, Gone
from bridge.store.rows import CallRow
from tools.ticket_states import AwaitsApproval, NotAwaited, NotLeased, Over, Refused


def refusal(refused: Refused, call: CallRow) -> BridgeError:
    """Return the error that the caller sees; nothing has changed."""
    what = f"{call.id} ({call.name})"
    match refused:
        case Over():
            return Gone(f"{what} is {call.state}; its result is not needed any more", code=f"call_{call.state}")
        case AwaitsApproval():
            return Conflict(f"{what} waits for an approval: `clawback approve {call.id}`", code="approval_missing")
        case NotAwaited():
            return Conflict(f"{what} is {call.state}: there is nothing to decide any more", code="already_decided")
        case NotLeased():
            why = "it is over, or another executor's; the call may have been handed out again"
            return Conflict(f"this is not the lease on {what}: {why}", code="lease_lost")
        case _:
            return Conflict(
                f"{what} already has a different result; the first one counts", code="result_conflict", param="output"
            )
