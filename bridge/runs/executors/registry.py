"""The executors that are there, their tools under the names that a model is offered, and which of them gets a call."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bridge.config import Config
from bridge.errors import Forbidden, Gone, InvalidRequest
from bridge.runs.requests import Place, Places
from bridge.store import clock
from bridge.store.rows import ANYWHERE, CallRow, ExecutorRow
from bridge.store.store import Store
from tools.definitions import ToolDefinition
from tools.fingerprint import text_digest
from tools.ids import random_name
from tools.visible import visible


@dataclass(frozen=True, slots=True)
class Candidate:
    """An executor that could run the call now: how exactly its patterns name the tool, and how much it has to do."""

    executor_id: str
    weight: int
    load: int
    concurrency: int

    @property
    def has_room(self) -> bool:
        """Whether it may take one more."""
        return self.load < self.concurrency


def first_choice(candidates: Sequence[Candidate]) -> str | None:
    """Return the id of the executor that gets the call, or None where nobody has room."""
    free = [candidate for candidate in candidates if candidate.has_room]
    best = min(free, key=lambda c: (-c.weight, c.load / c.concurrency, c.executor_id), default=None)
    return best.executor_id if best else None


log = logging.getLogger("clawback.executors")

NOTED = 0.1
"""When an executor was seen is written once so much of `limits.executor_seconds` has passed since."""

_DIFY = "dify-"
_LONGEST = 128
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


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
        if name == ANYWHERE:
            raise ValueError(f"{name} stands for any executor; choose another name")
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

    @property
    def longer_name(self) -> str:
        """Its name with its executor's, under which it is offered where its own is taken."""
        return f"{_NOT_IN_NAMES.sub('_', self.executor)}_{self.definition.name}"[: _LONGEST - 3]

    @property
    def is_of_dify(self) -> bool:
        """Whether it is a tool of Dify."""
        return self.executor_id.startswith(_DIFY)


@dataclass(slots=True)
class Catalogue:
    """The tools that a model is offered, and the places of those that executors run."""

    tools: list[ToolDefinition]
    places: Places = field(default_factory=dict)

    def add(self, offer: Offer, *, executor: str) -> None:
        """Add a tool under its own name, where that is free, else under that of its executor with it."""
        own = offer.definition.name
        taken = {tool.name for tool in self.tools}
        place = Place(executor=offer.executor if own in taken else executor, tool=own)
        longer = offer.longer_name
        names = [own, longer, *(f"{longer}_{number}" for number in range(2, len(taken) + 3))]
        name = next(name for name in names if name not in taken)
        function = offer.definition.function.model_copy(update={"name": name})
        self.tools.append(offer.definition.model_copy(update={"function": function}))
        self.places[name] = place


def dify_executor_id(name: str) -> str:
    """Return the id of the executor that a `[[dify_tools]]` is; bridges that share a store have the same."""
    return f"{_DIFY}{text_digest(name)[:24]}"


_OWN = "own-"


def is_executor_of(name: str | None, executor_id: str) -> bool:
    """Whether an executor is the one with the token of its own of this name; None: with the shared token."""
    return not executor_id.startswith(_OWN) if name is None else executor_id.startswith(own_prefix(name))


def own_prefix(name: str) -> str:
    """Return how the ids of all executors begin that have registered with this token."""
    return f"{_OWN}{text_digest(name)[:16]}-"


