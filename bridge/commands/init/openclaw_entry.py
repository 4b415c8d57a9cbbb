"""The bridge as a provider in OpenClaw's configuration: made, printed, applied."""

import contextlib
import ipaddress
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.commands.init.errors import SetupError
from bridge.config import App, Config, is_loopback

PROVIDER = "clawback"
_PATIENCE = 60
_NAME = re.compile(r"[A-Za-z_$][\w$]*")


def client_url(config: Config) -> str:
    """Return the base URL for clients on this machine."""
    host = "127.0.0.1" if config.host in {"0.0.0.0", "::", ""} else config.host  # noqa: S104 - recognised, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}/v1"


def provider(base_url: str, api_key: str, apps: list[App]) -> dict[str, Any]:
    """Return the entry under `models.providers`.

    `sendSessionAffinityHeaders` makes OpenClaw name its session, and `allowPrivateNetwork` lets it use a host *name*
    that stands for a private address, which it refuses otherwise. Source: OpenClaw 2026.9.6.
    """
    entry: dict[str, Any] = {"baseUrl": base_url, "apiKey": api_key, "api": "openai-completions"}
    if _is_private_name(base_url):
        entry["request"] = {"allowPrivateNetwork": True}
    entry["models"] = [_model(app) for app in apps]
    return entry


def _model(app: App) -> dict[str, Any]:
    return {
        "id": app.model,
        "name": app.model,
        "reasoning": False,
        "input": ["text", "image"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        "contextWindow": app.context_window,
        "maxTokens": app.max_output_tokens,
        "compat": {"sendSessionAffinityHeaders": True},
    }


def _is_private_name(base_url: str) -> bool:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" or is_loopback(host) or host.endswith(".local"):
        return False
    with contextlib.suppress(ValueError):
        return not ipaddress.ip_address(host)
    return True


def configuration(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what OpenClaw's configuration gains, with the first model as its default."""
    return {
        "models": {"mode": "merge", "providers": {PROVIDER: entry}},
        "agents": {"defaults": {"model": {"primary": _primary(entry)}}},
    }


def apply(command: str, entry: dict[str, Any]) -> str:
    """Put the entry into OpenClaw's configuration through its own command line; return what it printed.

    A default model that is set already stays. Raises SetupError.
    """
    changes: list[dict[str, Any]] = [
        {"path": "models.mode", "value": "merge"},
        {"path": f"models.providers.{PROVIDER}", "value": entry},
    ]
    if _run(command, "config", "get", "agents.defaults.model.primary").returncode:
        changes.append({"path": "agents.defaults.model.primary", "value": _primary(entry)})
    # A file, which mkstemp makes private: arguments of a process are visible to everyone on the machine.
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as batch:
        json.dump(changes, batch)
        batch.flush()
        done = _run(command, "config", "set", "--batch-file", batch.name)
    if done.returncode:
        raise SetupError(f"OpenClaw did not take the entry: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout.strip()


def _primary(entry: dict[str, Any]) -> str:
    return f"{PROVIDER}/{entry['models'][0]['id']}" if entry["models"] else ""


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - the command is what the user names or has on PATH
            command, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"`{Path(command[0]).name} {' '.join(command[1:3])}` did not work: {error}") from None


def json5(value: object, indent: int = 0) -> str:
    """Return a value as people write JSON5: names without quotes, short things on one line."""
    flat = _flat(value)
    if len(flat) + indent <= 100 or not isinstance(value, dict | list) or not value:
        return flat
    inner, outer = " " * (indent + 2), " " * indent
    if isinstance(value, list):
        return "[\n" + "".join(f"{inner}{json5(each, indent + 2)},\n" for each in value) + f"{outer}]"
    pairs = (f"{inner}{_key(key)}: {json5(each, indent + 2)},\n" for key, each in value.items())
    return "{\n" + "".join(pairs) + f"{outer}}}"


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)}: {_flat(each)}" for key, each in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)
