"""The bridge's configuration: one TOML file, checked as it is read.

host = "127.0.0.1"
port = 8765
bridge_url = "http://host.docker.internal:8765"

[tokens]                        # only hashes are kept: `clawback token` makes a token and prints both
client = "sha256:..."
plugin = "sha256:..."
executor = "sha256:..."
operator = "sha256:..."         # who may approve and deny calls

[[apps]]
model = "assistant"             # the model id that clients see
base_url = "http://127.0.0.1/v1"
api_key = "app-..."             # or api_key_env = "DIFY_APP_KEY"
"""

import ipaddress
import os
import re
import tomllib
from collections import Counter
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from tools.tokens import PREFIX

_TABLE = re.compile(r"\s*\[+\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*[\"']?([\w-]+)[\"']?\s*=")


class ConfigError(Exception):
    """The configuration cannot be used; the text names the key and what it should be."""


class _Section(BaseModel):
    # The sentence below each key is what the reference says of it.
    model_config = ConfigDict(extra="forbid")


class Token(StrEnum):
    """What a request can show. The configuration holds the hashes of all but the last three; all but the last are sent
    as bearer tokens."""

    CLIENT = "client"
    PLUGIN = "plugin"
    EXECUTOR = "executor"
    OPERATOR = "operator"
    METRICS = "metrics"
    MCP = "mcp"
    """The bearer token of an MCP client, which is in the store alone."""
    LOCAL = "local"
    """The bearer token that a running bridge leaves in its data folder, for commands on its own machine."""
    LOGIN = "login"
    """The cookie of somebody who has logged in to the web page with the operator's token."""


class Tokens(_Section):
    """Hashes of the bearer tokens, one an audience. An audience without a hash is refused."""

    client: str = ""
    """The hash of the token that clients such as OpenClaw send."""
    plugin: str = ""
    """The hash of the Bridge token in the plugin's form in Dify."""
    executor: str = ""
    """The hash of the token that executors send."""
    operator: str = ""
    """The hash of the token for people who watch runs and approve or deny calls."""
    metrics: str = ""
    """The hash of the token that Prometheus sends. It opens only /metrics, which the operator token opens too."""
    _local: str = PrivateAttr("")

    def admit_local(self, hashed: str) -> None:
        """Let commands on this machine in, with a token that the running bridge made for them; no file can set it."""
        self._local = hashed

    def hash_of(self, audience: str) -> str:
        """Return the hash of the token of one audience, or of `local`; empty where there is none."""
        return self._local if audience == "local" else str(getattr(self, audience, ""))

    @field_validator("client", "plugin", "executor", "operator", "metrics")
    @classmethod
    def _is_hash(cls, value: str) -> str:
        return checked_hash(value) if value else value


def checked_hash(value: str) -> str:
    """Return the hash of a token. Raises ValueError for anything else, which may be the token."""
    if not (value.startswith(PREFIX) and len(value) == len(PREFIX) + 64):
        raise ValueError("is not a hash; `clawback token` prints one (sha256: and 64 hex digits)")
    return value


class Plugin(_Section):
    """A further token of the plugin's: for another workspace or Dify, or to follow one that was lost."""

    name: str = Field(min_length=1, max_length=64)
    """A name by which you recognise the token."""
    token: str
    """The hash of the Bridge token in the plugin's form in Dify."""
    apps: list[str] = Field(default_factory=list)
    """The models whose runs this token opens. Default: all models."""
    executors: bool = False
    """If `apps` is set: whether executors also run calls of nodes that belong to no client's run."""

    @field_validator("token")
    @classmethod
    def _is_hash(cls, value: str) -> str:
        return checked_hash(value)

    @property
    def opens_all(self) -> bool:
        """Whether it opens all runs."""
        return not self.apps

    def opens(self, model: str, direction: str) -> bool:
        """Whether it opens the runs of this model and this direction."""
        named = model in self.apps or model.rpartition("/")[0] in self.apps
        return self.opens_all or (named if direction == "endpoint" else self.executors)


Source = Literal["query", "system", "transcript", "messages", "user"]
"""What of a conversation a variable of an app can take."""


