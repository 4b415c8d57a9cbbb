"""The command line."""

import json
import logging
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from bridge.commands.dify_tools import dify_tools
from bridge.commands.doctor.command import doctor
from bridge.commands.init.command import init
from bridge.commands.init.config_file import is_private
from bridge.commands.operator import approve, deny, tickets
from bridge.commands.package.command import package
from bridge.commands.token import token
from bridge.commands.watch import runs, status, tail
from bridge.config import Config, ConfigError, default_path, load
from bridge.runs.tickets.policy import Policy
from bridge.server import logs, tracing
from bridge.server.banner import banner
from tools.visible import visible, visible_json

log = logging.getLogger("clawback")


class Commands(click.Group):
    """The commands of this room, and those that other rooms add; these are loaded only when one is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. What an error quotes of others is shown visibly."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = visible(error.message, lines=True)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        added = [entry.name for entry in entry_points(group="clawback.commands")]
        return sorted({*super().list_commands(ctx), *added})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command by its name."""
        known = super().get_command(ctx, cmd_name)
        entry = next(iter(entry_points(group="clawback.commands", name=cmd_name)), None)
        if known or entry is None:
            return known
        try:
            loaded = entry.load()
        except ImportError as error:
            return _unavailable(cmd_name, error)
        return loaded if isinstance(loaded, click.Command) else None


def _unavailable(name: str, error: ImportError) -> click.Command:
    @click.command(name, help=f"Not installed here ({error.name} is missing): pip install 'clawback[box]'.")
    def explain() -> None:
        raise click.ClickException(f"`clawback {name}` needs {error.name}: pip install 'clawback[box]'")

    return explain


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clawback")
def main() -> None:
    """Clawback: a Dify chatflow as the model behind OpenClaw, OpenClaw's tools as the hands of a Dify chatflow."""


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file.")
@click.option("--host", help="Bind to this address instead of the configured one.")
@click.option("--port", type=int, help="Bind to this port instead of the configured one; 0 takes a free one.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="What to log."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when ready, and log in JSON.")
@click.option(
    "--reload", "watch", is_flag=True, help="Take changes of the configuration and the policy as they are saved."
)
def serve(path: Path, host: str | None, port: int | None, log_level: str, as_json: bool, watch: bool) -> None:
    """Serve the bridge until Ctrl-C. SIGHUP makes it take changes of the configuration and the policy; runs go on."""
    from bridge.server.gunicorn import Server
    from bridge.store.faults import StoreError
    from bridge.store.lock import held
    from bridge.store.upgrade import open_first

    config = _load(path)
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        config = Config.model_validate(config.model_copy(update=overrides).__dict__)
        config.remember(path)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    try:
        Policy.load(config.policy)
        tracing.check(config.traces)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(log_level, as_json)
    if not is_private(path):
        log.warning("others can read %s, and the keys in it. Run: chmod 600 '%s'", path, path)

    def ready(url: str) -> None:
        models = [app.model for app in config.apps]
        if as_json:
            click.echo(visible_json(json.dumps({"bridge_url": url, "base_url": f"{url}/v1", "models": models})))
        else:
            click.echo(visible(banner(config, url), lines=True))

    try:
        with held(config.store_url):
            open_first(config.store_url)
            Server(path, config, ready, log_level, watch=watch).run()
    except StoreError as error:
        raise click.ClickException(str(error)) from None


for _command in (token, status, runs, tail, tickets, approve, deny, init, doctor, package, dify_tools):
    main.add_command(_command)


if __name__ == "__main__":
    main()
