"""Live migration between two QEMUs of one host: started, switched over, told in figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.guest.boot import Guest, StartedGuest, started
from harness.hosts.program import last_words
from harness.journal.journal import UndoCommand
from harness.net.netdev import macvtap
from harness.net.ping import answered, summary
from harness.qemu.argv import RUN
from harness.qemu.attachment import NicAttachment
from harness.qualify.agents import agent
from harness.qualify.rig.rig import Rig

LIMIT = 120.0
"""Seconds that a migration, or the arrival of its guest, may take: a micro guest has 256 MiB."""

PING_S, AFTER_S = 0.01, 1.0
"""Seconds between echo requests while a guest moves, and for how long they go on."""

UNNOTICED_MS = 1000
"""Milliseconds of silence after which no sender of TCP has yet begun to repeat itself: the least
retransmission timeout of RFC 6298 (2.4)."""

SOURCE_TAP, DESTINATION_TAP = "npmacvtap0", "npmacvtap1"


@dataclass(frozen=True)
class Echoes:
    """Echo requests sent at a steady pace, and which of them were answered."""

    sent: int
    answered: frozenset[int]
    interval_s: float

    @property
    def lost(self) -> int:
        return self.sent - len(self.answered)

    @property
    def longest_gap_ms(self) -> float:
        """The longest row of requests without an answer, as the time that they took."""
        longest = row = 0
        for number in range(1, self.sent + 1):
            row = 0 if number in self.answered else row + 1
            longest = max(longest, row)
        return longest * self.interval_s * 1000

    def __str__(self) -> str:
        if not self.lost:
            return f"all of {self.sent} echo requests answered meanwhile"
        return (
            f"{self.lost} of {self.sent} echo requests lost meanwhile, "
            f"none answered for {self.longest_gap_ms:.0f} ms at most"
        )


def parse_echoes(text: str, interval_s: float) -> Echoes:
    """From the output of iputils' ping that was interrupted; LabError if it is not that."""
    found = summary(text)
    if found is None:
        raise LabError(f"ping did not come to its summary: {text[-200:]!r}")
    # One that is answered after the interrupt, or twice, is in the set once or not at all.
    return Echoes(found.sent, answered(text), interval_s)


@dataclass(frozen=True)
class Migration:
    """How a migration went, as the source's query-migrate tells it, and what was heard meanwhile.

    `error` is of both ends.
    `downtime_ms` is from the stop of the source's CPUs to the end of the migration, by the host's
    clock, and holds the switch-over of the network.
    """

    status: str
    error: str
    downtime_ms: int
    total_ms: int
    sent_bytes: int
    echoes: Echoes

    def __str__(self) -> str:
        return (
            f"downtime {self.downtime_ms} ms of {self.total_ms} ms, "
            f"{self.sent_bytes / 2**20:.0f} MiB sent; {self.echoes}"
        )


@contextmanager
def two_taps(rig: Rig, mac: str) -> Iterator[tuple[str, str]]:
    """Two macvtaps of one address upon the port, as devices; the first of them is up.

    MissingCapability if the host has no macvtap, or may not load it.
    """
    port = rig.port.interface
    with (
        macvtap(rig.host, port, SOURCE_TAP, mac, rig.journal) as source,
        macvtap(rig.host, port, DESTINATION_TAP, mac, rig.journal, up=False) as destination,
    ):
        yield source.device, destination.device


SWITCH_TAPS = (
    ("ip", "link", "set", SOURCE_TAP, "down"),
    ("ip", "link", "set", DESTINATION_TAP, "up"),
)
"""To run while the guest stands still: the port has its address from one macvtap at a time."""


MONITOR = f"{RUN}/leaving.qmp"
"""One more QMP socket of the source, for the program that migrates it: QEMU serves one client."""


@contextmanager
def leaving(rig: Rig, attachment: NicAttachment) -> Iterator[Guest]:
    """A guest that can be migrated. It ends with the context, here or elsewhere."""
    chardev = f"socket,id=migration,path={MONITOR},server=on,wait=off"
    monitor = ("-chardev", chardev, "-mon", "chardev=migration,mode=control")
    # QEMU removes its socket at its end, but not at its SIGKILL.
    removed = (UndoCommand(("rm", "-f", MONITOR)),)
    with (
        rig.journal.change(f"had a guest listen at {MONITOR}", removed),
        rig.booted("leaving", (attachment,), extra_args=monitor) as guest,
    ):
        yield guest


@contextmanager
def awaiting(rig: Rig, attachment: NicAttachment) -> Iterator[StartedGuest]:
    """A QEMU that waits for a guest to arrive; its devices must be those of the source."""
    incoming = (*rig.guest.extra_args, "-incoming", "defer")
    with started(
        rig.host,
        replace(rig.guest, name="arriving", extra_args=incoming),
        (attachment,),
        log_dir=rig.logs,
        deadline=Deadline(LIMIT, "the start of a QEMU that waits for a guest"),
        journal=rig.journal,
    ) as guest:
        yield guest


def migrate(
    rig: Rig, destination: StartedGuest, address: str, switch: Sequence[tuple[str, ...]]
) -> Migration:
    """Migrate the guest of `leaving` to `destination`, while the partner pings `address`.

    `switch` runs on the host between the stop of the source and the start of the destination.
    LabError if the migration cannot even begin; how it ended is in what is returned.
    """
    uri = f"unix:{destination.process.files.directory}/migration.sock"
    destination.qmp.command("migrate-incoming", uri=uri)
    ping = ("ping", "-n", "-i", f"{PING_S:g}", address)
    spec = {
        "monitor": MONITOR,
        "uri": uri,
        "switch": switch,
        "beside": rig.wire.argv(ping),
        "after": AFTER_S,
        "limit": LIMIT,
    }
    result = rig.host.run(
        agent("migration"), stdin=json.dumps(spec).encode(), timeout=LIMIT + 30, check=False
    )
    if result.ended().returncode != 0:
        last = last_words(result)
        raise LabError(f"{rig.host.name}: the guest could not be migrated: {last}")
    found = json.loads(result.stdout)
    answer, echoes = found["migration"], parse_echoes(found["beside"], PING_S)
    # The source only knows that the other end has gone away.
    there = "" if answer["status"] == "completed" else destination.process.message()
    return _migration(answer, there, echoes)


def _migration(answer: dict[str, Any], there: str, echoes: Echoes) -> Migration:
    return Migration(
        status=answer["status"],
        error="; ".join(filter(None, (answer.get("error-desc", ""), there.strip()))),
        downtime_ms=answer.get("downtime", 0),
        total_ms=answer.get("total-time", 0),
        sent_bytes=answer.get("ram", {}).get("transferred", 0),
        echoes=echoes,
    )


def arrived(destination: StartedGuest) -> Guest:
    """The guest in its new place, once its agent answers there."""
    return destination.answering(Deadline(LIMIT, "the guest's first answer after its migration"))