class App(_Section):
    """One Dify app, shown to clients as the model `model`."""

    model: str = Field(min_length=1, max_length=128)
    """The model id that clients see."""
    aliases: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(default_factory=list)
    """Other names that clients may use for this model, such as `claude-*`, where `*` matches any characters. An
    exact model id wins over aliases; if several apps have a matching alias, the first app wins."""
    labels: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]] = Field(default_factory=list)
    """Labels of LLM nodes (`callback_label` in the node's form). Each label adds a model MODEL/LABEL. Requests to
    it offer the client's tools only to nodes with that label."""
    base_url: str = Field(pattern=r"^https?://")
    """The address of Dify's service API, as the app's API Access page shows it. It usually ends in /v1."""
    api_key: SecretStr = SecretStr("")
    """An API key of the app, from the app's API Access page."""
    api_key_env: str | None = None
    """The environment variable that holds the API key, instead of `api_key`."""
    description: str = ""
    """A description for clients that list the models."""
    context_window: int = Field(default=128_000, ge=1)
    """The size of the app's context window in tokens. Clients use it to decide when to compact their history."""
    max_output_tokens: int = Field(default=8_192, ge=1)
    """The largest number of tokens in an answer. If a client asks for more, the bridge uses this limit."""
    inputs: dict[str, Any] = Field(default_factory=dict)
    """Values for the variables of the app's Start node, sent with every run."""
    find_run: Literal["user", "marker"] = "user"
    """How the plugin finds the client's run. `user` uses Dify's end user. `marker` also writes a marker into the
    query or into `marker_input`. Chat, agent and completion apps always use the marker, because Dify does not tell
    the plugin their end users."""
    marker_input: str | None = None
    """The Start node's variable for the marker. Set it to keep the marker out of the query."""
    kind: Literal["auto", "chatflow", "workflow", "chat", "agent", "completion"] = "auto"
    """The kind of the app in Dify (`completion` is a text generator). `auto` asks Dify."""
    input_map: dict[str, Source] = Field(default_factory=dict)
    """What the variables of the Start node receive: `query` (the user's last message), `system` (the system
    messages), `transcript` (the conversation as text), `messages` (the conversation as JSON) or `user` (the
    request's `user`). Without it, a workflow or text generator receives the query in the variable named query,
    question, input, text, prompt or message, or in its only text variable."""
    output: str | None = None
    """The workflow's output that is the answer; it is sent when the workflow ends. Without it, the answer is the
    text that the workflow streams. If it streams none, the answer is the output named answer, text, output or
    result, or the only output."""
    tools: Literal["client", "client+executors"] = "client"
    """Which tools the app's nodes may use: only the client's, or also those of executors and of Dify
    (`[[dify_tools]]`). Clients do not see the calls to executors and Dify, but every client of the app can cause
    them."""
    conversation: Literal["continue", "new"] = "continue"
    """`continue` keeps a client's session in one Dify conversation. `new` starts a Dify conversation for each turn."""
    auxiliary: str | None = None
    """The model for OpenClaw's own calls, such as summaries and heartbeats. Without it they use this app, in
    separate conversations."""
    export: Path | None = None
    """The app's DSL file, exported from Dify. With it, the page draws all nodes and edges. Without it, the page
    draws only the nodes that run, since Dify's events report no others."""
    guard_text: bool | Literal["calls"] = True
    """Whether to disarm text that a client would run as a tool call although the model made no such call. `true`
    also disarms text that OpenClaw would obey, such as a `MEDIA:` line or the answer `NO_REPLY`. `calls` leaves
    such text unchanged."""
    reasoning: Literal["separate", "tags"] = "separate"
    """`separate` sends the model's reasoning as `reasoning_content`. `tags` leaves it in the answer, in think tags."""

    human_input: str = Field(default="page", pattern=r"^(page|client:[a-zA-Z0-9_.-]{1,128})$")
    """Who answers the forms of Human Input nodes. `page`: a person on the bridge's page or with its commands.
    `client:TOOL`: the client's user, whom the client asks with its tool TOOL; if the client has no such tool, as
    with `page`."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """How many requests per minute all clients together may send."""
    open_tickets: int | None = Field(default=None, ge=1)
    """How many tickets of the app's runs may be open at once. At this number, the bridge starts no new turn. A turn
    that runs counts as a ticket."""
    tokens_per_day: int | None = Field(default=None, ge=1)
    """How many upstream tokens the app's runs may use per day (UTC)."""

    _label: str = PrivateAttr("")

    @property
    def label(self) -> str:
        """The label of the nodes that this model reaches, empty for all."""
        return self._label

    def labelled(self) -> "list[App]":
        """Return the app once for each of its labels."""
        return [self._with_label(label) for label in self.labels]

    def _with_label(self, label: str) -> "App":
        model, auxiliary = f"{self.model}/{label}", self.auxiliary or self.model
        app = self.model_copy(update={"model": model, "aliases": [], "labels": [], "auxiliary": auxiliary})
        app._label = label
        return app

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.api_key_env:
            value = os.environ.get(self.api_key_env, "")
            if not value:
                raise ValueError(f"api_key_env names {self.api_key_env}, which is not set")
            self.api_key = SecretStr(value)
        if not self.api_key.get_secret_value():
            raise ValueError("api_key or api_key_env is missing: it stands in Dify under the app's API Access")
        return self


