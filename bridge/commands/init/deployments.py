"""Where the bridge runs as seen from Dify's plugin daemon: the address it must use, and the one to bind."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.config import is_loopback

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only with tokens: the configuration refuses it without


@dataclass(frozen=True, slots=True)
class Place:
    """One way to run the bridge. `advice` is what else it takes, empty for nothing."""

    name: str
    description: str
    host: str
    advice: str = ""

    def bridge_url(self, dify_url: str, port: int) -> str | None:
        """Return the address that Dify's plugin daemon reaches the bridge at; None where only its owner knows."""
        match self.name:
            case "same-machine":
                return f"http://{LOOPBACK}:{port}"
            case "docker":
                return f"http://host.docker.internal:{port}"
            case "container":
                return f"http://clawback:{port}"
            case "lan":
                address = _own_address(urlsplit(dify_url).hostname or "")
                return f"http://{address}:{port}" if address else None
            case _:
                return None


PLACES = {
    place.name: place
    for place in (
        Place("same-machine", "Dify runs on this machine, without containers", LOOPBACK),
        Place(
            "docker",
            "Dify runs in containers on this machine, the bridge does not",
            EVERYWHERE,
            "On Linux, Dify's container does not know its host's name. In Dify's docker-compose.override.yaml, under "
            "services, plugin_daemon, add "
            "extra_hosts: ['host.docker.internal:host-gateway']. Then run: docker compose up -d",
        ),
        Place(
            "container",
            "the bridge runs in a container, in Dify's Docker network",
            EVERYWHERE,
            "Start it with deploy/docker/compose.yaml. Its service is named clawback, and Dify's API is "
            "http://api:5001/v1",
        ),
        Place("lan", "Dify runs on another machine that can reach this one", EVERYWHERE),
        Place(
            "tunnel",
            "Dify runs elsewhere, such as Dify Cloud, and uses a tunnel to this machine",
            LOOPBACK,
            "Keep the tunnel running. It must lead to this bridge's port and let a request take 60 s",
        ),
    )
}


def likely(dify_url: str) -> str:
    """Return the name of the place that an address of Dify suggests."""
    host = urlsplit(dify_url).hostname or ""
    if is_loopback(host):
        return "docker"
    try:
        return "lan" if ipaddress.ip_address(host).is_private else "tunnel"
    except ValueError:
        return "lan" if "." not in host or host.endswith((".local", ".lan", ".internal", ".home")) else "tunnel"


def _own_address(towards: str) -> str | None:
    """Return the address of this machine on the way to another; nothing is sent."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    return f"[{own}]" if ":" in own else own
