"""Machines that are namespaces: an address, a host name, processes and a disk of their own each.

They hang on a bridge that lies in a namespace itself, `hub`, so nothing of it is seen outside. Servers that
the machines share run in the hub, and so does whoever submits jobs.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_SUBNET = "10.213.77"
_CLONE_NEWNET = 0x40000000
_HUB = 1
_START = """
set -e
hostname "$1"
mount -t tmpfs -o "size=$3" tmpfs "$2"
printf '127.0.0.1 localhost\\n%s %s\\n' "$4" "$1" > "$2/hosts"
mount --bind "$2/hosts" /etc/hosts
shift 4
"$@"
"""
"""Host name, disk, its size, address, command. The shell stays, since the first process of a namespace
has to wait for orphans."""


def why_not() -> str | None:
    """Why namespaces cannot be made here; None when they can."""
    if missing := [name for name in ("ip", "unshare", "mount") if shutil.which(name) is None]:
        return f"there is no {', '.join(missing)} (Debian: iproute2, util-linux)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with network() as made:
            made.machine(2)
            words = made.command(made.hub, ["true"])
            subprocess.run(["unshare", "--mount", "--uts", "--pid", "--fork", *words], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"namespaces are not allowed here ({error})"
    return None


@dataclass(frozen=True)
class Machine:
    """A namespace of the network."""

    name: str
    address: str
    namespace: str


@dataclass(frozen=True)
class Network:
    """A bridge in `hub`, and machines on it."""

    tag: str
    hub: Machine

    def machine(self, number: int) -> Machine:
        """Make the machine whose address ends in `number` (2 to 254)."""
        made = Machine(f"n{number}", f"{_SUBNET}.{number}", f"{self.tag}-{number}")
        _ip("netns", "add", made.namespace)
        end = ("peer", "name", "eth0", "netns", made.namespace)
        _ip("-n", self.hub.namespace, "link", "add", _port(made), "type", "veth", *end)
        self._port_is(made, "master", "bridge", "up")
        _ip("-n", made.namespace, "addr", "add", f"{made.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", made.namespace, "link", "set", device, "up")
        return made

    def cut(self, machine: Machine) -> None:
        """Pull the machine's plug out of the bridge."""
        self._port_is(machine, "down")

    def join(self, machine: Machine) -> None:
        """Put it in again."""
        self._port_is(machine, "up")

    def command(self, machine: Machine, words: Sequence[str]) -> list[str]:
        """A command line that runs in the machine's network."""
        return ["ip", "netns", "exec", machine.namespace, *words]

    def contained(self, machine: Machine, words: Sequence[str], disk: Path, size: str) -> list[str]:
        """The same with a disk (mounted at `disk`, gone afterwards), a host name and processes of its own.

        A SIGKILL to it is a power cut: every process on the machine is gone.
        """
        own = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        shell = ["bash", "-c", _START, "bash", machine.name, str(disk), size, machine.address]
        return self.command(machine, [*own, *shell, *words])

    def _port_is(self, machine: Machine, *state: str) -> None:
        _ip("-n", self.hub.namespace, "link", "set", _port(machine), *state)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A new network with its hub, gone afterwards. What runs in it has to be ended before."""
    tag = f"hue{secrets.token_hex(3)}"
    made = Network(tag, Machine("hub", f"{_SUBNET}.{_HUB}", f"{tag}-{_HUB}"))
    _ip("netns", "add", made.hub.namespace)
    try:
        inside = ("-n", made.hub.namespace)
        _ip(*inside, "link", "add", "bridge", "type", "bridge")
        _ip(*inside, "addr", "add", f"{made.hub.address}/24", "dev", "bridge")
        for device in ("lo", "bridge"):
            _ip(*inside, "link", "set", device, "up")
        yield made
    finally:
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            if line.startswith(f"{tag}-"):
                _ip("netns", "del", line.split()[0])


@contextlib.contextmanager
def standing_in(machine: Machine) -> Iterator[None]:
    """What this thread (and threads it starts) connects to meanwhile is what `machine` would."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(place: Path) -> None:
        with place.open() as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"{place}: cannot be entered")

    with Path("/proc/thread-self/ns/net").open() as home:
        enter(Path("/run/netns") / machine.namespace)
        try:
            yield
        finally:
            enter(Path(f"/proc/self/fd/{home.fileno()}"))


def _port(machine: Machine) -> str:
    return f"port-{machine.name}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