class DifyTools(_Section):
    """An endpoint of Clawback Tools, through which the bridge runs tools that are picked in Dify."""

    name: str = Field(default="dify", min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    """The name of the executor that runs these tools, for policies and on the page."""
    url: str = Field(pattern=r"^https?://")
    """The endpoint's address without a path after it, as the endpoint's page in Dify shows it."""
    token: SecretStr = SecretStr("")
    """The token from the endpoint's settings."""
    token_env: str | None = None
    """The environment variable that holds the token, instead of `token`."""
    retry: dict[str, Literal["never", "safe"]] = Field(default_factory=dict)
    """Which tools may run again if nobody knows whether a call ran. Set `safe` for tools such as searches. All
    others are `never`: such a call waits for a person. The key `*` sets the value for all tools that are not named."""
    concurrency: int = Field(default=4, ge=1, le=100)
    """How many calls run at once. Each uses one connection of Dify's."""

    @model_validator(mode="after")
    def _has_token(self) -> Self:
        if self.token_env:
            value = os.environ.get(self.token_env, "")
            if not value:
                raise ValueError(f"token_env names {self.token_env}, which is not set")
            self.token = SecretStr(value)
        if not self.token.get_secret_value():
            raise ValueError("token or token_env is missing: it stands in the settings of the endpoint in Dify")
        return self

    def runs_once(self, tool: str) -> bool:
        """Say whether a call of this tool must not run again for a guess."""
        return self.retry.get(tool, self.retry.get("*", "never")) == "never"


class Limits(_Section):
    """Every wait and every size has an end. Seconds and bytes."""

    keepalive_seconds: float = Field(default=10, gt=0, le=60)
    """The longest silence in a streamed response. After it, the bridge sends an empty chunk."""
    dify_streams: int = Field(default=8, ge=1)
    """How many runs this bridge keeps open at one Dify; further runs wait. Each uses a connection of Dify's API,
    which allows 10 by default (SERVER_WORKER_CONNECTIONS). Leave at least one free for questions about end users."""
    first_event_seconds: float = Field(default=2, ge=0, le=30)
    """How long a streamed response waits for the run to start, so that an early failure can still have an error
    status."""
    grace_seconds: float = Field(default=30, ge=0)
    """How long a run continues after its client disconnects, during an answer or with calls to run."""
    abandoned_seconds: float = Field(default=3_600, gt=0)
    """How long a client may leave a ticket unanswered. After that, the run ends its workflow in Dify, and the lists
    no longer show the ticket. The bridge accepts results until `ticket_seconds`."""
    ticket_seconds: float = Field(default=86_400, gt=0)
    """How long a ticket waits for its results."""
    run_seconds: float = Field(default=7 * 86_400, gt=0)
    """How long a run may last in total, including the time in which it is suspended."""
    boundary_seconds: float = Field(default=0.3, ge=0, le=5)
    """How long a response waits for text that Dify still holds back, before the response ends with the model's
    calls."""
    approval_seconds: float = Field(default=3_600, gt=0)
    """How long a call waits for a person's approval. After that, the call expires and does not run."""
    form_hold_seconds: float = Field(default=300, ge=0)
    """How long a response stays open while a person answers the app's form. After that, the bridge asks the client
    to repeat the request. The run continues when the form is answered."""
    lease_seconds: float = Field(default=60, ge=1)
    """How long an executor may hold a call without a heartbeat."""
    executor_seconds: float = Field(default=60, ge=1)
    """How long an executor counts as present after its last heartbeat."""
    calls_per_run: int = Field(default=500, ge=1)
    """How many calls a run may make."""
    identical_calls: int = Field(default=10, ge=1)
    """How often a run may repeat a call with the same arguments and result. After that, the bridge denies the call
    and tells the model to do something else."""
    handouts: int = Field(default=5, ge=1)
    """How often the bridge hands out a call again after losing the executor that had it."""
    silent_seconds: float = Field(default=15, ge=1)
    """How long the plugin may not ask for its ticket. After that, the bridge runs the workflow again as soon as the
    results have arrived. While its model thinks, the plugin says this often that it is there; after three times
    without, the bridge takes it for killed."""
    dify_silent_seconds: float = Field(default=45, ge=1)
    """How long Dify may report nothing about an LLM node whose invocation has ended. After that, the bridge assumes
    that Dify's worker was killed, and runs the workflow again. It does not do so while any other node runs, because
    that node's work could happen twice."""
    dify_workflow_seconds: float = Field(default=1_200, ge=1)
    """How long a workflow may last in Dify; set it to Dify's WORKFLOW_MAX_EXECUTION_TIME. A run that reports
    nothing after this time fails."""
    forsaken_seconds: float = Field(default=90, ge=15)
    """How long an executors' run continues after the plugin last asked for its ticket (it asks every ten seconds),
    and an MCP client's call after its bridge was killed."""
    sweep_seconds: float = Field(default=5, gt=0, le=60)
    """How often the bridge checks what has reached its time limit."""
    request_seconds: int = Field(default=75, ge=1)
    """How long a request may take to arrive, and how long an idle connection stays open."""
    stalled_seconds: float = Field(default=120, ge=1)
    """How long a client may read nothing of its response before the bridge closes the connection (on Linux)."""
    request_bytes: int = Field(default=20 * 1024 * 1024, ge=1024)
    """The largest request body."""
    messages: int = Field(default=10_000, ge=1)
    """How many messages a request may contain. A message with several parts or calls counts once for each of them."""
    tools: int = Field(default=1_000, ge=1)
    """How many tools a request or an executor may offer."""
    result_bytes: int = Field(default=1024 * 1024, ge=1024)
    """The largest result of one call."""
    image_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """The largest total size of the images in one result."""
    result_characters: int = Field(default=100_000, ge=1000)
    """How many characters of an executor's result the model receives. The bridge cuts the middle out of a longer
    result."""
    stop_seconds: int = Field(default=20, ge=0)
    """How long a stopping bridge waits for open responses to finish."""
    keep_days: float = Field(default=30, gt=0)
    """How long the bridge keeps finished runs."""


class Page(_Section):
    """The web page, which the bridge serves at `/`."""

    hosts: list[str] = Field(default_factory=list)
    """Additional host names for the page. Browsers can always use this machine's names, any IP address and the host
    of `bridge_url`."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """The page's address for people, such as https://clawback.example.org. Notifications link to it."""
    login_hours: float = Field(default=12, gt=0, le=24 * 30)
    """How long a login lasts."""


class Notify(_Section):
    """Somebody who is told when a call or a form waits for a person, or a run fails; of content only with
    `log_content`."""

    kind: Literal["webhook", "ntfy", "command"]
    """`webhook` sends `{"text": ...}`, which Slack, Mattermost and others accept. `ntfy` sends text to an ntfy
    topic. `command` runs a program with a JSON object on its standard input."""
    url: str = Field(default="", pattern=r"^(https?://.+)?$")
    """The address of the webhook or of the ntfy topic, such as https://ntfy.sh/my-topic."""
    token: SecretStr = SecretStr("")
    """A bearer token to send, if the address requires one."""
    command: list[str] = Field(default_factory=list)
    """The program and its arguments. It runs without a shell and must end within ten seconds."""
    on: list[Literal["approval", "form", "failed"]] = ["approval", "form", "failed"]
    """When to notify: `approval`, a call waits for a person; `form`, a form of a Human Input node waits; `failed`,
    a run failed."""

    @model_validator(mode="after")
    def _has_where(self) -> Self:
        wanted, other = ("command", "url") if self.kind == "command" else ("url", "command")
        if not getattr(self, wanted):
            raise ValueError(f"{wanted} is missing, which a {self.kind} needs")
        if getattr(self, other):
            raise ValueError(f"{other} does not belong to a {self.kind}")
        return self


class Traces(_Section):
    """Where OpenTelemetry's traces go. They need the extra `traces`."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """The collector's OTLP/HTTP address, such as http://127.0.0.1:4318. Without it, the bridge sends no traces."""
    service_name: str = Field(default="clawback", min_length=1)
    """The bridge's service name in the traces."""

    @field_validator("endpoint")
    @classmethod
    def _can_be_made(cls, value: str | None) -> str | None:
        parts = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
        if value and not all(map(_is_installed, parts)):
            raise ValueError("what makes traces is not installed: pip install 'clawback[traces]', or take the key out")
        return value


class Config(_Section):
    """The whole configuration."""

    host: str = "127.0.0.1"
    """The address to listen on. An address that other machines can reach requires the client and plugin tokens."""
    port: int = Field(default=8765, ge=0, le=65535)
    """The port to listen on; 0 means any free port."""
    bridge_url: str | None = Field(default=None, pattern=r"^https?://")
    """The bridge's address for Dify's plugin daemon: the Bridge URL in the plugin's form."""
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("clawback")))
    """The folder for the store. Default: the platform's folder for application data."""
    database_url: str | None = None
    """The SQLAlchemy URL of a PostgreSQL database, which several bridges may share. Default: SQLite in `data_dir`."""
    durability: Literal["power", "process"] = "power"
    """What the SQLite store survives. `power`: a loss of power; each step waits for the disk. `process`: only the
    end of the bridge's process."""
    database_connections: int = Field(default=30, ge=1)
    """How many connections to PostgreSQL the bridge may open. A waiting client or plugin uses none."""
    wakeups_url: str | None = Field(default=None, pattern=r"^(rediss?(\+sentinel)?|unix|postgres(ql)?)://")
    """How bridges that share a store wake each other: the URL of a Redis; of Redis Sentinels, as
    `redis+sentinel://a:26379,b:26379/NAME` (`rediss` for TLS; `sentinel_username` and `sentinel_password` log in to
    the Sentinels); or of PostgreSQL itself, if `database_url` goes through PgBouncer. Default: notifications of the
    PostgreSQL in `database_url`."""
    tokens: Tokens = Tokens()
    plugins: list[Plugin] = Field(default_factory=list)
    apps: list[App] = Field(default_factory=list)
    dify_tools: list[DifyTools] = Field(default_factory=list)
    limits: Limits = Limits()
    traces: Traces = Traces()
    policy: Path | None = None
    """The policy file. It decides which calls run, which wait for a person, and which never run."""
    cors_origins: list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]] = Field(default_factory=list)
    """The origins whose web pages may use the endpoint from a browser, such as `http://localhost:3000`. `*` allows
    all."""
    log_content: bool = False
    """Whether the page shows requests, arguments, results and answers, and the audit trail stores arguments and
    people's reasons."""
    page: Page = Page()
    notify: list[Notify] = Field(default_factory=list)
    """Whom to tell when a call or a form waits for a person, or a run fails."""
    _path: Path | None = PrivateAttr(None)

    @property
    def path(self) -> Path | None:
        """The file that this was read from, where there is one."""
        return self._path

    def remember(self, path: Path) -> None:
        """Note the file that this was read from."""
        self._path = path

    @field_validator("database_url", "wakeups_url")
    @classmethod
    def _has_driver(cls, value: str | None) -> str | None:
        for scheme, module, extra in (("postgres", "psycopg", "postgresql"), ("redis", "redis", "redis")):
            if value and value.startswith(scheme) and not _is_installed(module):
                raise ValueError(f"needs a driver that is not installed: install clawback[{extra}]")
        return value

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        self.apps = [each for app in self.apps if not app.label for each in (app, *app.labelled())]
        models = Counter(app.model for app in self.apps)
        for model, count in models.items():
            if count > 1:
                raise ValueError(f"two apps are named {model!r}: every app needs a model id of its own")
        executors = Counter(tools.name for tools in self.dify_tools)
        for name, count in executors.items():
            if count > 1:
                raise ValueError(f"two of dify_tools are named {name!r}: each needs a name of its own")
        for app in self.apps:
            if app.auxiliary is not None and app.auxiliary not in models:
                raise ValueError(f"auxiliary of {app.model!r} names {app.auxiliary!r}, which is the model of no app")
        for plugin in self.plugins:
            if unknown := [model for model in plugin.apps if model not in models]:
                raise ValueError(
                    f"apps of the plugin {plugin.name!r} names {unknown[0]!r}, which is the model of no app"
                )
        if not is_loopback(self.host) and not (self.tokens.client and self.has_plugin):
            raise ValueError(
                f"host {self.host} is reachable from other machines, and a token is missing: set tokens.client and "
                "tokens.plugin (`clawback token` makes them), or bind to 127.0.0.1"
            )
        return self

    @property
    def has_plugin(self) -> bool:
        """Whether there is a token that a plugin can show."""
        return bool(self.tokens.plugin or self.plugins)

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store: SQLite in the data folder unless told otherwise."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'bridge.sqlite3').expanduser()}"

    @property
    def is_shared(self) -> bool:
        """Whether other bridges may have the same store."""
        return bool(self.database_url and self.database_url.startswith("postgres"))

    def app(self, model: str) -> App | None:
        """Return the app that is shown as `model`."""
        return next((app for app in self.apps if app.model == model), None)

    def app_called(self, name: str) -> App | None:
        """Return the app that clients may ask for by this name."""
        called = (app for app in self.apps if any(fnmatchcase(name, alias) for alias in app.aliases))
        return self.app(name) or next(called, None)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_path() -> Path:
    """Return where the configuration lives unless told otherwise."""
    return Path(platformdirs.user_config_dir("clawback")) / "clawback.toml"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def load(path: Path) -> Config:
    """Read and check the file. Raises ConfigError whose text names the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration at {path}. Run `clawback init`, which writes one, or name another (--config)"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    config = parse(values, str(path), text)
    config.remember(path)
    return config


def parse(values: dict[str, Any], source: str = "configuration", text: str = "") -> Config:
    """Check `values`, which were read from `text`. Raises ConfigError; secrets are never part of its message."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [_problem(each["type"], each["loc"], each["msg"], text) for each in _details(error)]
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None


