"""From flags, what a terminal says and the configuration that is there to the plan for a new one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from bridge.commands.init import config_file, questions
from bridge.commands.init import config_file as config_text
from bridge.commands.init.errors import SetupError
from bridge.commands.init.plan import PLACES, AppAnswer, Plan, ToolsAnswer
from bridge.commands.init.service_api import FoundApp, endpoint_url, find_address, look_at, tools_at
from bridge.commands.terminal import say
from bridge.config import App, Config, ConfigError, parse
from tools.wire import bridge_root

DEFAULT_PORT = 8765


@dataclass(slots=True)
class Given:
    """The flags as they were given. `place` is filled in when it was asked for."""

    path: Path
    dify_url: str | None = None
    apps: Sequence[str] = ()
    place: str | None = None
    bridge_url: str | None = None
    host: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    renew: Sequence[str] = ()
    check: bool = True
    show_plugin: bool = False
    dify_tools: str | None = None
    dify_tools_token: str | None = None

    @property
    def is_bare(self) -> bool:
        """Whether no flag says what to do."""
        asked = [self.dify_url, self.apps, self.place, self.bridge_url, self.host, self.port, self.data_dir]
        return not any([*asked, self.renew, self.show_plugin, self.dify_tools])


def plan_of(given: Given) -> Plan:
    """Return what the file shall say. Raises SetupError, and UsageError where an answer is missing."""
    before, is_bare = _before(given.path), given.is_bare
    known = before.apps if before else []
    plan = Plan(host=given.host, port=given.port, data_dir=given.data_dir, renew=given.renew)
    plan.show_plugin = given.show_plugin
    if not known or given.dify_url or given.apps or (is_bare and _wants("Add another app?")):
        address = _address(given, known)
        plan.apps = _apps(given, known, address)
    is_placed = bool(known) or bool(before and before.bridge_url)
    if not is_placed or given.place or given.bridge_url:
        address = plan.apps[0].base_url if plan.apps else known[0].base_url
        _settle_place(plan, given, address, given.port or (before.port if before else DEFAULT_PORT))
    elif given.port and before and before.bridge_url:
        plan.bridge_url = _with_port(before.bridge_url, before.port, given.port)
    has_tools = bool(before and before.dify_tools)
    question = "Use tools of Dify, too (the plugin Clawback Tools)?"
    if given.dify_tools or (is_bare and not has_tools and _wants(question)):
        plan.dify_tools = _dify_tools(given)
    return plan


def _before(path: Path) -> Config | None:
    text = config_file.read(path)
    if text is None:
        return None
    try:
        return parse(config_text.values(text), str(path))
    except ConfigError as error:
        raise SetupError(str(error)) from None


def _wants(question: str) -> bool:
    return questions.can_ask() and click.confirm(question, default=False, err=True)


def _dify_tools(given: Given) -> ToolsAnswer:
    """Return where Dify's tools are; what is not given is asked."""
    name, url = _of_tools(given.dify_tools or "")
    token = given.dify_tools_token or questions.tools_token()
    if url and not given.check:
        return ToolsAnswer(name, url, token)
    tools = tools_at(url, token) if url else None
    url, tools = (url, tools) if tools is not None else questions.tools_endpoint(token)
    return ToolsAnswer(name, url, token, tools)


def _of_tools(text: str) -> tuple[str, str]:
    name, is_named, url = text.partition("=http")
    return (name, endpoint_url(f"http{url}")) if is_named else ("dify", endpoint_url(text))


def _address(given: Given, known: Sequence[App]) -> str:
    if given.dify_url:
        return find_address(given.dify_url) if given.check else given.dify_url.rstrip("/")
    return known[0].base_url if known else questions.dify_address()


def _apps(given: Given, known: Sequence[App], address: str) -> list[AppAnswer]:
    named = [_named(text) for text in given.apps]
    if not named and known and given.dify_url:
        # Dify moved: its apps are the same ones at another address.
        named = [(app.model, app.api_key.get_secret_value()) for app in known if not app.api_key_env]
    if not named:
        found, key = questions.app(address)
        return [AppAnswer(_model_for(key, found.model, known), address, key)]
    answers: list[AppAnswer] = []
    for model, key in named:
        found = look_at(address, key) if given.check else FoundApp("", "")
        if found.problem:
            say(f"{found.name or model or 'The app'} cannot answer yet. {found.problem}", fg="yellow", err=True)
        answers.append(AppAnswer(model or _model_for(key, found.model, [*known, *answers]), address, key))
    return answers


def _named(text: str) -> tuple[str, str]:
    model, _, key = text.rpartition("=")
    return model.strip(), key.strip()


def _model_for(key: str, wanted: str, known: Iterable[App | AppAnswer]) -> str:
    """Return the model id that the key has already, else one that is not taken."""
    taken = {}
    for app in known:
        taken[app.model] = app.api_key if isinstance(app.api_key, str) else app.api_key.get_secret_value()
    own = next((model for model, other in taken.items() if other == key), None)
    numbered = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 2))
    return own or next(model for model in numbered if model not in taken)


def _settle_place(plan: Plan, given: Given, address: str, port: int) -> None:
    if given.place is None:
        given.place = "tunnel" if given.bridge_url and not questions.can_ask() else questions.place(address)
    place = PLACES[given.place]
    plan.host = given.host or place.host
    plan.bridge_url = bridge_root(given.bridge_url or place.bridge_url(address, port) or questions.bridge_url())


def _with_port(url: str, old: int, new: int) -> str:
    parts = urlsplit(url)
    if parts.port != old:
        return url
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{new}").geturl()
