"""Use the installed wheel as a stranger would: `python -I scripts/wheel/trial.py`, with the Python that has it.

With the argument `imports`, import all of it instead, where all that any module needs is installed.

It is played in a folder of its own, which holds a `tools.py`, a `bridge.py` and more of the user's.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

CLAWBACK = Path(sys.executable).with_name("clawback")
CACHE = Path.home() / ".cache/clawback"
SECONDS = 60

TOOLS = '''\
from clawback import tool

@tool
def {name}(what: str) -> str:
    """Do it."""
    return what
'''
IMPORTS = """\
import importlib, pkgutil, sys, clawback
names = [each.name for each in pkgutil.walk_packages(clawback.__path__, "clawback.")]
names = [name for name in names if not name.endswith(".__main__")]
for name in names:
    importlib.import_module(name)
ours = {"tools", "provider", "bridge", "demo", "executor"} & set(sys.modules)
assert not ours, f"imported under a name of the user's: {ours}"
assert clawback.tool is clawback.executor.tool is clawback.bridge.executors.tool
print(len(names), "modules import")
"""
NOBODYS = "raise ImportError('a file of the user took the place of one of ours')\n"


def check_names() -> str:
    """Nothing but the package and its metadata is installed from the wheel, next to commands."""
    files = distribution("clawback").files or []
    tops = {file.parts[0] for file in files if file.parts[0] != ".."}
    metadata = {top for top in tops if top.endswith(".dist-info")}
    assert tops - metadata == {"clawback"}, tops
    assert len(metadata) == 1, metadata
    outside = {file.as_posix() for file in files if file.parts[0] == ".."}
    assert {name.rpartition("/")[2] for name in outside} == {"clawback"}, outside
    return f"{len(files)} files, all in clawback and its metadata"


def check_imports() -> str:
    """Every module imports, with the user's files first on the path."""
    return _run(sys.executable, "-c", IMPORTS).strip()


def check_programs() -> str:
    """The modules that are run as programs say what they do."""
    for name in ("clawback.demo.box", "clawback.demo.scripted"):
        assert f"python -m {name}" in _run(sys.executable, "-m", name, "--help"), name
    return "the box and the scripted upstream answer"


def check_commands() -> str:
    """Every command says what it does, at once, and asks for nothing that an installation does not bring."""
    began = time.monotonic()
    said = _run(CLAWBACK, "--version")
    seconds = time.monotonic() - began
    assert distribution("clawback").version in said, said
    _, _, listed = _run(CLAWBACK, "--help").partition("Commands:")
    names = re.findall(r"^  ([\w-]+)", listed, re.MULTILINE)
    assert {"init", "serve", "doctor", "package", "demo", "executor"} <= set(names), names
    for name in names:
        assert "Usage" in _run(CLAWBACK, name, "--help"), name
    return f"{len(names)} commands answer, the version after {seconds:.2f} s"


def check_package() -> str:
    """The plugin comes out as it is in a checkout."""
    return _run(CLAWBACK, "package").strip()


def check_serving() -> str:
    """A bridge serves, and an executor brings it what the user's own files offer."""
    made = {name: _token(name) for name in ("executor", "client")}
    hashes = "\n".join(f'{name} = "{hashed}"' for name, (_, hashed) in made.items())
    Path("clawback.toml").write_text(f'port = 0\ndata_dir = "data"\n[tokens]\n{hashes}\n')
    with _started("serve", "--json", "--config", "clawback.toml") as ready:
        url = ready["bridge_url"]
        with urllib.request.urlopen(f"{url}/login", timeout=SECONDS) as page:
            assert page.status == 200
        environ = {"CLAWBACK_BRIDGE": url, "CLAWBACK_EXECUTOR_TOKEN": made["executor"][0]}
        with _started("executor", "python", "tools", "bridge", "--json", environ=environ) as registered:
            assert registered["tools"] == ["lamp", "weather"], registered
    return "serves, and an executor offers the user's own tools.py and bridge.py"


def check_demo() -> str:
    """The first demo makes its environment and says so; later ones use it again: no uv, no network."""
    nowhere = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": "nothing",
        "UV_HTTP_RETRIES": "0",
    }
    failed = subprocess.run([CLAWBACK, "demo", "--json"], capture_output=True, text=True, env={**os.environ, **nowhere})
    assert failed.returncode == 1, failed
    assert "needs a network" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr, failed.stderr

    began = time.monotonic()
    result = json.loads(_run(CLAWBACK, "demo", "--json"))
    assert result["ok"], result
    seconds = time.monotonic() - began
    files = {(path.stat().st_dev, path.stat().st_ino): path.stat().st_blocks for path in CACHE.rglob("*")}
    megabytes = 512 * sum(files.values()) / 1_000_000
    assert megabytes < 150, f"{megabytes} MB"
    again = subprocess.run([CLAWBACK, "demo", "--json"], capture_output=True, text=True, env={**os.environ, **nowhere})
    assert json.loads(again.stdout)["ok"], again
    assert "environment" not in again.stderr, again.stderr
    return f"the demo plays in {result['seconds']} s; its first start took {seconds:.0f} s and {megabytes:.0f} MB"


def check_one_s_own() -> str:
    """A stranger's way to a bridge of their own: init, serve, doctor, with the Dify of a demo that is kept."""
    with _started("demo", "--keep") as kept:
        port = str(_free_port())
        place = ["--place", "same-machine", "--port", port]
        written = json.loads(
            _run(CLAWBACK, "init", "--dify-url", kept["dify_url"], "--app", f"own={kept['app_key']}", *place, "--json")
        )
        assert written["models"] == ["own"], written
        with _started("serve", "--json") as ready:
            assert ready["bridge_url"].endswith(f":{port}"), ready
            told = subprocess.run([CLAWBACK, "doctor", "--no-probe", "--json"], capture_output=True, text=True)
            failed = [line for line in json.loads(told.stdout)["lines"] if line["state"] == "failed"]
            assert not failed, failed
    return "init, serve and doctor work"


def _token(audience: str) -> tuple[str, str]:
    lines = dict(line.split(":", 1) for line in _run(CLAWBACK, "token", audience).splitlines() if ":" in line)
    return lines["token"].strip(), lines["hash"].strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=5 * SECONDS, check=False
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def _started(*arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Start a command that prints a JSON line when it is ready, and end it again."""
    command, log = [str(CLAWBACK), *arguments], Path("log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environ or {})}
        )
    with process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line.startswith("{"), f"{command} said {line!r}\n{log.read_text()}"
            yield json.loads(line)
        finally:
            process.terminate()


def main(only: str = "") -> None:
    """Say what holds, and end with an error at what does not."""
    checks = (check_names, check_commands, check_package, check_serving, check_demo, check_one_s_own)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("tools.py").write_text(TOOLS.format(name="weather"))
        Path("bridge.py").write_text(TOOLS.format(name="lamp"))
        for name in ("provider", "demo", "executor"):
            Path(f"{name}.py").write_text(NOBODYS)
        for check in (check_imports, check_programs) if only == "imports" else checks:
            print(f"wheel: {check()}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
