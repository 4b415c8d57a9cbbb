"""`clawback logs`."""

import json
import platform
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from bridge.commands.operator_client import OperatorClient, bridge_options, whole_id
from bridge.commands.terminal import say
from tools.visible import visible_json

_RUN = ("id", "state", "attempt", "created_at", "updated_at", "tickets", "calls")
_EVENT = ("at", "ticket_id", "call_id", "event", "before", "after")
_STATUS = ("version", "up_seconds", "runs", "tickets")
_MOST_RUNS = 500


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of standard output.",
)
@bridge_options()
def logs(bridge: OperatorClient, run_id: str, output: Path | None) -> None:
    """Write a report about RUN to attach to an issue: its steps and states, without content and secrets.

    The beginning of its id is enough.
    """
    runs = {run["id"]: run for run in bridge.ask("GET", f"/runs?state=all&limit={_MOST_RUNS}")["runs"]}
    run_id = whole_id(runs, run_id, "runs")
    events = bridge.ask("GET", f"/runs/{quote(run_id, safe='')}/events")["events"]
    if run_id not in runs and not events:
        raise click.ClickException(f"there is no run {run_id}: `clawback runs` lists them")
    status = bridge.ask("GET", "/status")
    report = {
        "bridge": _only(status, _STATUS) | {"python": platform.python_version(), "system": platform.platform()},
        "run": _only(runs.get(run_id, {"id": run_id}), _RUN),
        "events": [_only(event, _EVENT) for event in events],
    }
    text = visible_json(json.dumps(report, indent=2, ensure_ascii=False))
    if output is None:
        click.echo(text)
        return
    output.write_text(f"{text}\n", encoding="utf-8")
    say(f"Wrote {output}. Read it before you send it.")


def _only(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Keep what is known to hold nothing that anybody said or chose."""
    return {name: found[name] for name in names if name in found}
