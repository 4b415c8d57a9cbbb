"""`clawback tickets`, `approve` and `deny`: what waits for a person, and what the person decides."""

import getpass
import json
import time
from typing import Any
from urllib.parse import quote

import click
from rich.table import Table

from bridge.commands.operator_client import OperatorClient, as_json_option, bridge_options, print_json
from bridge.commands.terminal import Terminal, plain, say
from tools.calls import arguments_problem

SHOWN_CHARACTERS = 200


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="Also tickets that are no longer open, or that their client has left."
)
@bridge_options()
@as_json_option
def tickets(bridge: OperatorClient, everything: bool, as_json: bool) -> None:
    """List the open tickets and their calls, those first that wait for you."""
    answer = bridge.ask("GET", f"/tickets?state={'all' if everything else 'open'}")
    if as_json:
        print_json(answer)
        return
    calls = [call for ticket in answer["tickets"] for call in ticket["calls"]]
    if not calls:
        click.echo("No tickets are open.")
        return
    table = Table("call", "state", "tool", "arguments", "decide within", box=None)
    for call in sorted(calls, key=lambda call: call["state"] != "awaiting_approval"):
        waits = call["state"] == "awaiting_approval"
        left = f"{max(0, call['decide_until'] - time.time()):.0f} s" if waits else ""
        table.add_row(plain(call["id"]), call["state"], plain(call["name"]), plain(_short(call["arguments"])), left)
    Terminal().print(table)


@click.command()
@click.argument("call_id")
@click.option("--arguments", metavar="JSON", help="Run it with these arguments instead; the model is told.")
@bridge_options(decides=True)
@as_json_option
def approve(bridge: OperatorClient, call_id: str, arguments: str | None, as_json: bool) -> None:
    """Let the call CALL_ID run."""
    body: dict[str, Any] = {"by": getpass.getuser()}
    if arguments is not None:
        if problem := arguments_problem(arguments):
            raise click.UsageError(f"--arguments: {problem}")
        body["arguments"] = json.loads(arguments)
    answer = bridge.ask("POST", f"/calls/{quote(call_id, safe='')}/approve", body)
    print_json(answer) if as_json else say(f"{call_id} ({answer['name']}) is approved.")


@click.command()
@click.argument("call_id")
@click.option("--reason", help="What the model is told.")
@bridge_options(decides=True)
@as_json_option
def deny(bridge: OperatorClient, call_id: str, reason: str | None, as_json: bool) -> None:
    """Do not let the call CALL_ID run; the model is told why."""
    body = {"by": getpass.getuser(), **({"reason": reason} if reason else {})}
    answer = bridge.ask("POST", f"/calls/{quote(call_id, safe='')}/deny", body)
    print_json(answer) if as_json else say(f"{call_id} ({answer['name']}) is denied.")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
