"""The states of a run, and what leads from one to the next.

    running ──its workflow has ended with an answer──> finished
       │  ^
       │  └──it goes on, in an attempt of its own──── suspended, failed
       ├─────its workflow was let go of─────────────> suspended
       ├─────its workflow has failed────────────────> failed
       └─────nobody waits for it any more───────────> cancelled

An attempt is one workflow run of it. Each has a number, and whoever raises it has read the one before: of two that go
on with a run at the same time, in one process or in several, one does. A run that was cancelled is never gone on with.
"""

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    SUSPENDED = "suspended"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunEvent(StrEnum):
    """What happens to a run. `TAKE_OVER` is another driver's turn, `REPLAY` an executors' workflow that runs again."""

    SUSPEND = "suspend"
    RESUME = "resume"
    TAKE_OVER = "take_over"
    REPLAY = "replay"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"


UNFINISHED = frozenset({RunState.RUNNING, RunState.SUSPENDED})

RAISES_ATTEMPT = frozenset({RunEvent.RESUME, RunEvent.TAKE_OVER, RunEvent.REPLAY})

_ENDS = {
    RunEvent.FINISH: RunState.FINISHED,
    RunEvent.FAIL: RunState.FAILED,
    RunEvent.CANCEL: RunState.CANCELLED,
}

TABLE: dict[RunState, dict[RunEvent, RunState]] = {
    RunState.RUNNING: {
        RunEvent.SUSPEND: RunState.SUSPENDED,
        RunEvent.RESUME: RunState.RUNNING,
        RunEvent.TAKE_OVER: RunState.RUNNING,
        **_ENDS,
    },
    RunState.SUSPENDED: {
        RunEvent.SUSPEND: RunState.SUSPENDED,
        RunEvent.RESUME: RunState.RUNNING,
        **_ENDS,
    },
    RunState.FINISHED: {RunEvent.REPLAY: RunState.FINISHED},
    RunState.FAILED: {RunEvent.RESUME: RunState.RUNNING},
    RunState.CANCELLED: {},
}


def run_after(state: str, event: RunEvent) -> RunState | None:
    """Return what an event makes of a run in this state, None where it changes nothing."""
    return TABLE[RunState(state)].get(event)
