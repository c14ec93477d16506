"""Ports for servers that must be told theirs, and open them a while later."""

import contextlib
import random
import socket
from pathlib import Path

_LOWEST, _HIGHEST = 20_000, 32_768
"""Ray gives its workers the ports below, Linux its connections those above unless it is told otherwise."""
_LINUX_GIVES = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback address that nobody listens on, nor is given by the kernel meanwhile.

    Raises `RuntimeError` when there are too few.
    """
    highest = _HIGHEST
    with contextlib.suppress(OSError):
        highest = min(highest, int(_LINUX_GIVES.read_text().split()[0]))
    ports = range(min(_LOWEST, highest - 1000), highest)
    found: list[int] = []
    for port in random.Random().sample(ports, len(ports)):
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports are free")
