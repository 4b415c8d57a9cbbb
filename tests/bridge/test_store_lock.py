"""One bridge a SQLite store: real `clawback serve` processes on one folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import make_url

from bridge.store.lock import StoreHeldError, held
from bridge.store.place import path_of

SECONDS = 60


@contextmanager
def bridge(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve on a free port; yields the process and its URL, which is empty where it ended instead."""
    config = folder / "clawback.toml"
    config.write_text(f"port = 0\ndata_dir = {json.dumps(str(folder / 'data'))}\n")
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        url = ""
        for line in process.stdout:
            if '"bridge_url"' in line:
                url = json.loads(line)["bridge_url"]
                break
        yield process, url
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(SECONDS)
        process.stdout.close()


def worker_of(process: subprocess.Popen[str]) -> int:
    until = time.monotonic() + SECONDS
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < until:
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.05)
    raise AssertionError("there is no worker")


@pytest.mark.parts
def test_a_second_bridge_on_one_folder_ends_with_a_sentence_that_names_the_first(tmp_path: Path) -> None:
    with bridge(tmp_path) as (first, url):
        asked = [
            sys.executable,
            "-m",
            "bridge.cli",
            "serve",
            "--port",
            "0",
            "--config",
            str(tmp_path / "clawback.toml"),
        ]
        second = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert second.returncode == 1
        said = f"process {first.pid} on {socket.gethostname()}, since 20"
        assert said in second.stderr
        assert "Traceback" not in second.stderr
        assert "data_dir" in second.stderr
        assert httpx.get(f"{url}/healthz").status_code == 200
    with bridge(tmp_path) as (_, again):
        assert httpx.get(f"{again}/healthz").status_code == 200


@pytest.mark.parts
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the worker in /proc")
def test_a_bridge_keeps_its_store_when_its_worker_is_replaced_and_takes_it_when_another_was_killed(
    tmp_path: Path,
) -> None:
    with bridge(tmp_path) as (first, url):
        killed = worker_of(first)
        os.kill(killed, signal.SIGKILL)
        until = time.monotonic() + SECONDS
        while worker_of(first) == killed:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert httpx.get(f"{url}/healthz", timeout=SECONDS).status_code == 200
        with pytest.raises(StoreHeldError), held(f"sqlite:///{tmp_path / 'data' / 'bridge.sqlite3'}"):
            pass
        # Its worker notices a moment later that nobody is there any more; who starts meanwhile waits for that.
        first.kill()
        first.wait(SECONDS)
        with bridge(tmp_path) as (_, again):
            assert httpx.get(f"{again}/healthz").status_code == 200


def test_stores_that_several_bridges_share_or_nobody_else_sees_are_not_held(tmp_path: Path) -> None:
    for url in ("postgresql://postgres@127.0.0.1/claw", "sqlite://", "sqlite:///:memory:"):
        with held(url), held(url):
            pass
    with held(f"sqlite:///{tmp_path / 'a.sqlite3'}"), held(f"sqlite:///{tmp_path / 'b.sqlite3'}"):
        pass


def test_one_store_under_two_names_is_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with (
        held(f"sqlite:///{tmp_path / 'real' / 'x.sqlite3'}"),
        pytest.raises(StoreHeldError, match=f"process {os.getpid()} on"),
        held(f"sqlite:///{tmp_path / 'link' / 'x.sqlite3'}"),
    ):
        pass


@pytest.mark.parametrize("name", ["a b", "a%20b", "100%", "a#b", "ä"])
@pytest.mark.parametrize("address", ["sqlite:///{}/x.db", "sqlite:////{}/x.db", "sqlite+pysqlite:////{}/x.db?y=1"])
def test_the_file_that_is_locked_is_the_one_that_sqlalchemy_opens(address: str, name: str) -> None:
    url = address.format(name)
    assert str(path_of(url)) == make_url(url).database


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://u:p@host/database"])
def test_a_database_without_a_file_has_none(url: str) -> None:
    assert path_of(url) is None
