"""What is watched while traffic runs: on the host under test, and at the link partner's port.

On one host that is one window, whose edges are the traffic's own. A partner on another host has
counters of its own, and no clock in common: there the traffic has its window, and one on the host
under test opens just before that and closes just after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.measure.endpoint import GuestReader
from harness.paths.partner import Partner
from harness.tuning.placement import ANYWHERE, Placement, taskset
from harness.window.window import (
    Command,
    Probe,
    Reading,
    WindowResult,
    WindowSpec,
    combine,
    held_window,
    merge,
    run_window,
)

Told = tuple[tuple[int, int], ...]
"""As in WindowResult."""


@dataclass(frozen=True)
class Watched:
    """One window of traffic, and what was learned of it."""

    window: WindowResult
    reading: Reading
    wider_ns: int = 0
    """How much longer the host under test was watched than the traffic's window lasted."""
    guest_wider_ns: int = 0
    """At most how much longer the counters were that are read where the traffic ends."""


@dataclass(frozen=True)
class Watch:
    """What is read at the edges of every window: by `near` of the host under test, by `far` in the
    partner's namespace, by `reader` in the guest."""

    host: Host
    partner: Partner
    near: tuple[Probe, ...]
    far: tuple[Probe, ...]
    reader: GuestReader | None = None
    placement: Placement = ANYWHERE

    def over(self, command: Command, more: tuple[Probe, ...] = ()) -> Watched:
        """Run a workload's command beside the partner's port, with `more` to be read on the host
        under test. Raises as `run_window` does, and LabError if the guest did not read its
        counters."""
        return replace(self, near=(*self.near, *more))._over(command)

    def _over(self, command: Command) -> Watched:
        run = self._one_window if self.partner.host is self.host else self._two_windows
        if self.reader is None:
            watched, _ = run(command, "")
            return watched
        with self.reader.ready() as grown:
            watched, announced = run(command, self.reader.socket)
            reading = merge((watched.reading, Reading(grown())))
        if len(announced) != 2:
            raise LabError(f"{self.reader.guest.name} did not read its counters at both edges")
        wider = announced[1][1] - announced[0][0] - watched.window.window_ns
        return replace(watched, reading=reading, guest_wider_ns=wider)

    def _one_window(self, command: Command, tell: str) -> tuple[Watched, Told]:
        probe = combine((*self.far, *self.near))
        window = self._traffic(command, probe, tell)
        return Watched(window, probe.parse(window)), window.announced

    def _two_windows(self, command: Command, tell: str) -> tuple[Watched, Told]:
        near, far = combine(self.near), combine(self.far)
        with held_window(self.host, near.read, tell=tell) as close:
            window = self._traffic(command, far, "")
            around = close()
        reading = merge((far.parse(window), near.parse(around)))
        wider = around.window_ns - window.window_ns
        return Watched(window, reading, wider, guest_wider_ns=wider), around.announced

    def _traffic(self, command: Command, probe: Probe, tell: str) -> WindowResult:
        placed = replace(command, argv=(*taskset(self.placement.partner), *command.argv))
        window = run_window(
            self.partner.host,
            WindowSpec.of(placed, (probe,), tell),
            netns=self.partner.netns,
            prefix=taskset(self.placement.own),
            in_vain=self._guest_is_gone,
        )
        if self._guest_is_gone():
            raise LabError("the guest ended while traffic ran")
        return window

    def _guest_is_gone(self) -> bool:
        return self.reader is not None and not self.reader.guest.qmp.alive
