"""One call of a node, from what Dify passes to what it gets back.

Apart from the class that Dify loads: reading calls that are text takes a third of a second to import, which a plugin
that is being started can do without.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provider.bridge.client import BridgeClient
from provider.credentials import Credentials
from provider.engine import invocation
from provider.engine.engine import Engine, Invocation
from provider.engine.events import Output
from provider.engine.pending_rounds import with_carried
from provider.engine.prompt import take_markers, to_definitions, to_openai
from provider.errors import Refused
from provider.modes.choice import mode_for
from provider.modes.normalised import Normalised
from provider.settings import NodeSettings
from provider.upstream.capabilities import Capabilities, capabilities
from provider.upstream.client import Upstream
from provider.upstream.request import base_request, node_headers
from tools.ids import random_name

NO_BRIDGE = (
    "external_tool_callback_enabled is on in this node, but the credentials name no bridge: set bridge_url and "
    "bridge_token in the provider's settings, or switch the parameter off"
)


@dataclass(frozen=True)
class NodeCall:
    """What Dify passes, as JSON: its prompt messages, the node's parameters, the tools that Dify itself runs."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]] = ()
    stop: Sequence[str] | None = None
    stream: bool = True
    user: str | None = None
    app_id: str | None = None


def outputs_of(call: NodeCall, form: Credentials) -> Generator[Output]:
    """Return the outputs of a node's call. Raises Refused where its settings or the credentials cannot be used."""
    settings = NodeSettings.read(call.parameters)
    can = capabilities(form, call.model)
    engine = Engine(_invocation(call, form, settings, can), Normalised(mode_for(settings, form, call.model, can)))
    upstream = Upstream(form, call.model, node_headers(settings), can)
    return invocation.run(engine, upstream, BridgeClient(form))


def _invocation(call: NodeCall, form: Credentials, settings: NodeSettings, can: Capabilities) -> Invocation:
    callbacks = settings.external_tool_callback_enabled
    if callbacks and not form.has_bridge:
        raise Refused(NO_BRIDGE)
    messages, markers = take_markers(to_openai(call.messages))
    started, limit = invocation.RealClock().now(), invocation.time_limit()
    return Invocation(
        invocation_id=random_name(),
        model=call.model,
        messages=with_carried(messages),
        settings=settings,
        request=base_request(form.upstream_name(call.model), settings, call.stop, call.user),
        hold_until=invocation.hold_until(started, limit),
        deadline=invocation.deadline(started, limit),
        time_limit=limit,
        stream=call.stream,
        callbacks=callbacks,
        tools=to_definitions(call.tools),
        attempts=form.retries + 1,
        user=call.user,
        app_id=call.app_id,
        markers=markers,
        sees_images=can.vision,
        prices=(form.input_price, form.output_price, form.price_currency),
        unread=invocation.pulse().unread(),
    )
