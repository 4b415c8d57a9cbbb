"""The executors that are there, and the tools that they offer."""

import json
import logging
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bridge.config import Config
from bridge.errors import Gone, InvalidRequest
from bridge.store import Store, clock
from bridge.store.rows import CallRow, ExecutorRow
from tools.definitions import ToolDefinition
from tools.fingerprint import text_digest
from tools.ids import random_name
from tools.visible import visible

log = logging.getLogger("clawback.executors")

_DIFY = "dify-"


class OfferedTool(ToolDefinition):
    """A tool as an executor registers it. `read_only` says that it changes nothing and runs nothing."""

    read_only: bool = False


class Registration(BaseModel):
    """What an executor says of itself. It takes the calls of its tools whose names match one of `patterns`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=128, pattern=r"^[^\s/][^\r\n/]*$")
    tools: list[OfferedTool]
    patterns: list[str] = Field(default_factory=lambda: ["*"], min_length=1, max_length=100)
    concurrency: int = Field(default=4, ge=1, le=1000)

    @field_validator("name")
    @classmethod
    def _is_visible(cls, name: str) -> str:
        if visible(name) != name:
            raise ValueError(
                f"{visible(name)} has characters that are not shown or change the order of a line; leave them out"
            )
        return name

    @model_validator(mode="after")
    def _has_distinct_tools(self) -> "Registration":
        twice = [name for name, count in Counter(tool.name for tool in self.tools).items() if count > 1]
        if twice:
            raise ValueError(f"tools: {', '.join(sorted(twice))} is there twice; every tool needs a name of its own")
        return self


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as one executor offers it. `weight` is how exactly the executor's patterns name it."""

    executor: str
    executor_id: str
    definition: ToolDefinition
    read_only: bool
    weight: int

    @property
    def terms(self) -> str:
        """A digest of what the tool takes and says of itself: a person lets this run, and not what becomes of it."""
        said = [self.definition.function.parameters, self.read_only]
        return text_digest(json.dumps(said, sort_keys=True))


def dify_executor_id(name: str) -> str:
    """Return the id of the executor that a `[[dify_tools]]` is; bridges that share a store have the same."""
    return f"{_DIFY}{text_digest(name)[:24]}"


class Registry:
    """Who can run calls now."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._seconds = config.limits.executor_seconds
        self._store = store.executors

    def register(self, registration: Registration) -> tuple[ExecutorRow, str | None]:
        """Let an executor in; one of the same name makes room for it. Return it and the id of that other one.

        Raises InvalidRequest where the name is taken for good.
        """
        if registration.name in {tools.name for tools in self._config.dify_tools}:
            raise InvalidRequest(
                f"{registration.name} is the name of the tools of Dify ([[dify_tools]]); register under another one",
                param="name",
            )
        return self._register(random_name(24), registration)

    def admit(self, executor_id: str, registration: Registration) -> None:
        """Note that the tools of Dify are there, and which they are."""
        known = self._store.seen(executor_id, tools=_dump(registration.tools), concurrency=registration.concurrency)
        if not known:
            self._register(executor_id, registration)

    def runs_once(self, call: CallRow) -> bool:
        """Say whether a call that was lost with its executor must not be handed out again for a guess."""
        if not (call.executor or "").startswith(_DIFY):
            return False
        ours = (tools for tools in self._config.dify_tools if dify_executor_id(tools.name) == call.executor)
        settings = next(ours, None)
        return settings is None or settings.runs_once(call.name)

    def _register(self, executor_id: str, registration: Registration) -> tuple[ExecutorRow, str | None]:
        now = clock.now()
        executor = ExecutorRow(
            id=executor_id,
            name=registration.name,
            tools=_dump(registration.tools),
            patterns=json.dumps(registration.patterns),
            concurrency=registration.concurrency,
            registered_at=now,
            seen_at=now,
        )
        former = self._store.register(executor)
        log.info("executor registered", extra={"executor": executor.name, "tools": len(registration.tools)})
        return executor, former

    def seen(self, executor_id: str, tools: list[OfferedTool] | None = None) -> ExecutorRow:
        """Note that an executor is there, and what it offers now. Raises Gone where it is not registered."""
        self._store.seen(executor_id, **({} if tools is None else {"tools": _dump(tools)}))
        executor = self._store.find(executor_id)
        if executor is None:
            raise Gone(
                "this executor is not registered any more: another one took its name, or it was silent for too long. "
                "Register again",
                code="executor_unknown",
            )
        return executor

    def leave(self, executor_id: str) -> None:
        """Let an executor go."""
        if self._store.forget(executor_id):
            log.info("executor left", extra={"executor": executor_id})

    def present(self) -> list[ExecutorRow]:
        """List who was seen a short while ago."""
        cutoff = clock.now() - self._seconds
        return [executor for executor in self._store.all() if executor.seen_at >= cutoff]

    def offers(self, tool: str | None = None) -> list[Offer]:
        """List what the present executors offer: of one tool, or of all."""
        return [offer for executor in self.present() for offer in offers_of(executor, tool)]

    def tools(self) -> list[ToolDefinition]:
        """Return the tools that the present executors offer, each once, by name."""
        best: dict[str, Offer] = {}
        for offer in self.offers():
            known = best.get(offer.definition.name)
            if known is None or offer.weight > known.weight:
                best[offer.definition.name] = offer
        return [best[name].definition for name in sorted(best)]


def offers_of(executor: ExecutorRow, tool: str | None = None) -> list[Offer]:
    """List what an executor offers: of one tool, or of all."""
    patterns = json.loads(executor.patterns)
    offers = []
    for entry in json.loads(executor.tools):
        name = entry["function"]["name"]
        weight = specificity(patterns, name)
        if weight is None or tool not in {None, name}:
            continue
        definition = ToolDefinition.model_validate(entry)
        offers.append(Offer(executor.name, executor.id, definition, bool(entry.get("read_only")), weight))
    return offers


def specificity(patterns: list[str], name: str) -> int | None:
    """Return how many characters of the name the most exact matching pattern spells out, or None for no match."""
    return max((len(p.replace("*", "").replace("?", "")) for p in patterns if fnmatchcase(name, p)), default=None)


def _dump(tools: list[OfferedTool]) -> str:
    return json.dumps([tool.to_openai() | {"read_only": tool.read_only} for tool in tools], ensure_ascii=False)
