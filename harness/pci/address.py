"""PCI addresses (BDF) and the arithmetic that places VFs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.core.errors import ConfigError

_BDF = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Address:
    """Domain, bus, device and function of a PCI function."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From "0000:01:00.0" or "01:00.0" (domain 0); ConfigError if it is neither."""
        match = _BDF.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"{text!r} is not a PCI address",
                remedy="write it as lspci -D prints it, for example 0000:01:00.0",
            )
        domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
        return cls(domain, bus, device, function)

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"

    @property
    def routing_id(self) -> int:
        """Bus, device and function as the 16 bits that go over PCIe."""
        return self.bus << 8 | self.device << 3 | self.function

    def vf(self, index: int, *, offset: int, stride: int) -> Address:
        """Address of VF `index` (from 0) of this PF.

        PCIe Base Specification, SR-IOV: the routing ID of VF n (n from 1) is the PF's plus
        First VF Offset plus (n - 1) times VF Stride; a carry goes into the bus number.
        """
        rid = self.routing_id + offset + index * stride
        return Address(self.domain, rid >> 8, rid >> 3 & 0x1F, rid & 7)
