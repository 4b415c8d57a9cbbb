"""What Dify itself says about each app: of which kind it is, which variables it takes, whether it takes images.

It is asked when it is first needed, and again every few minutes. What Dify does not say is not known, and no error.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.config import App, Config
from bridge.dify import AppParameters, DifyClient, InputField
from bridge.dify.errors import DifyError

log = logging.getLogger("clawback.runs")

Kind = Literal["chatflow", "workflow", "chat", "agent", "completion"]

_KINDS: dict[str, Kind] = {
    "advanced-chat": "chatflow",
    "": "chatflow",
    "workflow": "workflow",
    "chat": "chat",
    "agent-chat": "agent",
    "agent": "agent",
    "completion": "completion",
}
STOPPED_AT = {"workflow": "workflows/tasks", "completion": "completion-messages"}
"""Where a run of an app of this kind is stopped, other than one of a chat's."""
_KNOWN_SECONDS = 300.0
_UNKNOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class FileRules:
    """How an app takes files of a kind: as uploads, as URLs, how many, and of how many bytes at most.

    `limit` is Dify's setting of these, `endings` are those of `custom` files' names.
    """

    uploads: bool
    urls: bool
    count: int
    most_bytes: int
    limit: str
    endings: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AppFacts:
    """One app. `inputs` are the variables of its Start node, None where Dify did not say.

    `files` are the kinds of files that it takes: image, document, audio, video, custom. `opening_statement` and
    `suggested_questions` are what Dify's own chat begins with.
    """

    kind: Kind
    inputs: tuple[InputField, ...] | None = None
    files: Mapping[str, FileRules] = field(default_factory=dict)
    opening_statement: str = ""
    suggested_questions: tuple[str, ...] = ()

    @property
    def names_users(self) -> bool:
        """Whether Dify tells the plugin for whom it calls a model of the app.

        Source: `core/app/app_config/easy_ui_based_app/model_config/converter.py` of Dify 1.16.
        """
        return self.kind not in {"chat", "agent", "completion"}


def kind_of(mode: str) -> Kind | None:
    """Return the kind of an app of this mode, None where it is not served. Old versions of Dify name no mode."""
    return _KINDS.get(mode)


class AppCatalogue:
    """Asks Dify, and keeps what it said for a while. `client` gives an app's client."""

    def __init__(self, client: Callable[[str], DifyClient]) -> None:
        self._client = client
        self._kept: dict[str, tuple[float, AppFacts]] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Ask again next time."""
        self._kept.clear()

    def of(self, app: App) -> AppFacts:
        """Return what is known about the app, which may be what its configuration says and no more."""
        until, facts = self._kept.get(app.model, (0.0, None))
        if facts is None or time.monotonic() > until:
            with self._lock:
                until, facts = self._kept.get(app.model, (0.0, None))
                if facts is None or time.monotonic() > until:
                    facts, seconds = self._asked(app)
                    self._kept[app.model] = (time.monotonic() + seconds, facts)
        return facts

    def _asked(self, app: App) -> tuple[AppFacts, float]:
        client = self._client(app.model)
        try:
            kind = _KINDS.get(client.info().mode, "chatflow") if app.kind == "auto" else app.kind
            parameters = client.parameters()
        except DifyError:
            return AppFacts("chatflow" if app.kind == "auto" else app.kind), _UNKNOWN_SECONDS
        opening, questions = (parameters.raw.get(key) for key in ("opening_statement", "suggested_questions"))
        asked = tuple(map(str, questions)) if isinstance(questions, list) else ()
        return AppFacts(kind, parameters.inputs, _file_rules(parameters), str(opening or ""), asked), _KNOWN_SECONDS


class Apps:
    """The apps of the configuration: a client for each, and what Dify says of them."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._clients: dict[str, DifyClient] = {}
        self.catalogue = AppCatalogue(self.client)
        self.reconfigure()

    def reconfigure(self) -> None:
        """Take the apps that the configuration holds now. The client of an app that left is kept for its runs."""
        self.catalogue.forget()
        for app in self._config.apps:
            self._clients[app.model] = DifyClient(app.base_url, app.api_key.get_secret_value())

    def get(self, model: str) -> App | None:
        """Return the app that is shown as `model`."""
        return self._config.app(model)

    def client(self, model: str) -> DifyClient:
        """Return the service API client of the app that is shown as `model`."""
        return self._clients[model]

    def stop(self, model: str, task_id: str, user: str) -> None:
        """End a workflow run, if it is known by now. Dify may know nothing of it any more, which is no matter."""
        if not task_id:
            return
        app = self.get(model)
        try:
            kind = self.catalogue.of(app).kind if app else "chatflow"
            self.client(model).stop(task_id, user, path=STOPPED_AT.get(kind, "chat-messages"))
        except DifyError as error:
            log.info("Dify did not stop a task", extra={"model": model, "error": str(error)})

    def is_running(self, model: str, workflow_run_id: str) -> bool:
        """Say whether nodes of a workflow run may yet begin, as far as Dify can tell."""
        try:
            return self.client(model).is_running(workflow_run_id)
        except DifyError as error:
            log.info("Dify did not say whether a workflow runs", extra={"model": model, "error": str(error)})
            return False


_SIZES = {
    "image": ("image_file_size_limit", 10, "UPLOAD_IMAGE_FILE_SIZE_LIMIT"),
    "audio": ("audio_file_size_limit", 50, "UPLOAD_AUDIO_FILE_SIZE_LIMIT"),
    "video": ("video_file_size_limit", 100, "UPLOAD_VIDEO_FILE_SIZE_LIMIT"),
}
_SIZE = ("file_size_limit", 15, "UPLOAD_FILE_SIZE_LIMIT")


def _file_rules(parameters: AppParameters) -> dict[str, FileRules]:
    """Return how the app takes files, by the kinds that it takes.

    Source: `core/app/app_config/features/file_upload/manager.py` of Dify 1.16; before 0.15 only `image` was said.
    """
    upload = _object(parameters.raw.get("file_upload"))
    image = _object(upload.get("image"))
    kinds = upload.get("allowed_file_types")
    if isinstance(kinds, list):
        taken, rules = [str(kind) for kind in kinds if upload.get("enabled") is True], upload
    else:
        taken, rules = ["image"] if image.get("enabled") is True else [], image
    ways = rules.get("allowed_file_upload_methods") or image.get("transfer_methods") or ["local_file", "remote_url"]
    limits = _object(parameters.raw.get("system_parameters"))
    count, endings = rules.get("number_limits"), rules.get("allowed_file_extensions")
    known = {}
    for kind in taken:
        name, usual, setting = _SIZES.get(kind, _SIZE)
        megabytes = limits.get(name)
        known[kind] = FileRules(
            uploads="local_file" in ways,
            urls="remote_url" in ways,
            count=count if isinstance(count, int) and count > 0 else 3,
            most_bytes=round((megabytes if isinstance(megabytes, int | float) else usual) * 1024 * 1024),
            limit=setting,
            endings=frozenset(str(each).lower() for each in endings or ()) if kind == "custom" else frozenset(),
        )
    return known


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
