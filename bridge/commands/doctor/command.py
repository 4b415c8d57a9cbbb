"""The command `clawback doctor`."""

from dataclasses import asdict
from pathlib import Path

import click

from bridge.commands.doctor.examination import examine
from bridge.commands.doctor.lines import Line
from bridge.commands.operator_client import print_json
from bridge.commands.terminal import say
from bridge.config import default_path

_WIDTH = 30
_MARKS = {"ok": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("–", None)}


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file.")
@click.option("--no-probe", is_flag=True, help="Leave out the run through each app, which costs a small model call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def doctor(path: Path, no_probe: bool, as_json: bool) -> None:
    """Look at every hop, one line each; say what to do about each that fails. Exits with 1 if one does."""
    lines: list[Line] = []
    for line in examine(path, with_probe=not no_probe):
        lines.append(line)
        if not as_json:
            _tell(line)
    failures = [line for line in lines if line.state == "failed"]
    if as_json:
        print_json({"ok": not failures, "lines": [asdict(line) for line in lines]})
    elif not failures:
        click.secho("Everything works.", bold=True)
    raise SystemExit(1 if failures else 0)


def _tell(line: Line) -> None:
    mark, colour = _MARKS[line.state]
    name = f"{line.model}: {line.name}" if line.model else line.name
    click.secho(mark, fg=colour, nl=False)
    say(f" {name:<{_WIDTH}} {line.text}")
    if line.advice:
        say(f"  → {line.advice}")
