"""`clawback tickets`, `approve` and `deny`: what waits for a person, and what the person decides."""

import getpass
import json
import time
from collections.abc import Callable
from typing import Any

import click
import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

DEFAULT_BRIDGE = "http://127.0.0.1:8765"
SHOWN_CHARACTERS = 200


def _bridge_options(command: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.option(
            "--bridge",
            "bridge_url",
            envvar="CLAWBACK_BRIDGE",
            default=DEFAULT_BRIDGE,
            show_default=True,
            help="The bridge's address [env: CLAWBACK_BRIDGE].",
        ),
        click.option(
            "--token",
            envvar="CLAWBACK_OPERATOR_TOKEN",
            default="",
            help="The operator token that `clawback token operator` made [env: CLAWBACK_OPERATOR_TOKEN].",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print what the bridge answered."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also tickets that are no longer open.")
@_bridge_options
def tickets(everything: bool, bridge_url: str, token: str, as_json: bool) -> None:
    """List the open tickets and their calls, those first that wait for you."""
    answer = _ask("GET", f"/tickets?state={'all' if everything else 'open'}", None, bridge_url, token)
    if as_json:
        click.echo(json.dumps(answer))
        return
    calls = [call for ticket in answer["tickets"] for call in ticket["calls"]]
    if not calls:
        click.echo("No tickets are open.")
        return
    table = Table("call", "state", "tool", "arguments", "decide within", box=None)
    for call in sorted(calls, key=lambda call: call["state"] != "awaiting_approval"):
        waits = call["state"] == "awaiting_approval"
        left = f"{max(0, call['decide_until'] - time.time()):.0f} s" if waits else ""
        table.add_row(call["id"], call["state"], escape(call["name"]), escape(_short(call["arguments"])), left)
    Console().print(table)


@click.command()
@click.argument("call_id")
@click.option("--arguments", metavar="JSON", help="Run it with these arguments instead; the model is told.")
@_bridge_options
def approve(call_id: str, arguments: str | None, bridge_url: str, token: str, as_json: bool) -> None:
    """Let the call CALL_ID run."""
    body: dict[str, Any] = {"by": getpass.getuser()}
    if arguments is not None:
        try:
            body["arguments"] = json.loads(arguments)
        except ValueError as error:
            raise click.UsageError(f"--arguments is not valid JSON: {error}") from None
    answer = _ask("POST", f"/calls/{call_id}/approve", body, bridge_url, token)
    click.echo(json.dumps(answer) if as_json else f"{call_id} ({answer['name']}) is approved.")


@click.command()
@click.argument("call_id")
@click.option("--reason", help="What the model is told.")
@_bridge_options
def deny(call_id: str, reason: str | None, bridge_url: str, token: str, as_json: bool) -> None:
    """Do not let the call CALL_ID run; the model is told why."""
    body = {"by": getpass.getuser(), **({"reason": reason} if reason else {})}
    answer = _ask("POST", f"/calls/{call_id}/deny", body, bridge_url, token)
    click.echo(json.dumps(answer) if as_json else f"{call_id} ({answer['name']}) is denied.")


def _ask(method: str, path: str, body: object, bridge_url: str, token: str) -> dict[str, Any]:
    if not token:
        raise click.UsageError("--token is missing: `clawback token operator` makes one")
    headers = {"Authorization": f"Bearer {token}"}
    try:
        response = httpx.request(method, f"{bridge_url.rstrip('/')}/operator/v1{path}", json=body, headers=headers)
        answer: dict[str, Any] = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise click.ClickException(f"the bridge at {bridge_url} does not answer: {error}") from None
    if not response.is_success:
        raise click.ClickException(answer["error"]["message"])
    return answer


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
