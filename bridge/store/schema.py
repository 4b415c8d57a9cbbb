"""The tables. Times are seconds since the epoch, JSON is text.

sessions ──< runs ──< segments          what a client is told, one segment per HTTP response
   │          ├──< markers          what names its attempts inside texts
              ├──< nodes            the nodes of its workflow, as Dify told of them
              ├──< forms            those of its Human Input nodes
              ├──< model_calls      what its nodes asked of their models, as the plugin told of it
              │
              └──< invocations ──< tickets ──< calls ──< events      the audit trail of tickets and calls

   ├──< exchanges                   what was said last in a conversation
   └──< pieces                      what its requests hold, once each

executors    dify_schemas    logins    counted    clawback_store
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

sessions = Table(
    "sessions",
    metadata,
    Column("key", String(64), primary_key=True, doc="digest of the model and what identifies the client's session"),
    Column("model", String(128), nullable=False),
    Column("dify_user", String(64), nullable=False),
    Column("conversation_id", String(64), nullable=False, default=""),
    Column("updated_at", Float, nullable=False),
    Column("scope", String(64), nullable=True, doc="digest of the client's name for it, empty for none; null: of old"),
    Column("forgotten", Text, nullable=True, doc="query_digests of its conversation's runs of old, the newest first"),
)

# What was said last in each conversation, as bridge.runs.sessions compares it. All but the keys are digests.
exchanges = Table(
    "exchanges",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("session_key", String(64), nullable=False),
    Column("digest", String(64), nullable=False, doc="the user's words and the answer that was delivered to them"),
    Column("whole", String(64), nullable=False, doc="all that was said in the conversation up to then"),
    Column("inputs", String(64), nullable=False, doc="the values that the client gave for the app's variables"),
    Column("frame", String(64), nullable=False, doc="what else came with the words: the system prompt"),
    Column("updated_at", Float, nullable=False),
    Index("exchanges_by_digest", "digest"),
    Index("exchanges_by_session", "session_key", "id"),
    Index("exchanges_by_update", "updated_at"),
)

# The messages of a session's requests, and its lists of tools, as JSON: clients send all of them again each time.
pieces = Table(
    "pieces",
    metadata,
    Column("session_key", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, doc="counted in the session: a transcript that grows is one range"),
    Column("digest", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("updated_at", Float, nullable=False, doc="at most half a day before the last run that holds it began"),
    Index("pieces_by_digest", "session_key", "digest", unique=True),
    Index("pieces_by_update", "updated_at"),
)

# Versions before 0.2 recognised a client without a name by a digest of its whole transcript. Nothing is added here.
transcripts = Table(
    "transcripts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("session_key", String(64), nullable=False),
    Column("updated_at", Float, nullable=False),
)

# Dify passes a model plugin the UUID of the EndUser row; the service API says which `user` that is.
end_users = Table(
    "end_users",
    metadata,
    Column("uuid", String(64), primary_key=True),
    Column("dify_user", String(64), nullable=False),
    Column("updated_at", Float, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("session_key", String(64), nullable=False),
    Column("turn_key", String(64), nullable=False),
    Column("dify_user", String(64), nullable=False),
    Column("conversation_id", String(64), nullable=False, default=""),
    Column("query_digest", String(16), nullable=False),
    Column("auxiliary", String(32), nullable=True),
    Column("state", String(16), nullable=False, doc="running, suspended, finished, failed, cancelled"),
    Column("attempt", Integer, nullable=False, default=1, doc="how many Dify workflow runs this run has had"),
    Column("task_id", String(64), nullable=False, default=""),
    Column("workflow_run_id", String(64), nullable=False, default=""),
    Column("request", Text, nullable=False, doc="what started it, as runs.RunRequest; the numbers of its pieces"),
    Column("error", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("direction", String(16), nullable=False, default="endpoint", doc="endpoint, executor, mcp"),
    Column("began_at", Float, nullable=True, doc="when its attempt began; null: its workflow is over, or not known"),
    Column("request_key", String(64), nullable=True, doc="digest of the whole request that began it"),
    Column("idempotency", String(64), nullable=True, doc="digest of its Idempotency-Key and the whole request"),
    Column("version", Integer, nullable=False, server_default="0", doc="rises with each change of the run"),
    Column("client", String(64), nullable=False, server_default="default", doc="whose it is; executors' runs: empty"),
    Column("driven_at", Float, nullable=True, doc="when who drives its attempt last said so; see LEFT"),
    Index("runs_by_user", "dify_user", "state"),
    Index("runs_by_turn", "turn_key"),
    Index("runs_by_conversation", "conversation_id"),
    Index("runs_by_session", "session_key", "created_at"),
    Index("runs_by_update", "updated_at"),
    Index("runs_by_creation", "created_at", "id"),
    Index("runs_by_state", "state", "created_at", "id"),
    Index("runs_by_model", "model", "created_at", "id"),
    Index("runs_by_client", "client", "created_at", "id"),
    Index("runs_by_request", "request_key"),
    Index("runs_by_idempotency", "idempotency"),
)

# What names an attempt of a run inside texts. The secret itself is only in those.
markers = Table(
    "markers",
    metadata,
    Column("digest", String(64), primary_key=True, doc="of the secret that a marker holds"),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Index("markers_by_run", "run_id"),
)

segments = Table(
    "segments",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text, nullable=False, doc="as Dify streamed it, before the text guard"),
    Column("reasoning", Text, nullable=False, default=""),
    Column("ticket_id", String(64), nullable=True, doc="the ticket whose calls ended it"),
    Column("finish_reason", String(32), nullable=False),
    Column("usage", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("citations", Text, nullable=True, doc="JSON: titles and addresses of what the answer rests on"),
)

invocations = Table(
    "invocations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("successor", String(64), nullable=True, doc="the invocation of a later try that took over its rounds"),
    Column("state", String(16), nullable=False, doc="running, answered, failed"),
    Column("answer", Text, nullable=True),
    Column("error", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True, doc="null: it runs, or a version before 0.2 wrote it"),
    Index("invocations_by_run", "run_id", "created_at"),
)

tickets = Table(
    "tickets",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("invocation_id", ForeignKey("invocations.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("state", String(16), nullable=False, doc="open, resolved, expired, cancelled"),
    Column("content", Text, nullable=True),
    Column("reasoning", Text, nullable=True, doc="JSON: what the model thought, in its upstream's own field"),
    Column("shown", Text, nullable=False, default="", doc="what Dify was given of the round, which a replay repeats"),
    Column("segment", Integer, nullable=True, doc="the segment that delivered it to the client"),
    Column("reply", Text, nullable=True, doc="what the client's follow-up said besides the results"),
    Column("reason", Text, nullable=True),
    Column("request_id", String(128), nullable=True, doc="of the client's request that led to it"),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("tickets_by_run", "run_id", "created_at"),
    Index("tickets_by_state", "state", "expires_at"),
    # To delete an invocation, the database looks for its tickets.
    Index("tickets_by_invocation", "invocation_id"),
)

calls = Table(
    "calls",
    metadata,
    Column("id", String(40), primary_key=True, doc="the tool_call_id"),
    Column("ticket_id", ForeignKey("tickets.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", String(128), nullable=False, doc="as the model was offered the tool"),
    Column("tool", String(128), nullable=True, doc="what its executor calls the tool; null: the same"),
    Column(
        "place", String(128), nullable=True, doc="the executor's name, * for any; null: as the run's direction says"
    ),
    Column("arguments", Text, nullable=False),
    Column("output", Text, nullable=True),
    Column("is_error", Boolean, nullable=True),
    Column("images", Text, nullable=True, doc="the URLs of the result's images"),
    Column("digest", String(64), nullable=True, doc="of the result as it was sent, before it was shortened"),
    Column("resolved_at", Float, nullable=True),
    Column("state", String(20), nullable=False, doc="a CallState of tools.ticket_states"),
    Column("verdict", Text, nullable=False, default="", doc="which rule of the policy decided"),
    Column("asked", Text, nullable=True, doc="the model's own arguments, where a person changed them"),
    Column("decide_until", Float, nullable=True),
    Column("asked_for", Text, nullable=True, doc="JSON: for which executors a person is asked, and with which terms"),
    Column("granted", Text, nullable=True, doc="JSON: to which executors a person has granted it, and on which terms"),
    Column("lease", String(40), nullable=True, doc="the newest one"),
    Column("executor", String(40), nullable=True, doc="the id of the executor that has or had that lease"),
    Column("leased_until", Float, nullable=True),
    Column("handouts", Integer, nullable=False, default=0),
    Index("calls_by_ticket", "ticket_id", "position"),
    Index("calls_by_state", "state"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("ticket_id", String(64), nullable=False),
    Column("call_id", String(40), nullable=True),
    Column("actor", String(160), nullable=False, doc="plugin, client, bridge, operator NAME, executor NAME"),
    Column("event", String(20), nullable=False),
    Column("before", String(20), nullable=False),
    Column("after", String(20), nullable=False),
    Column("detail", Text, nullable=False, default="", doc="never content, unless log_content is on"),
    Index("events_by_ticket", "ticket_id", "id"),
    Index("events_by_run", "run_id", "id"),
)

executors = Table(
    "executors",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("tools", Text, nullable=False),
    Column("patterns", Text, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("registered_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("id", String(64), primary_key=True, doc="what clients know the response by"),
    Column("previous_id", String(64), nullable=True, doc="the response that this one continues"),
    Column("model", String(128), nullable=False),
    Column("run_id", String(40), nullable=False, doc="not a foreign key: a response may outlive its run"),
    Column("segment", Integer, nullable=False, doc="the segment of the run that it tells"),
    Column("request", Text, nullable=False, doc="what a response repeats of its request"),
    Column("input", Text, nullable=False, doc="the numbers of its input items, as Responses.input reads them"),
    Column("answer", Text, nullable=True, doc="the whole response, once it has ended"),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("client", String(64), nullable=False, server_default="default", doc="whose it is"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("execution_id", String(64), nullable=False, doc="Dify's id of this execution of the node"),
    Column("title", Text, nullable=False),
    Column("node_type", String(64), nullable=False, doc="Dify's word: llm, answer, if-else, ..."),
    Column("status", String(32), nullable=False, doc="running, succeeded, failed, exception, stopped"),
    Column("error", Text, nullable=True),
    Column("retries", Integer, nullable=False, default=0),
    Column("total_tokens", Integer, nullable=False, default=0),
    Column("price", String(32), nullable=False, default="", doc="a decimal number, as Dify counted it"),
    Column("currency", String(8), nullable=False, default=""),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    Column("node_id", String(64), nullable=True, doc="Dify's id of the node in the app; null: of old"),
    Index("nodes_by_run", "run_id", "attempt", "execution_id"),
)

# The forms with which Human Input nodes pause workflow runs.
forms = Table(
    "forms",
    metadata,
    Column("id", String(64), primary_key=True, doc="Dify's id of the form"),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("attempt", Integer, nullable=False, doc="the attempt that it paused"),
    Column("workflow_run_id", String(64), nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False, doc="of all that is asked: a rerun asks it again"),
    Column("successor", String(64), nullable=True, doc="the same form of a rerun, which took over its answer"),
    Column("definition", Text, nullable=False, doc="JSON: what is asked, as a Form of bridge.dify.forms"),
    Column("token", String(128), nullable=False, doc="opens it in Dify"),
    Column("state", String(16), nullable=False, doc="open, answered, submitted, expired, cancelled"),
    Column("action", String(64), nullable=True),
    Column("inputs", Text, nullable=True, doc="JSON: what was filled in"),
    Column("answered_by", String(160), nullable=True),
    Column("answered_at", Float, nullable=True),
    Column("ticket_id", String(64), nullable=True, doc="by which its client asks its user, and nobody else is asked"),
    Column("is_owed", Boolean, nullable=False, doc="whether the client was sent away before its run went on"),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("forms_by_run", "run_id", "created_at"),
    Index("forms_by_state", "state", "expires_at"),
)

model_calls = Table(
    "model_calls",
    metadata,
    Column("invocation_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, doc="counted in the invocation"),
    Column("run_id", String(40), nullable=False, doc="not a foreign key: bridges of before delete runs"),
    Column("round", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("prompt_tokens", Integer, nullable=True),
    Column("completion_tokens", Integer, nullable=True),
    Column("finish_reason", String(32), nullable=False, doc="empty: it failed"),
    Column("error", Text, nullable=True),
    Column("status", Integer, nullable=True, doc="of HTTP, where it was refused"),
    Column(
        "lesson", String(128), nullable=True, doc="what a refusal taught the plugin, or what an answered call left out"
    ),
    Column("request", Text, nullable=True, doc="JSON: what was sent; messages of the run's own request by digest"),
    Column("before", Integer, nullable=False, doc="so many messages before those of `request`"),
    Column("price", String(40), nullable=False, server_default="", doc="as 0.05 USD; empty: none is known"),
    Index("model_calls_by_run", "run_id", "at"),
)

# Clients with tokens of their own, beside the one of the configuration.
clients = Table(
    "clients",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("token_hash", String(80), nullable=False, unique=True),
    Column("apps", Text, nullable=False, server_default="[]", doc="JSON: the models that it may ask, empty for all"),
    Column("requests_per_minute", Integer, nullable=True),
    Column("open_tickets", Integer, nullable=True),
    Column("tokens_per_day", Integer, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Column("used_at", Float, nullable=True),
    Column("kind", String(16), nullable=True, doc="mcp: it asks /mcp; executor: it runs calls; null: it asks apps"),
    Column(
        "tools",
        Text,
        nullable=True,
        doc="JSON: patterns of tools: what it is offered or may offer; null: see ClientRow",
    ),
)

# How many of its tokens a client has used on each day (UTC).
spent = Table(
    "spent",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("day", Integer, primary_key=True, doc="days since the epoch"),
    Column("tokens", Integer, nullable=False),
)

# What the runs came to that began in a quarter of an hour and ended before `counted_until` below.
counted = Table(
    "counted",
    metadata,
    Column("quarter", Integer, primary_key=True, doc="quarters of an hour since the epoch"),
    Column("model", String(128), primary_key=True),
    Column("client", String(64), primary_key=True),
    Column("direction", String(16), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("runs", Integer, nullable=False),
    Column("seconds", Float, nullable=False, doc="that they lasted, together"),
    Column("tokens", BigInteger, nullable=False),
)

# Who is logged in to the web page. The id itself is only in the browser's cookie.
logins = Table(
    "logins",
    metadata,
    Column("digest", String(64), primary_key=True, doc="of the login's id"),
    Column("name", String(100), nullable=False, doc="who it is, in their own words: for the audit trail"),
    Column("token_hash", String(80), nullable=False, doc="of the operator token that it was opened with"),
    Column("expires_at", Float, nullable=False),
)

# What models are told of the tools of Dify, as `clawback dify-tools sync` has read it.
dify_schemas = Table(
    "dify_schemas",
    metadata,
    Column("executor", String(64), primary_key=True, doc="the name of its [[dify_tools]]"),
    Column("tool", String(500), primary_key=True, doc="JSON: type, provider and name in Dify"),
    Column("function", Text, nullable=False, doc="JSON: its description and parameters"),
)

# One row: what tells versions of Clawback apart, and whether anything can be written.
store = Table(
    "clawback_store",
    metadata,
    Column("version", Integer, nullable=False, doc="of the tables: bridge.store.upgrade"),
    Column("probed_at", Float, nullable=False, server_default="0", doc="when it was last tried whether it can"),
    Column("padding", Text, nullable=False, server_default="", doc="what takes some room, after a failure"),
    Column("counted_until", Float, nullable=False, server_default="0", doc="what ended before is in `counted`"),
    Column("forgotten", BigInteger, nullable=False, server_default="0", doc="how many runs were, ever"),
)
