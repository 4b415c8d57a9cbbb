"""Which mode a node's model is spoken to in."""

from provider.credentials import Credentials
from provider.modes.automatic import Automatic
from provider.modes.mode import Mode
from provider.modes.openclaw_text import OpenclawText
from provider.modes.structured import Structured
from provider.settings import NodeSettings
from provider.upstream.capabilities import Capabilities


def mode_for(settings: NodeSettings, form: Credentials, model: str, can: Capabilities) -> Mode:
    """Return the node's mode. In `auto`, a model that is known to call no tools gets them as text from the start."""
    name = form.upstream_name(model)
    text = OpenclawText(name, form.context_size)
    chosen = settings.tool_call_mode
    if chosen == "openclaw_text" or (chosen == "auto" and not can.native_tools):
        return text
    if chosen == "structured":
        return Structured()
    return Automatic(form.upstream_base_url, name, text, promote=settings.text_call_promotion)
