"""The routes of the web page. Each page, asked for as text/event-stream, is the stream of its own changes.

GET  /                       the runs
GET  /runs/{id}              one run
GET  /runs/{id}/json         all that is known of it
POST /runs                   run=ID (any number), do=cancel|again
GET  /try                    begin a chat with an app
GET  /try/{id}               one chat
POST /try                    app or trial, text
GET  /statistics             what they came to, by day and app
GET  /approvals              the calls and forms that wait for a person
GET  /executors              who runs calls
GET  /health                 doctor's findings
POST /health                 let doctor look
GET  /calls/{id}/images/{n}  an image of a call's result
POST /calls/{id}/decision    decision=approve|deny|edit|always, text
POST /forms/{id}/answer      action=ID, field.NAME=what stands in it
GET  /login                  POST: name, token; GET with link=: a login link of bridge.page.links
POST /logout
POST /preferences            language or theme
GET  /page/{file}            style sheet, script, icon
"""

import logging
import mimetypes
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, g, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from bridge.api.access import ANYBODY, Foreign, Origins, keys_of
from bridge.api.operator import cancel_run, known_run, run_document
from bridge.config import Config
from bridge.errors import BridgeError, Conflict, Gone, Internal, InvalidRequest, NotFound, TooManyRequests, Unauthorized
from bridge.page import headers
from bridge.page.decisions import always_allow, decide
from bridge.page.doctor_run import DoctorRun
from bridge.page.links import Links, is_here
from bridge.page.logins import LONGEST_NAME, Attempts, Login, Logins, drop_cookie, set_cookie
from bridge.page.rendering import COOKIE as LANGUAGE
from bridge.page.rendering import LANGUAGES, Texts, chosen, image_of, render, render_by_and_by, static
from bridge.page.streaming import Streams, version
from bridge.page.views.run import RequestSummaries
from bridge.page.views.views import (
    Parts,
    Tried,
    View,
    Visitor,
    approvals_view,
    executors_view,
    health_view,
    run_view,
    runs_view,
    statistics_view,
    try_view,
    with_waiting,
)
from bridge.runs import request_id
from bridge.runs.core import Core
from bridge.runs.executors.trials import Trial, Trials
from bridge.runs.services import in_pieces
from bridge.store.timeline import Timeline

log = logging.getLogger("clawback.page")

THEME = "clawback_theme"
THEMES = ("auto", "light", "dark")
FILES = ("page.css", "page.js", "icon.svg")
MOST_AT_ONCE = 100
FIELD = "field."
"""How the names of a form's fields begin."""
LONG = 200
"""A page of more pieces is sent while it is written."""
LONGEST_FORM = 4 * 1024 * 1024
_YEAR = 365 * 86_400


def page_blueprint(config: Config, core: Core, stopping: threading.Event, links: Links) -> Blueprint:
    """Return the blueprint for who watches in a browser."""
    parts = Parts(config, core, Timeline(core.store, config.limits), RequestSummaries(), DoctorRun(config))
    logins = Logins(config, core.store)
    blueprint = Blueprint("page", __name__)
    _show_life(blueprint)
    _guard(blueprint, Origins(config), logins)
    show = _shower(parts, logins, Streams(core.services.wakeups, stopping))
    _add_runs(blueprint, parts, show)
    _add_pages(blueprint, parts, show)
    _add_decisions(blueprint, parts)
    _add_forms(blueprint, parts)
    _add_actions(blueprint, parts)
    _add_trials(blueprint, parts.core.trials)
    _add_login(blueprint, logins, Attempts(), links)
    _add_small_things(blueprint)
    blueprint.after_request(headers.protect)
    return blueprint


# Who may come in


def _show_life(blueprint: Blueprint) -> None:
    @blueprint.before_request
    def _answer() -> Response | None:
        """Claude Code asks for the head of its base URL, to see whether anybody is there."""
        return Response() if request.method == "HEAD" and request.path == "/" else None


