"""Apps of every kind are models: chatflows, workflows, chat apps and agent apps."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from demo.local_tools import DEFINITIONS
from demo.stack import ROOT, Stack
from tests.demo.box.exports import LLM, as_workflow, data, with_inputs, write
from tests.e2e import flows
from tests.e2e.conftest import MakeClient, MakeStack, call, upstream_log, workflow_runs
from tests.e2e.wire import Wire, asking, header, request, session_lines

MODEL = {
    "provider": "clawback/clawback/clawback",
    "name": "main",
    "mode": "chat",
    "completion_params": {"external_tool_callback_enabled": True},
}


QUERY = [{"paragraph": {"variable": "query", "label": "Query", "required": True, "default": ""}}]


def basic(mode: str) -> dict[str, Any]:
    """Return the export of an app without a graph, with a variable in its prompt."""
    form = [{"text-input": {"variable": "tone", "label": "Tone", "required": False, "max_length": 48, "default": ""}}]
    config = {
        "model": MODEL,
        "pre_prompt": "{{query}}" if mode == "completion" else "Speak in a {{tone}} tone.",
        "user_input_form": QUERY if mode == "completion" else form,
        "agent_mode": {"enabled": mode == "agent-chat", "strategy": "function_call", "tools": []},
    }
    app = {"name": mode, "mode": mode, "description": f"A {mode} app."}
    return {"kind": "app", "version": "0.7.0", "app": app, "model_config": config}


def two_outputs(export: dict[str, Any]) -> None:
    """A workflow with two outputs, of which only one is the answer."""
    as_workflow(export)
    outputs = data(export, "1770000000003")["outputs"]
    outputs.append({"variable": "told", "value_selector": ["1770000000001", "text"], "value_type": "string"})


def thinking(export: dict[str, Any]) -> None:
    """A model that reasons, whose node shows it in tags within a longer answer."""
    data(export, LLM)["model"]["name"] = "light"
    data(export, "1770000000003")["answer"] = "It says: {{#1770000000002.text#}}"


def separated(export: dict[str, Any]) -> None:
    """The same with a node that keeps reasoning out of its text."""
    thinking(export)
    data(export, LLM)["reasoning_format"] = "separated"


def taking_images(export: dict[str, Any]) -> None:
    """A chatflow that takes images itself."""
    export["workflow"]["features"]["file_upload"]["enabled"] = True


def taking_files(export: dict[str, Any]) -> None:
    """A chatflow that takes documents, sounds, and files of Python."""
    upload = export["workflow"]["features"]["file_upload"]
    upload |= {"enabled": True, "allowed_file_types": ["document", "audio", "custom"]}
    upload["allowed_file_extensions"] = [".PY"]


def iterating(export: dict[str, Any]) -> None:
    """A chatflow that asks its model about three things side by side."""
    items = [f"Item {n}.\n{call('exec', command=f'echo {n}')}\n!then\n!say done {n}" for n in (1, 2, 3)]
    export["workflow"]["conversation_variables"] = [{"name": "items", "value_type": "array[string]", "value": items}]
    graph = export["workflow"]["graph"]
    llm = data(export, LLM)
    llm.pop("memory")
    llm["prompt_template"] = [{"id": "u", "role": "user", "text": "{{#each.item#}}"}]
    llm |= {"isInIteration": True, "iteration_id": "each"}
    container = {
        "type": "iteration",
        "title": "Each",
        "iterator_selector": ["conversation", "items"],
        "output_selector": [LLM, "text"],
        "output_type": "array[string]",
        "start_node_id": "first",
        "is_parallel": True,
        "parallel_nums": 3,
        "error_handle_mode": "terminated",
    }
    begin = {"type": "iteration-start", "title": "", "isInIteration": True, "iteration_id": "each"}
    graph["nodes"] += [{"id": "each", "type": "custom", "data": container}, {"id": "first", "data": begin}]
    graph["nodes"][-1] |= {"type": "custom-iteration-start", "parentId": "each"}
    data(export, "1770000000003")["answer"] = "{{#each.output#}}"
    ends = (("1770000000001", "each"), ("each", "1770000000003"), ("first", LLM))
    graph["edges"] = [graph["edges"][0] | {"id": f"{a}-{b}", "source": a, "target": b} for a, b in ends]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One app of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    exports = {
        "workflow": write(folder / "workflow.yml", as_workflow),
        "outputs": write(folder / "outputs.yml", two_outputs),
        "inputs": write(folder / "inputs.yml", with_inputs),
        "fresh": write(folder / "fresh.yml", lambda _: None),
        "aside": write(folder / "aside.yml", lambda _: None),
        "images": write(folder / "images.yml", taking_images),
        "files": write(folder / "files.yml", taking_files),
        "iterating": write(folder / "iterating.yml", iterating),
        "thinking": write(folder / "thinking.yml", thinking),
        "separated": write(folder / "separated.yml", separated),
        "tagged": write(folder / "tagged.yml", thinking),
        "obeyed": write(folder / "obeyed.yml", lambda _: None),
    }
    for mode, name in (("chat", "chat"), ("agent-chat", "agent"), ("completion", "completion")):
        exports[name] = folder / f"{name}.yml"
        exports[name].write_text(yaml.safe_dump(basic(mode)))
    settings: dict[str, Any] = {
        "outputs": {"output": "told", "input_map": {"text": "transcript"}},
        "fresh": {"conversation": "new", "auxiliary": "aside"},
        "tagged": {"reasoning": "tags"},
        "obeyed": {"guard_text": "calls"},
    }
    limits = {"keepalive_seconds": 0.5, "grace_seconds": 1}
    reasons = {"upstream_model_light": "scripted-reasoning"}
    with Stack(
        folder, apps=["minimal"], exports=exports, bridge_settings=limits, each_app=settings, credentials=reasons
    ) as running:
        yield running


def post(stack: Stack, model: str, messages: str | list[dict[str, Any]], **more: Any) -> httpx.Response:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    body = {"model": model, "messages": messages, **more}
    return httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)


def message(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    said: dict[str, Any] = response.json()["choices"][0]["message"]
    return said


KINDS = ["minimal", "workflow", "chat", "agent"]


@pytest.mark.parametrize("model", KINDS)
def test_an_app_of_any_kind_answers_after_a_round_of_tools(stack: Stack, model: str) -> None:
    user = {
        "role": "user",
        "content": f"Ask {model}.\n!say Let me look.\n{call('exec', command='x')}\n!then\n!say Done.",
    }
    asked = message(post(stack, model, [user], tools=DEFINITIONS, user=model))
    (made,) = asked["tool_calls"]
    assert asked["content"] == "Let me look."
    result = {"role": "tool", "tool_call_id": made["id"], "content": "found"}
    response = post(stack, model, [user, asked, result], tools=DEFINITIONS, user=model)
    assert message(response)["content"] == "Done."
    _, last = upstream_log(stack, f"Ask {model}.")
    assert last["request"]["messages"][-1]["content"] == "found"
    assert "[[clawback:" not in str(last["request"])


@pytest.mark.parametrize("model", KINDS)
def test_an_app_of_any_kind_streams(stack: Stack, model: str) -> None:
    with Wire(stack) as wire:
        wire.send(request(stack, asking(f"Stream {model}.\n!say one\n!sleep 0.6\n!say two", model)))
        begun = wire.until(b"one")
        assert b"two" not in begun.rpartition(b"\r\n\r\n")[2]
        wire.until(b"[DONE]")


@pytest.mark.parametrize("model", ["workflow", "minimal", "agent"])
def test_the_task_of_an_app_of_any_kind_is_stopped_when_its_client_has_gone(stack: Stack, model: str) -> None:
    wire = Wire(stack)
    wire.send(request(stack, asking(f"Leave {model}.\n!say one\n!sleep 25", model), *session_lines(f"{model}-left")))
    run = header(wire.until(b"one"), "x-clawback-run")
    wire.vanish()
    until = time.monotonic() + 20
    while [row["status"] for row in workflow_runs(stack, run)] != ["stopped"]:
        assert time.monotonic() < until, "the task was not stopped"
        time.sleep(0.05)


def test_models_say_what_they_are_and_which_inputs_they_take(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    listed = httpx.get(f"{stack.base_url}/models", headers=headers, timeout=30).json()["data"]
    models = {model["id"]: model for model in listed}
    assert {name: models[name]["kind"] for name in KINDS} == {
        "minimal": "chatflow",
        "workflow": "workflow",
        "chat": "chat",
        "agent": "agent",
    }
    assert models["inputs"]["inputs"] == [
        {"name": "city", "type": "text-input", "required": True},
        {"name": "size", "type": "select", "required": False},
    ]
    assert models["outputs"]["inputs"] == [{"name": "text", "type": "paragraph", "required": False}]


@pytest.mark.parametrize(
    "how", [{"inputs": {"city": "Bonn"}}, {"metadata": {"city": "Bonn", "trace": "not the app's"}}]
)
def test_variables_come_from_inputs_or_metadata(stack: Stack, how: dict[str, Any]) -> None:
    message(post(stack, "inputs", f"Where, by {next(iter(how))}?", **how))
    (asked,) = upstream_log(stack, f"Where, by {next(iter(how))}?")
    assert asked["request"]["messages"][0]["content"].startswith("In Bonn.")


def test_a_chat_apps_variables_are_in_its_prompt(stack: Stack) -> None:
    message(post(stack, "chat", "Hello, chat.", inputs={"tone": "grave"}))
    (asked,) = upstream_log(stack, "Hello, chat.")
    assert asked["request"]["messages"][0]["content"].startswith("Speak in a grave tone.")


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_a_variable_that_is_missing_is_named(stack: Stack, path: str) -> None:
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    said = {"input": "Where?"} if path == "responses" else {"messages": [{"role": "user", "content": "Where?"}]}
    response = httpx.post(f"{stack.base_url}/{path}", json={"model": "inputs", **said}, headers=headers, timeout=30)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, "inputs.city", "missing_input")
    assert "'city'" in error["message"]


def test_a_value_that_does_not_fit_is_the_requests_fault(stack: Stack) -> None:
    response = post(stack, "inputs", "Where?", inputs={"city": "far too long a name"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "inputs.city")


def test_the_answer_is_the_output_that_the_configuration_names_and_inputs_are_mapped(stack: Stack) -> None:
    messages = [
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Second."},
    ]
    answer = message(post(stack, "outputs", messages))["content"]
    assert answer == "user: First.\n\nassistant: Yes?\n\nuser: Second."


def conversation(stack: Stack, response: httpx.Response) -> tuple[str, str]:
    store = stack.store()
    run = store.run(response.headers["x-clawback-run"])
    store.close()
    assert run is not None
    return run.conversation_id, run.model


def test_an_app_may_begin_a_new_conversation_each_turn(stack: Stack) -> None:
    first = post(stack, "fresh", "One.", user="fresh")
    transcript = [{"role": "user", "content": "One."}, message(first), {"role": "user", "content": "Two."}]
    second = post(stack, "fresh", transcript, user="fresh")
    assert message(second)
    assert conversation(stack, first)[0] != conversation(stack, second)[0]


def test_openclaws_own_calls_go_to_the_app_that_is_there_for_them(stack: Stack) -> None:
    system = {"role": "system", "content": "You are a context summarization assistant."}
    summary = post(stack, "fresh", [system, {"role": "user", "content": "<conversation>…</conversation>"}])
    assert message(summary)
    assert conversation(stack, summary)[1] == "aside"
    user = {"role": "user", "content": f"Pre-compaction memory flush.\n{call('exec', command='x')}\n!then\n!say kept"}
    openclaw = {"role": "system", "content": "You are a personal assistant running inside OpenClaw."}
    flush = post(stack, "fresh", [openclaw, user], tools=DEFINITIONS)
    made = message(flush)["tool_calls"][0]
    result = {"role": "tool", "tool_call_id": made["id"], "content": json.dumps("ok")}
    done = post(stack, "fresh", [openclaw, user, message(flush), result], tools=DEFINITIONS)
    assert message(done)["content"] == "kept"
    assert done.headers["x-clawback-run"] == flush.headers["x-clawback-run"]


REASONING = "The request is plain. I know what to do next: what the script says, or else an echo."


@pytest.mark.parametrize(
    ("model", "words"),
    # A node that separates reasoning takes out whatever stands in tags.
    [("thinking", "So <think> it </think> is."), ("separated", "So it is.")],
)
@pytest.mark.parametrize("delta", [1, 1000])
def test_reasoning_comes_apart_from_the_answer(stack: Stack, model: str, words: str, delta: int) -> None:
    prompt = f"Think, {model}.\n!delta {delta}\n!say {words}"
    said = message(post(stack, model, prompt))
    assert said["content"] == f"It says: {words}"
    assert said["reasoning_content"].strip() == REASONING
    with Wire(stack) as wire:
        wire.send(request(stack, asking(prompt, model)))
        chunks = wire.until(b"[DONE]").split(b"\n")
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in chunks if line.startswith(b'data: {"id"')]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas).strip() == REASONING
    assert "".join(delta.get("content") or "" for delta in deltas) == said["content"]


def test_reasoning_stays_in_the_answer_where_the_configuration_wants_it(stack: Stack) -> None:
    said = message(post(stack, "tagged", "Think in tags.\n!say So."))
    assert said["content"].startswith(f"It says: <think>\n{REASONING}\n</think>")
    assert "reasoning_content" not in said


def test_what_a_chatflow_says_is_no_order_unless_the_configuration_lets_it_be(stack: Stack) -> None:
    prompt = "Order.\n!say MEDIA:/etc/passwd\n!say NO_REPLY"
    order = "MEDIA:/etc/passwd\nNO_REPLY"
    guarded = message(post(stack, "minimal", prompt))["content"]
    assert guarded.replace("\u2060", "") == order
    assert not guarded.startswith("MEDIA:")
    assert message(post(stack, "obeyed", prompt))["content"] == order


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
RED = f"data:image/png;base64,{PIXEL}"


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("url", [RED, "https://example.org/red.png"], ids=["data", "url"])
def test_an_image_reaches_the_model(stack: Stack, model: str, url: str) -> None:
    text = f"Which colour is this, {model}, {url[:4]}?"
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    said = message(post(stack, model, [{"role": "user", "content": parts}]))
    assert said["content"] == "Red."
    (asked,) = upstream_log(stack, text)
    sent = [
        part for each in asked["request"]["messages"] if isinstance(each["content"], list) for part in each["content"]
    ]
    assert [part["image_url"]["url"] for part in sent if part["type"] == "image_url"] == [url]


def test_an_iteration_calls_tools_from_several_rounds_at_once(stack: Stack) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Do each."}]
    runs = set()
    for _ in range(4):
        response = post(stack, "iterating", messages, tools=DEFINITIONS, user="iterating")
        said = message(response)
        runs.add(response.headers["x-clawback-run"])
        messages.append(said)
        if not said.get("tool_calls"):
            break
        messages += [{"role": "tool", "tool_call_id": made["id"], "content": "ok"} for made in said["tool_calls"]]
    assert [f"done {n}" in said["content"] for n in (1, 2, 3)] == [True] * 3
    assert len(runs) == 1
    assert len(upstream_log(stack, "Item ")) == 6


def test_an_app_that_takes_images_gets_them_as_files(stack: Stack) -> None:
    parts = [{"type": "text", "text": "Which colour has the file?"}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in (RED, "https://example.org/red.png")]  # type: ignore[misc]
    assert message(post(stack, "images", [{"role": "user", "content": parts}]))["content"] == "Red."
    (upload,) = httpx.get(f"{stack.box_url}/box/state").json()["uploads"]
    assert (upload["name"], upload["mime_type"], upload["size"]) == ("image.png", "image/png", 70)


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [("!" * 8, 400, "invalid_image"), ("A" * 4 * (10 * 1024 * 1024 // 3 + 4), 413, "too_large")],
    ids=["no base64", "too large"],
)
def test_an_image_that_the_app_cannot_take_is_refused(stack: Stack, image: str, status: int, code: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}]
    response = post(stack, "images", [{"role": "user", "content": parts}])
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def file_part(name: str, media_type: str, content: bytes) -> dict[str, Any]:
    data = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return {"type": "file", "file": {"filename": name, "file_data": data}}


SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
PDF = file_part("a.pdf", "application/pdf", b"%PDF-1.7")
TEXT = file_part("a.txt", "text/plain", b"hello")


@pytest.mark.parametrize(
    ("part", "kind", "name"),
    [
        (PDF, "document", "a.pdf"),
        (file_part("notes.md", "text/markdown", b"# Notes"), "document", "notes.md"),
        (file_part("Makefile", "text/plain", b"all:"), "document", "Makefile.txt"),
        (file_part("a.py", "text/x-python", b"pass"), "custom", "a.py"),
        (SOUND, "audio", "audio.wav"),
    ],
    ids=["pdf", "document of text", "other text", "custom", "sound"],
)
def test_an_app_that_takes_files_gets_them(stack: Stack, part: dict[str, Any], kind: str, name: str) -> None:
    parts = [{"type": "text", "text": "!say taken"}, part]
    assert message(post(stack, "files", [{"role": "user", "content": parts}]))["content"] == "taken"
    upload = httpx.get(f"{stack.box_url}/box/state").json()["uploads"][-1]
    assert (upload["name"], upload["taken_as"]) == (name, kind)


@pytest.mark.parametrize(
    ("path", "part", "named"),
    [
        *(("chat/completions", part, named) for part, named in ((PDF, "a.pdf"), (TEXT, "a.txt"), (SOUND, "audio"))),
        *(("responses", part, named) for part, named in ((PDF, "a.pdf"), (TEXT, "a.txt"), (SOUND, "audio"))),
        *(("messages", part, named) for part, named in ((PDF, "a.pdf"), (TEXT, "a.txt"))),
    ],
)
def test_what_an_app_does_not_take_is_refused_in_words(
    stack: Stack, path: str, part: dict[str, Any], named: str
) -> None:
    response = httpx.post(
        f"{stack.base_url}/{path}",
        json=showing(path, part),
        headers={"Authorization": f"Bearer {stack.client_token}"},
        timeout=60,
    )
    assert response.status_code == 400
    assert named in response.json()["error"]["message"]
    assert "the app does not take" in response.json()["error"]["message"]


def showing(path: str, part: dict[str, Any]) -> dict[str, Any]:
    """A request in the words of each API with this part of a chat completion's message."""
    file = part.get("file", {})
    if path == "chat/completions":
        return {"model": "minimal", "messages": [{"role": "user", "content": [part]}]}
    if path == "responses":
        part = {"type": "input_file", **file} if file else part
        return {"model": "minimal", "input": [{"role": "user", "content": [part]}]}
    media_type, _, data = file["file_data"].removeprefix("data:").partition(";base64,")
    source = {"type": "base64", "media_type": media_type, "data": data}
    block = {"type": "document", "title": file["filename"], "source": source}
    return {"model": "minimal", "max_tokens": 100, "messages": [{"role": "user", "content": [block]}]}


