"""What a host's firewall does to packets that come in by an interface and are for the host itself.

Frames of guests, and of what is in a namespace of its own, do not come by here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.hosts.base import Host


@dataclass(frozen=True)
class Chain:
    """A base chain of nftables' at the hook `input` (nft(8), CHAINS). iptables of today makes such
    chains too."""

    family: str
    table: str
    name: str
    policy: str  # "accept" or "drop", for what no rule has decided on
    rules: tuple[str, ...]  # without their counters

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"

    def drops(self, interface: str) -> bool:
        """Whether packets by that interface that nobody has asked for end here, as far as rules
        without a condition, and those that name the interface, tell."""
        for rule in self.rules:
            if rule.startswith(("drop", "reject")):
                return True
            if re.fullmatch(rf'(?:iif(?:name)? "?{re.escape(interface)}"? )?accept', rule):
                return False
        return self.policy == "drop"

    def accepting(self, interface: str) -> str:
        """The command that lets them in."""
        return f'nft insert rule {self} iifname "{interface}" accept'


def dropping(host: Host, interface: str) -> tuple[Chain, ...]:
    """The chains of the host that drop what comes in by an interface.

    The rules of iptables' older kind (iptables-legacy) are not among them. NotStarted if the host
    has no nft, which says nothing of its rules; CommandFailed if they cannot be told.
    """
    ruleset = host.run(("nft", "list", "ruleset")).text
    return tuple(chain for chain in parse(ruleset) if chain.drops(interface))


def parse(ruleset: str) -> Iterator[Chain]:
    """The base chains at the hook `input` in the output of `nft list ruleset`."""
    plain = re.sub(r"\bcounter packets \d+ bytes \d+ ", "", ruleset)
    tables = re.findall(r"^table (\S+) (\S+) \{[^\n]*\n(.*?)^\}", plain, re.M | re.S)
    for family, table, body in tables:
        for name, text in re.findall(r"^\tchain (\S+) \{\n(.*?)^\t\}", body, re.M | re.S):
            kind, *rules = (line.strip() for line in text.splitlines() or [""])
            base = re.match(r"type filter hook input priority .*; policy (\w+);", kind)
            if base:
                yield Chain(family, table, name, base[1], tuple(rules))
