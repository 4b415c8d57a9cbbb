"""The box's pure pieces."""

import json
import queue
import threading
from pathlib import Path
from typing import Any

import pytest
from graphon.model_runtime.errors.invoke import InvokeAuthorizationError, InvokeError, InvokeRateLimitError

from demo.box.admission import Admission, TooManyRequests
from demo.box.app_export import App, AppExportError
from demo.box.command_line import parse
from demo.box.config import AppSource, Limits
from demo.box.credentials import Credentials
from demo.box.errors import DaemonError, PluginInvokeError, ProviderTokenNotInitError, as_node_error
from demo.box.failures import as_told, error_response
from demo.box.inputs import Variable, prepare_inputs
from demo.box.listener import Failure, Item, Listener, Ping, Stop
from demo.box.plugin_folder import PluginFolder
from demo.box.sse import Reading, encode, follow
from demo.box.templates import JinjaRenderer
from demo.box.topic import END, PING, Event, Topic
from tests.demo.box import exports
from tests.demo.box.running import EXAMPLES, PLUGIN


def plugin_error(error_type: str, message: str = "why") -> Exception:
    item = json.dumps({"error_type": error_type, "message": message})
    return as_node_error(DaemonError("PluginInvokeError", item), "Label")


def test_a_typed_error_keeps_its_words() -> None:
    error = plugin_error("InvokeRateLimitError")
    assert isinstance(error, InvokeRateLimitError)
    assert str(error) == "why"


def test_an_authorization_error_loses_its_words() -> None:
    error = plugin_error("InvokeAuthorizationError")
    assert isinstance(error, InvokeAuthorizationError)
    assert "why" not in str(error)
    assert "[Label] Incorrect model credentials" in str(error)


def test_other_errors_of_a_plugin_are_value_errors_with_all_of_their_json() -> None:
    error = plugin_error("ZeroDivisionError")
    assert isinstance(error, PluginInvokeError)
    assert str(error).endswith('PluginInvokeError: {"error_type": "ZeroDivisionError", "message": "why"}')


def test_the_daemons_own_errors_name_the_provider() -> None:
    error = as_node_error(DaemonError("PluginDaemonInternalServerError", "killed by timeout"), "Label")
    assert isinstance(error, InvokeError)
    assert str(error).startswith("[Label] Error: req_id: ")


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (ValueError("x"), "invalid_param", 400),
        (ProviderTokenNotInitError("x"), "provider_not_initialize", 400),
        (InvokeError("x"), "completion_request_error", 400),
        (InvokeRateLimitError("x"), "rate_limit_error", 429),
        (RuntimeError("x"), "internal_server_error", 500),
    ],
)
def test_an_error_event_has_difys_code(error: Exception, code: str, status: int) -> None:
    event = error_response(error)
    assert (event["code"], event["status"]) == (code, status)
    assert ("x" in event["message"]) is (status != 500)


def test_unknown_exceptions_are_told_as_plain_ones() -> None:
    assert str(as_told(KeyError("name"))) == "'name'"
    assert isinstance(as_told(InvokeAuthorizationError("secret")), InvokeAuthorizationError)
    assert "secret" not in str(as_told(InvokeAuthorizationError("secret")))


def variable(kind: str, **fields: Any) -> Variable:
    return Variable(variable="v", type=kind, **fields)


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        ("text-input", "a\x00b", "ab"),
        ("number", "1.5", 1.5),
        ("number", "7", 7),
        ("number", " ", None),
        ("number", 3, 3),
        ("checkbox", "Yes", True),
        ("checkbox", "off", False),
        ("checkbox", 1, True),
        ("checkbox", "perhaps", "perhaps"),
        ("json_object", {"a": 1}, {"a": 1}),
        ("file", "", ""),
        ("paragraph", None, None),
    ],
)
def test_inputs_are_taken_as_dify_takes_them(kind: str, given: object, taken: object) -> None:
    assert prepare_inputs({"v": given, "other": 1}, [variable(kind)]) == {"v": taken}


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (variable("text-input"), 5),
        (variable("text-input", max_length=2), "abc"),
        (variable("text-input", required=True), None),
        (variable("select", options=["a"]), "b"),
        (variable("number"), "x"),
        (variable("json_object"), "x"),
        (variable("file"), {"type": "image"}),
    ],
)
def test_inputs_that_do_not_fit_are_refused(wanted: Variable, given: object) -> None:
    with pytest.raises(ValueError, match="in input form"):
        prepare_inputs({"v": given}, [wanted])


def test_a_default_fills_a_gap() -> None:
    assert prepare_inputs({}, [variable("text-input", default="d")]) == {"v": "d"}


def test_a_limit_of_one_refuses_every_stream() -> None:
    """As Dify does: a stream takes its place twice."""
    admission = Admission(1, hold=False)
    with pytest.raises(TooManyRequests, match="allowed for app is 1"):
        admission.admit_stream("app")
    admission.leave("app", admission.admit_blocking("app"))


def test_streams_leave_room_for_others() -> None:
    admission = Admission(2, hold=False)
    for _ in range(5):
        admission.admit_stream("app")
    admission.admit_blocking("app")
    with pytest.raises(TooManyRequests):
        admission.admit_stream("app")
    admission.admit_stream("another")


def test_streams_once_kept_their_place() -> None:
    admission = Admission(1, hold=True)
    place = admission.admit_stream("app")
    with pytest.raises(TooManyRequests):
        admission.admit_stream("app")
    admission.leave("app", place)
    admission.leave("app", place)
    admission.admit_stream("app")


def test_no_limit_admits_everybody() -> None:
    admission = Admission(0, hold=True)
    for _ in range(100):
        admission.admit_stream("app")