def _details(error: ValidationError) -> list[Any]:
    return list(error.errors(include_input=False, include_url=False))


def _problem(kind: str, place: tuple[str | int, ...], said: str, text: str) -> str:
    line = _line_of(place, text)
    where = f" (line {line})" if line else ""
    if kind != "extra_forbidden":
        return f"{'.'.join(map(str, place)) or 'the file'}: {said}{where}"
    *section, name = place
    near = get_close_matches(str(name), _keys_of(section), 1)
    inside = f" in {'.'.join(map(str, section))}" if section else ""
    return f"unknown key {name}{inside}{f', did you mean {near[0]}' if near else ''}{where}"


def _keys_of(section: list[str | int]) -> list[str]:
    """Return the keys that there are in a section."""
    model: Any = Config
    for part in section:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = next((each for each in (annotation, *get_args(annotation)) if hasattr(each, "model_fields")), None)
            if model is None:
                return []
    return list(model.model_fields)


def _line_of(place: tuple[str | int, ...], text: str) -> int | None:
    """Return the line that sets a key, counted from 1, where it is written in the ordinary way."""
    wanted = [part for part in place if isinstance(part, str)]
    number = next((part for part in place if isinstance(part, int)), 0)
    header, tables = "", Counter[str]()
    for at, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            header = found[1]
            tables[header] += 1
        elif found := _KEY.match(line):
            here = [*filter(None, header.split(".")), found[1]]
            if here == wanted and (not header or tables[header] == number + 1):
                return at
    return None
