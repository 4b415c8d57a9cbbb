"""Dify's service API, as far as a chatflow or workflow needs it.

Sources: controllers/service_api/app/*.py, controllers/service_api/end_user/end_user.py.
Differs from Dify: no audio, feedback, suggested questions, annotations or logs.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from demo.box import http_errors
from demo.box.access import Access
from demo.box.app_export import WORKFLOW, App
from demo.box.config import Imitation
from demo.box.forms import Form, Forms
from demo.box.http_errors import ApiError
from demo.box.inputs import user_input_form
from demo.box.requests import (
    ChatRequest,
    CompletionRequest,
    ConversationQuery,
    FormRequest,
    MessageQuery,
    RenameRequest,
    WorkflowRequest,
)
from demo.box.runs import Request, Runs
from demo.box.sse import encode
from demo.box.store import Conversation, EndUser, Message, Store, WorkflowRun
from demo.box.topic import Event


def create_blueprint(access: Access, store: Store, runs: Runs, imitation: Imitation, forms: Forms) -> Blueprint:
    """The service API's routes under /v1."""
    api = _ServiceApi(access, store, runs, imitation, forms)
    blueprint = Blueprint("service_api", __name__, url_prefix="/v1")
    http_errors.register(blueprint)
    for method, path, view in (
        ("POST", "/chat-messages", api.chat),
        ("POST", "/chat-messages/<task_id>/stop", api.stop_chat),
        ("POST", "/completion-messages", api.complete),
        ("POST", "/completion-messages/<task_id>/stop", api.stop_completion),
        ("POST", "/files/upload", api.upload),
        ("POST", "/workflows/run", api.run_workflow),
        ("POST", "/workflows/tasks/<task_id>/stop", api.stop_workflow),
        ("GET", "/workflows/run/<run_id>", api.workflow_run),
        ("GET", "/workflow/<run_id>/events", api.workflow_events),
        ("GET", "/form/human_input/<form_token>", api.form),
        ("POST", "/form/human_input/<form_token>", api.submit_form),
        ("GET", "/end-users/<uuid:end_user_id>", api.end_user),
        ("GET", "/conversations", api.conversations),
        ("DELETE", "/conversations/<uuid:conversation_id>", api.delete_conversation),
        ("POST", "/conversations/<uuid:conversation_id>/name", api.rename_conversation),
        ("GET", "/messages", api.messages),
        ("GET", "/info", api.info),
        ("GET", "/parameters", api.parameters),
        ("GET", "/meta", api.meta),
        ("GET", "/site", api.site),
    ):
        blueprint.add_url_rule(path, view_func=view, methods=[method])
    return blueprint


_JSON_OF_RUNS = "application/json; charset=utf-8"


