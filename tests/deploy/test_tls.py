"""PostgreSQL and Redis that ask for TLS, certificates and a user: the bridge works with them, or says what is wrong."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.store.wakeups import SharedWakeups
from demo.stack import Stack
from tests.e2e.conftest import call
from tests.e2e.executors import wait_for
from tests.e2e.test_survives import answered_after, begin
from tests.servers import Servers

pytestmark = pytest.mark.servers

# All that the bridge does there: hints on one channel, and no key.
ACL = (
    "on >s3cret resetkeys resetchannels &clawback:wakeups -@all "
    "+ping +client +hello +auth +select +publish +subscribe +unsubscribe +quit"
)


def make_certificates(folder: Path, name: str) -> None:
    """Make an authority `name`.pem, and a certificate of it for this machine's address."""
    run = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    authority = [*run, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    own = [
        *run,
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=CA:FALSE",
    ]
    own += ["-CA", f"{name}.pem", "-CAkey", f"{name}.key", "-keyout", f"{name}-own.key", "-out", f"{name}-own.pem"]
    for command in (authority, own):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


class Secured(Servers):
    """Both servers, neither of which talks without TLS."""

    def _secure_postgres(self, data: Path) -> list[str]:
        make_certificates(self._folder, "ca")
        make_certificates(self._folder, "other")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        for file in self._folder.glob("*.key"):
            file.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(file, "postgres", "postgres")
        files = {"ssl": "on", "ssl_cert_file": self.file("ca-own.pem"), "ssl_key_file": self.file("ca-own.key")}
        return [option for name, value in files.items() for option in ("-c", f"{name}={value}")]

    def _secure_redis(self, port: str) -> tuple[list[str], list[str]]:
        options = ["--port", "0", "--tls-port", port, "--tls-auth-clients", "no"]
        options += ["--tls-cert-file", self.file("ca-own.pem"), "--tls-key-file", self.file("ca-own.key")]
        options += ["--tls-ca-cert-file", self.file("ca.pem"), "--user", "clawback", *ACL.split()]
        options += ["--user", "default", "off"]
        asking = ["-p", port, "--tls", "--cacert", self.file("ca.pem"), "--user", "clawback", "--pass", "s3cret", "-e"]
        return options, asking

    def file(self, name: str) -> str:
        return str(self._folder / name)

    def url_of_redis(self, password: str = "s3cret", authority: str = "ca") -> str:
        port = self.redis_url.rpartition(":")[2].partition("/")[0]
        return f"rediss://clawback:{password}@127.0.0.1:{port}/0?ssl_ca_certs={self.file(f'{authority}.pem')}"


@pytest.fixture(scope="module")
def servers() -> Iterator[Secured]:
    with Secured() as running:
        yield running


def test_a_turn_over_tls(servers: Secured, tmp_path: Path) -> None:
    database = f"{servers.database_url()}?sslmode=verify-full&sslrootcert={servers.file('ca.pem')}"
    keys = {"database_url": database, "wakeups_url": servers.url_of_redis()}
    with Stack(tmp_path, apps=["minimal"], bridge_keys=keys) as stack:
        transcript = begin(stack, f"Secured.\n{call('exec', command='x')}\n!then\n!say over TLS", "secured")
        assert answered_after(stack, transcript, "secured") == "over TLS"
        log = stack.bridge.log.read_text()
    assert "Redis" not in log
    assert "s3cret" not in log


@pytest.mark.parametrize("flags", ["sslmode=disable", "sslmode=verify-full&sslrootcert={other}"])
def test_postgresql_refuses_what_is_not_secure_and_so_does_the_bridge(
    servers: Secured, tmp_path: Path, flags: str
) -> None:
    url = f"{servers.database_url()}?{flags.format(other=servers.file('other.pem'))}"
    config = tmp_path / "clawback.toml"
    config.write_text(f'database_url = "{url}"\n')
    done = CliRunner().invoke(main, ["store", "check", "--config", str(config)])
    assert done.exit_code == 1
    assert "no pg_hba.conf entry" in done.output or "certificate verify failed" in done.output


@pytest.mark.parametrize(
    ("password", "authority", "words"),
    [("mistaken", "ca", "AuthenticationError"), ("s3cret", "other", "ConnectionError")],
)
def test_redis_that_lets_nobody_in_is_said_without_its_password(
    servers: Secured, password: str, authority: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    wakeups = SharedWakeups(servers.url_of_redis(password, authority))
    try:
        wait_for(lambda: caplog.records or None)
    finally:
        wakeups.close()
    told = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert words in told
    assert password not in told
