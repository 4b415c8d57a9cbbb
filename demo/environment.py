"""The demo's own environment, where Clawback was installed from its wheel.

A wheel cannot leave out what graphon declares and nothing here loads, which is almost a gigabyte. A lock can.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import click
import platformdirs

from bridge import cli

PROJECT = Path(__file__).with_name("environment")
"""`pyproject.toml` and `uv.lock`, which the wheel's build puts here. A checkout has them at its root instead."""
MEGABYTES = 100
_NEEDED = ("graphon", "dify_plugin")


def enter() -> None:
    """Return where the demo can be played in this process; else go on in the environment that has what it needs."""
    if all(map(find_spec, _NEEDED)):
        return
    folder = platformdirs.user_cache_path("clawback") / "demo"
    python = str(folder / "environment/bin/python")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            _make(folder)
            packages = _linked(folder)
    except OSError as error:
        raise click.ClickException(f"the demo's environment in {folder} cannot be written: {error}") from None
    os.execve(python, [python, "-m", cli.__name__, *sys.argv[1:]], {**os.environ, "PYTHONPATH": str(packages)})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one demo after the other in, so that two first ones do not make the environment at once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    made, wanted = folder / "made-from", _wanted()
    if made.exists() and made.read_text() == wanted:
        return
    made.unlink(missing_ok=True)
    click.echo(
        f"The first demo makes its environment in {folder}, of about {MEGABYTES} MB. Later ones use it again.",
        err=True,
    )
    options = ["--frozen", "--no-install-project", "--no-default-groups", "--group", "plugin", "--group", "box"]
    command = [_uv(), "sync", *options, "--project", str(PROJECT), "--python", sys.executable]
    environ = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "UV_FROZEN"}}
    environ["UV_PROJECT_ENVIRONMENT"] = str(folder / "environment")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(
            f"the demo's environment could not be made; it is downloaded once and needs a network. uv says:\n"
            f"{done.stderr.strip()[-1000:]}"
        )
    made.write_text(wanted)


def _wanted() -> str:
    """Return what the environment depends on: another lock or another Python makes another one."""
    lock = hashlib.sha256((PROJECT / "uv.lock").read_bytes()).hexdigest()
    return f"{lock} {platform.python_version()} {sys.base_prefix}"


def _uv() -> str:
    try:
        from uv import find_uv_bin  # type: ignore[import-not-found, unused-ignore]

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if not found:
        raise click.ClickException("the demo needs uv to make its environment: pip install 'clawback[demo]'")
    return found


def _linked(folder: Path) -> Path:
    """Return a folder on which Clawback alone can be imported, not what else is installed beside it."""
    metadata = Path(str(distribution("clawback").locate_file(""))).resolve()
    packages = folder / f"clawback-{hashlib.sha256(str(metadata).encode()).hexdigest()[:12]}"
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir()
    for path in metadata.glob("clawback*"):
        (packages / path.name).symlink_to(path)
    return packages
