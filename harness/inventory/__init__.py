"""What the harness may work with: hosts, their ports, the measured link."""

from harness.inventory.pairs import LinkPlan, PortPair
from harness.inventory.spec import HostSpec, Inventory, PortRef, PortSpec

__all__ = ["HostSpec", "Inventory", "LinkPlan", "PortPair", "PortRef", "PortSpec"]
