"""Dify as the bridge reaches it: address, key, app, Start node, its tools, clock, and waits that it cut short."""

import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime

import httpx
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bridge.commands.doctor.lines import RESTART, Line, failed, ok
from bridge.config import App, Config, DifyTools, is_loopback
from bridge.dify import DifyClient, Timeouts
from bridge.dify.apps import kind_of
from bridge.dify.errors import AppUnavailable, BadKey, DifyError, KilledByTimeout, NotDify, RanTooLong, Unreachable
from bridge.dify.tools import ToolsEndpoint, ToolsProblem
from bridge.store import schema as t
from bridge.store.engine import reading_engine_of
from bridge.store.upgrade import refused

_PATIENCE = Timeouts(connect=5, answer=20)
_MOST_SECONDS = 60.0


def look_at_dify(app: App) -> Iterator[Line]:
    """Look at one hop after the other, and stop at the first that does not work."""
    with closing(DifyClient(app.base_url, app.api_key.get_secret_value(), timeouts=_PATIENCE)) as client:
        try:
            info = client.info()
        except BadKey as error:
            yield ok("Dify", app.base_url, app.model)
            yield failed("key", error.message, _rekey(app), app.model)
            return
        except AppUnavailable as error:
            yield ok("Dify", app.base_url, app.model)
            yield failed("key", error.message, "Open the app in Dify and switch on its API (API Access)", app.model)
            return
        except DifyError as error:
            yield failed("Dify", error.message, _readdress(error, app), app.model)
            return
        yield ok("Dify", app.base_url, app.model)
        yield ok("key", f"opens “{info.name}”", app.model)
        kind = kind_of(info.mode)
        if kind is None:
            text = f"“{info.name}” has the kind {info.mode}, which is not supported"
            yield failed("kind", text, _rekey(app), app.model)
            return
        yield ok("kind", kind, app.model)
        yield from _published(client, app)


def _published(client: DifyClient, app: App) -> Iterator[Line]:
    try:
        parameters = client.parameters()
    except DifyError as error:
        advice = "Open the app in Dify and publish it: Publish, Publish Update"
        yield failed("published", error.message, advice, app.model)
        return
    yield ok("published", "yes", app.model)
    missing = [field.name for field in parameters.inputs if field.required and field.name not in app.inputs]
    if missing:
        values = ", ".join(f'{name} = "..."' for name in missing)
        advice = f"Add to this app in the configuration: inputs = {{ {values} }}. Then {RESTART}"
        yield failed("inputs", f"The Start node requires {', '.join(missing)}", advice, app.model)


def look_at_tools(settings: DifyTools) -> Line:
    """Ask an endpoint of Clawback Tools which tools are picked there."""
    name = f"Dify tools {settings.name}" if settings.name != _USUAL_NAME else "Dify tools"
    try:
        with closing(ToolsEndpoint(settings)) as endpoint:
            tools = [tool.definition.name for tool in endpoint.tools()]
    except ToolsProblem as problem:
        then = f". Then {RESTART}" if _CONFIGURED in problem.advice else ""
        return failed(name, problem.problem, problem.advice + then)
    picked = ", ".join(tools) if tools else "no tool is picked in the endpoint's settings in Dify"
    return ok(name, f"{settings.url}: {picked}")


_USUAL_NAME = DifyTools.model_fields["name"].default
_CONFIGURED = "[[dify_tools]]"


def look_at_clock(app: App) -> Line | None:
    """Compare Dify's clock with this machine's; None where Dify does not tell the time."""
    loopback = is_loopback(httpx.URL(app.base_url).host)
    try:
        began = time.time()
        answer = httpx.get(f"{app.base_url.rstrip('/')}/info", timeout=_PATIENCE.answer, trust_env=not loopback)
        told = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    ahead = told - (began + time.time()) / 2
    if abs(ahead) <= _MOST_SECONDS:
        return ok("clock", f"within {max(1, round(abs(ahead)))} s of Dify's", app.model)
    word = "ahead of" if ahead > 0 else "behind"
    return failed(
        "clock",
        f"Dify's clock is {round(abs(ahead))} s {word} this machine's, so signed file addresses expire too early",
        "Synchronise the clocks of both machines: timedatectl set-ntp true",
        app.model,
    )


def _readdress(error: DifyError, app: App) -> str:
    if isinstance(error, NotDify):
        return f"Run: clawback init --dify-url URL, with the address of Dify's web page. Then {RESTART}"
    if isinstance(error, Unreachable):
        return f"Start Dify at {app.base_url}. If it moved, run: clawback init --dify-url URL, and {RESTART}"
    return error.advice


def _rekey(app: App) -> str:
    return (
        f"Run: clawback init --app {app.model}=KEY, with a key from the API Access page of your chatflow. "
        f"Then {RESTART}"
    )


_LOOKED_AT = 500


def look_at_waits(config: Config, since: float) -> Line:
    """Return whether Dify ended one of the runs that began `since` then, for having lasted too long."""
    newest = select(t.runs.c.error).where(t.runs.c.created_at >= since).order_by(t.runs.c.created_at.desc())
    engine = reading_engine_of(config.store_url)
    try:
        with engine.connect() as connection:
            errors = [error or "" for error in connection.execute(newest.limit(_LOOKED_AT)).scalars()]
    except SQLAlchemyError as error:
        return failed("waits", *str(refused(config.store_url, error)).rsplit(". ", 1))
    finally:
        engine.dispose()
    for kind, what in ((KilledByTimeout, "model calls"), (RanTooLong, "runs")):
        met = sum(1 for error in errors if kind.advice in error)
        if met:
            text = f"Dify's time limits cut {what} short (runs: {met} of {len(errors)})"
            return failed("waits", text, f"{kind.advice} Then start the bridge again")
    return ok("waits", f"Dify's limits cut no run short since the bridge started (runs: {len(errors)})")
