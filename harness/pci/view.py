"""The tables that `nicproof nic show` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.core.plain import plain
from harness.pci.capability import Express
from harness.pci.compare import Expectation, compare
from harness.pci.config import HEADER, ConfigSpace
from harness.pci.describe import describe
from harness.pci.extended import Sriov
from harness.pci.profiles import Erratum, Profile, profile_for
from harness.pci.survey import Running, Survey

MARKS = {"yes": ("yes", "green"), "no": ("no", "red"), "unknown": ("?", "yellow")}


def print_list(found: Sequence[Survey], silent: int = 0) -> None:
    """One line a function; there are as many as `silent` of which nothing can be shown."""
    table = _table("BDF", "model", "interface", "driver", "VFs", "differs from its profile in")
    for each in found:
        profile, running = profile_for(*each.ids), each.running
        differs = [finding.what for finding in compare(each, profile) if finding.agrees == "no"]
        table.add_row(
            each.address,
            profile.name(*each.ids),
            plain((running and running.interface) or "-"),
            (running and running.driver) or "-",
            _vfs(running),
            ", ".join(differs) or ("(no profile)" if profile.generic else "nothing"),
        )
    if found:
        _console().print(table)
    elif not silent:
        _console().print("There is no Ethernet function on PCI here.")


def print_whole(found: Survey) -> None:
    """Everything about one function."""
    console, profile = _console(), profile_for(*found.ids)
    console.print(_facts(found, profile))
    console.print()
    if found.config.capabilities:
        console.print(_capabilities(found))
        console.print()
    for note in (*_unread(found.config), *found.config.faults):
        console.print(f"note: {note}\n")
    findings = compare(found, profile)
    if findings:
        console.print(_comparison(findings, profile))
    if profile.generic:
        console.print(f"There is no profile of {':'.join(found.ids)} to compare with.")
    if errata := profile.errata_of(found.ids[1]):
        console.print()
        console.print(_errata(errata))


def _console() -> Console:
    """Without markup: what devices and lspci say may have brackets."""
    return Console(markup=False, highlight=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _vfs(running: Running | None) -> str:
    if running is not None and running.total_vfs is not None:
        return f"{running.vfs or 0} of {running.total_vfs}"
    return f"one of {running.pf}" if running is not None and running.pf else "-"


def _unread(config: ConfigSpace) -> tuple[str, ...]:
    """What was not to be seen."""
    if config.size == HEADER:
        return ("64 bytes could be read; capabilities are shown to root only",)
    if config.find(Express) and not config.shows(Sriov):
        return ("256 of 4096 bytes were read: no extended capabilities, as SR-IOV (lspci -xxxx)",)
    return ()


def _facts(found: Survey, profile: Profile) -> Table:
    """Who it is."""
    identity, running, device = found.config.identity, found.running, found.ids[1]
    subsystem = f"{identity.subsystem_vendor}:{identity.subsystem_device}"
    rows = {
        "function": f"{found.address}, {profile.name(*found.ids)}",
        "device": f"{':'.join(found.ids)}, revision {identity.revision:02x}, subsystem {subsystem}",
        "known as": profile.expected(device).ids.get(device, "") or found.description,
    }
    if running is not None:
        rows |= _state(running)
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in rows.items():
        if value:
            table.add_row(key, value)
    return table


def _state(running: Running) -> dict[str, str]:
    """What the kernel has made of it."""
    group = (
        f"{running.iommu_group}, with {running.group_size} function" if running.iommu_group else ""
    )
    return {
        "driver": running.driver or "none",
        "interface": running.interface or "none",
        "firmware": running.abilities.firmware if running.abilities else "",
        "VFs": _vfs(running),
        "IOMMU group": f"{group}{'s' if running.group_size > 1 else ''}" if group else "none",
        "NUMA node": "none" if running.numa_node in (None, -1) else str(running.numa_node),
        "resets": " ".join(running.resets or ()) or "none",
    }


def _capabilities(found: Survey) -> Table:
    table = _table("at", "capability", "says")
    for each in found.config.capabilities:
        table.add_row(f"{each.at:x}", each.name, describe(each))
    return table


def _comparison(findings: Sequence[Expectation], profile: Profile) -> Table:
    """Who expects it is told only where the device shows something else; JSON has it all."""
    table = _table("agrees", "what", f"profile {profile.model}", "found", "expected by")
    for each in findings:
        source = each.source if each.agrees == "no" else ""
        mark, colour = MARKS[each.agrees]
        table.add_row(Text(mark, colour), each.what, each.expected, each.found, source)
    return table


def _errata(errata: Sequence[Erratum]) -> Table:
    table = _table("known of the model", "what that changes")
    for each in errata:
        table.add_row(f"{each.of.upper()}: {each.what}", each.verdict)
    return table
