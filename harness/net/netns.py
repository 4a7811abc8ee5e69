"""Commands inside a network namespace of a host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.hosts.base import Host


def inside(netns: str, argv: Sequence[str]) -> tuple[str, ...]:
    """`argv` as run on a machine to be inside a namespace of it; "" is the machine's own."""
    return ("ip", "netns", "exec", netns, *argv) if netns else tuple(argv)


@contextmanager
def made_for_a_while(host: Host, netns: str, *commands: str) -> Iterator[None]:
    """A namespace with what these words after `ip -n NETNS` make in it, removed in the end; one
    that a killed run left behind is replaced. LabError if it cannot be had."""
    delete = ("ip", "netns", "delete", netns)
    host.run(delete, check=False)
    host.run(("ip", "netns", "add", netns))
    try:
        for words in commands:
            host.run(("ip", "-n", netns, *words.split()))
        yield
    finally:
        host.run(delete, check=False)
