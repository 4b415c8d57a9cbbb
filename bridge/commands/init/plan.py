"""All answers together, and the configuration that they make out of the one that is there."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge.commands.init import config_file
from bridge.commands.init import config_file as config_text
from bridge.commands.init.errors import SetupError
from bridge.config import Config, ConfigError, DifyTools, parse
from tools.tokens import hash_token, new_token

AUDIENCES = ("client", "plugin", "executor", "operator")


@dataclass(frozen=True, slots=True)
class AppAnswer:
    """One app as it was answered and found."""

    model: str
    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolsAnswer:
    """An endpoint of Clawback Tools as it was answered, and the tools that are picked there."""

    name: str
    url: str
    token: str = field(repr=False)
    tools: Sequence[str] = ()


@dataclass(slots=True)
class Plan:
    """What the file shall say. None leaves a value as it is."""

    apps: Sequence[AppAnswer] = ()
    host: str | None = None
    port: int | None = None
    bridge_url: str | None = None
    data_dir: Path | None = None
    renew: Sequence[str] = ()
    show_plugin: bool = False
    """Whether the plugin gets a further token, and keeps those that it has."""
    dify_tools: ToolsAnswer | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The configuration as it is now, and the tokens that were made for it: they cannot be shown again."""

    config: Config
    tokens: dict[str, str] = field(repr=False)
    changed: bool
    further: str = ""
    """What the plugin's token is called, where it is a further one."""
    dify_tools: ToolsAnswer | None = None


def carry_out(plan: Plan, path: Path) -> Written:
    """Write the configuration. Raises SetupError, and then nothing was changed."""
    before = config_file.read(path)
    text = (
        config_text.new(plan.host or "127.0.0.1", plan.port or 8765, plan.bridge_url or "")
        if before is None
        else before
    )
    for key, value in (
        ("host", plan.host),
        ("port", plan.port),
        ("bridge_url", plan.bridge_url),
        ("data_dir", str(plan.data_dir) if plan.data_dir else None),
    ):
        if value is not None and config_text.values(text).get(key) != value:
            text = config_text.with_value(text, key, value)
    tokens = {name: new_token(name) for name in AUDIENCES if _is_due(text, name, plan.renew)}
    for name, token in tokens.items():
        text = config_text.with_token(text, name, hash_token(token))
    further = ""
    if plan.show_plugin and "plugin" not in tokens:
        further, tokens["plugin"] = _free_name(text), new_token("plugin")
        text = config_text.with_plugin(text, further, hash_token(tokens["plugin"]))
    for app in plan.apps:
        text = _with(text, app)
    if plan.dify_tools:
        text = _with_tools(text, plan.dify_tools)
    config = _checked(text, path)
    if text != before or not config_file.is_private(path):
        config_file.write(path, text)
    return Written(config, tokens, text != before, further, plan.dify_tools)


def _free_name(text: str) -> str:
    taken = {str(each.get("name")) for each in config_text.values(text).get("plugins", [])}
    return next(name for number in itertools.count(2) if (name := f"plugin-{number}") not in taken)


def _is_due(text: str, audience: str, renew: Sequence[str]) -> bool:
    return audience in renew or not config_text.values(text).get("tokens", {}).get(audience)


def _with(text: str, app: AppAnswer) -> str:
    wanted = {"model": app.model, "base_url": app.base_url, "api_key": app.api_key}
    models = [each.get("model") for each in config_text.values(text).get("apps", [])]
    if app.model not in models:
        return config_text.with_app(text, wanted)
    return config_text.with_entry(text, "apps", models.index(app.model), wanted)


def _with_tools(text: str, answer: ToolsAnswer) -> str:
    wanted = {"name": answer.name, "url": answer.url, "token": answer.token}
    known = config_text.values(text).get("dify_tools", [])
    names = [each.get("name", DifyTools.model_fields["name"].default) for each in known]
    if answer.name not in names:
        return config_text.with_dify_tools(text, wanted)
    number = names.index(answer.name)
    if variable := known[number].get("token_env"):
        raise SetupError(f"[[dify_tools]] {answer.name!r} takes its token from {variable}: set it there")
    return config_text.with_entry(text, "dify_tools", number, wanted)


def _checked(text: str, path: Path) -> Config:
    try:
        return parse(config_text.values(text), str(path))
    except ConfigError as error:
        raise SetupError(str(error)) from None
