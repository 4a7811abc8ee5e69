"""A capability in a few words, for a table. Pure."""

from __future__ import annotations

from functools import singledispatch

from harness.pci.capability import Capability, Express, Msi, Msix, PowerManagement
from harness.pci.extended import (
    AccessControl,
    AlternativeRouting,
    ErrorReporting,
    SerialNumber,
    Sriov,
)


@singledispatch
def describe(_: Capability) -> str:
    """What the capability says; nothing of one that is not decoded."""
    return ""


@describe.register
def _(capability: PowerManagement) -> str:
    reset = "D3hot resets" if capability.soft_reset else "D3hot does not reset"
    return f"version {capability.version}, now {capability.state}, {reset}"


@describe.register
def _(capability: Msi) -> str:
    return f"{_count(capability.vectors, 'vector')}, {_on(capability.enabled)}"


@describe.register
def _(capability: Msix) -> str:
    where = f"table in BAR {capability.table_bar} at {capability.table_offset:#x}"
    pending = f"PBA in BAR {capability.pba_bar} at {capability.pba_offset:#x}"
    masked = ", masked" if capability.masked else ""
    vectors = _count(capability.vectors, "vector")
    return f"{vectors}, {_on(capability.enabled)}{masked}; {where}, {pending}"


@describe.register
def _(capability: Express) -> str:
    parts = [
        f"version {capability.version}, {capability.port_type}",
        "FLR" if capability.flr else "no FLR",
        f"payload {capability.payload} of {capability.max_payload} B",
    ]
    if capability.link_max_width:
        most = f"{capability.link_max_speed:g} GT/s x{capability.link_max_width}"
        parts.append(f"link {capability.link_speed:g} GT/s x{capability.link_width} of {most}")
    if capability.errors:
        parts.append(f"errors seen: {', '.join(capability.errors)}")
    return ", ".join(parts)


@describe.register
def _(capability: ErrorReporting) -> str:
    seen = ", ".join((*capability.uncorrectable, *capability.correctable))
    masked = ", ".join((*capability.uncorrectable_masked, *capability.correctable_masked))
    return f"errors seen: {seen or 'none'}; masked: {masked or 'none'}"


@describe.register
def _(capability: SerialNumber) -> str:
    return capability.serial


@describe.register
def _(capability: AccessControl) -> str:
    supported = ", ".join(capability.supported) or "none, for there is no peer-to-peer traffic"
    return f"controls: {supported}; enabled: {', '.join(capability.enabled) or 'none'}"


@describe.register
def _(capability: AlternativeRouting) -> str:
    return f"next function {capability.next_function}"


@describe.register
def _(capability: Sriov) -> str:
    state = f"{capability.num_vfs} of {_count(capability.total_vfs, 'VF')}"
    bars = " and ".join(str(bar.index) for bar in capability.vf_bars) or "none"
    return (
        f"{state}, {_on(capability.enabled)}, MSE {_on(capability.memory_enabled)}, "
        f"ARI hierarchy {_on(capability.ari_hierarchy)}; "
        f"VF {capability.vf_device} at offset {capability.offset}, stride {capability.stride}, "
        f"BARs {bars}, pages of {capability.page_size} B"
    )


def _on(state: bool) -> str:
    return "on" if state else "off"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
