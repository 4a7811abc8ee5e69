"""What is being qualified: model, firmware, link, versions, read from the rig itself."""

from __future__ import annotations

from datetime import UTC, datetime

from harness import __version__
from harness.measure.environment import describe_controller, describe_host, describe_nic
from harness.qualify.record import Subject
from harness.qualify.rig import Rig


def describe(rig: Rig, run: str, lab: dict[str, str]) -> Subject:
    """The subject of a qualification on this rig; `lab` describes where the rig came from."""
    device = rig.port.device
    return Subject(
        run=run,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fidelity=rig.fidelity,
        clock=rig.clock,
        model=device.model,
        bdf=rig.port.bdf,
        emulated=rig.emulated,
        profile="",
        sections={
            **describe_nic(rig.host, rig.ports, rig.partner),
            "host": describe_host(rig.host),
            "lab": lab,
            "controller": describe_controller(),
        },
    )
