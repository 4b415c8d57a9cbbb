"""`clawback init`, and what is to be pasted where: the plugin's form, the LLM node, OpenClaw's configuration."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bridge.commands.init import agent_settings, openclaw_entry, questions
from bridge.commands.init.agent_settings import AGENTS, Access
from bridge.commands.init.answers import Given, plan_of
from bridge.commands.init.errors import SetupError
from bridge.commands.init.plan import AUDIENCES, PLACES, ToolsAnswer, Written, carry_out
from bridge.commands.operator_client import print_json
from bridge.commands.terminal import say
from bridge.config import default_path
from bridge.store.lock import holder
from tools.visible import visible

KEPT = "(the {audience} token you were shown; `clawback init --renew {audience}` makes another)"
LLM_NODE = "external_tool_callback_enabled: True"


@dataclass(frozen=True, slots=True)
class Paste:
    """Everything that goes elsewhere. Values hold tokens, where they were just made."""

    form: dict[str, str] = field(repr=False)
    entry: dict[str, Any] = field(repr=False)
    node: str = LLM_NODE

    @property
    def openclaw(self) -> str:
        """What OpenClaw's configuration gains, as JSON5."""
        return openclaw_entry.json5(openclaw_entry.configuration(self.entry))


def paste(written: Written, client_url: str | None) -> Paste:
    """Return what to paste where."""
    config, tokens = written.config, written.tokens
    base_url = client_url or openclaw_entry.client_url(config)
    secret = {name: tokens.get(name) or KEPT.format(audience=name) for name in ("client", "plugin")}
    return Paste(
        form={"Bridge URL": config.bridge_url or "", "Bridge token": secret["plugin"]},
        entry=openclaw_entry.provider(base_url, secret["client"], config.apps),
    )


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=default_path, help="The configuration file.")
@click.option("--dify-url", metavar="URL", help="Your Dify's address: its web page or its API.")
@click.option(
    "--app",
    "apps",
    multiple=True,
    envvar="CLAWBACK_APPS",
    metavar="[MODEL=]KEY",
    help="A Dify app's key, and the model id to show it under. Can be repeated [env: CLAWBACK_APPS].",
)
@click.option("--place", type=click.Choice(list(PLACES)), help="Where Dify runs, as seen from the bridge.")
@click.option("--bridge-url", metavar="URL", help="The address at which Dify reaches the bridge, such as a tunnel's.")
@click.option("--client-url", metavar="URL", help="The base URL for clients on another machine.")
@click.option("--host", help="The address to listen on, instead of the place's default.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on. Default: 8765.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The folder for the store.")
@click.option("--renew", multiple=True, type=click.Choice(AUDIENCES), help="Replace this token by a new one.")
@click.option(
    "--show-plugin",
    is_flag=True,
    help="Make another token for the plugin and print what to paste into Dify. Existing tokens stay valid.",
)
@click.option(
    "--apply",
    "applied",
    multiple=True,
    type=click.Choice(["openclaw", *AGENTS]),
    help="Write this agent's settings, too. A copy of the old file is kept. Can be repeated.",
)
@click.option("--apply-openclaw", is_flag=True, help="The same as --apply openclaw.")
@click.option("--openclaw", "openclaw", default="openclaw", metavar="COMMAND", help="OpenClaw's command.")
@click.option(
    "--dify-tools",
    metavar="[NAME=]URL",
    help="The address of Clawback Tools' endpoint: its picked tools are offered to models. An executor NAME runs them.",
)
@click.option(
    "--dify-tools-token",
    envvar="CLAWBACK_DIFY_TOOLS_TOKEN",
    metavar="TOKEN",
    help="The token in that endpoint's settings [env: CLAWBACK_DIFY_TOOLS_TOKEN].",
)
@click.option("--no-check", is_flag=True, help="Do not check the address and the keys with Dify.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, including new tokens.")
def init(
    path: Path,
    dify_url: str | None,
    apps: Sequence[str],
    place: str | None,
    bridge_url: str | None,
    client_url: str | None,
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    renew: Sequence[str],
    show_plugin: bool,
    applied: Sequence[str],
    apply_openclaw: bool,
    openclaw: str,
    dify_tools: str | None,
    dify_tools_token: str | None,
    no_check: bool,
    as_json: bool,
) -> None:
    """Write the configuration, and print what to paste into Dify and OpenClaw.

    Asks for everything that the options do not say. Run it again to add apps or change an answer: it keeps your tokens
    and edits.
    """
    given = Given(path, dify_url, apps, place, bridge_url, host, port, data_dir, renew, not no_check, show_plugin)
    given.dify_tools, given.dify_tools_token = dify_tools, dify_tools_token
    try:
        written = carry_out(plan_of(given), path)
        pasted = paste(written, client_url)
        names = list(dict.fromkeys([*applied, *(["openclaw"] if apply_openclaw else [])]))
        if as_json:
            print_json(_as_json(path, written, pasted))
        else:
            _tell(path, written, pasted, given.place, names)
        for name in names:
            if "client" not in written.tokens:
                raise SetupError(
                    f"{name} needs the client token, which is only known when it is made: add --renew client"
                )
            if name == "openclaw":
                _apply_openclaw(openclaw, pasted)
            else:
                _apply(name, written, client_url)
        if "client" in renew:
            _tell_who_has_the_old_one(written, client_url, names)
    except SetupError as error:
        raise click.ClickException(str(error)) from None


