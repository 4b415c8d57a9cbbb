"""The page of what clients can ask and what they get, read from the models that check it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from bridge.api.access import Token, keys_of, path_of_rule
from bridge.api.anthropic.messages_request import MessagesRequest
from bridge.api.openai.chat_request import ChatRequest
from bridge.api.openai.responses_request import ResponsesRequest
from bridge.api.openapi.document import described_routes
from bridge.api.openapi.sentences import sentences
from bridge.app import create_app
from bridge.config import parse

_WHO = {
    Token.CLIENT: "clients",
    Token.PLUGIN: "the plugin",
    Token.EXECUTOR: "executors",
    Token.OPERATOR: "operators",
    Token.METRICS: "Prometheus",
    Token.MCP: "MCP clients",
    Token.LOCAL: "commands on the bridge's machine",
    Token.LOGIN: "people logged in to the page",
}


def endpoint_page(note: str) -> str:
    """Return the page."""
    return _PAGE.format(
        note=note,
        chat=_fields(ChatRequest),
        responses=_fields(ResponsesRequest),
        messages=_fields(MessagesRequest),
        routes="\n".join(_routes()),
    )


def _fields(model: type[BaseModel]) -> str:
    said = sentences(model)
    return "\n".join(f"| `{name}` | {' '.join(said.get(name, '').split())} |" for name in sorted(model.model_fields))


def _routes() -> list[str]:
    with TemporaryDirectory() as folder:
        app = create_app(parse({"data_dir": str(Path(folder))}))
        app.extensions["clawback"].sweeper.stop()
        rows = []
        for rule, method, said in described_routes(app):
            what = f"`{method} {path_of_rule(rule)}`"
            callers = ", ".join(_WHO[key] for key in keys_of(rule, method) or ()) or "everyone"
            summary = "A part of the web page." if rule.endpoint.startswith("page.") else said.summary
            rows.append(f"| {what} | {summary} | {callers} |")
        app.extensions["clawback"].store.close()
    return rows


_PAGE = """\
# The endpoint

{note}
The bridge implements OpenAI's Chat Completions and Responses APIs and Anthropic's Messages API. `GET /openapi.json`
describes every route as OpenAPI 3.1, with schemas and examples. The bridge ignores fields that are not listed here, as
OpenAI's servers do. If a listed field has a wrong type or value, the status is 400, and `param` is the field's path.

## `POST /v1/chat/completions`

| field | meaning |
|---|---|
{chat}

## `POST /v1/responses`

| field | meaning |
|---|---|
{responses}

`POST /v1/responses/input_tokens` estimates the token count of a request as `usage` does.

You can retrieve a stored response, continue it (`previous_response_id`), cancel it while it is in progress, and delete
it. You can also stream it again from any of its events (`stream=true` and `starting_after`). After the bridge has
restarted, you can stream it only from its beginning.

## `POST /v1/messages`

| field | meaning |
|---|---|
{messages}

Claude Code and other clients of Anthropic's API use this route. Set the client's base URL to the bridge's address
without `/v1`, and its key to the client token; the bridge accepts it in `x-api-key` and as a bearer token. It ignores
headers, query strings and fields that are not listed here.

`POST /v1/messages/count_tokens` estimates the token count as `usage` does. The upstream's own count differs a little.

- `bash`, `text_editor` and `memory` are tools that the client runs: the model is offered functions with the schemas
  that Anthropic documents. The bridge ignores other tools without a schema, since Anthropic's servers run them, and
  `computer`, since it needs a model that is trained to point at a screen. `clawback` in the answer names them.
- A message keeps its id each time it is sent. The `signature` of a thinking block is a reference to what the bridge
  stores about the message. Clients may return, change or omit it.
- During silence the bridge sends empty deltas, because clients do not count a `ping` as a sign of life.
- `stop_reason` is `end_turn`, `tool_use`, `max_tokens` or `refusal`.
- Some requests in a Claude Code session do not use the session's Dify conversation: those without tools, such as titles
  and searches, and those with a `max_tokens` of 1. A sub-agent has its own conversation.
- Errors have Anthropic's format. `x-should-retry: false` marks errors for which a retry does not help. 429 and 529 say
  when to retry.

## What a client may rely on

**Answers**

- `finish_reason` is always present, and `tool_calls` is present if there are calls. A stream ends with `data: [DONE]`.
- A stream is never silent for longer than `limits.keepalive_seconds`. The bridge then sends an empty delta, or
  `response.in_progress`.
- Log probabilities come with the end of an answer, for up to 4,096 tokens, if the client asks for them, the upstream
  gives them and the answer is one node's text as its model wrote it. Otherwise, and where an answer is told again
  after a restart, `logprobs` is null in a chat completion and an empty list in a response.
- `X-Request-Id` is the request's id in the answer, in the log and on its tickets; a client may send its own.
  `X-Clawback-Run` is the run's id.

**Calls**

- The id of a call has 1 to 40 letters and digits and is unique. The arguments are a JSON object in a string.
- Arguments arrive while the model writes them. If the model does not finish a call, the stream ends with an error and
  without a `finish_reason`.
- The bridge ignores tools and items of unknown kinds, and `clawback.note` names them. Tools that an item of `input`
  brings are on offer from then on. Of several that have one name, the last definition counts. `computer` is ignored,
  too: it needs a model that is trained to point at a screen.

**Results**

- The bridge finds a round's results by their ids, wherever they are in the transcript: one call per message, before
  the call, or without it.
- If a request has two results for one call, the first counts. A client's placeholder for a missing result never
  replaces a real one.
- If a client sends the same results for the same calls again, it gets the same answer. Different results are refused
  with 409.
- If a client changed the ids of calls, the bridge finds the calls by name and arguments.
- New user messages after only some of the results start a new turn. After all results, they belong to the current turn.
- The bridge repairs ids, arguments and reasoning in earlier turns, and never refuses a request because of them.

## Fields that OpenAI does not have

| where | field | what it holds |
|---|---|---|
| message, delta | `reasoning_content` | the model's reasoning |
| message, delta | `reasoning_details` | what the upstream wants back with calls; the bridge keeps it too |
| completion, last chunk, response | `clawback` | `note`: what was unusual, and what was not sent as asked |
| model | `type`, `display_name`, `created_at`, `lifecycle`, `max_input_tokens`, `max_tokens` | Anthropic's format |
| model | `kind`, `inputs`, `input_modalities` | what Dify reports about the app |
| model | `description`, `context_window`, `max_output_tokens` | the app's settings in the configuration |
| error | `code` | the bridge's own codes, besides OpenAI's: see [errors](errors.md) |

## All routes

| route | what it does | who may use it |
|---|---|---|
{routes}
"""