class _ServiceApi:
    def __init__(self, access: Access, store: Store, runs: Runs, imitation: Imitation, forms: Forms) -> None:
        self._forms = forms
        self._access = access
        self._store = store
        self._runs = runs
        self._imitation = imitation

    def chat(self) -> Response:
        app = self._access.app()
        user = self._access.user_of_body(app, required=True)
        _require_chat(app)
        body = ChatRequest.model_validate(request.get_json())
        if body.conversation_id and self._store.find_conversation(body.conversation_id, user) is None:
            raise NotFound("Conversation Not Exists.")
        _require_workflow(app, body.workflow_id)
        for file in body.files or ():
            if file.get("transfer_method") == "local_file":
                kept = self._store.upload(user, file["upload_file_id"])
                if not kept:
                    raise ValueError("Invalid upload file")
                kept["taken_as"] = file["type"]
        wanted = Request(body.inputs, body.query, body.conversation_id, body.auto_generate_name)
        if body.response_mode == "streaming":
            return _stream(self._runs.stream(app, user, wanted))
        return _json(self._runs.block(app, user, wanted), _JSON_OF_RUNS)

    def complete(self) -> Response:
        app = self._access.app()
        user = self._access.user_of_body(app, required=True)
        _require_completion(app)
        body = CompletionRequest.model_validate(request.get_json())
        if body.response_mode == "streaming":
            events = self._runs.stream(app, user, Request(body.inputs, body.query))
            return _stream(_without_conversation(event) for event in events)
        return _json(self._runs.block(app, user, Request(body.inputs, body.query)), _JSON_OF_RUNS)

    def stop_completion(self, task_id: str) -> Response:
        app = self._access.app()
        user = self._access.user_of_body(app, required=True)
        _require_completion(app)
        self._runs.stop(task_id, user)
        return _json({"result": "success"})

    def upload(self) -> Response:
        """Keep an upload. Differs from Dify: of a file only its name, size and kind are kept, and no node sees it."""
        app = self._access.app()
        user = self._store.end_user(app.id, request.form.get("user"))
        given = request.files["file"]
        size = len(given.stream.read())
        kept = self._store.add_upload(user, {"name": given.filename, "size": size, "mime_type": given.mimetype})
        return Response(json.dumps(kept), status=201, content_type="application/json")

    def stop_chat(self, task_id: str) -> Response:
        app = self._access.app()
        user = self._access.user_of_body(app, required=True)
        _require_chat(app)
        self._runs.stop(task_id, user)
        return _json({"result": "success"})

    def run_workflow(self) -> Response:
        app = self._access.app()
        user = self._access.user_of_body(app, required=True)
        _require_not_chat(app)
        body = WorkflowRequest.model_validate(request.get_json())
        _require_workflow(app, None)
        if body.response_mode == "streaming":
            return _stream(self._runs.stream(app, user, Request(body.inputs)))
        return _json(self._runs.block(app, user, Request(body.inputs)), _JSON_OF_RUNS)

    def stop_workflow(self, task_id: str) -> Response:
        app = self._access.app()
        user = self._access.user_of_body(app, required=True)
        _require_not_chat(app)
        self._runs.stop(task_id, user)
        return _json({"result": "success"})

    def workflow_run(self, run_id: str) -> Response:
        run = self._store.find_run(self._access.app().id, run_id)
        if run is None:
            raise NotFound("Workflow run not found.")
        return _json(_run_fields(run))

    def workflow_events(self, run_id: str) -> Response:
        app = self._access.app()
        user = self._access.user_of_query(app, required=True)
        run = self._store.find_run(app.id, run_id)
        if run is None or run.end_user.id != user.id:
            raise NotFound("Workflow run not found")
        snapshot = request.args.get("include_state_snapshot", "false").lower() == "true"
        return _stream(self._runs.follow(run, snapshot=snapshot))

    def form(self, form_token: str) -> Response:
        form = self._form_of(self._access.app(), form_token)
        self._forms.check_active(form)
        return _json(form.shown())

    def submit_form(self, form_token: str) -> Response:
        app = self._access.app()
        self._access.user_of_body(app, required=True)
        body = FormRequest.model_validate(request.get_json())
        self._forms.submit(self._form_of(app, form_token), body.action, body.inputs)
        return _json({})

    def _form_of(self, app: App, form_token: str) -> Form:
        form = self._forms.of_token(app.id, form_token)
        if form is None:
            raise NotFound("Form not found")
        return form

    def end_user(self, end_user_id: uuid.UUID) -> Response:
        app = self._access.app()
        if self._imitation.no_end_users:
            raise NotFound
        user = self._store.find_end_user(app.id, str(end_user_id))
        if user is None:
            raise ApiError(*http_errors.END_USER_NOT_FOUND)
        return _json(_end_user_fields(app, user))

    def conversations(self) -> Response:
        app = self._access.app()
        user = self._access.user_of_query(app)
        _require_chat(app)
        query = ConversationQuery.model_validate(request.args.to_dict())
        found, more = _page(_sorted(self._store.conversations(user), query.sort_by), query.last_id, query.limit)
        return _json({"limit": query.limit, "has_more": more, "data": [_conversation_fields(each) for each in found]})

    def delete_conversation(self, conversation_id: uuid.UUID) -> Response:
        self._store.delete_conversation(self._conversation(conversation_id))
        return Response(status=204, content_type="application/json")

    def rename_conversation(self, conversation_id: uuid.UUID) -> Response:
        conversation = self._conversation(conversation_id)
        body = RenameRequest.model_validate(request.get_json())
        if body.auto_generate:
            first = self._store.messages(conversation.id)[0].query
            conversation.name = f"{first[:47]}..." if len(first) > 50 else first
        else:
            conversation.name = str(body.name)
        return _json(_conversation_fields(conversation))

    def messages(self) -> Response:
        app = self._access.app()
        user = self._access.user_of_query(app)
        _require_chat(app)
        query = MessageQuery.model_validate(request.args.to_dict())
        conversation = self._store.find_conversation(query.conversation_id, user)
        if conversation is None:
            raise NotFound("Conversation Not Exists.")
        found, more = _messages_before(self._store.messages(conversation.id), query.first_id, query.limit)
        return _json({"limit": query.limit, "has_more": more, "data": [_message_fields(each) for each in found]})

    def info(self) -> Response:
        app = self._access.app()
        fields = {"name": app.name, "description": app.description, "tags": [], "mode": app.mode}
        return _json({**fields, "author_name": None})

    def parameters(self) -> Response:
        app = self._access.app()
        if not app.published:
            raise ApiError(*http_errors.APP_UNAVAILABLE)
        return _json(_parameters(app))

    def meta(self) -> Response:
        self._access.app()
        return _json({"tool_icons": {}})

    def site(self) -> Response:
        return _json(_site(self._access.app()))

    def _conversation(self, conversation_id: uuid.UUID) -> Conversation:
        app = self._access.app()
        user = self._access.user_of_body(app)
        _require_chat(app)
        found = self._store.find_conversation(str(conversation_id), user)
        if found is None:
            raise NotFound("Conversation Not Exists.")
        return found


def _require_chat(app: App) -> None:
    if not app.is_chat or app.is_completion:
        raise ApiError(*http_errors.NOT_CHAT_APP)


def _require_completion(app: App) -> None:
    if not app.is_completion:
        raise ApiError(*http_errors.NOT_COMPLETION_APP)


