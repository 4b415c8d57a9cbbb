"""All answers together, and the configuration that they make; where the bridge runs as seen from Dify's daemon."""

import ipaddress
import itertools
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bridge.commands.init import config_file
from bridge.commands.init import config_file as config_text
from bridge.commands.init.errors import SetupError
from bridge.config import Config, ConfigError, DifyTools, is_loopback, parse
from tools.tokens import hash_token, new_token

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only with tokens: the configuration refuses it without


@dataclass(frozen=True, slots=True)
class Place:
    """One way to run the bridge. `advice` is what else it takes, empty for nothing."""

    name: str
    description: str
    host: str
    advice: str = ""

    def bridge_url(self, dify_url: str, port: int) -> str | None:
        """Return the address that Dify's plugin daemon reaches the bridge at; None where only its owner knows."""
        match self.name:
            case "same-machine":
                return f"http://{LOOPBACK}:{port}"
            case "docker":
                return f"http://host.docker.internal:{port}"
            case "container":
                return f"http://clawback:{port}"
            case "lan":
                address = _own_address(urlsplit(dify_url).hostname or "")
                return f"http://{address}:{port}" if address else None
            case _:
                return None


PLACES = {
    place.name: place
    for place in (
        Place("same-machine", "Dify runs on this machine, without containers", LOOPBACK),
        Place(
            "docker",
            "Dify runs in containers on this machine, the bridge does not",
            EVERYWHERE,
            "On Linux, Dify's container does not know its host's name. In Dify's docker-compose.override.yaml, under "
            "services, plugin_daemon, add "
            "extra_hosts: ['host.docker.internal:host-gateway']. Then run: docker compose up -d",
        ),
        Place(
            "container",
            "the bridge runs in a container, in Dify's Docker network",
            EVERYWHERE,
            "Start it with deploy/docker/compose.yaml. Its service is named clawback, and Dify's API is "
            "http://api:5001/v1",
        ),
        Place("lan", "Dify runs on another machine that can reach this one", EVERYWHERE),
        Place(
            "tunnel",
            "Dify runs elsewhere, such as Dify Cloud, and uses a tunnel to this machine",
            LOOPBACK,
            "Keep the tunnel running. It must lead to this bridge's port and let a request take 60 s",
        ),
    )
}


def likely(dify_url: str) -> str:
    """Return the name of the place that an address of Dify suggests."""
    host = urlsplit(dify_url).hostname or ""
    if is_loopback(host):
        return "docker"
    try:
        return "lan" if ipaddress.ip_address(host).is_private else "tunnel"
    except ValueError:
        return "lan" if "." not in host or host.endswith((".local", ".lan", ".internal", ".home")) else "tunnel"


def _own_address(towards: str) -> str | None:
    """Return the address of this machine on the way to another; nothing is sent."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    return f"[{own}]" if ":" in own else own


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
    data_dir = _folder(plan.data_dir) if plan.data_dir else None
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
        ("data_dir", data_dir),
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


def _folder(path: Path) -> str:
    """Return where a folder is, from wherever the bridge is started. Raises SetupError where none can be."""
    try:
        whole = path.expanduser().absolute()
        str(whole).encode()
    except (RuntimeError, UnicodeError):
        raise SetupError(f"{str(path)!r} names no folder: name one for the store (--data-dir)") from None
    there = next(each for each in (whole, *whole.parents) if each.exists())
    if not there.is_dir():
        raise SetupError(f"{there} is a file: name a folder for the store (--data-dir)")
    return str(whole)


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
