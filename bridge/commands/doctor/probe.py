"""One small run through everything, and what it says of the plugin, the way back and the upstream."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import httpx

from bridge.api.plugin import Visit
from bridge.commands.doctor.lines import RESTART, Line, failed, ok, skipped
from bridge.config import App, Config
from bridge.dify import DifyClient
from bridge.dify.errors import DifyError, NotBegun, SandboxUnavailable
from bridge.runs.runs import NO_MODEL_NODE
from bridge.runs.sessions.sessions import AUXILIARY_HEADER
from bridge.server.serving import Serving

KIND = "probe"
_SECONDS = 180.0
_ROUNDS = 3
_QUESTION = "This is a test of the connection. Answer with one word: ready"
_TOOL = {
    "type": "function",
    "function": {
        "name": "clawback_probe",
        "description": "Does nothing. Do not call it.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@dataclass(frozen=True, slots=True)
class Probed:
    """How the run went: its answer, or the error that a client would have seen, and what the bridge saw of it."""

    text: str = ""
    note: str = ""
    code: str = ""
    error: str = ""
    seconds: float = 0.0
    visits: list[Visit] = field(default_factory=list)


def probe(bridge: Serving, model: str) -> Probed:
    """Run it. A bridge that cannot be asked is told as an error, too."""
    began, clock = time.time(), time.monotonic()
    headers = {"Authorization": f"Bearer {bridge.token}", AUXILIARY_HEADER: KIND}
    with httpx.Client(base_url=bridge.url, headers=headers, timeout=_SECONDS, trust_env=False) as http:
        try:
            told = _converse(http, model)
            seen = http.get("/doctor/v1/visits", params={"since": began}).json()["visits"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            return Probed(error=f"The bridge did not answer: {error or type(error).__name__}")
    visits = [Visit(**visit) for visit in seen]
    own = [each for each in visits if each.status not in _LATE and (each.run_id is None or each.auxiliary == KIND)]
    return Probed(**told, seconds=time.monotonic() - clock, visits=own)


def _converse(http: httpx.Client, model: str) -> dict[str, Any]:
    """Ask, and if the model calls the tool all the same, answer that."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": _QUESTION}]
    for _ in range(_ROUNDS):
        body = {"model": model, "messages": messages, "tools": [_TOOL], "tool_choice": "none"}
        answer = http.post("/v1/chat/completions", json=body).json()
        if "error" in answer:
            return {"error": str(answer["error"]["message"]), "code": str(answer["error"].get("code") or "")}
        message = answer["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        if not calls:
            break
        messages += [message, *({"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in calls)]
    note = (answer.get("clawback") or {}).get("note")
    return {"text": message.get("content") or "(calls)", "note": note or ""}


_LATE = {409, 410}
"""What a node of an earlier run is told, which Dify's worker began only now, or which goes on after its run's end."""

_FORM = "In Dify, Settings, Model Provider, Clawback:"
_RETOKEN = f"Run: clawback init --renew plugin, and {RESTART}. {_FORM} set the Bridge token to the one that was shown"
_REINSTALL = (
    "In Dify, under Plugins, install the package that `clawback package` writes instead of the old one, and fill in "
    "its form again (docs/how-to/upgrade.md)"
)
_OUTSIDE = {
    SandboxUnavailable.code: ("sandbox", SandboxUnavailable.advice),
    NotBegun.code: ("worker", NotBegun.advice),
    "workflow_lost": ("worker", "Find out why Dify's worker was killed. Usually it needs more memory"),
    "workflow_paused": (
        "form",
        "Do what this line says. Until then, clients of this app get this error when its Human Input node is reached",
    ),
}
"""Parts of Dify, and of the app, that neither the plugin nor the upstream has to do with, by the run's error code."""

FORM_REACHED = "form_reached"
_FORM_WAITS = (
    "{said}. In any other run a person answers it on the page, or by `clawback answer`; the run waits meanwhile "
    "(limits.form_hold_seconds)"
)

_NO_CREDENTIALS = ("Model is not configured", "credentials is not initialized")
_NO_FORM = "credentials name no bridge"
_NO_WAY = ("bridge cannot be reached", "The bridge cannot be asked", "The bridge answered")


def tell(config: Config, app: App, probed: Probed) -> Iterator[Line]:
    """Return the lines, in the order in which a run goes from hop to hop."""
    if probed.code == "model_missing":
        yield failed("plugin", probed.error, _install(probed.error), app.model)
        return
    if probed.code == FORM_REACHED:
        yield ok("form", _FORM_WAITS.format(said=probed.error), app.model)
        probed = replace(probed, error="", code="")
    if probed.code in _OUTSIDE:
        name, advice = _OUTSIDE[probed.code]
        yield failed(name, probed.error, advice, app.model)
        return
    attached = next((visit for visit in probed.visits if visit.run_id), None)
    reached = _way_back(config, app, probed)
    if reached.state == "failed":
        yield reached
        return
    if probed.error and not probed.visits:
        yield _answer(app, probed)
        return
    yield reached
    if probed.note.startswith(NO_MODEL_NODE):
        yield skipped("callbacks", f"{NO_MODEL_NODE} in the test run, so there is nothing to check", app.model)
        yield ok("answer", f"came after {probed.seconds:.1f} s", app.model)
        return
    if attached is None:
        yield failed("callbacks", probed.note or "No LLM node attached to the run", _attach(app, probed), app.model)
    else:
        yield ok("callbacks", f"the LLM node attached to its run, found by its {_words(attached)}", app.model)
        yield _end_users(app, attached)
    yield _upstream(app, probed)


def _install(error: str) -> str:
    if any(words in error for words in _NO_CREDENTIALS):
        return (
            f"Run: clawback init --show-plugin, and {RESTART}. {_FORM} fill in the form as shown. Dify deletes its "
            "values when the plugin is uninstalled, which happens with each upgrade"
        )
    return (
        "In Dify, Plugins: install the package that `clawback package` writes, fill in its form under Settings, Model "
        "Provider, and choose a model of Clawback in the app's LLM node. Then publish the app"
    )


def _way_back(config: Config, app: App, probed: Probed) -> Line:
    name, model = "plugin", app.model
    if any(visit.status == 401 for visit in probed.visits):
        return failed(name, "The plugin used a token that is not this bridge's", _RETOKEN, model)
    if any(visit.status >= 400 for visit in probed.visits):
        return failed(name, "The plugin and this bridge have different versions", _REINSTALL, model)
    if probed.visits and (problem := _other_version(probed.visits[-1].agent)):
        return failed(name, *problem, model)
    if probed.visits:
        return ok(name, f"reaches the bridge, from {probed.visits[-1].address}", model)
    url = config.bridge_url or "an address of this bridge that Dify can reach"
    if _NO_FORM in probed.error:
        return failed(
            name, "The plugin's form names no bridge", f"{_FORM} set the Bridge URL to {url}. {_RETOKEN}", model
        )
    if any(words in probed.error for words in _NO_WAY):
        advice = f"{_FORM} set the Bridge URL to {url}. If it is: docs/how-to/reach-the-bridge.md"
        return failed(name, probed.error, advice, model)
    return skipped(name, "it sent no request to the bridge", model)


def _other_version(agent: str) -> tuple[str, str] | None:
    """Return what is wrong, and what to do, where the plugin is not of this bridge's minor version."""
    own, plugin = version("clawback"), agent.removeprefix("clawback-plugin/")
    if plugin == agent:
        return f"The plugin is older than 0.2, and the bridge has version {own}", _REINSTALL
    versions = [tuple(map(int, re.findall(r"\d+", each)[:2])) for each in (plugin, own)]
    if versions[0] < versions[1]:
        return f"The plugin's version {plugin} is older than the bridge's {own}", _REINSTALL
    if versions[0] > versions[1]:
        return (
            f"The plugin's version {plugin} is newer than the bridge's {own}",
            "Upgrade Clawback on this machine: docs/how-to/upgrade.md",
        )
    return None


def _attach(app: App, probed: Probed) -> str:
    if any(visit.reason for visit in probed.visits):
        return _find(app)
    return (
        "Open the app in Dify, choose a model of Clawback in its LLM node, switch on External tool callbacks "
        "(external_tool_callback_enabled), and publish the app"
    )


def _find(app: App) -> str:
    return (
        f'Set find_run = "marker" for {app.model} in the configuration and {RESTART}; or, from Dify 1.14 '
        "on, set the LLM node's callback_key to u:{{#sys.user_id#}} and publish the app"
    )


def _words(visit: Visit) -> str:
    return {"end_user": "end user", "callback_key": "callback_key", "marker": "marker"}[visit.found_by or "end_user"]


def _end_users(app: App, attached: Visit) -> Line:
    name, told = "end users", attached.dify_user if attached.found_by == "end_user" else None
    if told is None and attached.end_user:
        with closing(DifyClient(app.base_url, app.api_key.get_secret_value())) as client:
            try:
                told = client.end_user(attached.end_user)
            except DifyError:
                told = None
    if told == attached.dify_user:
        return ok(name, "Dify tells which user a run belongs to", app.model)
    return ok(name, f"this Dify does not tell them, but the {_words(attached)} finds the run", app.model)


_WAIT = "Wait, or raise the quota at the upstream"
_UPSTREAM = {
    "credentials_refused": f"{_FORM} correct the upstream's API key",
    "upstream_unavailable": f"Start the upstream. If it is running: {_FORM} correct the upstream's base URL",
    "rate_limited": _WAIT,
    "quota_used_up": _WAIT,
    "request_refused": f"{_FORM} correct the upstream's base URL and model",
}
"""What helps where the upstream failed, by the run's error code. Any other error is that of some node of the app."""


def _upstream(app: App, probed: Probed) -> Line:
    if not probed.error:
        return ok("upstream", f"answered after {probed.seconds:.1f} s", app.model)
    if advice := _UPSTREAM.get(probed.code):
        return failed("upstream", probed.error, advice, app.model)
    return _answer(app, probed)


def _answer(app: App, probed: Probed) -> Line:
    return failed("answer", probed.error, "Look at the failed node in Dify's run history of the app", app.model)
