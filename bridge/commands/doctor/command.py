"""`clawback doctor`: every hop in order, one line each."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.cells import cell_len

from bridge.commands.doctor.dify_hop import look_at_clock, look_at_dify, look_at_tools, look_at_waits
from bridge.commands.doctor.lines import Line, skipped
from bridge.commands.doctor.openclaw_hop import look_at_openclaw
from bridge.commands.doctor.own_parts import look_at_bridge, look_at_config, look_at_store, mend
from bridge.commands.doctor.probe import probe, tell
from bridge.commands.operator_client import print_json
from bridge.commands.terminal import lang_option, say, showable
from bridge.config import App, Config, default_path
from bridge.server.said import named_in, said
from bridge.server.serving import Serving


def examine(path: Path, *, with_probe: bool = True) -> Iterator[Line]:
    """Look at every hop and tell each as soon as it is known."""
    config, lines = look_at_config(path)
    yield from lines
    if config is None:
        return
    store = look_at_store(config)
    yield store
    bridge, line = look_at_bridge(config)
    yield line
    for app in config.apps:
        yield from _app(config, app, bridge, with_probe=with_probe)
    for tools in config.dify_tools:
        yield look_at_tools(tools)
    if config.apps and (clock := look_at_clock(config.apps[0])):
        yield clock
    if bridge and store.state == "ok":
        yield look_at_waits(config, bridge.started_at)
    yield look_at_openclaw(config, bridge)


def _app(config: Config, app: App, bridge: Serving | None, *, with_probe: bool) -> Iterator[Line]:
    works = True
    for line in look_at_dify(app):
        works = works and line.state != "failed"
        yield line
    if not with_probe:
        yield skipped("probe", "skipped by --no-probe", app.model)
    elif not works or bridge is None:
        yield skipped("probe", "skipped until the failed lines above are fixed", app.model)
    else:
        yield from tell(config, app, probe(bridge, app.model))


_WIDTH = 30
_MARKS = {"ok": ("✓", "+", "green"), "failed": ("✗", "x", "red"), "skipped": ("–", "-", None)}


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file.")
@click.option("--no-probe", is_flag=True, help="Skip the test run through each app, which costs a short model call.")
@click.option("--fix", is_flag=True, help="First repair what can be repaired on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@lang_option
def doctor(path: Path, no_probe: bool, fix: bool, as_json: bool, lang: str) -> None:
    """Check every connection, and say how to fix each one that fails. Exits with 1 if one fails."""
    if fix:
        for done in mend(path):
            say(said(lang, done).text, err=True)
    lines: list[Line] = []
    for line in examine(path, with_probe=not no_probe):
        lines.append(line)
        if not as_json:
            _tell(line, lang)
    failures = [line for line in lines if line.state == "failed"]
    if as_json:
        print_json({"ok": not failures, "lines": [asdict(line) for line in lines]})
    elif not failures:
        say(said(lang, "Everything works.").text, bold=True)
    raise SystemExit(1 if failures else 0)


def _tell(line: Line, lang: str) -> None:
    mark, instead, colour = _MARKS[line.state]
    name = f"{line.model}: " * bool(line.model) + named_in(lang, "hops", line.name)
    click.secho(showable(mark, instead), fg=colour, nl=False)
    say(f" {name}{' ' * (_WIDTH - cell_len(name))} {said(lang, line.text).text}")
    if line.advice:
        say(f"  {showable('→', '>')} {said(lang, line.advice).text}")
