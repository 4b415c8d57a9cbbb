"""A call and a ticket move only as the tables say, and each refusal says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.ticket_states import (
    CALLS,
    PENDING,
    TICKETS,
    AwaitsApproval,
    CallEvent,
    CallState,
    NotAwaited,
    NotLeased,
    Over,
    Refused,
    Settled,
    TicketState,
    after,
)

S, E = CallState, CallEvent


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([E.ALLOW, E.RESOLVE], S.RESOLVED),
        ([E.ALLOW, E.CLAIM, E.EXTEND, E.RESOLVE, E.REPEAT], S.RESOLVED),
        ([E.ASK, E.APPROVE, E.CLAIM, E.LOSE, E.CLAIM, E.RESOLVE], S.RESOLVED),
        ([E.ASK, E.DENY], S.DENIED),
        ([E.DENY], S.DENIED),
        ([E.ASK, E.EXPIRE], S.EXPIRED),
        ([E.ALLOW, E.CLAIM, E.LET_GO, E.CANCEL], S.CANCELLED),
    ],
)
def test_a_call_goes_its_way(events: list[CallEvent], end: CallState) -> None:
    state = S.OPEN
    for event in events:
        state = after(state, event)
    assert state is end


@pytest.mark.parametrize(
    ("state", "event", "refusal"),
    [
        (S.AWAITING_APPROVAL, E.CLAIM, AwaitsApproval),
        (S.AWAITING_APPROVAL, E.RESOLVE, AwaitsApproval),
        (S.READY, E.APPROVE, NotAwaited),
        (S.RESOLVED, E.DENY, NotAwaited),
        (S.DENIED, E.APPROVE, NotAwaited),
        (S.LEASED, E.CLAIM, NotLeased),
        (S.READY, E.EXTEND, NotLeased),
        (S.RESOLVED, E.RESOLVE, Settled),
        (S.RESOLVED, E.CONTRADICT, Settled),
        (S.DENIED, E.RESOLVE, Settled),
        (S.EXPIRED, E.RESOLVE, Over),
        (S.CANCELLED, E.APPROVE, Over),
    ],
)
def test_what_the_table_does_not_have_is_refused_by_name(
    state: CallState, event: CallEvent, refusal: type[Refused]
) -> None:
    with pytest.raises(refusal) as caught:
        after(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)


@given(st.lists(st.sampled_from(list(CallEvent)), max_size=30))
def test_a_call_that_has_ended_never_moves_again(events: list[CallEvent]) -> None:
    state = S.OPEN
    for event in events:
        try:
            then = after(state, event)
        except Refused:
            continue
        assert state in PENDING or then is state
        state = then


def test_every_pending_call_can_still_end() -> None:
    for state in PENDING:
        assert CALLS[state][E.EXPIRE] is S.EXPIRED
        assert CALLS[state][E.CANCEL] is S.CANCELLED


def test_a_ticket_ends_once() -> None:
    assert set(TICKETS[TicketState.OPEN].values()) == set(TicketState) - {TicketState.OPEN}
    assert [state for state in TicketState if TICKETS[state]] == [TicketState.OPEN]