def _guard(blueprint: Blueprint, origins: Origins, logins: Logins) -> None:
    @blueprint.before_request
    def _check() -> AnyResponse | None:
        request.max_content_length = request.max_form_memory_size = LONGEST_FORM
        g.login = None
        origins.check_host(request)
        if request.method == "POST":
            origins.check_origin(request)
        if request.endpoint == "page.file":
            return None
        g.login = logins.of(request)
        if request.url_rule and keys_of(request.url_rule, request.method) == ANYBODY:
            return None
        if g.login is None:
            return _to_login()
        if request.method == "POST" and not g.login.has_sent(request.path, request.form.get("form_token", "")):
            raise Foreign("this form is too old, or was not sent by the bridge's own page. Load the page again")
        return None

    @blueprint.errorhandler(BridgeError)
    def _explain(error: BridgeError) -> Response:
        return _error_page(error)

    @blueprint.errorhandler(HTTPException)
    def _refuse(error: HTTPException) -> Response:
        return _error_page(InvalidRequest(error.description or error.name), error.code)

    @blueprint.errorhandler(Exception)
    def _fail(_error: Exception) -> Response:
        log.exception("a page failed", extra={"request_id": request_id.current()})
        return _error_page(Internal("the bridge failed; its log says more under this page's X-Request-Id"))


def _to_login() -> AnyResponse:
    """Ask who it is; a stream cannot be asked, and is ended."""
    if _wants_stream() or request.method != "GET":
        raise Unauthorized("the login is over. Load the page, and log in again", code="login_over")
    return redirect(f"/login?{_query(request.full_path.rstrip('?'))}", 303)


def _query(path: str) -> str:
    return urlencode({"back": path}) if path != "/" else ""


def _wants_stream() -> bool:
    return request.accept_mimetypes.best == "text/event-stream"


# The pages


Show = Callable[[Callable[[Visitor], View]], Response]


def _shower(parts: Parts, logins: Logins, streams: Streams) -> Show:
    """Return what shows a page to whoever asks for it, or tells of its changes."""

    def show(make: Callable[[Visitor], View]) -> Response:
        visitor = _visitor()
        view = with_waiting(parts, visitor, make(visitor))
        if not _wants_stream():
            return _page(view, visitor)
        streams.check()
        known = request.headers.get("Last-Event-ID") or request.args.get("since", "")
        secret = visitor.login.secret
        followed = streams.follow(view, known, lambda: logins.again(secret) is not None)
        no_buffer = {"X-Accel-Buffering": "no"}
        return Response(followed, content_type="text/event-stream; charset=utf-8", headers=no_buffer)

    return show


def _add_runs(blueprint: Blueprint, parts: Parts, show: Show) -> None:
    @blueprint.get("/")
    def list_runs() -> Response:
        return show(lambda visitor: runs_view(parts, visitor, request.args))

    @blueprint.get("/runs/<run_id>")
    def show_run(run_id: str) -> Response:
        return show(lambda visitor: run_view(parts, visitor, run_id))

    @blueprint.get("/statistics")
    def show_statistics() -> Response:
        return show(lambda visitor: statistics_view(parts, visitor, request.args))

    @blueprint.get("/try")
    def begin_trial() -> Response:
        return show(lambda visitor: try_view(parts, visitor, None, request.args.get("app", "")))

    @blueprint.get("/try/<trial_id>")
    def show_trial(trial_id: str) -> Response:
        return show(lambda visitor: try_view(parts, visitor, parts.core.trials.get(trial_id)))


def _add_pages(blueprint: Blueprint, parts: Parts, show: Show) -> None:
    @blueprint.get("/approvals")
    def list_approvals() -> Response:
        return show(lambda visitor: approvals_view(parts, visitor, done=request.args.get("done", "")))

    @blueprint.get("/executors")
    def list_executors() -> Response:
        return show(lambda visitor: executors_view(parts, visitor))

    @blueprint.get("/health")
    def show_health() -> Response:
        return show(lambda visitor: health_view(parts, visitor))

    @blueprint.post("/health")
    def examine() -> AnyResponse:
        parts.doctor.start(with_probe=request.form.get("probe") == "yes")
        return redirect("/health", 303)


def _visitor() -> Visitor:
    return Visitor(chosen(request), _login(), request.path)


def _login() -> Login:
    login: Login = g.login
    return login


