"""The command line: which commands there are, and where each is."""

import sys
from importlib import import_module
from importlib.metadata import entry_points
from io import TextIOWrapper
from typing import Any

import click

from tools.visible import visible

# Below bridge.commands. A command's module is imported when it is asked for: what serves takes a second to import.
_MODULES = {
    "again": "operator",
    "answer": "operator",
    "approve": "operator",
    "cancel": "operator",
    "completion": "completion",
    "deny": "operator",
    "dify-tools": "dify_tools",
    "doctor": "doctor.command",
    "init": "init.command",
    "logs": "logs",
    "open": "open",
    "package": "package.command",
    "runs": "watch",
    "serve": "serve",
    "show": "operator",
    "status": "watch",
    "store": "store",
    "tail": "watch",
    "tickets": "operator",
    "token": "token",
}
_WINDOWS = "Clawback runs on Linux and macOS. On Windows, use it in WSL or in Docker"


class Commands(click.Group):
    """The commands of this room, and those that other rooms add."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. What an error quotes of others is shown visibly."""
        for stream in (sys.stdout, sys.stderr):
            # A terminal that is not UTF-8 shows what it can.
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            if sys.platform == "win32":
                raise click.ClickException(_WINDOWS)
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = visible(error.message, lines=True)
            raise
        except OSError as error:
            if error.filename is None:
                raise
            why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
            raise click.ClickException(visible(f"{error.filename} cannot be used: {why}")) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        return sorted({*_MODULES, *(entry.name for entry in entry_points(group="clawback.commands"))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command by its name."""
        if cmd_name in _MODULES:
            found = getattr(import_module(f".commands.{_MODULES[cmd_name]}", __package__), cmd_name.replace("-", "_"))
        else:
            entry = next(iter(entry_points(group="clawback.commands", name=cmd_name)), None)
            found = entry.load() if entry else None
        return found if isinstance(found, click.Command) else None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clawback")
def main() -> None:
    """Use a Dify app as the model behind OpenClaw or any OpenAI client, and local tools in a Dify app.

    Start with `clawback demo`, or with `clawback init` if you have a Dify.
    """


if __name__ == "__main__":
    main(prog_name="clawback")
