"""Every hop, in the order in which a request goes through them."""

from collections.abc import Iterator
from pathlib import Path

from bridge.commands.doctor.bridge_hop import look_at_bridge
from bridge.commands.doctor.dify_hop import look_at_clock, look_at_dify
from bridge.commands.doctor.lines import Line, skipped
from bridge.commands.doctor.openclaw_hop import look_at_openclaw
from bridge.commands.doctor.own_files import look_at_config, look_at_store
from bridge.commands.doctor.probe import probe
from bridge.commands.doctor.probe_lines import tell
from bridge.commands.doctor.waits import look_at_waits
from bridge.config import App, Config
from bridge.server.serving import Serving


def examine(path: Path, *, with_probe: bool = True) -> Iterator[Line]:
    """Look at every hop and tell each as soon as it is known."""
    config, lines = look_at_config(path)
    yield from lines
    if config is None:
        return
    store = look_at_store(config)
    yield store
    bridge, line = look_at_bridge(config)
    yield line
    for app in config.apps:
        yield from _app(config, app, bridge, with_probe=with_probe)
    if config.apps and (clock := look_at_clock(config.apps[0])):
        yield clock
    if bridge and store.state == "ok":
        yield look_at_waits(config, bridge.started_at)
    yield look_at_openclaw(config, bridge)


def _app(config: Config, app: App, bridge: Serving | None, *, with_probe: bool) -> Iterator[Line]:
    works = True
    for line in look_at_dify(app):
        works = works and line.state != "failed"
        yield line
    if not with_probe:
        yield skipped("probe", "left out", app.model)
    elif not works or bridge is None:
        yield skipped("probe", "there is no use in one before the lines above are green", app.model)
    else:
        yield from tell(config, app, probe(bridge, app.model))