class Registry:
    """Who can run calls now."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._seconds = config.limits.executor_seconds
        self._store = store.executors
        self._clients = store.clients

    def register(
        self, registration: Registration, own: str | None = None, tools: Sequence[str] = ("*",)
    ) -> tuple[ExecutorRow, str | None]:
        """Let an executor in; one of the same name makes room for it. Return it and the id of that other one.

        `own` is the name that its token is for, None for the shared token; `tools` patterns of what it may offer.
        Raises InvalidRequest and Forbidden where the name is another's for good.
        """
        if registration.name in {tools.name for tools in self._config.dify_tools}:
            raise InvalidRequest(
                f"{registration.name} is the name of the tools of Dify ([[dify_tools]]); register under another one",
                param="name",
            )
        if own is not None and registration.name != own:
            raise Forbidden(f"this token is for the executor {own}: register under that name (--name {own})")
        if own is None and self._clients.is_executor(registration.name):
            raise Forbidden(
                f"{registration.name} has a token of its own: show that one, or register under another name (--name)"
            )
        registration.tools = self.allowed(registration.tools, tools)
        prefix, length = ("", 24) if own is None else (own_prefix(own), 16)
        return self._register(f"{prefix}{random_name(length)}", registration)

    @staticmethod
    def check_own(name: str | None, executor_id: str | None) -> None:
        """Raise Gone where an executor is another token's."""
        if executor_id is not None and not is_executor_of(name, executor_id):
            raise _gone()

    @staticmethod
    def allowed(tools: Sequence[OfferedTool], patterns: Sequence[str]) -> list[OfferedTool]:
        """Return the tools that a token lets its executor offer."""
        kept = [tool for tool in tools if any(fnmatchcase(tool.name, pattern) for pattern in patterns)]
        if left := [tool.name for tool in tools if tool not in kept]:
            log.warning("an executor's token does not let it offer these tools", extra={"tools": ", ".join(left)})
        return kept

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
        return settings is None or settings.runs_once(call.own_name)

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
        executor = self._store.find(executor_id)
        is_noted = executor is not None and clock.now() - executor.seen_at < self._seconds * NOTED
        if tools is not None or not is_noted:
            self._store.seen(executor_id, **({} if tools is None else {"tools": _dump(tools)}))
            executor = self._store.find(executor_id)
        if executor is None:
            raise _gone()
        return executor

    def is_known(self, executor_id: str | None) -> bool:
        """Whether an executor is registered."""
        return executor_id is not None and self._store.find(executor_id) is not None

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

    def offers_for(self, call: CallRow) -> list[Offer]:
        """List the offers of those present executors that a call is for."""
        return offers_for(call, self.present())

    def catalogue(self, client: Sequence[ToolDefinition] = ()) -> Catalogue:
        """Return the tools of a client and of the present executors, each under a name of its own."""
        catalogue = Catalogue(list(client))
        names = {tool.name for tool in client}
        offers = sorted(self.offers(), key=lambda offer: (offer.definition.name, -offer.weight, offer.executor))
        others = [offer for offer in offers if not offer.is_of_dify]
        shared = {offer.definition.name: offer for offer in reversed(others)}
        for offer in others:
            name = offer.definition.name
            # Where the name is free, one tool stands for all of that name: any of its executors runs it.
            if name in names or offer is shared[name]:
                catalogue.add(offer, executor=ANYWHERE)
        for offer in offers:
            if offer.is_of_dify:
                catalogue.add(offer, executor=offer.executor)
        return catalogue


def _gone() -> Gone:
    return Gone(
        "this executor is not registered any more: another one took its name, or it was silent for too long. "
        "Register again",
        code="executor_unknown",
    )


def offers_for(call: CallRow, executors: Iterable[ExecutorRow]) -> list[Offer]:
    """List the offers of those executors that a call is for."""
    offers = (offer for executor in executors for offer in offers_of(executor, call.own_name))
    return [offer for offer in offers if is_at(call.place, offer)]


def places_of(executor: ExecutorRow) -> list[str]:
    """List the places of which an executor has the calls."""
    return [executor.name] if executor.id.startswith(_DIFY) else [executor.name, ANYWHERE]


def is_at(place: str | None, offer: Offer) -> bool:
    """Say whether the executor of an offer has the calls of a place; without one, all have them."""
    return place in {None, offer.executor} or (place == ANYWHERE and not offer.is_of_dify)


def offers_of(executor: ExecutorRow, tool: str | None = None) -> list[Offer]:
    """List what an executor offers: of one tool, or of all."""
    offers = _offers(executor.name, executor.id, executor.tools, executor.patterns)
    return [offer for offer in offers if tool in {None, offer.definition.name}]


@lru_cache(maxsize=64)
def _offers(executor: str, executor_id: str, tools: str, patterns: str) -> list[Offer]:
    offers, chosen = [], json.loads(patterns)
    for entry in json.loads(tools):
        weight = specificity(chosen, entry["function"]["name"])
        if weight is not None:
            definition = ToolDefinition.model_validate(entry)
            offers.append(Offer(executor, executor_id, definition, bool(entry.get("read_only")), weight))
    return offers


def specificity(patterns: list[str], name: str) -> int | None:
    """Return how many characters of the name the most exact matching pattern spells out, or None for no match."""
    return max((len(p.replace("*", "").replace("?", "")) for p in patterns if fnmatchcase(name, p)), default=None)


def _dump(tools: list[OfferedTool]) -> str:
    return json.dumps([tool.to_openai() | {"read_only": tool.read_only} for tool in tools], ensure_ascii=False)
