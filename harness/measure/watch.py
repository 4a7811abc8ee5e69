"""What is watched while traffic runs: on the host under test, and at the link partner's port.

On one host that is one window, whose edges are the traffic's own. A partner on another host has
counters of its own, and no clock in common: there the traffic has its window, and one on the host
under test opens just before that and closes just after.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.host.base import Host
from harness.measure.window import (
    OVERHEAD_S,
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
from harness.partner import Partner


@dataclass(frozen=True)
class Watched:
    """One window of traffic, and what was learned of it."""

    window: WindowResult
    reading: Reading
    wider_ns: int = 0
    """How much longer the host under test was watched than the traffic's window lasted."""


@dataclass(frozen=True)
class Watch:
    """What is read at the edges of every window: by `near` of the host under test, by `far` in the
    partner's namespace."""

    host: Host
    partner: Partner
    near: tuple[Probe, ...]
    far: tuple[Probe, ...]

    def over(self, command: Command) -> Watched:
        """Run a workload's command beside the partner's port. Raises as `run_window` does."""
        if self.partner.host is self.host:
            return self._one_window(command)
        return self._two_windows(command)

    def _one_window(self, command: Command) -> Watched:
        probe = combine((*self.far, *self.near))
        window = self._traffic(command, probe)
        return Watched(window, probe.parse(window))

    def _two_windows(self, command: Command) -> Watched:
        near, far = combine(self.near), combine(self.far)
        limit = command.timeout + 2 * OVERHEAD_S  # longer than the window within may take
        with held_window(self.host, near.read, limit=limit) as close:
            window = self._traffic(command, far)
            around = close()
        reading = merge((far.parse(window), near.parse(around)))
        return Watched(window, reading, around.window_ns - window.window_ns)

    def _traffic(self, command: Command, probe: Probe) -> WindowResult:
        spec = WindowSpec.of(command, (probe,))
        return run_window(self.partner.host, spec, netns=self.partner.netns)
