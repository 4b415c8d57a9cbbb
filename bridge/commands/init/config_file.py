"""The configuration file: what `clawback init` writes, and how it changes what is there."""

import contextlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.commands.init.errors import SetupError

_HEADER = re.compile(r"^\s*\[")

NEW = """\
# Clawback's bridge. Every key and its default stand in docs/reference/configuration.md.
# `clawback init` adds to this file and keeps what you change; `clawback doctor` checks it.

# Where the bridge listens.
host = {host}
port = {port}
# How Dify's plugin daemon reaches it: the Bridge URL in the plugin's credential form.
bridge_url = {bridge_url}

# Hashes of the bearer tokens. The tokens themselves are with those who use them;
# `clawback init --renew client` makes another.
[tokens]
"""

APP = """\

# A Dify app, and the model id that clients see it as.
[[apps]]
model = {model}
base_url = {base_url}
api_key = {api_key}
"""


PLUGIN = """\

# A further token of the plugin's. It is valid until this entry is gone.
[[plugins]]
name = {name}
token = {token}
"""


DIFY_TOOLS = """\

# Tools of Dify, which the bridge calls through the endpoint of Clawback Tools.
[[dify_tools]]
name = {name}
url = {url}
token = {token}
"""


def new(host: str, port: int, bridge_url: str) -> str:
    """Return a file without tokens and apps."""
    return NEW.format(host=toml(host), port=toml(port), bridge_url=toml(bridge_url))


def with_app(text: str, app: Mapping[str, str]) -> str:
    """Return the text with another app at its end."""
    return text.rstrip("\n") + "\n" + APP.format(**{name: toml(value) for name, value in app.items()})


def with_plugin(text: str, name: str, hashed: str) -> str:
    """Return the text with a further token of the plugin's at its end."""
    return text.rstrip("\n") + "\n" + PLUGIN.format(name=toml(name), token=toml(hashed))


def with_dify_tools(text: str, tools: Mapping[str, str]) -> str:
    """Return the text with another endpoint of Clawback Tools at its end."""
    return text.rstrip("\n") + "\n" + DIFY_TOOLS.format(**{name: toml(value) for name, value in tools.items()})


def with_value(text: str, key: str, value: str | int) -> str:
    """Return the text with a key at the top set to `value`."""
    lines = text.splitlines()
    return _joined(_set(lines, 0, _end(lines, 0), key, value))


def with_token(text: str, audience: str, hashed: str) -> str:
    """Return the text with a token's hash set."""
    return with_table(text, "tokens", {audience: hashed})


def with_table(text: str, table: str, values: Mapping[str, str | int]) -> str:
    """Return the text with keys of a table set, which is put at the end where there is none."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip().startswith(f"[{table}]")), None)
    if start is None:
        lines += ["", f"[{table}]"]
        start = len(lines) - 1
    for key, value in values.items():
        lines = _set(lines, start + 1, _end(lines, start + 1), key, value)
    return _joined(lines)


def with_entry(text: str, table: str, number: int, wanted: Mapping[str, str]) -> str:
    """Return the text with keys of one entry of a table of several set, where they have other values."""
    known = {"name": wanted.get("name")} | values(text)[table][number]
    changed = {key: value for key, value in wanted.items() if known.get(key) != value}
    lines = text.splitlines()
    starts = [position + 1 for position, line in enumerate(lines) if line.strip().startswith(f"[[{table}]]")]
    if changed and number >= len(starts):
        raise SetupError(f"The configuration writes {table} in another form: set {', '.join(changed)} there yourself")
    for key, value in changed.items():
        lines = _set(lines, starts[number], _end(lines, starts[number]), key, value)
    return _joined(lines) if changed else text


def values(text: str) -> dict[str, Any]:
    """Return what the text says. Raises SetupError when it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"The configuration is not valid TOML: {error}. Mend it, or move it away") from None


def toml(value: str | int) -> str:
    """Return a value as TOML writes it; its basic strings escape as JSON's do."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _set(lines: list[str], start: int, end: int, key: str, value: str | int) -> list[str]:
    line = f"{key} = {toml(value)}"
    known = re.compile(rf"^\s*{re.escape(key)}\s*=")
    for number in range(start, end):
        if known.match(lines[number]):
            return [*lines[:number], line, *lines[number + 1 :]]
    last = max((number + 1 for number in range(start, end) if _is_assignment(lines[number])), default=start)
    return [*lines[:last], line, *lines[last:]]


def _is_assignment(line: str) -> bool:
    return "=" in line and not line.lstrip().startswith("#")


def _end(lines: list[str], start: int) -> int:
    return next((number for number in range(start, len(lines)) if _HEADER.match(lines[number])), len(lines))


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


OWNER_ONLY = 0o600


def read(path: Path) -> str | None:
    """Return the file's text, None where there is none. Raises SetupError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from None


def write(path: Path, text: str) -> None:
    """Put `text` in the place of the file, as a whole or not at all. Raises SetupError."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A file made by mkstemp has the mode 0600 from its beginning.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error}. Choose another place with --config") from None


def is_private(path: Path) -> bool:
    """Say whether only its owner may read the file. Where modes mean nothing (Windows), it counts as private."""
    return os.name != "posix" or not path.stat().st_mode & 0o077