def _without_conversation(event: Event) -> Event:
    return event if isinstance(event, str) else {key: each for key, each in event.items() if key != "conversation_id"}


def _require_not_chat(app: App) -> None:
    if app.mode != WORKFLOW:
        raise ApiError(*http_errors.NOT_WORKFLOW_APP)


def _require_workflow(app: App, workflow_id: str | None) -> None:
    if workflow_id:
        try:
            uuid.UUID(workflow_id)
        except ValueError:
            raise BadRequest(f"Invalid workflow_id format: '{workflow_id}'. ") from None
        if workflow_id != app.workflow_id:
            raise NotFound(f"Workflow not found with id: {workflow_id}")
    if not app.published:
        raise ValueError("Workflow not published")


def _json(body: object, content_type: str = "application/json") -> Response:
    return Response(json.dumps(body, default=str), content_type=content_type)


def _stream(events: Iterator[Event]) -> Response:
    return Response((encode(event) for event in events), mimetype="text/event-stream")


def _page(found: list[Conversation], last_id: str | None, limit: int) -> tuple[list[Conversation], bool]:
    if last_id:
        places = [index for index, each in enumerate(found) if each.id == last_id]
        if not places:
            raise NotFound("Last Conversation Not Exists.")
        found = found[places[0] + 1 :]
    return found[:limit], len(found) > limit


def _sorted(found: list[Conversation], sort_by: str) -> list[Conversation]:
    return sorted(found, key=lambda each: getattr(each, sort_by.lstrip("-")), reverse=sort_by.startswith("-"))


def _messages_before(found: list[Message], first_id: str | None, limit: int) -> tuple[list[Message], bool]:
    if first_id:
        places = [index for index, each in enumerate(found) if each.id == first_id]
        if not places:
            raise NotFound("First Message Not Exists.")
        found = found[: places[0]]
    return found[-limit:], len(found) > limit


def _run_fields(run: WorkflowRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "status": run.status,
        "inputs": json.dumps(run.inputs),
        "outputs": run.outputs,
        "error": run.error,
        "total_steps": run.total_steps,
        "total_tokens": run.total_tokens,
        "created_at": int(run.created_at),
        "finished_at": int(run.finished_at) if run.finished_at is not None else None,
        "elapsed_time": run.elapsed_time,
    }


def _end_user_fields(app: App, user: EndUser) -> dict[str, Any]:
    created_at = datetime.fromtimestamp(user.created_at, UTC).replace(tzinfo=None).isoformat()
    return {
        "id": user.id,
        "tenant_id": app.tenant_id,
        "app_id": app.id,
        "type": "service-api",
        "external_user_id": user.session_id,
        "name": None,
        "is_anonymous": user.is_anonymous,
        "session_id": user.session_id,
        "created_at": created_at,
        "updated_at": created_at,
    }


def _conversation_fields(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "name": conversation.name,
        "inputs": conversation.inputs,
        "status": "normal",
        "introduction": conversation.introduction,
        "created_at": int(conversation.created_at),
        "updated_at": int(conversation.updated_at),
    }


def _message_fields(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "parent_message_id": message.parent_message_id,
        "inputs": message.inputs,
        "query": message.query,
        "answer": message.answer,
        "feedback": None,
        "retriever_resources": [],
        "created_at": int(message.created_at),
        "agent_thoughts": [],
        "message_files": [],
        "message_tokens": message.message_tokens,
        "answer_tokens": message.answer_tokens,
        "provider_response_latency": message.latency,
        "total_price": message.total_price,
        "currency": message.currency,
        "status": message.status,
        "error": message.error,
        "extra_contents": [],
        "total_tokens": message.message_tokens + message.answer_tokens,
    }


def _parameters(app: App) -> dict[str, Any]:
    off = {"enabled": False}
    return {
        "opening_statement": app.features.get("opening_statement"),
        "suggested_questions": app.features.get("suggested_questions", []),
        **{name: app.features.get(name, off) for name in _FEATURES},
        "user_input_form": user_input_form(app.variables),
        "sensitive_word_avoidance": app.features.get("sensitive_word_avoidance", off),
        "file_upload": app.features.get("file_upload", {}),
        "system_parameters": {
            "image_file_size_limit": 10,
            "video_file_size_limit": 100,
            "audio_file_size_limit": 50,
            "file_size_limit": 15,
            "workflow_file_upload_limit": 10,
        },
    }


_FEATURES = (
    "suggested_questions_after_answer",
    "speech_to_text",
    "text_to_speech",
    "retriever_resource",
    "annotation_reply",
    "more_like_this",
)


def _site(app: App) -> dict[str, Any]:
    return {
        "title": app.name,
        "chat_color_theme": None,
        "chat_color_theme_inverted": False,
        "icon_type": app.icon_type,
        "icon": app.icon,
        "icon_background": app.icon_background,
        "description": None,
        "copyright": None,
        "privacy_policy": None,
        "input_placeholder": None,
        "custom_disclaimer": "",
        "default_language": "en-US",
        "show_workflow_steps": True,
        "use_icon_as_answer_icon": False,
        "icon_url": None,
    }
