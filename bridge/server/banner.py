"""What `clawback serve` says when it is ready: what it serves, and where."""

from collections.abc import Iterator
from importlib.metadata import version

from bridge.config import Config, is_loopback


def banner(config: Config, url: str) -> str:
    """Return the lines, for a bridge that serves at `url`."""
    rows = list(_rows(config, url))
    width = max(len(name) for name, _, _ in rows) + 2
    lines = [f"  {name:<{width}}{value}{f'  {what}' if what else ''}" for name, value, what in rows]
    return "\n".join([f"Clawback {version('clawback')} is ready", *lines, "", _THEN])


_THEN = "Ctrl-C stops it. In another terminal: clawback doctor, clawback status, clawback tail"


def _rows(config: Config, url: str) -> Iterator[tuple[str, str, str]]:
    yield "endpoint", f"{url}/v1", "for OpenClaw and other clients of the OpenAI API"
    yield "page", f"{url}/", "to watch and decide, with the operator's token"
    yield "plugin", config.bridge_url or url, "the Bridge URL in Dify"
    if not is_loopback(config.host):
        yield "open to", "other machines, too", f"as host is {config.host}; tokens keep them out"
    for app in config.apps:
        yield "model", app.model, f"at {app.base_url}"
    if not config.apps:
        yield "model", "none yet", "`clawback init` adds apps"
    if config.policy:
        yield "policy", str(config.policy), ""
    if config.traces.endpoint:
        yield "traces", config.traces.endpoint, ""
