"""What to paste where: the plugin's credential form, the LLM node, OpenClaw's configuration."""

from dataclasses import dataclass, field
from typing import Any

from bridge.commands.init import openclaw_entry
from bridge.commands.init.plan import Written

KEPT = "(the {audience} token you were shown; `clawback init --renew {audience}` makes another)"
LLM_NODE = "external_tool_callback_enabled: True"


@dataclass(frozen=True, slots=True)
class Paste:
    """Everything that goes elsewhere. Values hold tokens, where they were just made."""

    form: dict[str, str] = field(repr=False)
    entry: dict[str, Any] = field(repr=False)
    node: str = LLM_NODE

    @property
    def openclaw(self) -> str:
        """What OpenClaw's configuration gains, as JSON5."""
        return openclaw_entry.json5(openclaw_entry.configuration(self.entry))


def paste(written: Written, client_url: str | None) -> Paste:
    """Return what to paste where."""
    config, tokens = written.config, written.tokens
    base_url = client_url or openclaw_entry.client_url(config)
    secret = {name: tokens.get(name) or KEPT.format(audience=name) for name in ("client", "plugin")}
    return Paste(
        form={"Bridge URL": config.bridge_url or "", "Bridge token": secret["plugin"]},
        entry=openclaw_entry.provider(base_url, secret["client"], config.apps),
    )
