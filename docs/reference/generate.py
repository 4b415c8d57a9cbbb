"""Writes the pages of this folder from the code: `.venv/bin/python docs/reference/generate.py`."""

import runpy
import sys
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from bridge.api.openapi.sentences import sentences
from bridge.cli import main
from bridge.config import App, Config, DifyTools, Limits, Notify, Page, Plugin, Tokens, Traces

HERE = Path(__file__).resolve().parent
_NOTE = "<!-- Made by docs/reference/generate.py from the code. Edit the code's own sentences instead. -->\n"


def configuration() -> str:
    """Return the page of every configuration key."""
    parts = ["# The configuration file", _NOTE, _WHERE]
    for title, model in (
        ("Top level", Config),
        ("`[tokens]`", Tokens),
        ("`[[plugins]]`, one per further plugin token", Plugin),
        ("`[[apps]]`, one per Dify app", App),
        ("`[[dify_tools]]`, one per endpoint of Clawback Tools", DifyTools),
        ("`[limits]`", Limits),
        ("`[traces]`", Traces),
        ("`[page]`", Page),
        ("`[[notify]]`, one per receiver", Notify),
    ):
        parts += [f"## {title}\n", "| key | default | |", "|---|---|---|", *_rows(model), ""]
    return "\n".join(parts)


_WHERE = """\
`clawback init` writes this TOML file to `~/.config/clawback/clawback.toml`, on macOS to
`~/Library/Application Support/clawback/clawback.toml`. To use another file, pass `--config FILE`. The bridge refuses
unknown keys. A relative path means another place for each folder from which the bridge or a command is started: write
absolute ones. After a change, restart the bridge or send it SIGHUP; `clawback serve --reload` loads each change by
itself. Keys that end in `_seconds`, `_bytes`, `_hours` and `_days` have that unit.
"""


def _rows(model: type[BaseModel]) -> list[str]:
    rows, said = [], sentences(model)
    for name, field in model.model_fields.items():
        if any(
            isinstance(part, type) and issubclass(part, BaseModel)
            for part in (field.annotation, *get_args(field.annotation))
        ):
            continue
        rows.append(f"| `{name}` | {_default(field)} | {' '.join(said.get(name, '').split())} |")
    return rows


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "" if field.default_factory is None or field.annotation is Path else f"`{field.default_factory()}`"
    if value is None or value == "" or isinstance(value, SecretStr):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def commands() -> str:
    """Return the page of every command and its options."""
    parts = ["# Commands", _NOTE, "`clawback --help` and `clawback COMMAND --help` say the same.\n"]
    context = click.Context(main)
    for name in main.list_commands(context):
        if command := main.get_command(context, name):
            parts += _command(name, command)
    return "\n".join(parts)


def _command(name: str, command: click.Command) -> list[str]:
    arguments = " ".join(
        each.make_metavar(click.Context(command)) for each in command.params if isinstance(each, click.Argument)
    )
    text = " ".join((command.help or "").replace("\b", "").split())
    parts = [f"## `clawback {name}{f' {arguments}' if arguments else ''}`\n", f"{text}\n"]
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        rows = (f"| `{', '.join(each.opts)}` | {' '.join((each.help or '').split())} |" for each in options)
        parts += ["| option | |", "|---|---|", *rows, ""]
    for inner, other in sorted(getattr(command, "commands", {}).items()):
        parts += _command(f"{name} {inner}", other)
    return parts


def errors() -> str:
    """Return the page of every error."""
    page: str = runpy.run_path(str(HERE / "errors_page.py"))["errors_page"](_NOTE)
    return page


def endpoint() -> str:
    """Return the page of the endpoint and of all routes."""
    page: str = runpy.run_path(str(HERE / "endpoint_page.py"))["endpoint_page"](_NOTE)
    return page


def provider() -> str:
    """Return the page of the provider's forms."""
    page: str = runpy.run_path(str(HERE / "provider_page.py"))["provider_page"](_NOTE)
    return page


def states() -> str:
    """Return the page of the states of runs, tickets and calls."""
    page: str = runpy.run_path(str(HERE / "states_page.py"))["states_page"](_NOTE)
    return page


def clients() -> str:
    """Return the page of the clients that were tried."""
    page: str = runpy.run_path(str(HERE / "clients_page.py"))["clients_page"](_NOTE)
    return page


PAGES = {
    "clients.md": clients,
    "configuration.md": configuration,
    "commands.md": commands,
    "endpoint.md": endpoint,
    "errors.md": errors,
    "provider.md": provider,
    "states.md": states,
}


if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
    sys.stdout.write(f"wrote {', '.join(PAGES)}\n")
