"""The bridge in the settings of coding agents: which file, what it gains, and how it is changed."""

import json
import os
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.commands.init import config_file
from bridge.commands.init.errors import SetupError
from bridge.config import App


@dataclass(frozen=True, slots=True)
class Access:
    """What an agent needs: the base URL up to /v1, the client token, and the apps, of which the first is its model."""

    base_url: str
    token: str = field(repr=False)
    apps: Sequence[App] = ()


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent. `read` says what its settings hold, raising ValueError; `changed` returns their text afterwards."""

    name: str
    path: Callable[[], Path]
    read: Callable[[str], Any]
    changed: Callable[[str, Access], str]


def _claude_path() -> Path:
    folder = os.environ.get("CLAUDE_CONFIG_DIR")
    return (Path(folder) if folder else Path.home() / ".claude") / "settings.json"


def _json(text: str) -> Any:
    return json.loads(text or "{}")


def _claude_code(text: str, access: Access) -> str:
    """Its sub-agents and side calls ask for models by other names, which lead to the same app."""
    model = access.apps[0].model
    names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{name}_MODEL" for name in ("OPUS", "SONNET", "HAIKU")))
    env = {
        "ANTHROPIC_BASE_URL": access.base_url.removesuffix("/v1"),
        "ANTHROPIC_AUTH_TOKEN": access.token,
        **dict.fromkeys(names, model),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    before = _json(text)
    known = before.get("env")
    after = before | {"env": (known if isinstance(known, dict) else {}) | env}
    return json.dumps(after, indent=2, ensure_ascii=False) + "\n"


def _codex_path() -> Path:
    folder = os.environ.get("CODEX_HOME")
    return (Path(folder) if folder else Path.home() / ".codex") / "config.toml"


def _codex(text: str, access: Access) -> str:
    """A provider of its own, whose token stands in the settings: they are for their owner alone."""
    provider = {
        "name": "Clawback",
        "base_url": access.base_url,
        "experimental_bearer_token": access.token,
        "wire_api": "responses",
    }
    app = access.apps[0]
    named = config_file.with_value(text, "model", app.model)
    named = config_file.with_value(named, "model_provider", "clawback")
    if app.context_window:
        named = config_file.with_value(named, "model_context_window", app.context_window)
    return config_file.with_table(named, "model_providers.clawback", provider)


def _opencode_path() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "opencode" / "opencode.json"


def _opencode(text: str, access: Access) -> str:
    """A provider of its own with all apps, which also does what opencode asks a small model for, such as titles."""
    # Without these, opencode tells its model that it cannot see pictures.
    sees = {"attachment": True, "modalities": {"input": ["text", "image"], "output": ["text"]}}
    models = {
        app.model: {"name": app.model, "limit": {"context": app.context_window, "output": app.max_output_tokens}} | sees
        for app in access.apps
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Clawback",
        "options": {"baseURL": access.base_url, "apiKey": access.token},
        "models": models,
    }
    before = _json(text)
    known = before.get("provider")
    providers = (known if isinstance(known, dict) else {}) | {"clawback": provider}
    model = f"clawback/{access.apps[0].model}"
    after = {"$schema": "https://opencode.ai/config.json"} | before
    return json.dumps(after | {"provider": providers, "model": model, "small_model": model}, indent=2) + "\n"


AGENTS = {
    "claude-code": Agent("Claude Code", _claude_path, _json, _claude_code),
    "codex": Agent("Codex", _codex_path, tomllib.loads, _codex),
    "opencode": Agent("opencode", _opencode_path, _json, _opencode),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What would be written where. `kept` is where the old file goes."""

    path: Path
    text: str = field(repr=False)
    shown: str
    kept: Path | None

    def write(self) -> None:
        """Write it so that only its owner can read it. The old file is kept beside it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.kept:
            config_file.write(self.kept, self.path.read_text(encoding="utf-8"))
        config_file.write(self.path, self.text)


def change(agent: Agent, access: Access) -> Change | None:
    """Return what an agent's settings gain, None where they have it all. Raises SetupError."""
    if not access.apps:
        raise SetupError(f"{agent.name} needs a model, and the configuration has no app yet")
    path = agent.path()
    text = config_file.read(path) or ""
    before = _values(agent, path, text)
    changed = agent.changed(text, access)
    after = _values(agent, path, changed)
    if after == before:
        return None
    news = {name: value for name, value in after.items() if before.get(name) != value}
    shown = json.dumps(news, indent=2, ensure_ascii=False).replace(access.token, "(the client token)")
    kept = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.bak") if path.exists() else None
    return Change(path, changed, shown, kept)


def leads_to(agent: Agent, base_url: str) -> bool:
    """Say whether an agent's settings name this bridge, as far as they can be read."""
    try:
        return base_url.removesuffix("/v1") in (config_file.read(agent.path()) or "")
    except SetupError:
        return False


def _values(agent: Agent, path: Path, text: str) -> dict[str, Any]:
    try:
        read = agent.read(text)
    except ValueError as error:
        raise SetupError(f"{path} cannot be read: {error}. Mend it, or move it away") from None
    if not isinstance(read, dict):
        raise SetupError(f"{path} is not a JSON object. Mend it, or move it away")
    return read
