"""The states of tickets and of their calls, as two tables. Pure: nothing here knows who asks or where it is kept.

    call     open ──ask──> awaiting_approval ──approve, allow──> ready ──claim──> leased ──resolve──> resolved
               ├──allow───────────────────────────────────────────^ ^──let_go, lose──┘
               └──deny──> denied <──deny── awaiting_approval

A verdict is given for the executors that are there. When another one asks for a ready call, which must not have it, and
nobody else is there who may, the call is recalled: it is open once more, and asked about or denied at once. A call that
awaits an approval is allowed where an executor comes that needs none.
A call that nobody answered in time is `expired`, one that nobody needs any more `cancelled`; both from every state that
is not an end. A ready call may be resolved without a lease: an endpoint's client runs the calls that its response held.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class CallState(StrEnum):
    """Where a call stands."""

    OPEN = "open"
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"
    LEASED = "leased"
    RESOLVED = "resolved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class CallEvent(StrEnum):
    """What happens to a call. `repeat` is the same result or decision once more, `contradict` a different result."""

    ALLOW = "allow"
    ASK = "ask"
    APPROVE = "approve"
    DENY = "deny"
    RECALL = "recall"
    CLAIM = "claim"
    EXTEND = "extend"
    LET_GO = "let_go"
    LOSE = "lose"
    RESOLVE = "resolve"
    REPEAT = "repeat"
    CONTRADICT = "contradict"
    EXPIRE = "expire"
    CANCEL = "cancel"


class TicketState(StrEnum):
    """Where a ticket stands."""

    OPEN = "open"
    RESOLVED = "resolved"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class TicketEvent(StrEnum):
    """What happens to a ticket; `settle` is that the last of its calls has a result."""

    SETTLE = "settle"
    EXPIRE = "expire"
    CANCEL = "cancel"


_S, _E = CallState, CallEvent

CALLS: Mapping[CallState, Mapping[CallEvent, CallState]] = {
    _S.OPEN: {
        _E.ALLOW: _S.READY,
        _E.ASK: _S.AWAITING_APPROVAL,
        _E.DENY: _S.DENIED,
        _E.EXPIRE: _S.EXPIRED,
        _E.CANCEL: _S.CANCELLED,
    },
    _S.AWAITING_APPROVAL: {
        _E.APPROVE: _S.READY,
        _E.ALLOW: _S.READY,
        _E.DENY: _S.DENIED,
        _E.EXPIRE: _S.EXPIRED,
        _E.CANCEL: _S.CANCELLED,
    },
    _S.READY: {
        _E.RECALL: _S.OPEN,
        _E.CLAIM: _S.LEASED,
        _E.RESOLVE: _S.RESOLVED,
        _E.EXPIRE: _S.EXPIRED,
        _E.CANCEL: _S.CANCELLED,
    },
    _S.LEASED: {
        _E.EXTEND: _S.LEASED,
        _E.LET_GO: _S.READY,
        _E.LOSE: _S.READY,
        _E.RESOLVE: _S.RESOLVED,
        _E.EXPIRE: _S.EXPIRED,
        _E.CANCEL: _S.CANCELLED,
    },
    _S.RESOLVED: {_E.REPEAT: _S.RESOLVED},
    _S.DENIED: {_E.REPEAT: _S.DENIED},
    _S.EXPIRED: {},
    _S.CANCELLED: {},
}

TICKETS: Mapping[TicketState, Mapping[TicketEvent, TicketState]] = {
    TicketState.OPEN: {
        TicketEvent.SETTLE: TicketState.RESOLVED,
        TicketEvent.EXPIRE: TicketState.EXPIRED,
        TicketEvent.CANCEL: TicketState.CANCELLED,
    },
    TicketState.RESOLVED: {},
    TicketState.EXPIRED: {},
    TicketState.CANCELLED: {},
}

PENDING = frozenset({_S.OPEN, _S.AWAITING_APPROVAL, _S.READY, _S.LEASED})
"""The states from which a result may still come."""


class Refused(Exception):
    """A transition that the table does not have.

    Refused
    ├── AwaitsApproval   a person has to decide first
    ├── NotAwaited       there is nothing to decide: nobody was asked, or someone has decided
    ├── NotLeased        the lease is over, or never was
    ├── Settled          the call has its result
    └── Over             the call or the ticket expired or was cancelled
    """

    why: ClassVar[str] = "this does not follow from its state"

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"{event} is refused, as the state is {state}: {self.why}")
        self.state = state
        self.event = event


class AwaitsApproval(Refused):
    """A person has to decide first."""

    why = "a person has to approve it first"


class NotAwaited(Refused):
    """There is nothing to decide."""

    why = "nobody was asked, or someone has decided already"


class NotLeased(Refused):
    """The lease is over, or never was."""

    why = "there is no lease on it"


class Settled(Refused):
    """The call has its result."""

    why = "it has its result, and the first one counts"


class Over(Refused):
    """The call or the ticket expired or was cancelled."""

    why = "its time is over"


def after(state: CallState, event: CallEvent) -> CallState:
    """Return the call's next state. Raises Refused."""
    try:
        return CALLS[state][event]
    except KeyError:
        raise _refusal(state, event)(state, event) from None


def _refusal(state: CallState, event: CallEvent) -> type[Refused]:
    if state in {_S.EXPIRED, _S.CANCELLED}:
        return Over
    if event in {_E.APPROVE, _E.DENY}:
        return NotAwaited
    if state in {_S.RESOLVED, _S.DENIED}:
        return Settled
    if state is _S.AWAITING_APPROVAL:
        return AwaitsApproval
    if event in {_E.EXTEND, _E.LET_GO, _E.LOSE, _E.CLAIM, _E.RECALL}:
        return NotLeased
    return Refused
