"""`clawback serve`."""

import json
import logging
from pathlib import Path

import click

from bridge.commands.init.config_file import is_private
from bridge.config import Config, ConfigError, default_path, load
from bridge.runs.tickets.policy import Policy
from bridge.server import logs, serving
from bridge.server.gunicorn import Server
from bridge.server.serving import banner, is_bridge, is_taken, user_of
from bridge.store.lock import held
from bridge.store.place import StoreError
from tools.visible import visible, visible_json

log = logging.getLogger("clawback")


def _port_problem(config: Config) -> str:
    """Return who uses the port, or nothing where it is free."""
    if not config.port or not is_taken(config.host, config.port):
        return ""
    note = serving.find(config)
    if note and note.url.endswith(f":{config.port}") and is_bridge(note.url):
        return f"this bridge serves already, at {note.url}: `clawback status` shows what it does"
    user = "another bridge" if is_bridge(f"http://127.0.0.1:{config.port}") else user_of(config.port)
    return f"port {config.port} is used by {user}: stop it, or take another port (--port)"


def _load(path: Path) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file.")
@click.option("--host", help="Listen on this address instead of the configured one.")
@click.option("--port", type=int, help="Listen on this port instead of the configured one; 0 means any free port.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least important messages to log.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when ready, and log in JSON.")
@click.option("--reload", "watch", is_flag=True, help="Load the configuration and the policy whenever they are saved.")
def serve(path: Path, host: str | None, port: int | None, log_level: str, as_json: bool, watch: bool) -> None:
    """Run the bridge until Ctrl-C. SIGHUP loads a changed configuration and policy while runs continue."""
    config = _load(path)
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        config = Config.model_validate(config.model_copy(update=overrides).__dict__)
        config.remember(path)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    try:
        Policy.load(config.policy)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(log_level, as_json)
    if not is_private(path):
        log.warning("others can read %s, and the keys in it. Run: chmod 600 '%s'", path, path)
    if not config.data_dir.expanduser().is_absolute():
        log.warning("data_dir is %s here, and another folder elsewhere: write it like this", config.data_dir.absolute())

    def ready(url: str) -> None:
        models = [app.model for app in config.apps]
        if as_json:
            click.echo(visible_json(json.dumps({"bridge_url": url, "base_url": f"{url}/v1", "models": models})))
        else:
            click.echo(visible(banner(config, url), lines=True))

    if problem := _port_problem(config):
        raise click.ClickException(problem)
    try:
        with held(config.store_url):
            Server(path, config, ready, log_level, watch=watch).run()
    except StoreError as error:
        raise click.ClickException(str(error)) from None
