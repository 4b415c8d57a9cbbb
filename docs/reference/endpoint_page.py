"""The page of what clients can ask and what they get, read from the models that check it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from bridge.api.access import Token, keys_of, path_of_rule
from bridge.api.anthropic.messages_request import MessagesRequest
from bridge.api.openai.chat_request import ChatRequest
from bridge.api.openai.responses_request import ResponsesRequest
from bridge.api.openapi.document import described_routes
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
    Token.LOGIN: "who has logged in to the page",
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
    return "\n".join(f"| `{name}` | {field.description} |" for name, field in sorted(model.model_fields.items()))


def _routes() -> list[str]:
    with TemporaryDirectory() as folder:
        app = create_app(parse({"data_dir": str(Path(folder))}))
        app.extensions["clawback"].sweeper.stop()
        rows = []
        for rule, method, said in described_routes(app):
            what = f"`{method} {path_of_rule(rule)}`"
            callers = ", ".join(_WHO[key] for key in keys_of(rule, method) or ()) or "all"
            rows.append(f"| {what} | {'' if rule.endpoint.startswith('page.') else said.summary} | {callers} |")
        app.extensions["clawback"].store.close()
    return rows


_PAGE = """\
# The endpoint

{note}
The bridge speaks OpenAI's chat completions and responses, and Anthropic's messages. `GET /openapi.json` describes all
of it as OpenAPI 3.1, with schemas and examples. A field that is not here is ignored, as OpenAI's servers do; one that
is here and has the wrong type or value is a 400 whose `param` is its path.

## `POST /v1/chat/completions`

| field | |
|---|---|
{chat}

## `POST /v1/responses`

| field | |
|---|---|
{responses}

A response that is stored can be retrieved, streamed again from behind any of its events (`stream=true` and
`starting_after`), continued (`previous_response_id`), cancelled while it is in progress, and deleted. Its events keep
their numbers as long as the bridge that told them runs; later it can be streamed from its beginning.

## `POST /v1/messages`

| field | |
|---|---|
{messages}

Anthropic's API, for Claude Code and other clients of it. Their base URL is the bridge's address without `/v1`, their
key is the client token, in `x-api-key` or as a bearer token. Headers, query strings and fields that are not here are
ignored. `POST /v1/messages/count_tokens` estimates by the rule of `usage`: it is near what the upstream will count,
never exact.

- Tools without a schema, which Anthropic's servers would run, are left out; `clawback` in the answer names them.
- A message has the same id however often it is told. The `signature` of a thinking block names what the bridge keeps of
  the message; clients may send it back, change it or leave it out.
- Silence is filled with empty deltas, since clients count a `ping` as none.
- `stop_reason` is `end_turn`, `tool_use`, `max_tokens` or `refusal`.
- Requests under Claude Code's session that have no tools of their own, such as titles and searches, and those with
  `max_tokens` of 1, leave the session's conversation in Dify alone. A sub-agent has a conversation of its own.
- Errors have Anthropic's form. What does not help to repeat says `x-should-retry: false`; 429 and 529 say when to.

## What a client may rely on

- Calls have ids of 1 to 40 letters and digits, which never repeat; their arguments are a JSON object in a string.
- `finish_reason` is always there, and `tool_calls` whenever there are calls. A stream ends with `data: [DONE]`.
- Arguments arrive while the model writes them. A call that was begun and cannot be finished ends in an error, never in
  a `finish_reason`.
- A stream is never silent for longer than `limits.keepalive_seconds`: an empty delta, or `response.in_progress`.
- The same results for the same calls are taken again and get the same answer. Others are refused with 409.
- A round's results are found by their ids wherever they stand: a call a message, before the call, without it. Of two
  for one call in a request the first counts, and a client's stand-in for a missing one never beats a real one. New
  words of the user behind some of the results begin a new turn; behind all of them they belong to this one.
- What is over and done is never refused for its ids, its arguments or its thinking: it is mended.
- Tools and items of kinds that are not known here are left out, and `clawback.note` says which.
- Ids that a client changed are found again: by what was called, and with which arguments.
- `X-Request-Id` names the request in the answer, in the log and on its tickets; a client may give its own.
  `X-Clawback-Run` names the run.

## What OpenAI does not have

| where | field | |
|---|---|---|
| message, delta | `reasoning_content` | what the model thought |
| completion, last chunk, response | `clawback` | `note`: what was odd about the run, for whoever runs the bridge |
| model | `type`, `display_name`, `created_at`, `lifecycle`, `max_input_tokens`, `max_tokens` | Anthropic's form of it |
| model | `kind`, `inputs`, `input_modalities` | what Dify says of the app |
| model | `description`, `context_window`, `max_output_tokens` | what the configuration says of the app |
| error | `code` | the bridge's own, where OpenAI has none: see [errors](errors.md) |

## All routes

| route | | for |
|---|---|---|
{routes}
"""
