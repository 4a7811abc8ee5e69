"""What is being qualified: model, firmware, link, versions, read from the rig itself."""

from __future__ import annotations

from datetime import UTC, datetime

from harness import __version__
from harness.measure.environment import describe_controller, describe_host, describe_nic
from harness.pci.compare import compare
from harness.pci.profiles import profile_for
from harness.pci.survey import survey
from harness.qualify.rig.rig import Rig
from harness.records.cases import DeviceFact, Subject


def describe(rig: Rig, run: str, lab: dict[str, str]) -> Subject:
    """The subject of a qualification on this rig; `lab` describes where the rig came from."""
    found = survey(rig.host, rig.port.bdf)
    profile = profile_for(*found.ids)
    return Subject(
        run=run,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fidelity=rig.fidelity,
        clock=rig.clock,
        model=profile.name(*found.ids),
        host=rig.host.name,
        bdf=rig.port.bdf,
        emulated=rig.emulated,
        profile="generic" if profile.generic else profile.model,
        sections={
            **describe_nic(rig.host, rig.ports, rig.partner),
            "host": describe_host(rig.host),
            "lab": lab,
            "controller": describe_controller(),
        },
        findings=tuple(
            DeviceFact(
                what=each.what,
                expected=each.expected,
                found=each.found,
                agrees={"yes": True, "no": False}.get(each.agrees),
                source=each.source,
            )
            for each in compare(found, profile)
        ),
    )
