"""The bridge's entry in OpenClaw's configuration, which is JSON5."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.commands.doctor.lines import RESTART, Line, failed, ok, skipped
from bridge.config import Config, is_loopback
from bridge.server.serving import Serving
from tools.tokens import matches

_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<double>"(?:[^"\\]|\\.)*")
    | (?P<single>'(?:[^'\\]|\\.)*')
    | (?P<name>[A-Za-z_$][\w$]*)(?=\s*:)
    | (?P<comma>,)(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def read_json5(text: str) -> object:
    """Return what a text in JSON5 says, or as much of it as people write. Raises ValueError."""
    return json.loads("".join(_as_json(match) for match in _TOKEN.finditer(text)))


def _as_json(match: "re.Match[str]") -> str:
    kind, text = match.lastgroup, match.group()
    if kind in {"comment", "comma"}:
        return " "
    if kind == "name":
        return json.dumps(text)
    if kind == "single":
        inner = text[1:-1].replace("\\'", "'")
        return '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'
    return text.replace("\\\n", "") if kind == "double" else text


_NAME = "OpenClaw"
_APPLY = f"Run: clawback init --renew client --apply-openclaw. Then {RESTART}"


def config_path() -> Path:
    """Return where OpenClaw keeps its configuration. Source: OpenClaw 2026.9.6."""
    named, state = os.environ.get("OPENCLAW_CONFIG_PATH"), os.environ.get("OPENCLAW_STATE_DIR")
    if named:
        return Path(named).expanduser()
    return (Path(state).expanduser() if state else Path.home() / ".openclaw") / "openclaw.json"


def look_at_openclaw(config: Config, bridge: Serving | None) -> Line:
    """Compare the entry with the bridge. A machine without OpenClaw is no failure."""
    path = config_path()
    try:
        values = read_json5(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return skipped(_NAME, "OpenClaw is not configured on this machine")
    except (OSError, ValueError) as error:
        return failed(
            _NAME, f"{path} cannot be read: {error}", "Run: openclaw config validate, and correct what it names"
        )
    entry = next((each for each in _providers(values) if _is_ours(each, config, bridge)), None)
    if entry is None:
        return failed(_NAME, f"{path} has no provider whose baseUrl is this bridge", _APPLY)
    problems = list(_problems(entry, config))
    return failed(_NAME, "; ".join(problems), _APPLY) if problems else ok(_NAME, f"its entry in {path} is right")


def _providers(values: object) -> Iterator[Mapping[str, Any]]:
    models = values.get("models") if isinstance(values, dict) else None
    providers = models.get("providers") if isinstance(models, dict) else None
    entries = providers if isinstance(providers, dict) else {}
    # Ours first: another provider may stand on the same port of another machine.
    for name in sorted(entries, key=lambda name: name != "clawback"):
        if isinstance(entries[name], dict):
            yield entries[name]


def _is_ours(entry: Mapping[str, Any], config: Config, bridge: Serving | None) -> bool:
    url = urlsplit(str(entry.get("baseUrl") or ""))
    port = (urlsplit(bridge.url).port if bridge else None) or config.port
    own = {config.host, "localhost", urlsplit(config.bridge_url or "").hostname}
    host = url.hostname or ""
    return (url.port or (443 if url.scheme == "https" else 80)) == port and (is_loopback(host) or host in own)


def _problems(entry: Mapping[str, Any], config: Config) -> Iterator[str]:
    key, base_url = entry.get("apiKey"), str(entry.get("baseUrl"))
    if not base_url.rstrip("/").endswith("/v1"):
        yield f"its baseUrl {base_url} does not end in /v1"
    # A key may also be a reference to a secret, which only OpenClaw resolves.
    if isinstance(key, str) and "${" not in key and not matches(key, config.tokens.client):
        yield "its apiKey is not the bridge's client token"
    if entry.get("api") != "openai-completions":
        yield f"its api is {entry.get('api')!r} instead of 'openai-completions'"
    models = {str(each.get("id")): each for each in entry.get("models") or () if isinstance(each, dict)}
    for app in config.apps:
        yield from _model_problems(app.model, app.context_window, models.get(app.model))


def _model_problems(model: str, context_window: int, entry: Mapping[str, Any] | None) -> Iterator[str]:
    if entry is None:
        yield f"it has no model {model}"
        return
    if (entry.get("compat") or {}).get("sendSessionAffinityHeaders") is not True:
        yield f"{model} does not name its session (compat.sendSessionAffinityHeaders)"
    if entry.get("contextWindow") != context_window:
        yield f"{model} has contextWindow {entry.get('contextWindow')} instead of {context_window}"
