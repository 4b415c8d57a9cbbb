"""`clawback dify-tools`."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import click

from bridge.config import Config, ConfigError, DifyTools, default_path, load
from bridge.dify.console import ConsoleProblem, providers_in, read_tools, schemas_of
from bridge.dify.tools import ToolsEndpoint, ToolsProblem
from bridge.store.faults import StoreUnavailable
from bridge.store.place import StoreError
from bridge.store.store import Store
from tools.visible import visible


@click.group(name="dify-tools")
def dify_tools() -> None:
    """Manage Dify's own tools, which the bridge runs through Clawback Tools."""


@dify_tools.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file.")
@click.option("--name", default="dify", help="The name of one [[dify_tools]] entry, if the configuration has several.")
@click.option(
    "--from",
    "saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read a saved response of Dify's console instead of logging in, for example with SSO.",
)
@click.option("--console", help="The address of Dify's page. Default: the endpoint's, without its path.")
def sync(path: Path, name: str, saved: Path | None, console: str | None) -> None:
    """Read the parameters of the picked tools from Dify, so that models know them. The login is not stored."""
    try:
        config = load(path)
        settings = _settings(config, name)
        if saved:
            providers = providers_in(json.loads(saved.read_text(encoding="utf-8")))
        else:
            parts = urlsplit(settings.url)
            url = console or f"{parts.scheme}://{parts.netloc}"
            email = click.prompt(f"Email for {url}")
            providers = read_tools(url, email, click.prompt("Password", hide_input=True))
        endpoint = ToolsEndpoint(settings)
        tools = endpoint.tools()
        endpoint.close()
    except (ConfigError, ConsoleProblem, ToolsProblem) as error:
        raise click.ClickException(visible(str(error))) from None
    except ValueError:
        raise click.ClickException(f"{saved} is not JSON") from None
    known = schemas_of(providers)
    found = {tool.key: known[tool.key] for tool in tools if tool.key in known}
    _write(config, name, {json.dumps(key): function.model_dump_json() for key, function in found.items()})
    for tool in tools:
        function = found.get(tool.key)
        count = len((function.parameters or {}).get("properties", {})) if function else 0
        counted = f"{count} parameter{'' if count == 1 else 's'}"
        said = counted if function else "not in what Dify says; text parameters are offered"
        click.echo(visible(f"{tool.definition.name}: {said}"))


def _settings(config: Config, name: str) -> DifyTools:
    found = next((tools for tools in config.dify_tools if tools.name == name), None)
    if found is None:
        known = ", ".join(tools.name for tools in config.dify_tools) or "none"
        raise ConfigError(f"the configuration has no [[dify_tools]] of the name {name!r}; it has {known}")
    return found


def _write(config: Config, name: str, schemas: dict[str, str]) -> None:
    try:
        store = Store(config.store_url)
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    try:
        store.executors.write_schemas(name, schemas)
    except StoreUnavailable as error:
        raise click.ClickException(str(error)) from None
    finally:
        store.close()
