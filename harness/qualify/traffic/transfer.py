"""A file carried over TCP to another end and back, with what each end has of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.journal.journal import UndoCommand
from harness.qualify.rig.act import set_up
from harness.qualify.rig.node import Node, iperf3, iperf3_server
from harness.qualify.rig.rig import Rig


@dataclass(frozen=True)
class RoundTrip:
    """SHA-256 of the file at its source, at the other end, and when it had come back."""

    original: str
    there: str
    back: str


def round_trip(rig: Rig, source: Node, target: Node, address: str, *, kib: int) -> RoundTrip:
    """Random bytes from `source` to `target`, listening at `address`, and from there back.

    iperf3 carries them, since guests have it: --file is what its client sends and its server
    stores, and the other way round with --reverse. Blocks of 128 KiB: only whole ones are sent.
    """
    with _directory(rig, source) as here, _directory(rig, target) as there:
        original, received, returned = f"{here}/original", f"{there}/received", f"{here}/back"
        fill = ("dd", "if=/dev/urandom", f"of={original}", "bs=1k", f"count={kib}")
        with set_up(f"a file on {source.host.name}"):
            source.run(fill)
        size = ("--bytes", f"{kib}K", "--length", "128K")
        with iperf3_server(target, address, "--file", received):
            iperf3(source, address, *size, "--file", original)
            iperf3(source, address, *size, "--file", returned, "--reverse")
        here_sums = source.run(("sha256sum", original, returned)).text.split()
        there_sums = target.run(("sha256sum", received)).text.split()
        return RoundTrip(original=here_sums[0], there=there_sums[0], back=here_sums[2])


@contextmanager
def _directory(rig: Rig, node: Node) -> Iterator[str]:
    """A temporary directory on the node's machine; a guest's ends with the guest."""
    made = f"/run/nicproof-{uuid.uuid4().hex}"
    with ExitStack() as stack:
        if node.host is rig.host:
            remove = (UndoCommand(("rm", "-rf", made)),)
            stack.enter_context(rig.journal.change(f"made {made}", remove))
        with set_up(f"a directory on {node.host.name}"):
            node.host.run(("mkdir", "-m", "0700", made))
        yield made
