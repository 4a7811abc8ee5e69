"""A function held against its model's profile. Pure.

The profile is an expectation: where the two differ, the device is not thereby wrong, but a verdict
has to say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from harness.pci.capability import Capability, Express, Msix
from harness.pci.extended import Sriov
from harness.pci.profiles import Expected, Fact, Profile, Vfs
from harness.pci.survey import Running, Survey

T = TypeVar("T")
C = TypeVar("C", bound=Capability)

Agreement = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Expectation:
    """One expectation, and what was found. Unknown: it could not be read here."""

    what: str
    expected: str
    found: str
    agrees: Agreement
    source: str  # of the expectation


def compare(survey: Survey, profile: Profile) -> tuple[Expectation, ...]:
    """Everything that the profile expects of such a function, and the link that it was given."""
    is_vf = profile.is_vf(survey.ids[1])
    expected = profile.vf if is_vf else profile.pf
    return (
        *_function(survey, expected),
        *_link(survey, profile),
        *(() if is_vf or profile.vfs is None else _vfs(survey, profile, profile.vfs)),
        *_running(survey.running, expected),
        *(() if is_vf else _speed(survey.running, profile.speed)),
    )


def _equal(
    what: str, fact: Fact[T] | None, found: T | None, show: Callable[[T], str] = str
) -> Iterator[Expectation]:
    """One finding, if anything is expected. `found` is None where nothing could be read."""
    if fact is not None:
        agrees: Agreement = "unknown" if found is None else "yes" if found == fact.value else "no"
        shown = "not read" if found is None else show(found)
        yield Expectation(what, show(fact.value), shown, agrees, fact.source)


def _all_of(
    what: str, fact: Fact[tuple[str, ...]] | None, found: Iterable[str] | None
) -> Iterator[Expectation]:
    """One finding, if anything is expected: are all of these there? Others may be."""
    if fact is None:
        return
    expected = ", ".join(fact.value)
    if found is None:
        yield Expectation(what, expected, "not read", "unknown", fact.source)
        return
    missing = sorted(set(fact.value) - set(found))
    shown = f"lacks {', '.join(missing)}" if missing else "all of them"
    yield Expectation(what, expected, shown, "no" if missing else "yes", fact.source)


def _of(survey: Survey, kind: type[C], value: Callable[[C], T], absent: T) -> T | None:
    """A value of a capability, `absent` if the function has none, None if that was not read."""
    found = survey.config.find(kind)
    if found is not None:
        return value(found)
    return absent if survey.config.shows(kind) else None


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _function(survey: Survey, expected: Expected) -> Iterator[Expectation]:
    """What every function tells in its configuration space."""
    titles = None
    if survey.config.shows(Sriov):  # then whatever else there is is shown too
        titles = {capability.name for capability in survey.config.capabilities}
    yield from _all_of("capabilities", expected.capabilities, titles)
    yield from _equal("MSI-X vectors", expected.msix, _of(survey, Msix, lambda c: c.vectors, 0))
    flr = _of(survey, Express, lambda c: c.flr, False)
    yield from _equal("FLR, by its capability", expected.flr, flr, _yes)


def _link(survey: Survey, profile: Profile) -> Iterator[Expectation]:
    """The link: made as expected, and trained as made. A VF's link registers are reserved."""
    express = survey.config.find(Express)
    made = profile.link
    if profile.is_vf(survey.ids[1]):
        return
    if made is not None:
        width = express.link_max_width if express else None
        speed = express.link_max_speed if express else None
        yield from _equal("link width", made.width, width, lambda lanes: f"x{lanes}")
        yield from _equal("link speed", made.speed, speed, lambda speed: f"{speed:g} GT/s")
    if express is not None and express.link_max_width:
        most = f"{express.link_max_speed:g} GT/s x{express.link_max_width}"
        now = f"{express.link_speed:g} GT/s x{express.link_width}"
        source = "the device's own Link Capabilities"
        yield Expectation("link, as trained", most, now, "yes" if now == most else "no", source)


def _vfs(survey: Survey, profile: Profile, vfs: Vfs) -> Iterator[Expectation]:
    """How many VFs there may be and where, by the device and by its driver."""
    sriov = survey.config.find(Sriov)
    total = _of(survey, Sriov, lambda c: c.total_vfs, 0)
    yield from _equal("VFs of the device", vfs.device, total)
    offset = vfs.offset_ari if sriov and sriov.ari_hierarchy else vfs.offset
    where = "first VF offset, ARI" if sriov and sriov.ari_hierarchy else "first VF offset"
    yield from _equal(where, offset, sriov.offset if sriov else None)
    yield from _equal("VF stride", vfs.stride, sriov.stride if sriov else None)
    if sriov is not None:
        ids = " or ".join(profile.vf.ids)
        agrees: Agreement = "yes" if profile.is_vf(sriov.vf_device) else "no"
        source = ", ".join(profile.vf.ids.values())
        yield Expectation("VF device ID", ids, sriov.vf_device, agrees, source)
    if survey.running is not None:
        yield from _equal("VFs of the driver", vfs.driver, survey.running.total_vfs)


def _running(running: Running | None, expected: Expected) -> Iterator[Expectation]:
    """What the kernel and the driver tell; nothing of that is in a dump."""
    if running is None:
        return
    can = running.abilities
    yield from _equal("driver", expected.driver, running.driver or "none")
    yield from _all_of("reset methods", expected.resets, running.resets)
    alone = running.group_size == 1 if running.iommu_group else None
    yield from _equal("IOMMU group of its own", expected.isolated, alone, _yes)
    if can is None:
        return
    yield from _equal("largest MTU", expected.max_mtu, can.max_mtu)
    yield from _equal("PTP hardware clock", expected.ptp, can.clock, _yes)
    if not running.vfs:  # VFs take queues from their PF
        yield from _equal("channels of the driver", expected.channels, can.channels)
    yield from _all_of("offloads", expected.offloads, can.offloads)


def _speed(running: Running | None, speed: Fact[int] | None) -> Iterator[Expectation]:
    if running is None or running.abilities is None:
        return
    speeds = running.abilities.speeds
    yield from _equal("speed, Mbit/s", speed, max(speeds) if speeds else None)
