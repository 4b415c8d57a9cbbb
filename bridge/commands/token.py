"""`clawback token`: tokens for each audience, and one for each client and executor."""

import json
import re
import time
from pathlib import Path

import click

from bridge.api.access import RESERVED
from bridge.commands.operator_client import as_json_option, print_json
from bridge.commands.terminal import Terminal, plain, table
from bridge.config import Config, ConfigError, default_path, load
from bridge.server.figures import clock
from bridge.store.faults import StoreUnavailable
from bridge.store.place import StoreError
from bridge.store.rows import ClientRow
from bridge.store.store import Store
from tools.tokens import hash_token, new_token

AUDIENCES = ("client", "plugin", "executor", "operator", "metrics")
_UNITS = {"m": 60, "h": 3600, "d": 86_400}

config_option = click.option(
    "--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file."
)


class Lifetime(click.ParamType[float]):
    """A number and a unit: 30m, 12h, 30d. Becomes seconds."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", value)
        if not found:
            self.fail(f"{value!r} is no time: write 30m, 12h or 30d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.group()
def token() -> None:
    """Make tokens: one for the configuration (by audience), or one for each client or executor (add, list, revoke)."""


def _audience(audience: str) -> click.Command:
    @click.command(audience, help=f"Make a token for the {audience}. Only its hash goes into the configuration.")
    def make() -> None:
        made = new_token(audience)
        click.echo(f"token: {made}\nhash:  {hash_token(made)}\n")
        click.echo(f"Put the hash into the configuration as tokens.{audience}, and give the token to the {audience}.")

    return make


for _each in AUDIENCES:
    token.add_command(_audience(_each))


@token.command()
@click.argument("name")
@click.option(
    "--app", "apps", multiple=True, metavar="MODEL", help="A model that the client may ask. Default: all models."
)
@click.option("--expires", type=Lifetime(), help="When the token expires, such as 30d.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="The most requests per minute.")
@click.option("--open-tickets", type=click.IntRange(1), help="The most open tickets at once.")
@click.option("--tokens-per-day", type=click.IntRange(1), help="The most tokens of model servers per day.")
@click.option("--mcp", is_flag=True, help="For an MCP client: it opens /mcp, and nothing else.")
@click.option("--executor", is_flag=True, help="For an executor: it runs calls, under the name NAME alone.")
@click.option(
    "--tools",
    multiple=True,
    metavar="PATTERN",
    help="With --mcp: the tools that it is offered, such as 'notes_*'; those that only read, where none is named. "
    "With --executor: the tools that it may offer; all, where none is named.",
)
@config_option
def add(
    name: str,
    apps: tuple[str, ...],
    expires: float | None,
    requests_per_minute: int | None,
    open_tickets: int | None,
    tokens_per_day: int | None,
    mcp: bool,
    executor: bool,
    tools: tuple[str, ...],
    path: Path,
) -> None:
    """Make a token for the client NAME. Other clients cannot see its runs.

    With --executor, make it for the executor NAME. Nobody else can take its name or its calls.
    """
    config = _load(path)
    if name in RESERVED or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
        raise click.ClickException(
            f"{name!r} cannot be a client's name: letters, digits, `_`, `.` and `-` can, 63 of them"
        )
    if unknown := [app for app in apps if config.app(app) is None]:
        known = ", ".join(app.model for app in config.apps)
        raise click.ClickException(f"there is no model {unknown[0]!r}; the configuration has {known}")
    if mcp and executor:
        raise click.ClickException("--mcp and --executor: make a token for each")
    if (mcp or executor) and (apps or tokens_per_day):
        raise click.ClickException("only a client of the endpoint asks models: leave out --app and --tokens-per-day")
    if executor and (requests_per_minute or open_tickets):
        raise click.ClickException("an executor has no limits: leave out --requests-per-minute and --open-tickets")
    if executor and name in {each.name for each in config.dify_tools}:
        raise click.ClickException(f"{name} is the name of the tools of Dify ([[dify_tools]]): choose another one")
    if tools and not (mcp or executor):
        raise click.ClickException("--tools is for MCP clients and executors: add --mcp or --executor")
    kind = "mcp" if mcp else "executor" if executor else None
    now, made = time.time(), new_token(kind or "client")
    row = ClientRow(
        name=name,
        token_hash=hash_token(made),
        apps=json.dumps(apps),
        created_at=now,
        expires_at=now + expires if expires else None,
        requests_per_minute=requests_per_minute,
        open_tickets=open_tickets,
        tokens_per_day=tokens_per_day,
        kind=kind,
        tools=json.dumps(tools) if tools else None,
    )
    with _Opened(config) as store:
        if not store.clients.add(row):
            raise click.ClickException(
                f"there is a client {name} already: `clawback token revoke {name}` ends its token"
            )
    click.echo(f"token: {made}\n")
    click.echo(f"Give it to {name}. It is shown once; the bridge keeps only its hash.")


@token.command(name="list")
@as_json_option
@config_option
def list_(path: Path, as_json: bool) -> None:
    """List the clients that have their own tokens."""
    with _Opened(_load(path)) as store:
        clients = store.clients.all()
    if as_json:
        print_json([_shown(client) for client in clients])
        return
    if not clients:
        click.echo("No client has a token of its own: `clawback token add NAME` makes one.")
        return
    rows = table("client", "models, tools", "last seen", "until", "requests/min", "open tickets", "tokens/day")
    for client in clients:
        limits = (client.requests_per_minute, client.open_tickets, client.tokens_per_day)
        models = plain(", ".join(json.loads(client.apps)) or "all")
        if client.kind:
            every = "what only reads" if client.kind == "mcp" else "all tools"
            models = plain(f"{client.kind}: {', '.join(json.loads(client.tools)) if client.tools else every}")
        cells = (plain(client.name), models, _moment(client.used_at, "never"), _moment(client.expires_at, "revoked"))
        rows.add_row(*cells, *(str(limit or "-") for limit in limits))
    Terminal().print(rows)


@token.command()
@click.argument("name")
@config_option
def revoke(name: str, path: Path) -> None:
    """Revoke the token of NAME. A running bridge notices within 2 seconds, and ends what was asked with it."""
    with _Opened(_load(path)) as store:
        if not store.clients.revoke(name):
            raise click.ClickException(f"there is no client {name}: `clawback token list` shows them")
    click.echo(f"The token of {name} is no longer valid. What it did is kept.")


class _Opened:
    """The store of a configuration, for one command."""

    def __init__(self, config: Config) -> None:
        try:
            self._store = Store(config.store_url)
        except StoreError as error:
            raise click.ClickException(str(error)) from None

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._store.close()
        if isinstance(error, StoreUnavailable):
            raise click.ClickException(error.message) from None


def _load(path: Path) -> Config:
    try:
        config = load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    config.data_dir.expanduser().mkdir(parents=True, exist_ok=True, mode=0o700)
    return config


def _shown(client: ClientRow) -> dict[str, object]:
    names = (
        "name",
        "kind",
        "created_at",
        "expires_at",
        "used_at",
        "requests_per_minute",
        "open_tickets",
        "tokens_per_day",
    )
    return {name: getattr(client, name) for name in names} | {
        "apps": json.loads(client.apps),
        "tools": json.loads(client.tools) if client.tools else None,
    }


def _moment(at: float | None, never: str) -> str:
    return clock(at) if at else never
