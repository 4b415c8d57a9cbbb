"""`clawback tickets`, `approve`, `deny`, `answer`, `show`, `again`, `cancel`: what people see, and decide."""

import getpass
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from bridge.commands.operator_client import OperatorClient, as_json_option, bridge_options, print_json, whole_id
from bridge.commands.terminal import Terminal, plain, say, shown_app, shown_state, table, wide_option
from bridge.server.figures import duration
from tools.calls import arguments_problem

SHOWN_CHARACTERS = 200
_MOST_RUNS = 500


@click.command()
@click.option("--all", "everything", is_flag=True, help="Include tickets that are closed or whose client has gone.")
@wide_option
@bridge_options()
@as_json_option
def tickets(bridge: OperatorClient, everything: bool, wide: bool, as_json: bool) -> None:
    """List the open tickets with their calls, and the forms. Those that wait for you come first."""
    answer = bridge.ask("GET", f"/tickets?state={'all' if everything else 'open'}") | bridge.ask("GET", "/forms")
    if as_json:
        print_json(answer)
        return
    calls = [call for ticket in answer["tickets"] for call in ticket["calls"]]
    if not (calls or answer["forms"]):
        click.echo("No tickets are open.")
    if answer["forms"]:
        _show_forms(answer["forms"], wide=wide)
    if calls:
        _show_calls(calls, wide=wide)


def _show_calls(calls: list[dict[str, Any]], *, wide: bool) -> None:
    console, rows = Terminal(wide=wide), table("call", "state", "tool", "arguments", "decide within")
    for call in sorted(calls, key=lambda call: call["state"] != "awaiting_approval"):
        waits = call["state"] == "awaiting_approval"
        left = duration(call["decide_until"] - time.time()) if waits else ""
        rows.add_row(
            console.id(call["id"]),
            shown_state(call["state"]),
            plain(call["name"]),
            plain(_short(call["arguments"])),
            left,
        )
    console.print(rows)


def _show_forms(forms: list[dict[str, Any]], *, wide: bool) -> None:
    console, rows = Terminal(wide=wide), table("form", "title", "asks", "fields", "actions", "answer within")
    for form in forms:
        fields = ", ".join(
            each["name"] + (f" ({' | '.join(each['options'])})" if each["options"] else "") for each in form["fields"]
        )
        actions = ", ".join(f"{each['id']} ({each['title']})" for each in form["actions"])
        told = [form["title"], _short(" ".join(form["content"].split())), fields, actions]
        rows.add_row(console.id(form["id"]), *map(plain, told), duration(form["expires_at"] - time.time()))
    console.print(rows)


@click.command()
@click.argument("form_id")
@click.option("--action", required=True, metavar="ID", help="The form's action, as its buttons name it.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of a field. Default: the field's own default.",
)
@bridge_options(decides=True)
@as_json_option
def answer(bridge: OperatorClient, form_id: str, action: str, fields: tuple[str, ...], as_json: bool) -> None:
    """Answer the form FORM_ID of a Human Input node, and its run goes on. The beginning of its id is enough."""
    pairs = [each.partition("=") for each in fields]
    if wrong := next((name for name, sign, _ in pairs if not sign), None):
        raise click.UsageError(f"--field {wrong}: write it as NAME=VALUE")
    forms = bridge.ask("GET", "/forms")["forms"]
    form_id = whole_id((form["id"] for form in forms), form_id, "forms")
    body = {"by": getpass.getuser(), "action": action, "inputs": {name: value for name, _, value in pairs}}
    given = bridge.ask("POST", f"/forms/{quote(form_id, safe='')}/answer", body)
    print_json(given) if as_json else say(f"{form_id} ({given['title']}) is answered.")


@click.command()
@click.argument("call_id")
@click.option("--arguments", metavar="JSON", help="Run the call with these arguments instead; the model is told.")
@bridge_options(decides=True)
@as_json_option
def approve(bridge: OperatorClient, call_id: str, arguments: str | None, as_json: bool) -> None:
    """Approve the call CALL_ID, so that it runs. The first characters of its id are enough."""
    body: dict[str, Any] = {"by": getpass.getuser()}
    if arguments is not None:
        if problem := arguments_problem(arguments):
            raise click.UsageError(f"--arguments: {problem}")
        body["arguments"] = json.loads(arguments)
    call_id = _whole(bridge, call_id)
    answer = bridge.ask("POST", f"/calls/{quote(call_id, safe='')}/approve", body)
    print_json(answer) if as_json else say(f"{call_id} ({answer['name']}) is approved.")


