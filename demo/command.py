"""`clawback demo`: the main job, end to end, on this machine."""

import click

from demo import environment
from demo.task import EXAMPLES


@click.command()
@click.option(
    "--client", type=click.Choice(["builtin", "openclaw"]), default="builtin", help="Who asks and runs tools."
)
@click.option("--app", type=click.Choice(EXAMPLES), default="minimal", help="The example app that answers.")
@click.option("--upstream", metavar="URL", help="A real OpenAI-compatible upstream instead of the scripted one.")
@click.option("--model", metavar="NAME", help="The upstream's model (with --upstream; or one of the scripted models).")
@click.option("--api-key", envvar="UPSTREAM_API_KEY", default="", help="The upstream's key [env: UPSTREAM_API_KEY].")
@click.option("--keep", is_flag=True, help="Play nothing: keep everything running until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end instead of the story.")
def demo(
    client: str, app: str, upstream: str | None, model: str | None, api_key: str, keep: bool, as_json: bool
) -> None:
    """Play the main job: a client, the bridge, a Dify chatflow, the plugin, a model, and tools on this machine."""
    if upstream and not model:
        raise click.UsageError("--upstream needs --model: the name of the model to ask there")
    environment.enter()
    from demo.play import play

    play(client, app, upstream, model, api_key, keep=keep, as_json=as_json)
