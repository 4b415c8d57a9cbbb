"""`clawback executor`: bring tools of this machine to the Dify apps behind a bridge."""

import json
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import click

from executor.connection import Connection
from executor.toolbox import Toolbox, ToolboxError
from executor.worker import Worker, WorkerStopped
from tools import logs
from tools.visible import visible

log = logging.getLogger("clawback.executor")

DEFAULT_BRIDGE = "http://127.0.0.1:8765"
DEFAULT_GATEWAY = "http://127.0.0.1:18789"
HANDS_PORT = 8766


@click.group()
def executor() -> None:
    """Run tools on this machine for people who chat with Dify apps."""


def _worker_options(command: Callable[..., None]) -> Callable[..., None]:
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
            envvar="CLAWBACK_EXECUTOR_TOKEN",
            default="",
            help="The executor token from `clawback init` [env: CLAWBACK_EXECUTOR_TOKEN].",
        ),
        click.option("--name", help="This executor's name. It replaces a running executor of the same name."),
        click.option(
            "--tools",
            "patterns",
            multiple=True,
            default=["*"],
            show_default=True,
            metavar="PATTERN",
            help="Only take calls of tools with these names. If several executors match, the most exact pattern wins.",
        ),
        click.option(
            "--concurrency", type=click.IntRange(1), default=4, show_default=True, help="The most calls at once."
        ),
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            default="info",
            help="The least important messages to log.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON line when registered, and log in JSON."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@executor.command()
@click.argument("modules", metavar="[MODULE]...", nargs=-1)
@_worker_options
def python(modules: Sequence[str], **options: Any) -> None:
    """Offer Python functions that are decorated with @tool (from clawback import tool).

    MODULE may be a file in the current folder. Without MODULE, offers the tools of installed packages.
    """
    from executor import python as python_tools

    _work("python", lambda: python_tools.load(modules), **options)


@executor.command(context_settings={"ignore_unknown_options": True})
@click.argument("server", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--prefix", default="", help="A prefix for the name of each tool.")
@_worker_options
def mcp(server: Sequence[str], prefix: str, **options: Any) -> None:
    """Offer the tools of an MCP server: a COMMAND with its arguments (after --), or a URL."""
    from executor import mcp as mcp_tools

    _work("mcp", lambda: mcp_tools.McpTools(server, prefix=prefix), **options)


@executor.command()
@click.option("--gateway", default=DEFAULT_GATEWAY, show_default=True, help="The OpenClaw gateway's address.")
@click.option(
    "--gateway-token",
    envvar="OPENCLAW_GATEWAY_TOKEN",
    default="",
    help="The gateway's token [env: OPENCLAW_GATEWAY_TOKEN].",
)
@click.option(
    "--port", default=HANDS_PORT, show_default=True, help="The port at which OpenClaw finds the model clawback-hands."
)
@click.option(
    "--hands-key",
    envvar="CLAWBACK_HANDS_KEY",
    required=True,
    help="A secret of your choice that OpenClaw uses as the key of this model [env: CLAWBACK_HANDS_KEY].",
)
@click.option("--print-config", is_flag=True, help="Print what OpenClaw's configuration needs, and exit.")
@_worker_options
def openclaw(gateway: str, gateway_token: str, port: int, hands_key: str, print_config: bool, **options: Any) -> None:
    """Offer the tools of this machine's OpenClaw gateway, which applies its own policy and approvals."""
    from executor import openclaw as openclaw_tools

    if print_config:
        entry = openclaw_tools.provider_entry(f"http://127.0.0.1:{port}/v1", hands_key)
        config = {
            "gateway": {"http": {"endpoints": {"chatCompletions": {"enabled": True}}}},
            "models": {"mode": "merge", "providers": {openclaw_tools.PROVIDER: entry}},
        }
        click.echo(json.dumps(config, indent=2))
        return

    def toolbox() -> Toolbox:
        hands = openclaw_tools.OpenClawTools(gateway, gateway_token, hands_key, port=port)
        try:
            hands.hello()
        except ToolboxError:
            hands.close()
            raise
        return hands

    _work("openclaw", toolbox, **options)


def _work(
    kind: str,
    make: Callable[[], Toolbox],
    *,
    bridge_url: str,
    token: str,
    name: str | None,
    patterns: Sequence[str],
    concurrency: int,
    log_level: str,
    as_json: bool,
) -> None:
    if not token:
        raise click.UsageError("--token is missing: `clawback token executor` makes one")
    logs.configure(log_level, as_json)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    connection = Connection(bridge_url, token)
    try:
        toolbox = make()
    except ToolboxError as error:
        connection.close()
        raise click.ClickException(str(error)) from None

    def ready() -> None:
        tools = [each["function"]["name"] for each in toolbox.definitions()]
        if as_json:
            click.echo(json.dumps({"executor": name or kind, "tools": tools}))
        else:
            click.echo(visible(f"{name or kind} offers {', '.join(tools)} at {bridge_url}"))

    worker = Worker(connection, toolbox, name or kind, patterns=list(patterns), concurrency=concurrency, on_ready=ready)
    try:
        worker.run(stop)
    except WorkerStopped as error:
        raise click.ClickException(str(error)) from None
    finally:
        toolbox.close()
        connection.close()
