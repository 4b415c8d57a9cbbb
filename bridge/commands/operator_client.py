"""How commands find the running bridge, and ask it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import click
import httpx

from bridge.config import Config, ConfigError, default_path, is_loopback, load
from bridge.server import serving
from tools.visible import visible_json
from tools.wire import bridge_root

DEFAULT_BRIDGE = "http://127.0.0.1:8765"
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class OperatorClient:
    """A bridge, and the token that opens it to an operator."""

    url: str
    token: str = field(repr=False)

    def ask(self, method: str, path: str, body: object = None, *, wait: float = 0.0) -> dict[str, Any]:
        """Return what the bridge answers, after up to `wait` seconds. Raises click.ClickException."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.url}/operator/v1{path}"
        local = is_loopback(httpx.URL(url).host)
        try:
            response = httpx.request(
                method, url, json=body, headers=headers, timeout=_SECONDS + wait, trust_env=not local
            )
            answer: dict[str, Any] = response.json()
        except httpx.HTTPError as error:
            raise click.ClickException(f"the bridge at {self.url} does not answer: {error}. {_START}") from None
        except ValueError:
            raise click.ClickException(f"what answers at {self.url} is no bridge: see --bridge") from None
        if not response.is_success:
            raise click.ClickException(_refusal(answer, response.status_code))
        return answer


_START = "Start it with `clawback serve`, or name another one with --bridge"


def _refusal(answer: dict[str, Any], status: int) -> str:
    error = answer.get("error")
    return str(error["message"]) if isinstance(error, dict) and "message" in error else f"HTTP {status}"


def bridge_options(*, decides: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that name the bridge; it gets an OperatorClient as `bridge`.

    Who decides needs the operator token. Who only watches on the bridge's own machine needs none.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*, bridge_url: str | None, token: str, config: Path, **options: Any) -> None:
            command(bridge=_find(bridge_url, token, config, decides=decides), **options)

        chosen: Callable[..., None] = run
        for option in reversed(_OPTIONS):
            chosen = option(chosen)
        return chosen

    return decorate


_OPTIONS = [
    click.option(
        "--bridge",
        "bridge_url",
        envvar="CLAWBACK_BRIDGE",
        metavar="URL",
        help="The bridge's address. Default: the bridge on this machine [env: CLAWBACK_BRIDGE].",
    ),
    click.option(
        "--token",
        envvar="CLAWBACK_OPERATOR_TOKEN",
        default="",
        help="The operator token from `clawback init` [env: CLAWBACK_OPERATOR_TOKEN].",
    ),
    click.option("--config", type=click.Path(path_type=Path), default=default_path, help="The configuration file."),
]


def as_json_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _find(url: str | None, token: str, path: Path, *, decides: bool) -> OperatorClient:
    note = _note(path)
    if not token and decides:
        raise click.UsageError(
            "--token is missing: to decide takes the operator token, which `clawback init` showed once; "
            "`clawback init --renew operator` makes another"
        )
    url = bridge_root(url or (note.url if note else DEFAULT_BRIDGE))
    if not token and note and url == note.url:
        token = note.token
    if not token and note is None and url == DEFAULT_BRIDGE:
        raise click.ClickException(f"no bridge runs here with the configuration {path}. {_START} and --token")
    if not token:
        raise click.UsageError("--token is missing: a bridge elsewhere asks for its operator token")
    return OperatorClient(url, token)


def _note(path: Path) -> serving.Serving | None:
    """Return where the bridge on this machine serves. A configuration is not needed to watch one elsewhere."""
    try:
        config = load(path)
    except (ConfigError, OSError):
        config = Config()
    return serving.find(config)


def whole_id(known: Iterable[str], given: str, what: str) -> str:
    """Return the id that begins as `given` does. Raises click.ClickException where several do, or all would."""
    if not given.strip():
        raise click.UsageError(f"the id is empty: name one of the {what}")
    found = sorted({each for each in known if each.startswith(given)})
    if len(found) > 1 and given not in found:
        raise click.ClickException(f"{given} begins the ids of {len(found)} {what}: {', '.join(found[:5])}")
    return found[0] if len(found) == 1 else given


def print_json(answer: object) -> None:
    """Print an answer for machines."""
    click.echo(visible_json(json.dumps(answer, ensure_ascii=False)))
