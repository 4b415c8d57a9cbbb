"""The bridge without a fence: an invocation takes part in an attempt that began after it. `... serve --config FILE`.

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


def main() -> None:
    """Serve. The application is made inside gunicorn's worker, and not to be imported before."""
    make = gunicorn._application

    def application() -> Any:
        from bridge.runs.tickets.attach import Invocations

        Invocations._attached = unfenced  # type: ignore[assignment]
        return make()

    gunicorn._application = application
    cli.main(prog_name="clawback")


if __name__ == "__main__":
    main()