@pytest.mark.parametrize(
    ("part", "status", "code"),
    [
        (file_part("a.bin", "application/octet-stream", b"\0\1"), 400, "file_not_taken"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,!!!"}}, 400, "invalid_file"),
        ({"type": "input_audio", "input_audio": {"data": "!!!", "format": "mp3"}}, 400, "invalid_audio"),
        (file_part("a.txt", "text/plain", b"x" * (15 * 1024 * 1024 + 1)), 413, "too_large"),
    ],
    ids=["unknown kind", "file is no base64", "sound is no base64", "too large"],
)
def test_a_file_that_the_app_cannot_take_is_refused(stack: Stack, part: dict[str, Any], status: int, code: str) -> None:
    response = post(stack, "files", [{"role": "user", "content": [part]}])
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_a_model_with_a_label_reaches_the_nodes_of_that_label_alone(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    plain = {"on_run_not_found": "fail"}
    export = flows.in_a_row(
        tmp_path,
        "labelled",
        flows.llm("first", "!say from the first node", {"callback_label": "plan", **plain}),
        flows.llm("second", "{{#sys.query#}}", {"callback_label": "code", **plain}),
    )
    stack = make_stack(apps=[], exports={"app": export}, app_settings={"labels": ["plan", "code", "none"]})
    models = httpx.get(f"{stack.base_url}/models", headers={"Authorization": f"Bearer {stack.client_token}"}).json()
    assert [model["id"] for model in models["data"]] == ["app", "app/plan", "app/code", "app/none"]
    words = f"Labelled.\n{call('exec', command='echo 1')}\n!then\n!say done"
    outcome = make_client(stack, "app/code").ask(words)
    assert outcome.reply.text.endswith("done")
    with closing(stack.store()) as store:
        [run_id] = outcome.runs
        record = store.record(run_id)
        assert record is not None
        assert len(record.invocations) == 1, "a node of another label attached"
    offered = {
        bool(entry["request"].get("tools")) for entry in upstream_log(stack, "from the first node") if entry["request"]
    }
    assert offered == {False}
    body = {"model": "app/none", "messages": [{"role": "user", "content": "!say nobody"}], "tools": DEFINITIONS}
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60).json()
    assert "callback_label 'none'" in answer["clawback"]["note"]


FILE = {"dify_model_identity": "__dify__file__", "transfer_method": "tool_file"}
BROUGHT = {
    "files": [
        {
            **FILE,
            "type": "image",
            "filename": "a [b].png",
            "url": "/files/tools/1.png?sign=x",
            "mime_type": "image/png",
        },
        {**FILE, "type": "document", "filename": "report.pdf", "url": "http://files.example/2.pdf?sign=y"},
        {**FILE, "type": "document", "filename": "told.pdf", "url": "http://files.example/told.pdf?sign=z"},
    ],
    "retriever_resources": [
        {"document_name": "Manual", "dataset_id": "d1", "document_id": "d2", "content": "Press.", "position": position}
        for position in (1, 2)
    ],
}


def test_an_app_s_files_end_its_answer_and_its_sources_are_annotations(make_stack: MakeStack) -> None:
    stack = make_stack()
    httpx.post(f"{stack.box_url}/box/apps/Clawback minimal", json={"brings": BROUGHT}).raise_for_status()
    words = "!say see http://files.example/told.pdf"
    body = {"model": "minimal", "messages": [{"role": "user", "content": words}]}
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=60) as http:
        message = http.post("/chat/completions", json=body).json()["choices"][0]["message"]
        origin = stack.box_url
        expected = (
            "see http://files.example/told.pdf\n\n"
            f"![a b .png]({origin}/files/tools/1.png?sign=x)\n\n[report.pdf](http://files.example/2.pdf?sign=y)"
        )
        assert message["content"] == expected
        source = {"title": "Manual", "url": f"{origin}/datasets/d1/documents/d2"}
        place = {"start_index": len(expected), "end_index": len(expected)}
        assert message["annotations"] == [{"type": "url_citation", "url_citation": {**place, **source}}]
        data = {"messages": [{"role": "user", "content": '!say {"a": 1}'}], "response_format": {"type": "json_object"}}
        answer = http.post("/chat/completions", json=body | data).json()
        assert answer["choices"][0]["message"]["content"] == '{"a": 1}'
        streamed = http.post("/chat/completions", json=body | {"stream": True}).text
        assert '"annotations":[{"type":"url_citation"' in streamed
        told = http.post("/responses", json={"model": "minimal", "input": words}).json()
        assert told["output"][0]["content"][0]["annotations"] == [{"type": "url_citation", **place, **source}]