def _page(view: View, visitor: Visitor, status: int = 200) -> Response:
    pieces = view.pieces()
    text = render_by_and_by(
        f"{view.name}.html",
        visitor.t,
        **_shell(visitor.t, g.login),
        view=view,
        places={piece.key: piece.html for piece in pieces if piece.key.startswith("@")},
        pieces=[piece for piece in pieces if not piece.key.startswith("@")],
        version=lambda: version(pieces),
        **view.values,
    )
    # Of a long page the beginning is there before its end is written; what others ask for is answered in between.
    html = in_pieces(text, looked=1) if len(pieces) > LONG else "".join(text)
    return Response(html, status, content_type="text/html; charset=utf-8")


def _shell(t: Texts, login: Login | None) -> dict[str, object]:
    """Return what every page has around it."""
    theme = request.cookies.get(THEME, "")
    path = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return {
        "languages": LANGUAGES,
        "themes": THEMES,
        "theme": theme if theme in THEMES else "auto",
        "login": login,
        "here": path,
    }


def _error_page(error: BridgeError, status: int | None = None) -> Response:
    t = chosen(request)
    status = status or error.status
    html = render("error.html", t, **_shell(t, g.get("login")), error=error, status=status)
    return Response(html, status, content_type="text/html; charset=utf-8", headers=error.headers())


# Decisions


def _add_decisions(blueprint: Blueprint, parts: Parts) -> None:
    @blueprint.get("/calls/<call_id>/decision")
    def come_back(call_id: str) -> AnyResponse:
        # The address of a decision that came back to be corrected, loaded again.
        return redirect(f"/approvals#call-{quote(call_id)}", 303)

    @blueprint.post("/calls/<call_id>/decision")
    def decide_call(call_id: str) -> AnyResponse:
        decision, text = request.form.get("decision", ""), request.form.get("text", "").replace("\r\n", "\n")
        try:
            if decision == "always":
                always_allow(parts.core, call_id, text, _login().name)
            else:
                decide(parts.core.approvals, call_id, decision, text, _login().name)
        except (InvalidRequest, NotFound, Conflict, Gone) as error:
            visitor = _visitor()
            view = approvals_view(parts, visitor, Tried(call_id, decision, text, error.message))
            return _page(with_waiting(parts, visitor, view), visitor, error.status)
        back = _own_path(request.form.get("back", ""))
        return redirect(f"/approvals?done={decision}" if back in {"/", "/approvals"} else back, 303)


def _add_forms(blueprint: Blueprint, parts: Parts) -> None:
    @blueprint.get("/forms/<form_id>/answer")
    def come_back_to(form_id: str) -> AnyResponse:
        return redirect(f"/approvals#form-{quote(form_id)}", 303)

    @blueprint.post("/forms/<form_id>/answer")
    def answer_form(form_id: str) -> AnyResponse:
        action, fields = request.form.get("action", ""), request.form.items()
        inputs = {name[len(FIELD) :]: text.replace("\r\n", "\n") for name, text in fields if name.startswith(FIELD)}
        try:
            parts.core.forms.answer(form_id, action, inputs, f"operator {_login().name}")
        except (InvalidRequest, NotFound, Conflict, Gone) as error:
            visitor = _visitor()
            view = approvals_view(parts, visitor, Tried(form_id, action, "", error.message, inputs))
            return _page(with_waiting(parts, visitor, view), visitor, error.status)
        return redirect("/approvals?done=answer", 303)


# What is done about runs


