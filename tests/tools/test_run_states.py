"""What may become of a run, and who may go on with it."""

import pytest

from tools.run_states import RAISES_ATTEMPT, TABLE, UNFINISHED, RunEvent, RunState, run_after

ENDS = {RunEvent.FINISH: RunState.FINISHED, RunEvent.FAIL: RunState.FAILED, RunEvent.CANCEL: RunState.CANCELLED}


def test_every_state_has_a_row() -> None:
    assert set(TABLE) == set(RunState)


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("event", RunEvent)
def test_what_an_event_makes_of_a_state(state: RunState, event: RunEvent) -> None:
    then = run_after(state, event)
    if event in ENDS:
        assert then == (ENDS[event] if state in UNFINISHED else None), "what has ended ends once"
    elif event == RunEvent.SUSPEND:
        assert then == (RunState.SUSPENDED if state in UNFINISHED else None)
    elif event == RunEvent.RESUME:
        assert then == (RunState.RUNNING if state in {*UNFINISHED, RunState.FAILED} else None)


def test_nobody_goes_on_with_a_run_that_was_cancelled() -> None:
    assert not any(run_after(RunState.CANCELLED, event) for event in RunEvent)


def test_an_attempt_is_raised_only_into_a_run_that_goes_on_or_is_replayed() -> None:
    into = {then for row in TABLE.values() for event, then in row.items() if event in RAISES_ATTEMPT}
    assert into == {RunState.RUNNING, RunState.FINISHED}
    assert all(TABLE[state][RunEvent.REPLAY] == state for state in RunState if RunEvent.REPLAY in TABLE[state])
