"""The ports and the addresses of one measured link."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True)
class PortPair:
    """Two cabled ports of one host: the one under test and its link partner, by BDF."""

    dut: str = "0000:01:00.0"
    partner: str = "0000:02:00.0"

    def testing(self, bdf: str) -> PortPair:
        """The pair with `bdf` as the port under test; ConfigError if it is neither of the two."""
        if bdf not in (self.dut, self.partner):
            raise ConfigError(
                f"--nic {bdf}: no port of this lab",
                remedy=f"its two cabled ports are {self.dut} and {self.partner}",
            )
        return self if bdf == self.dut else PortPair(dut=self.partner, partner=self.dut)


@dataclass(frozen=True)
class LinkPlan:
    """Addresses on the measured link: RFC 2544's benchmarking range (198.18.0.0/15, RFC 6890)."""

    partner_ip: str = "198.18.0.1"
    guest_ip: str = "198.18.0.2"
    prefix: int = 24
    partner_netns: str = "nicproof-partner"