def _add_actions(blueprint: Blueprint, parts: Parts) -> None:
    @blueprint.get("/runs/<run_id>/json")
    def download(run_id: str) -> Response:
        core = parts.core
        document = run_document(core.store, parts.timeline, run_id, content=parts.config.log_content)
        named = {"Content-Disposition": f'attachment; filename="run-{run_id}.json"'}
        return Response(document.model_dump_json(indent=2), content_type="application/json", headers=named)

    @blueprint.get("/calls/<call_id>/images/<int:number>")
    def image(call_id: str, number: int) -> Response:
        found = parts.core.store.call(call_id) if parts.config.log_content else None
        kind, content = image_of(found[1], number) if found else ("", b"")
        if not content:
            raise NotFound("there is no such image")
        return Response(content, content_type=kind)

    @blueprint.post("/runs")
    def act() -> AnyResponse:
        core, run_ids, trial = parts.core, request.form.getlist("run")[:MOST_AT_ONCE], None
        do = request.form.get("do")
        if do not in {"cancel", "again"}:
            raise InvalidRequest("do must be cancel or again", param="do")
        for run_id in run_ids:
            # Of several, some may have ended meanwhile, or have no words to be asked again.
            with nullcontext() if len(run_ids) == 1 else suppress(Conflict, InvalidRequest, NotFound):
                if do == "cancel":
                    cancel_run(core.runs, core.store, run_id, f"operator {_login().name}")
                else:
                    trial = core.trials.run_again(known_run(core.store, run_id))
        alone = trial if len(run_ids) == 1 else None
        return _to_trial(alone) if alone else redirect(_own_path(request.form.get("back", "")), 303)


def _add_trials(blueprint: Blueprint, trials: Trials) -> None:
    @blueprint.post("/try")
    def say() -> AnyResponse:
        text, trial_id = request.form.get("text", "").replace("\r\n", "\n"), request.form.get("trial")
        return _to_trial(trials.go_on(trial_id, text) if trial_id else trials.begin(request.form.get("app", ""), text))


def _to_trial(trial: Trial) -> AnyResponse:
    return redirect(f"/try/{trial.id}", 303)


# Login, and what needs none


def _add_login(blueprint: Blueprint, logins: Logins, attempts: Attempts, links: Links) -> None:
    def form(status: int = 200, problem: str = "") -> Response:
        t = chosen(request)
        given = {"name": request.form.get("name", "")[:LONGEST_NAME], "back": _own_path(request.values.get("back", ""))}
        html = render("login.html", t, **_shell(t, None), problem=problem, possible=logins.possible, **given)
        return Response(html, status, content_type="text/html; charset=utf-8")

    def let_in(name: str) -> AnyResponse:
        log.info("someone logged in", extra={"address": request.remote_addr or ""})
        response = redirect(_own_path(request.form.get("back", "")), 303)
        set_cookie(request, response, logins.open(name))
        return response

    @blueprint.get("/login")
    def login() -> AnyResponse:
        if g.login:
            return redirect("/", 303)
        if link := request.args.get("link"):
            name = links.take(link) if is_here(request) else None
            return form(401, "link") if name is None else let_in(name)
        return form()

    @blueprint.post("/login")
    def log_in() -> AnyResponse:
        address = request.remote_addr or ""
        if not logins.is_operators(request.form.get("token", "").strip()):
            wait = attempts.wait(address)
            if wait:
                raise TooManyRequests(f"too many wrong tokens. Try again in {wait:.0f} s", retry_after=wait)
            attempts.failed(address)
            log.warning("a login was refused", extra={"address": address})
            return form(401, "wrong")
        return let_in(request.form.get("name", ""))

    @blueprint.post("/logout")
    def log_out() -> AnyResponse:
        logins.end(_login())
        response = redirect("/login", 303)
        drop_cookie(request, response)
        return response


def _own_path(path: str) -> str:
    """Return the path if it is one of this page's, else the start."""
    own = path.startswith("/") and not path.startswith(("//", "/login", "/logout"))
    return path if own and "\\" not in path and path.isprintable() else "/"


def _add_small_things(blueprint: Blueprint) -> None:
    @blueprint.post("/preferences")
    def prefer() -> AnyResponse:
        response = redirect(_own_path(request.form.get("back", "")), 303)
        for name, cookie, known in (("language", LANGUAGE, LANGUAGES), ("theme", THEME, THEMES)):
            value = request.form.get(name, "")
            if value in known:
                response.set_cookie(
                    cookie, value, max_age=_YEAR, secure=request.is_secure, httponly=True, samesite="Strict"
                )
        return response

    @blueprint.get("/page/<name>")
    def file(name: str) -> Response:
        if name not in FILES:
            raise NotFound(f"there is no {name}")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        kind = {"page.js": "text/javascript"}.get(name, kind)
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        # The address names the content, so that it may be kept.
        response = Response(static(name), content_type=f"{kind}{charset}")
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
        return response
