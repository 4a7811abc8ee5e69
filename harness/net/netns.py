"""Commands inside a network namespace of a host."""

from __future__ import annotations

from collections.abc import Sequence


def inside(netns: str, argv: Sequence[str]) -> tuple[str, ...]:
    """`argv` as run on a machine to be inside a namespace of it; "" is the machine's own."""
    return ("ip", "netns", "exec", netns, *argv) if netns else tuple(argv)