def test_an_answer_s_sources_outlive_the_bridge_that_told_them(make_stack: MakeStack) -> None:
    stack = make_stack()
    httpx.post(f"{stack.box_url}/box/apps/Clawback minimal", json={"brings": BROUGHT}).raise_for_status()
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=60) as http:
        body = {"model": "minimal", "messages": [{"role": "user", "content": "!say kept"}]}
        key = {"Idempotency-Key": "sources"}
        told = http.post("/chat/completions", json=body, headers=key).json()["choices"]
        asked = {"model": "minimal", "input": "!sleep 1\n!say slowly", "stream": True}
        with http.stream("POST", "/responses", json=asked) as response:
            created = next(line for line in response.iter_lines() if line.startswith("data: "))
            run_id = response.headers["x-clawback-run"]
        response_id = json.loads(created.removeprefix("data: "))["response"]["id"]
        with closing(stack.store()) as store:
            until = time.monotonic() + 60
            while (run := store.run(run_id)) and run.state != "finished" and time.monotonic() < until:
                time.sleep(0.05)
        stack.bridge.kill()
        stack.bridge.start()
        assert told[0]["message"]["annotations"]
        assert http.post("/chat/completions", json=body, headers=key).json()["choices"] == told
        content = http.get(f"/responses/{response_id}").json()["output"][0]["content"][0]
        assert content["text"].startswith("slowly\n\n![a b .png]")
        assert [each["title"] for each in content["annotations"]] == ["Manual"]


