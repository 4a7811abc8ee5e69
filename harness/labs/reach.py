"""From a file to an inventory, and from a host of one to a Host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.core.errors import ConfigError
from harness.hosts.base import Host
from harness.hosts.greeting import greet
from harness.hosts.local import LocalHost
from harness.hosts.ssh import connect
from harness.inventory import reading
from harness.inventory.spec import HostSpec, Inventory


def inventory_at(path: str | None) -> Inventory | None:
    """The inventory in a file; if none is named, in the usual place, None if none is there.

    ConfigError if there is one that cannot be used.
    """
    found = Path(path) if path else reading.find()
    return reading.read(found) if found else None


@contextmanager
def reached(spec: HostSpec) -> Iterator[Host]:
    """The host, for as long as the context lasts. HostUnreachable if it cannot be reached,
    ConfigError if the key is not there by which it is to be, or the login cannot do the work."""
    if spec.local:
        yield LocalHost(spec.name)
        return
    _require_key(spec)
    options = spec.ssh_options()
    with connect(spec.address, name=spec.name, options=options, become=spec.become) as host:
        greet(host)
        yield host


def _require_key(spec: HostSpec) -> None:
    """ssh itself goes on without a key that is not there, and says that it was refused. Of a key
    that an agent has, the public half is enough."""
    key = spec.identity
    if key and not (key.exists() or key.with_name(f"{key.name}.pub").exists()):
        raise ConfigError(
            f"{spec.name}: there is no key {key}",
            remedy="identity in the inventory, or --identity, names a private key",
        )
