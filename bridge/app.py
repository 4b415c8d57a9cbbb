"""The application factory."""

import logging

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from bridge.api.access import Clients, allow_origins, protect
from bridge.api.anthropic import wording
from bridge.api.anthropic.messages_routes import messages_blueprint
from bridge.api.executor import executor_blueprint, ticket_blueprint
from bridge.api.health import health_blueprint
from bridge.api.mcp import mcp_blueprint
from bridge.api.openai.blueprint import endpoint_blueprint
from bridge.api.openai.responses_routes import responses_blueprint
from bridge.api.openai.turns import Turns
from bridge.api.openapi.document import openapi_blueprint
from bridge.api.operator import operator_blueprint
from bridge.api.plugin import Witness, doctor_blueprint, plugin_blueprint
from bridge.api.watch import watch_blueprint
from bridge.api.wrong_paths import advice
from bridge.config import Config
from bridge.errors import BridgeError, Internal, InvalidRequest, NotFound
from bridge.page import Links, links_blueprint, page_blueprint
from bridge.runs import request_id
from bridge.runs.core import Core
from bridge.runs.observing.observed_store import ObservedStore
from bridge.runs.observing.observers import Observers
from bridge.runs.tickets.policy import Policy
from bridge.server import tracing
from bridge.server.metrics import Metrics, measure, metrics_blueprint
from bridge.server.notify import Notifier
from bridge.store import clock
from bridge.store.wakeups import SharedWakeups, Wakeups
from bridge.store.watching import Watching

log = logging.getLogger("clawback.http")


def create_app(config: Config) -> Flask:
    """Return the bridge as a WSGI application: one blueprint an audience, nothing global."""
    config.data_dir.expanduser().mkdir(parents=True, exist_ok=True, mode=0o700)
    metrics = Metrics()
    traces = tracing.Tracing(tracing.provider(config.traces)) if config.traces.endpoint else None
    observers = Observers(metrics, Notifier(config), *([traces] if traces else []))
    store = ObservedStore(config.store_url, observers, config.database_connections, config.durability)
    core = Core(config, store, _wakeups(config), observers)
    app = Flask("clawback", static_folder=None)
    turns = Turns(core)
    app.register_blueprint(endpoint_blueprint(config, core, turns))
    app.register_blueprint(responses_blueprint(config, core, turns))
    app.register_blueprint(messages_blueprint(config, core, turns))
    app.register_blueprint(plugin_blueprint(config, core.invocations, core.tickets))
    app.register_blueprint(executor_blueprint(config, core.registry, core.leases))
    app.register_blueprint(ticket_blueprint(core.tickets))
    clients, stopping = Clients(store), core.services.stopping
    app.register_blueprint(mcp_blueprint(config, core.mcp_calls, turns.quotas, stopping))
    app.register_blueprint(operator_blueprint(config, core))
    app.register_blueprint(watch_blueprint(config, core.figures, Watching(store), core.services.wakeups))
    app.extensions |= {"clawback": core, "clawback.traces": traces}
    _identify_requests(app)
    measure(app, metrics)
    allow_origins(app, config)
    protect(app, config, clients)
    if traces:
        app.wsgi_app = traces.around(app.wsgi_app)  # type: ignore[method-assign]
    app.register_blueprint(metrics_blueprint(metrics, core.figures))
    _shape_errors(app)
    core.sweeper.start()
    core.dify_executors.reconfigure()

    witness = Witness(store)
    app.after_request(witness.see)
    app.register_blueprint(health_blueprint(store, stopping))
    app.register_blueprint(doctor_blueprint(witness))
    app.register_blueprint(openapi_blueprint())
    links = Links()
    app.register_blueprint(links_blueprint(config, links))
    app.register_blueprint(page_blueprint(config, core, stopping, links))
    return app


def _wakeups(config: Config) -> Wakeups:
    url = config.wakeups_url or (config.store_url if config.is_shared else None)
    return SharedWakeups(url) if url else Wakeups()


def stop(app: Flask) -> None:
    """Take no new work and let everyone who waits go, so that the process can end: what waits is in the store."""
    core: Core = app.extensions["clawback"]
    core.services.stopping.set()
    core.dify_executors.stop()
    core.services.wakeups.wake_all()


def close(app: Flask) -> None:
    """Let go of what would be lost with the process: the traces that were not sent yet."""
    if traces := app.extensions["clawback.traces"]:
        traces.close()


def reconfigure(app: Flask, policy: Policy) -> None:
    """Take what the configuration holds now, and another policy. Runs go on."""
    app.extensions["clawback"].reconfigure(policy)


def _identify_requests(app: Flask) -> None:
    @app.before_request
    def _take_id() -> None:
        request_id.take(request.headers.get(request_id.HEADER, ""))
        clock.look_anew()

    @app.teardown_request
    def _end(_: BaseException | None) -> None:
        clock.look_always()

    @app.after_request
    def _show_id(response: Response) -> Response:
        response.headers.setdefault(request_id.HEADER, request_id.current())
        return response


def _shape_errors(app: Flask) -> None:
    @app.errorhandler(BridgeError)
    def _bridge_error(error: BridgeError) -> Response:
        g.error_code = error.code or error.type
        anthropic = wording.speaks_anthropic(request)
        response = jsonify(wording.error_body(error) if anthropic else error.body())
        response.status_code = wording.status_of(error) if anthropic else error.status
        response.headers.extend(wording.headers_of(error) if anthropic else error.headers())
        return response

    @app.errorhandler(HTTPException)
    def _http_error(error: HTTPException) -> Response:
        known = NotFound if error.code == 404 else InvalidRequest
        said = error.description or error.name
        if error.code in {404, 405}:
            methods = error.valid_methods if isinstance(error, MethodNotAllowed) else None
            anthropic = wording.speaks_anthropic(request)
            said = advice(request.path, request.host_url, methods, anthropic=anthropic) or said
        shaped = known(f"{request.method} {request.path}: {said}")
        response = _bridge_error(shaped)
        response.status_code = error.code or 500
        # Such as Allow, which says what else may be asked here.
        response.headers.extend(
            (name, value) for name, value in error.get_headers() if name not in {"Content-Type", "Content-Length"}
        )
        return response

    @app.errorhandler(Exception)
    def _fault(error: Exception) -> Response:
        log.exception("a request failed")
        return _bridge_error(Internal(f"the bridge failed; its log says more under {request_id.current()}"))
