"""Are the hugepages there that the inventory promises to guests?"""

from __future__ import annotations

from harness.core.errors import ConfigError
from harness.hosts.base import Host
from harness.hosts.hugepages import pages
from harness.inventory import HostSpec


def require_hugepages(host: Host, spec: HostSpec) -> None:
    """ConfigError unless as many are free, on the NUMA node that is named, as are promised."""
    if not spec.hugepages:
        return
    where = "" if spec.numa is None else f" on NUMA node {spec.numa}"
    promise = f"the inventory promises {spec.hugepages}"
    found = pages(host, spec.numa)
    if found is None:
        raise ConfigError(
            f"{host.name} has no hugepages of 2 MiB{where}, {promise}",
            remedy="take hugepages, or numa, out of the inventory",
        )
    if found.free < spec.hugepages:
        raise ConfigError(
            f"{host.name} has {found.free} hugepages of 2 MiB free{where}, {promise}",
            remedy=f"there: {found.freeing(spec.hugepages)}; if that does not get them, memory is "
            f"in pieces: hugepages={spec.hugepages} on the kernel's command line",
        )