@click.command()
@click.argument("call_id")
@click.option("--reason", help="The reason that the model is told.")
@bridge_options(decides=True)
@as_json_option
def deny(bridge: OperatorClient, call_id: str, reason: str | None, as_json: bool) -> None:
    """Deny the call CALL_ID. The first characters of its id are enough."""
    body = {"by": getpass.getuser(), **({"reason": reason} if reason else {})}
    call_id = _whole(bridge, call_id)
    answer = bridge.ask("POST", f"/calls/{quote(call_id, safe='')}/deny", body)
    print_json(answer) if as_json else say(f"{call_id} ({answer['name']}) is denied.")


@click.command()
@click.argument("run_id")
@bridge_options()
@as_json_option
def show(bridge: OperatorClient, run_id: str, as_json: bool) -> None:
    """Show the run RUN_ID; --json prints everything that is known."""
    answer = bridge.ask("GET", f"/runs/{quote(_whole_run(bridge, run_id), safe='')}")
    if as_json:
        print_json(answer)
        return
    run = answer["run"]
    say(f"{run['id']} of {shown_app(run)} is {run['state']}" + (f": {run['error']}" if run["error"] else ""))
    rows = table("began", "what", "state", "took")
    for at, what, ended, until in sorted(_steps(answer), key=lambda step: step[0]):
        took = duration(until - at) if until else ""
        rows.add_row(f"+{duration(at - run['created_at'])}", plain(what), shown_state(ended), took)
    Terminal().print(rows)


def _steps(answer: dict[str, Any]) -> Iterator[tuple[float, str, str, float | None]]:
    for node in answer["nodes"]:
        yield node["started_at"], f"node {node['title']} ({node['node_type']})", node["status"], node["ended_at"]
    for each in answer["model_calls"]:
        ended = each["finish_reason"] or f"failed: {each['error']}"
        yield each["at"], f"model call {each['round'] + 1}", ended, each["at"] + each["seconds"]
    told = {each["invocation_id"] for each in answer["model_calls"]}
    for each in (each for each in answer["invocations"] if each["id"] not in told):
        yield each["created_at"], "the model is called", each["state"], each["ended_at"]
    for ticket in answer["tickets"]:
        for call in ticket["calls"]:
            yield ticket["created_at"], f"call {call['name']} {call['id']}", call["state"], call["resolved_at"]
    for segment in answer["segments"]:
        yield segment["created_at"], f"response {segment['number'] + 1}", segment["finish_reason"], None


_run_ids = click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")


@click.command()
@_run_ids
@bridge_options(decides=True)
@as_json_option
def cancel(bridge: OperatorClient, run_ids: tuple[str, ...], as_json: bool) -> None:
    """Cancel the runs RUN_ID with their open calls, and stop their workflow runs in Dify."""
    for run_id, answer in _of_each(bridge, run_ids, "cancel"):
        print_json(answer) if as_json else say(f"{run_id} is cancelled.")


@click.command()
@_run_ids
@bridge_options(decides=True)
@as_json_option
def again(bridge: OperatorClient, run_ids: tuple[str, ...], as_json: bool) -> None:
    """Ask once more what the runs RUN_ID were asked.

    Each is a new conversation with its app. Executors run its calls, which go through the policy anew.
    """
    for run_id, answer in _of_each(bridge, run_ids, "again"):
        print_json(answer) if as_json else say(f"{run_id} is done again: {bridge.url}{answer['path']}")


def _of_each(bridge: OperatorClient, run_ids: tuple[str, ...], do: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Do it to each run, and yield the answers. What is refused is said at once, and keeps no other from its turn."""
    refused = 0
    for run_id in [_whole_run(bridge, each) for each in run_ids]:
        try:
            yield run_id, bridge.ask("POST", f"/runs/{quote(run_id, safe='')}/{do}", {"by": getpass.getuser()})
        except click.ClickException as error:
            if len(run_ids) == 1:
                raise
            say(f"Error: {error.message}", err=True)
            refused += 1
    if refused:
        raise click.ClickException(f"{refused} of {len(run_ids)} were refused")


def _whole(bridge: OperatorClient, call_id: str) -> str:
    waiting = bridge.ask("GET", "/approvals")["calls"]
    return whole_id((call["id"] for call in waiting), call_id, "calls")


def _whole_run(bridge: OperatorClient, run_id: str) -> str:
    return whole_id((run["id"] for run in bridge.ask("GET", f"/runs?limit={_MOST_RUNS}")["runs"]), run_id, "runs")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
