"""The real OpenClaw as the client: one `openclaw agent exec` turn whose model is the bridge."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from demo.stack import ROOT

TURN_SECONDS = 300


class OpenClawMissing(Exception):
    """OpenClaw is not installed."""


def find() -> Path:
    """Return OpenClaw's command: the one that scripts/setup installed, else the one on PATH."""
    own = ROOT / ".cache" / "openclaw" / "bin" / "openclaw"
    found = str(own) if own.exists() else shutil.which("openclaw")
    if not found:
        raise OpenClawMissing("OpenClaw is not installed: scripts/setup openclaw installs it into .cache/")
    return Path(found)


def provider_entry(
    base_url: str, api_key: str, models: list[str], api: str = "openai-completions", **compat: object
) -> dict[str, Any]:
    """Return the provider that OpenClaw's configuration needs for the bridge. `api` may be `openai-responses`, or
    `anthropic-messages` with a base URL that does not end in /v1.
    """
    return {
        "baseUrl": base_url,
        "apiKey": api_key,
        "api": api,
        "models": [
            {
                "id": model,
                "name": model,
                "reasoning": False,
                "input": ["text", "image"],
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
                "contextWindow": 128_000,
                "maxTokens": 8_192,
                "compat": {"sendSessionAffinityHeaders": True, **compat},
            }
            for model in models
        ],
    }


def write_config(
    path: Path,
    base_url: str,
    api_key: str,
    models: list[str],
    extra_body: dict[str, Any] | None = None,
    api: str = "openai-completions",
) -> None:
    """Write a configuration whose only model provider is the bridge. `extra_body` goes into every request."""
    defaults: dict[str, Any] = {"model": {"primary": f"clawback/{models[0]}"}}
    if extra_body:
        defaults["models"] = {f"clawback/{model}": {"params": {"extra_body": extra_body}} for model in models}
    config = {
        "agents": {"defaults": defaults},
        "models": {
            "mode": "merge",
            "providers": {"clawback": provider_entry(base_url, api_key, models, api)},
        },
        "logging": {"file": str(path.parent / "openclaw.log")},
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))


def turn(
    folder: Path,
    workspace: Path,
    base_url: str,
    api_key: str,
    model: str,
    prompt: str,
    extra_body: dict[str, Any] | None = None,
    api: str = "openai-completions",
) -> dict[str, Any]:
    """Run one turn and return OpenClaw's JSON envelope: `{ok, status, final, usage, toolSummary, ...}`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "openclaw.json"
    write_config(config, base_url, api_key, [model], extra_body, api)
    environ = {**os.environ, "HOME": str(folder), "OPENCLAW_STATE_DIR": str(folder / "state"), "TMPDIR": str(folder)}
    done = subprocess.run(
        [str(find()), "agent", "exec", prompt, "--config", str(config), "--cwd", str(workspace), "--json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=TURN_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    start = done.stdout.find("{")
    if start < 0:
        raise RuntimeError(f"OpenClaw answered nothing (exit {done.returncode}): {done.stderr[-2000:]}")
    envelope: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout[start:])[0]
    return envelope
