"""Start an installed plugin the two ways that Dify does: `python -m bridge.commands.package.trial FOLDER`.

The folder is an unpacked package with its environment in `.venv`, as Dify's daemon leaves it. Neither way may need the
network, a secret or anything on standard input.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

# A plugin starts in about a second; what is not there after this long will never be.
PATIENCE_SECONDS = 60.0


class TrialError(Exception):
    """The plugin did not start. The text holds what it wrote."""


def try_over_stdio(folder: Path) -> float:
    """Start the plugin as a self-hosted daemon does and return the seconds to its first heartbeat.

    It must print its manifest first, and the heartbeat that says it is ready in time. Raises TrialError.
    """
    began = time.monotonic()
    with _started(folder, {"INSTALL_METHOD": "local"}, stdio=subprocess.PIPE) as (plugin, errors):
        overdue = threading.Timer(PATIENCE_SECONDS, plugin.kill)
        overdue.start()
        try:
            messages = list(_until_heartbeat(plugin.stdout or ()))
        finally:
            overdue.cancel()
        if len(messages) < 2 or "name" not in messages[0] or messages[-1].get("event") != "heartbeat":
            raise TrialError(f"over stdio the plugin said {messages}\n{errors.read_text()}")
    return time.monotonic() - began


def try_over_http(folder: Path) -> float:
    """Start the plugin as a serverless host and the marketplace do and return the seconds to its first healthy answer.

    Raises TrialError.
    """
    port = _free_port()
    serverless = {"INSTALL_METHOD": "serverless", "SERVERLESS_HOST": "127.0.0.1", "SERVERLESS_PORT": str(port)}
    began = time.monotonic()
    with _started(folder, serverless, stdio=subprocess.DEVNULL) as (plugin, errors):
        while time.monotonic() - began < PATIENCE_SECONDS and plugin.poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                return time.monotonic() - began
            time.sleep(0.05)
        raise TrialError(f"over HTTP the plugin was not healthy in time\n{errors.read_text()}")


@contextmanager
def _started(folder: Path, settings: dict[str, str], stdio: int) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    python = folder.resolve() / ".venv/bin/python"
    with tempfile.TemporaryDirectory() as home:
        errors = Path(home, "stderr")
        with errors.open("w") as stderr:
            plugin = subprocess.Popen(
                [python, "-m", "main"],
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "HOME": home, **settings},
                stdin=stdio,
                stdout=stdio,
                stderr=stderr,
                text=True,
            )
            with plugin:
                try:
                    yield plugin, errors
                finally:
                    plugin.kill()


def _until_heartbeat(lines: Iterable[str]) -> Iterator[dict[str, object]]:
    for line in filter(str.strip, lines):
        try:
            message = json.loads(line)
        except ValueError as error:
            raise TrialError(f"standard output is for messages, and the plugin wrote {line!r} there") from error
        yield message
        if message.get("event") == "heartbeat":
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> None:
    """Try the folder named on the command line both ways and say how long each took."""
    folder = Path(sys.argv[1])
    try:
        click.echo(f"starts over stdio in {try_over_stdio(folder):.2f} s")
        click.echo(f"starts over HTTP in {try_over_http(folder):.2f} s")
    except TrialError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
