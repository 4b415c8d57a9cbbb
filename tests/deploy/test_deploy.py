"""What is in deploy/ fits the code that it starts, as far as that can be seen without Docker."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from bridge.api.access import ROUTES
from bridge.app import create_app
from bridge.cli import main
from bridge.commands.package.contents import package_contents, tools_contents
from bridge.config import Config, Limits, parse
from bridge.server.metrics import Gauges, Metrics

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
UNIT = ROOT / "deploy" / "systemd" / "clawback.service"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_built_from_what_it_needs_and_nothing_else() -> None:
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    needed = {"pyproject.toml", "uv.lock", project["project"]["readme"], *project["project"]["license-files"]}
    made_by = {Path(hook["path"]).parent.as_posix(), "examples"}
    files = [*package_contents(ROOT).values(), *tools_contents(ROOT).values()]
    plugins = {path.relative_to(ROOT).parts[0] for path in files}
    assert let_in == {*hook["rooms"], *needed, *made_by, *plugins}
    assert all((ROOT / name).exists() for name in let_in)
    secrets = [".env", ".git", ".venv", ".cache", "clawback.toml", "credentials.json"]
    assert not [name for name in secrets if any(fnmatch.fnmatch(name, pattern) for pattern in let_in)]


def test_the_dockerfile_starts_what_there_is() -> None:
    given = dict(instructions())
    extras = re.findall(r"--extra (\w+)", given["RUN"])
    assert extras
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= set(known)
    command, *arguments = yaml.safe_load(given["CMD"])
    options = {name for each in main.get_command(click.Context(main), command).params for name in each.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert given["USER"] != "root"
    assert f"localhost:{Config().port}".replace("localhost", "127.0.0.1") in given["HEALTHCHECK"]
    assert given["EXPOSE"] == str(Config().port)


def test_compose_publishes_to_this_machine_alone_and_waits_for_a_stop() -> None:
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["clawback"]
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    assert service["ports"] == [f"127.0.0.1:{Config().port}:{Config().port}"]
    assert int(service["stop_grace_period"].removesuffix("s")) > Limits().stop_seconds
    volumes = dict(volume.split(":") for volume in service["volumes"])
    assert set(volumes.values()) == set(yaml.safe_load(dict(instructions())["VOLUME"]))
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_the_unit_starts_reloads_and_stops_what_there_is() -> None:
    lines = [line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    given = {name: value for name, _, value in lines}
    _, command, *arguments = shlex.split(given["ExecStart"])
    options = {name for each in main.get_command(click.Context(main), command).params for name in each.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert int(given["TimeoutStopSec"]) > Limits().stop_seconds
    assert given["ExecReload"].endswith("-HUP $MAINPID")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    done = subprocess.run(
        [verify, "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr


# What Grafana and Prometheus are given


MONITORING = ROOT / "deploy" / "monitoring"
QUERIES = [
    target["expr"]
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    for target in panel["targets"]
]
RULES = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return every figure of a bridge that Prometheus would see, with its labels."""
    apps = [{"model": "m", "base_url": "http://127.0.0.1:9/v1", "api_key": "app-x"}]
    data = {"data_dir": str(tmp_path_factory.mktemp("figures")), "apps": apps}
    app = create_app(parse(data))
    gauges = Gauges(app.extensions["clawback"].figures)
    labels: dict[str, set[str]] = {}
    for collector in vars(Metrics()).values():
        if isinstance(collector, MetricWrapperBase):
            names = set(collector._labelnames)
            kind = ["_total"] if isinstance(collector, Counter) else ["_bucket", "_sum", "_count"]
            labels |= {f"{collector._name}{suffix}": {*names, "le"} for suffix in kind}
    for family in gauges.collect():
        labels[family.name] = set(getattr(family, "_labelnames", ()))
    app.extensions["clawback"].sweeper.stop()
    app.extensions["clawback"].store.close()
    return labels


@pytest.mark.parametrize("expression", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_a_query_asks_for_figures_and_labels_that_exist(expression: str, figures: dict[str, set[str]]) -> None:
    named = set(re.findall(r"clawback_\w+", expression)) or {"up"}
    assert named <= {*figures, "up"}
    # Prometheus adds these.
    known = {"job", "instance"}.union(*(figures.get(name, set()) for name in named))
    asked = set(re.findall(r"[{,]\s*(\w+)\s*=", expression))
    for grouping in re.findall(r"by \(([\w, ]+)\)", expression):
        asked |= set(re.split(r",\s*", grouping))
    assert asked <= known


def test_each_alert_says_what_to_do_or_is_plain() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]


# The Helm chart


CHART = ROOT / "deploy" / "helm"
TOOLS = Path(os.environ.get("CLAWBACK_DEPLOY_TOOLS", ROOT / ".cache" / "deploy"))
TOGETHER = ["database.url=postgresql://db/clawback", "redis.url=rediss://redis:6379/0"]


def rendered(*values: str) -> list[dict[str, Any]]:
    """Return the objects of the chart with these values."""
    done = helm(*values)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def helm(*values: str) -> "subprocess.CompletedProcess[str]":
    flags = [flag for value in values for flag in ("--set", value)]
    command = [str(TOOLS / "bin" / "helm"), "template", "mine", str(CHART), "--kube-version", "1.34.0", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.deploy
@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([], {"Secret", "PersistentVolumeClaim", "Service", "Deployment", "NetworkPolicy"}),
        (["existingSecret=own", "networkPolicy.enabled=false"], {"Service", "Deployment"}),
        (
            [*TOGETHER, "autoscaling.enabled=true", "certificatesSecret=tls"],
            {"Secret", "Service", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"},
        ),
    ],
)
def test_the_chart_renders_what_kubernetes_takes(values: list[str], kinds: set[str], tmp_path: Path) -> None:
    objects = rendered(*values)
    assert {each["kind"] for each in objects} == kinds
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    command = [str(TOOLS / "python" / "bin" / "kubernetes-validate"), "--strict", "-k", "1.34", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [pod] = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["terminationGracePeriodSeconds"] > Limits().stop_seconds
    probes = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert {f"GET {path}" for path in probes} <= set(ROUTES)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts >= {"/config", "/data", "/tmp"}


@pytest.mark.deploy
def test_the_chart_s_configuration_is_one() -> None:
    tokens = f'[tokens]\nclient = "sha256:{"0" * 64}"\nplugin = "sha256:{"1" * 64}"\n'
    app = '[[apps]]\nmodel = "m"\nbase_url = "http://dify/v1"\napi_key = "app-x"\n'
    written = (tokens + app).replace(",", "\\,")
    objects = rendered(f"config={written}", "database.url=sqlite:////data/x", "redis.url=redis://r", "replicas=2")
    [secret] = [each for each in objects if each["kind"] == "Secret"]
    config = parse(tomllib.loads(secret["stringData"]["clawback.toml"]))
    assert (config.host, config.port, [app.model for app in config.apps]) == ("0.0.0.0", 8765, ["m"])
    assert config.bridge_url == "http://mine-clawback.default:8765"
    assert str(config.data_dir) == "/data"
    refused = helm("replicas=2")
    assert refused.returncode == 1
    assert "needs database.url and redis.url" in refused.stderr


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version