def listen(limits: Limits, *published: Item) -> tuple[list[Item], list[str]]:
    aborted: list[str] = []
    listener = Listener(limits, aborted.append)
    for item in published:
        listener.publish(item)
    return list(listener.items()), aborted


def test_nothing_is_heard_after_a_stop() -> None:
    assert listen(Limits(), Stop("enough"), Ping()) == ([Stop("enough")], [])


def test_a_failure_is_the_last_item() -> None:
    error = ValueError()
    assert listen(Limits(), Failure(error)) == ([Failure(error)], [])


def test_a_run_that_takes_too_long_is_aborted_and_stopped() -> None:
    heard, aborted = listen(Limits(app_seconds=0.05))
    assert heard[-1] == Stop("Stopped by user.")
    assert aborted == ["App execution exceeded 0.05 seconds"]


def test_a_flagged_run_is_aborted_and_stopped() -> None:
    aborted: list[str] = []
    listener = Listener(Limits(ping_seconds=0.05), aborted.append)
    threading.Timer(0.2, listener.flag_stop).start()
    heard = list(listener.items())
    assert heard[-1] == Stop("Stopped by user.")
    assert Ping() in heard
    assert aborted == ["App task was stopped"]


def arriving(*events: Event | None) -> queue.SimpleQueue[Event | None]:
    arrived: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    for event in events:
        arrived.put(event)
    return arrived


FINISHED: Event = {"event": "workflow_finished"}
AFTER: Event = {"event": "error"}


def test_a_stream_ends_at_workflow_finished() -> None:
    assert list(follow(arriving(FINISHED, AFTER, END), Reading(5))) == [FINISHED]


def test_a_stream_once_ended_at_its_end() -> None:
    assert list(follow(arriving(FINISHED, AFTER, END), Reading(5, to_the_end=True))) == [FINISHED, AFTER]


def test_a_silent_stream_ends_and_pings_only_when_asked() -> None:
    assert list(follow(arriving(), Reading(0.1))) == []
    assert set(map(str, follow(arriving(), Reading(0.3, ping_seconds=0.05)))) == {PING}


def test_a_topic_keeps_nothing_for_latecomers() -> None:
    topic = Topic()
    topic.publish("early")
    with topic.subscription() as events:
        topic.publish("late")
        assert events.get_nowait() == "late"
    assert events.empty()


def test_who_leaves_a_topic_breaks_off_the_streams_of_all_others() -> None:
    topic = Topic()
    with topic.subscription() as broken, topic.subscription() as silent:
        with topic.subscription():
            topic.publish("heard")
        topic.publish(FINISHED)
        assert list(follow(broken, Reading(5))) == ["heard"]
        assert set(map(str, follow(silent, Reading(0.3, ping_seconds=0.05)))) == {"heard", PING}


def test_events_are_written_as_dify_writes_them() -> None:
    assert encode("ping") == "event: ping\n\n"
    assert encode({"answer": "ü"}) == 'data: {"answer":"ü"}\n\n'


def test_credentials_are_a_models_own_or_its_providers(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"a/b/c": {"url": "1", "models": {"m": {"url": "2"}}}}))
    credentials = Credentials.from_file(path)
    assert credentials.of("a/b/c", "m") == {"url": "2"}
    assert credentials.of("a/b/c", "other") == {"url": "1"}
    with pytest.raises(ProviderTokenNotInitError, match="Model is not configured"):
        Credentials.from_file(None).of("a/b/c", "m")


def test_secrets_do_not_show() -> None:
    assert "sesame" not in repr(Credentials({"a/b/c": {"key": "sesame"}}))
    assert "sesame" not in repr(AppSource(Path("x"), "sesame"))
    assert "sesame" not in repr(App.read(EXAMPLES / "minimal.yml", "sesame"))


def test_the_command_line_knows_every_limit() -> None:
    config = parse(["--app", "a:b/c.yml:key", "--worker-slots", "4", "--ping-seconds", "0.5", "--raw-parameters"])
    assert config.apps == (AppSource(Path("a:b/c.yml"), "key"),)
    assert (config.limits.worker_slots, config.limits.ping_seconds) == (4, 0.5)
    assert config.imitation.raw_parameters
    assert parse(["--app", "a:k"]).limits == Limits()


def test_an_export_that_cannot_run_is_refused(tmp_path: Path) -> None:
    def unknown_node(export: dict[str, Any]) -> None:
        exports.data(export, exports.LLM)["type"] = "knowledge-retrieval"

    def no_chatflow(export: dict[str, Any]) -> None:
        export["app"]["mode"] = "agent-chat"

    for change, reason in ((unknown_node, "knowledge-retrieval"), (no_chatflow, "agent-chat")):
        with pytest.raises(AppExportError, match=reason):
            App.read(exports.write(tmp_path / "export.yml", change), "key")


def test_a_provider_of_another_plugin_does_not_exist() -> None:
    folder = PluginFolder.read(PLUGIN)
    assert folder.provider_name("clawback/clawback/clawback") == "clawback"
    for other in ("openai", "langgenius/openai/openai", "clawback/clawback/other"):
        with pytest.raises(ValueError, match=f"Provider {other} does not exist"):
            folder.provider_name(other)


def test_templates_run_in_a_sandbox() -> None:
    from graphon.template_rendering import TemplateRenderError

    renderer = JinjaRenderer()
    assert renderer.render_template("{{ a | trim }}", {"a": " x "}) == "x"
    with pytest.raises(TemplateRenderError):
        renderer.render_template("{{ ''.__class__.__mro__ }}", {})
