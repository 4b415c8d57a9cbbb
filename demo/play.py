"""Plays the demo: the parts start, the task is done on them or they are kept, and they end."""

import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from demo import mixed, openclaw, task
from demo.client import Client, ClientError
from demo.kept import kept, login_url
from demo.local_tools import LocalTools
from demo.report import ENGINE, report
from demo.service import ServiceFailed
from demo.stack import Stack, Upstream
from demo.story import Story
from tools.visible import visible, visible_json

_NEXT = """
What next?
  clawback demo --keep   keep all parts running, look at three runs on the web page, and try your own client and tools
  clawback init          connect your own Dify"""
_PATH = 'So that your shell finds clawback: export PATH="{folder}:$PATH"'
_KEPT = """
The web page (this link logs you in once, within a minute):
  {login_url}
Later, log in at {page_url} with the operator token:
  {operator_token}

Your own OpenAI client (models: {apps}):
  base URL {base_url}
  key      {api_key}

Your own executor:
  export CLAWBACK_BRIDGE={bridge_url} CLAWBACK_EXECUTOR_TOKEN={executor_token}
  clawback executor python MODULE

Chat with the app itself, as Dify's users do:
  curl {dify_url}/chat-messages -H "Authorization: Bearer {app_key}" -H "Content-Type: application/json" \\
    -d '{{"inputs": {{}}, "user": "me", "query": "!call weather {{\\"city\\": \\"Paris\\"}}"}}'

Press Ctrl-C to end the demo."""


def play(
    client: str, app: str, upstream: str | None, model: str | None, api_key: str, *, keep: bool, as_json: bool
) -> None:
    """Do what `clawback demo` was told to."""
    real = Upstream(upstream, api_key, str(model), str(model)) if upstream else None
    console = Console(quiet=as_json or keep, stderr=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup, a closed terminal is not to end it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        with _folder() as folder:
            console.print("Starting the upstream, the bridge, and Dify in a box with the plugin …")
            if keep:
                with kept(folder, real, model or "scripted") as stack:
                    _keep(stack)
                return
            with _started(folder, app, real, model or "scripted") as stack:
                result = _play(stack, console, client, app)
    except (ServiceFailed, ClientError, openclaw.OpenClawMissing) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(visible_json(json.dumps(result, ensure_ascii=False)))
    else:
        _conclude(console, result)
    if not result["ok"]:
        raise SystemExit(1)


def _started(folder: Path, app: str, upstream: Upstream | None, model: str) -> AbstractContextManager[Stack]:
    if app == mixed.MODEL:
        return mixed.mixed(folder, upstream, model)
    return Stack(folder, apps=[app], upstream=upstream, upstream_model=model)


def _end(number: int, _: object) -> None:
    """End with all parts, as Ctrl-C does, whoever asks; once is enough."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="clawback-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(stack: Stack) -> None:
    where = {**stack.summary(), "login_url": login_url(stack)}
    # A program reads the one line of JSON; a person at a terminal reads the rest.
    if not sys.stdout.isatty():
        click.echo(json.dumps(where))
    click.echo(_KEPT.format(**where, apps=", ".join(where["models"])), err=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("Stopping.", err=True)


def _play(stack: Stack, console: Console, client: str, app: str) -> dict[str, Any]:
    workspace = stack.folder / "workspace"
    task.prepare(workspace)
    asked = mixed if app == mixed.MODEL else task
    prompt = asked.scripted_request() if stack.scripted else asked.REQUEST
    console.print(f"The engine is {ENGINE}; the plugin runs as process {stack.box.ready['plugin']['pid']}.")
    console.print(f"The task: “{asked.REQUEST}”\n", soft_wrap=True)
    began = time.monotonic()
    requests = 0
    with Story(console, stack) as story:
        if client == "openclaw":
            story.say("person", "OpenClaw", prompt.splitlines()[0])
            envelope = openclaw.turn(
                stack.folder / "openclaw", workspace, stack.base_url, stack.client_token, app, prompt
            )
            story.say("OpenClaw", "person", str(envelope.get("final")))
        else:
            asking = Client(
                stack.base_url, stack.client_token, app, LocalTools(workspace), session="demo", tell=story.client
            )
            try:
                requests = asking.ask(prompt).http_requests
            finally:
                asking.close()
        seconds = time.monotonic() - began
    return report(stack, client, requests, seconds)


def _tool_calls(run: dict[str, Any]) -> str:
    places = Counter(call["ran_at"] for call in run["tool_calls"])
    said = (f"{count} by {'the ' if place == 'client' else ''}{place}" for place, count in places.items())
    return f"{places.total()} tool calls ({', '.join(said)})"


def _conclude(console: Console, result: dict[str, Any]) -> None:
    for run in result["runs"]:
        answer = visible(run["answer"].strip(), lines=True)
        console.print(f"\nThe answer:\n\n{answer}\n", markup=False, highlight=False, soft_wrap=True)
        console.print(
            f"{result['http_requests']} HTTP requests, {run['rounds']} rounds, {_tool_calls(run)}, "
            f"{run['workflow_runs']} Dify workflow run, {result['seconds']} s.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(_NEXT, highlight=False, soft_wrap=True)
    command = Path(sys.argv[0]).absolute()
    if command.name == "clawback" and not shutil.which("clawback"):
        console.print(_PATH.format(folder=command.parent), markup=False, highlight=False, soft_wrap=True)
