"""Which ports of a host a run may touch: those that the inventory lists, as they were meant to be,
and that nobody uses."""

from __future__ import annotations

from harness.core.errors import ConfigError
from harness.hosts.base import Host
from harness.inventory.spec import HostSpec
from harness.pci.device import Device
from harness.pci.in_use import refusals


def require(host: Host, spec: HostSpec, bdf: str) -> None:
    """ConfigError, with every reason, unless this port of `spec` may be touched: the inventory
    lists it, it is of the model that the inventory says, and nobody uses it."""
    if bdf not in spec.touchable:
        raise ConfigError(
            f"{spec.name}: the inventory lists no port {bdf}, so it is left alone",
            remedy=f'add it: [[host.{spec.name}.port]] with bdf = "{bdf}"',
        )
    device = Device(host, bdf)
    if not device.exists():
        raise ConfigError(
            f"{spec.name}: there is no PCI function {bdf}",
            remedy=f"nicproof inventory discover {spec.address}, or lspci -D there, shows what is",
        )
    wanted = next((port.model for port in spec.ports if port.bdf == bdf), "")
    if wanted and device.model != wanted:
        raise ConfigError(
            f"{spec.name}: {bdf} is of model {device.model}, the inventory says {wanted}",
            remedy="look whether addresses have moved: lspci -D -nn",
        )
    if reasons := refusals(host, bdf):
        raise ConfigError(
            f"{spec.name}: port {bdf} is in use: {'; '.join(reasons)}",
            remedy="free it, or take another port",
        )
