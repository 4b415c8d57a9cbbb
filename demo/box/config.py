"""What can be set: the limits that Dify takes from its environment, and which Dify the box imitates."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Dify's limits with Dify's defaults. Times are seconds; a count of 0 means unlimited."""

    plugin_seconds: float = field(default=600, metadata={"help": "total time of one plugin invocation"})
    plugin_idle_seconds: float = field(default=600, metadata={"help": "longest silence within one plugin invocation"})
    plugin_silence_seconds: float = field(default=120, metadata={"help": "kill a plugin process silent this long"})
    plugin_restart_seconds: float = field(default=5, metadata={"help": "restart a dead plugin process after this"})
    backwards_seconds: float = field(default=240, metadata={"help": "longest silence of a tool that a plugin calls"})
    workflow_seconds: int = field(default=1200, metadata={"help": "workflow time, looked at whenever a node ends"})
    workflow_steps: int = field(default=500, metadata={"help": "most node executions in one workflow run"})
    app_seconds: float = field(default=1200, metadata={"help": "total time of one run"})
    ping_seconds: float = field(default=10, metadata={"help": "time between two pings of a working run"})
    stream_idle_seconds: float = field(default=300, metadata={"help": "end a stream that was silent this long"})
    max_active_requests: int = field(default=0, metadata={"help": "an app's concurrent requests, then 429"})
    connections: int = field(default=0, metadata={"help": "connections taken at once, idle ones too; Dify's own is 10"})
    form_hour_seconds: float = field(default=3600, metadata={"help": "an hour of the time that a form is given"})
    form_check_seconds: float = field(default=60, metadata={"help": "time between two looks for forms out of time"})
    form_seconds: float = field(default=604_800, metadata={"help": "end the run of a form that waits this long"})
    worker_slots: int = field(default=0, metadata={"help": "streaming runs at once; the others wait in silence"})


@dataclass(frozen=True, slots=True)
class Imitation:
    """Which Dify the box imitates. The defaults are 1.16's ways; each switch brings back an older one."""

    legacy_order: bool = field(default=False, metadata={"help": "workflow_finished before message_end (1.4.2)"})
    raw_parameters: bool = field(default=False, metadata={"help": "leave {{#...#}} in model parameters (before 1.14)"})
    no_app_id: bool = field(default=False, metadata={"help": "do not tell the plugin the app's id (before 1.16)"})
    no_end_users: bool = field(default=False, metadata={"help": "no GET /v1/end-users (before 1.13)"})
    hold_request_slot: bool = field(
        default=False, metadata={"help": "a stream counts against --max-active-requests until it ends (before 1.13)"}
    )


@dataclass(frozen=True, slots=True)
class AppSource:
    """An app export and the service API key that opens it."""

    path: Path
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """Dify's own plugin daemon: its URL, its SERVER_KEY, and the workspace that the plugin is installed in."""

    url: str
    key: str = field(repr=False)
    tenant: str


@dataclass(frozen=True, slots=True)
class BoxConfig:
    """Everything a box needs to start."""

    apps: tuple[AppSource, ...]
    plugin_folder: Path
    credentials_file: Path | None = None
    daemon: DaemonAddress | None = None
    tools_plugin: Path | None = None
    workspace: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    limits: Limits = field(default_factory=Limits)
    imitation: Imitation = field(default_factory=Imitation)
