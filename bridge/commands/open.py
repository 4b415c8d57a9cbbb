"""`clawback open`."""

import getpass

import click

from bridge.commands.operator_client import OperatorClient, bridge_options
from bridge.commands.terminal import say


@click.command(name="open")
@click.option("--print", "only_print", is_flag=True, help="Print the link instead of opening a browser.")
@bridge_options(decides=True)
def open(bridge: OperatorClient, only_print: bool) -> None:
    """Open the web page in a browser and log in.

    The link logs in once, within a minute, on the bridge's own machine.
    """
    url = bridge.url + bridge.ask("POST", "/login_links", {"by": getpass.getuser()})["path"]
    if only_print or click.launch(url):
        say(url)
