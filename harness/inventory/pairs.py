"""The ports and the addresses of one measured link."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.core.errors import ConfigError
from harness.journal.permissions import DEFAULT_BINDING, EVERYTHING, Binding, Permission


@dataclass(frozen=True)
class PortPair:
    """Two cabled ports: the one under test and its link partner, which may be on another host, by
    BDF.

    By default those of the nested lab, where everything may be changed.
    """

    dut: str = "0000:01:00.0"
    partner: str = "0000:02:00.0"
    may: frozenset[Permission] = EVERYTHING  # what may be changed on the host under test
    binding: Binding = DEFAULT_BINDING  # and how drivers are changed there
    remote_partner: bool = False  # is the partner on another host?

    @property
    def here(self) -> tuple[str, ...]:
        """Those that are on the host under test. On another host a BDF is another function's."""
        return (self.dut,) if self.remote_partner else (self.dut, self.partner)

    def testing(self, bdf: str) -> PortPair:
        """The pair with `bdf` as the port under test; ConfigError if it is neither of the two."""
        if bdf not in (self.dut, self.partner):
            raise ConfigError(
                f"--nic {bdf}: no port of this lab",
                remedy=f"its two cabled ports are {self.dut} and {self.partner}",
            )
        if bdf == self.dut:
            return self
        return replace(self, dut=self.partner, partner=self.dut)


@dataclass(frozen=True)
class LinkPlan:
    """Addresses on the measured link: RFC 2544's benchmarking range (198.18.0.0/15, RFC 6890)."""

    partner_ip: str = "198.18.0.1"
    guest_ip: str = "198.18.0.2"
    prefix: int = 24
    partner_netns: str = "nicproof-partner"