def test_the_list_of_models_says_how_an_app_greets(make_stack: MakeStack, tmp_path: Path) -> None:
    export = yaml.safe_load((ROOT / "examples" / "minimal.yml").read_text())
    export["workflow"]["features"] |= {"opening_statement": "Hello!", "suggested_questions": ["Who?", "Why?"]}
    path = tmp_path / "greets.yml"
    path.write_text(yaml.safe_dump(export))
    stack = make_stack(apps=[], exports={"greets": path})
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    model = httpx.get(f"{stack.base_url}/models/greets", headers=headers).json()
    assert (model["opening_statement"], model["suggested_questions"]) == ("Hello!", ["Who?", "Why?"])


def test_a_text_generator_takes_the_user_s_words_as_its_variable_and_its_model_gets_the_tools(
    stack: Stack, make_client: MakeClient
) -> None:
    outcome = make_client(stack, "completion").ask(
        f"Generate.\n{call('exec', command='echo generated')}\n!then\n!say all generated"
    )
    assert (outcome.reply.text, outcome.http_requests) == ("all generated", 2)
    assert all("[[clawback:" not in json.dumps(entry["request"]) for entry in upstream_log(stack, "Generate."))
    lines = post(stack, "completion", "!say and streamed", stream=True).text.splitlines()
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "and streamed"
