"""`clawback status`, `runs` and `tail`: what the bridge does, at this moment, lately, and as it happens."""

import time
from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from bridge.commands.operator_client import OperatorClient, as_json_option, bridge_options, print_json
from bridge.commands.terminal import Terminal, plain, shown_app, shown_state, table, wide_option
from bridge.server.figures import clock, counted, duration

RUN_STATES = ("running", "suspended", "finished", "failed", "cancelled")
_WAIT_SECONDS = 20


@click.command()
@bridge_options()
@as_json_option
def status(bridge: OperatorClient, as_json: bool) -> None:
    """Show what the bridge is doing."""
    answer = bridge.ask("GET", "/status")
    if as_json:
        print_json(answer)
        return
    rows = Table(box=None, show_header=False)
    for name, value in _status_rows(bridge.url, answer):
        rows.add_row(f"[bold]{name}[/bold]", value)
    Terminal().print(rows)


def _status_rows(url: str, answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    tickets, runs = answer["tickets"], answer["runs"]
    yield "bridge", f"{url}/v1, version {answer['version']}, up for {duration(answer['up_seconds'])}"
    yield "models", plain(", ".join(answer["models"]) or "none: `clawback init` adds apps")
    yield (
        "runs",
        ", ".join(f"{runs[state]} {shown_state(state)}" for state in RUN_STATES if runs.get(state)) or "none yet",
    )
    waits = f", the oldest for {duration(tickets['oldest_seconds'])}" if tickets["open"] else ""
    yield "tickets", f"{tickets['open']} open{waits}"
    if tickets["awaiting_approval"]:
        yield "", f"[yellow]{_waiting(tickets['awaiting_approval'])} for you[/yellow]: clawback tickets"
    for each in answer["dify_streams"]:
        waiting = f", {each['waiting']} wait for a place" if each["waiting"] else ""
        yield "Dify", f"{plain(each['dify'])}: {each['used']} of {each['limit']} places taken{waiting}"
    for each in answer["executors"]:
        yield "executor", f"{plain(each['name'])}: {each['calls']} of {each['concurrency']} calls at once"
    for each in answer["clients"]:
        seen = f"last seen {clock(each['used_at'])}" if each["used_at"] else "not seen yet"
        ends = f", until {clock(each['expires_at'])}" if each["expires_at"] else ""
        yield "client", f"{plain(each['name'])}: {seen}{ends}"


def _waiting(number: int) -> str:
    return f"{counted(number, 'call')} {'waits' if number == 1 else 'wait'}"


@click.command()
@click.option("--state", type=click.Choice([*RUN_STATES, "all"]), default="all", help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="The most runs to list.")
@wide_option
@bridge_options()
@as_json_option
def runs(bridge: OperatorClient, state: str, limit: int, wide: bool, as_json: bool) -> None:
    """List the newest runs."""
    answer = bridge.ask("GET", f"/runs?state={state}&limit={limit}")
    if as_json:
        print_json(answer)
        return
    if not answer["runs"]:
        click.echo("There are no runs." if state == "all" else f"No run is {state}.")
        return
    console = Terminal(wide=wide)
    rows = table("began", "run", "app", "state", "took", "rounds", "calls", "why")
    for run in answer["runs"]:
        rows.add_row(*_run_cells(console, run))
    console.print(rows)


def _run_cells(console: Terminal, run: dict[str, Any]) -> Iterator[str]:
    ended = run["state"] not in {"running", "suspended"}
    yield clock(run["created_at"])
    yield console.id(run["id"])
    yield shown_app(run)
    yield shown_state(run["state"]) + (f" (try {run['attempt']})" if run["attempt"] > 1 else "")
    yield duration((run["updated_at"] if ended else time.time()) - run["created_at"])
    yield str(run["tickets"])
    yield str(run["calls"])
    yield plain(run["error"] or run["auxiliary"] or "")


@click.command()
@click.option("--for", "seconds", type=click.FloatRange(min=0), help="Stop after this many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@bridge_options()
def tail(bridge: OperatorClient, seconds: float | None, as_json: bool) -> None:
    """Show runs, tickets and calls as they happen, until Ctrl-C."""
    console = Terminal(soft_wrap=True, highlight=False)
    told: dict[str, tuple[str, int]] = {}
    try:
        for what, change in _changes(bridge, seconds):
            if what == "run":
                now = (change["state"], change["attempt"])
                if told.get(change["id"]) == now:
                    continue
                told[change["id"]] = now
                if change["state"] not in {"running", "suspended"}:
                    del told[change["id"]]
            if as_json:
                print_json({"what": what, **change})
            else:
                console.print(_run_line(change) if what == "run" else _event_line(change))
    except KeyboardInterrupt:
        click.echo("", err=True)


def _changes(bridge: OperatorClient, seconds: float | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what happens from now on, in the order in which it did: each batch holds runs and steps."""
    ends = None if seconds is None else time.monotonic() + seconds
    cursor = bridge.ask("GET", "/changes")["cursor"]
    while ends is None or time.monotonic() < ends:
        wait = _WAIT_SECONDS if ends is None else max(0.0, min(_WAIT_SECONDS, ends - time.monotonic()))
        answer = bridge.ask("GET", f"/changes?after={cursor}&wait={wait:.1f}", wait=wait)
        cursor = answer["cursor"]
        batch = [("run", run, run["updated_at"]) for run in answer["runs"]]
        batch += [("event", event, event["at"]) for event in answer["events"]]
        for what, change, _ in sorted(batch, key=lambda entry: entry[2]):
            yield what, change


def _run_line(run: dict[str, Any]) -> str:
    tried = f" (try {run['attempt']})" if run["attempt"] > 1 else ""
    why = f": {plain(run['error'])}" if run["error"] else ""
    return (
        f"{clock(run['updated_at'])} run    {run['id']} of {shown_app(run)} is {shown_state(run['state'])}{tried}{why}"
    )


def _event_line(event: dict[str, Any]) -> str:
    what = (
        f"call   {event['call_id']} {plain(event['tool'] or '')}"
        if event["call_id"]
        else f"ticket {event['ticket_id']}"
    )
    return (
        f"{clock(event['at'])} {what}: {event['event']} by {plain(event['actor'])}, now {shown_state(event['after'])}"
    )