def _as_json(path: Path, written: Written, pasted: Paste) -> dict[str, object]:
    return {
        "config": str(path),
        "changed": written.changed,
        "models": [app.model for app in written.config.apps],
        "tokens": written.tokens,
        "plugin_form": pasted.form,
        "llm_node": pasted.node,
        "openclaw": openclaw_entry.configuration(pasted.entry),
        "dify_tools": _tools_as_json(written.dify_tools),
    }


def _tools_as_json(answer: ToolsAnswer | None) -> dict[str, object] | None:
    return {"name": answer.name, "url": answer.url, "tools": list(answer.tools)} if answer else None


def _tell(path: Path, written: Written, pasted: Paste, place: str | None, applied: Sequence[str]) -> None:
    say(f"{'Wrote' if written.changed else 'Kept'} {path}", bold=True)
    # Who only has another agent's settings written has filled Dify's form before.
    if "plugin" in written.tokens or not applied:
        _tell_form(pasted)
    if not applied:
        _section("3. Add this to ~/.openclaw/openclaw.json, or let --apply openclaw do it. Other agents: see --apply.")
        say(pasted.openclaw)
    if written.further:
        _section(f"This is another token, {written.further}: earlier ones stay valid")
        say(
            f"   A running bridge loads it on SIGHUP (kill -HUP, or serve --reload). To revoke a token, remove its "
            f"entry from [[plugins]] in {path}; --renew plugin replaces the first one."
        )
    others = {name: token for name, token in written.tokens.items() if name in {"executor", "operator"}}
    if others:
        _section("Tokens for executors, and for people who approve calls. They are not shown again.")
        for name, token in others.items():
            say(f"   {name + ':':<14} {token}")
    if written.dify_tools:
        _tell_tools(written.dify_tools)
    if place and PLACES[place].advice:
        _section(PLACES[place].advice)
    pid = holder(written.config.store_url)
    if pid and written.changed:
        say(f"\nThe running bridge still uses the old configuration. Load the new one: kill -HUP {pid}")
    say(f"\nNext: {'' if pid else 'clawback serve, and in another terminal '}clawback doctor")


def _tell_form(pasted: Paste) -> None:
    _section(
        "1. In Dify, open Settings, Model Provider, Clawback. Enter your model server's address, key and model, and:"
    )
    for name, value in pasted.form.items():
        say(f"   {name + ':':<14} {value}")
    _section(
        "2. In the app's LLM node, choose a model of Clawback, switch on External tool callbacks, and publish the app."
    )
    say(f"   In the app's DSL: {pasted.node}")


def _tell_tools(answer: ToolsAnswer) -> None:
    _section(f"Dify's tools, which an executor named {answer.name} runs")
    say(f"   {', '.join(map(visible, answer.tools)) or 'No tool is picked in the settings of the endpoint yet.'}")
    say(
        "   Each call waits for a person, unless a rule of the policy says otherwise. `clawback dify-tools sync`\n"
        "   reads which parameters they take. To offer them to clients of an app, write into its [[apps]]:\n"
        '   tools = "client+executors"'
    )


def _section(title: str) -> None:
    say(f"\n{title}", bold=True)


def _apply_openclaw(command: str, pasted: Paste) -> None:
    found = shutil.which(command)
    if found is None:
        raise SetupError(f"There is no {command} here: install OpenClaw, or name its command with --openclaw")
    say(openclaw_entry.apply(found, pasted.entry), err=True)


def _apply(name: str, written: Written, client_url: str | None) -> None:
    base_url = client_url or openclaw_entry.client_url(written.config)
    change = agent_settings.change(AGENTS[name], Access(base_url, written.tokens["client"], written.config.apps))
    if change is None:
        return
    say(f"\n{change.path} gains:\n{change.shown}", err=True)
    if questions.can_ask() and not click.confirm("Write it?", default=True, err=True):
        return
    change.write()
    say(f"Wrote {change.path}" + (f"; the old one is {change.kept}" if change.kept else ""), err=True)


def _tell_who_has_the_old_one(written: Written, client_url: str | None, applied: Sequence[str]) -> None:
    base_url = client_url or openclaw_entry.client_url(written.config)
    others = [
        name for name, agent in AGENTS.items() if name not in applied and agent_settings.leads_to(agent, base_url)
    ]
    if others:
        all_of_them = "".join(f" --apply {name}" for name in [*applied, *others])
        say(
            f"\nThe settings of {' and '.join(others)} have the old client token, which opens nothing any more. "
            f"Write the same new one into all: clawback init --renew client{all_of_them}",
            err=True,
        )
