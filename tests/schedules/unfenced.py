"""The bridge without a fence: what belongs to a workflow that was left takes part in the next: `... serve --config F`.

The oracle has to find what such a bridge does (`python -m tests.schedules --unfenced`).
"""

from typing import Any

from bridge import cli
from bridge.server import gunicorn
from bridge.store.run_record import Change, RunRecord
from tools.wire import AttachRequest


def unfenced(_: object, change: Change, request: AttachRequest, *_when: object) -> RunRecord:
    """Attach whoever asks."""
    if request.invocation_id not in change.was.invocations:
        change.attach(request.invocation_id, request.fingerprint)
    return change.state


def idle(take: Any) -> Any:
    """Take a session's row as `take` does, and say that its user is not busy."""

    def taken(*asked: object) -> tuple[str, bool, bool]:
        user, _, has_pieces = take(*asked)
        return user, False, has_pieces

    return taken


def main() -> None:
    """Serve. The application is made inside gunicorn's worker, and not to be imported before."""
    make = gunicorn._application

    def application() -> Any:
        from bridge.runs.runs import Runs
        from bridge.runs.tickets.attach import Invocations
        from bridge.store.store import Store

        Invocations._attached = unfenced  # type: ignore[assignment]
        # Nor does an attempt wait for the workflow before it, or leave its user to that.
        Runs._let_end = Runs.once_begun = lambda _, run: run  # type: ignore[method-assign, assignment]
        Runs.is_beginning = lambda *_: False  # type: ignore[method-assign, assignment]
        Store.leave_workflow = lambda *_: None  # type: ignore[method-assign, assignment]
        Store._take_session = idle(Store._take_session)  # type: ignore[method-assign]
        return make()

    gunicorn._application = application
    cli.main(prog_name="clawback")


if __name__ == "__main__":
    main()
