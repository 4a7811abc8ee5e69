"""The table that `nicproof inventory check` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from harness.inventory.spec import HostSpec, Inventory


def print_inventory(inventory: Inventory) -> None:
    """What was understood: hosts, then their ports."""
    console = Console(markup=False, highlight=False)
    console.print(f"{inventory.path}{f': {inventory.name}' if inventory.name else ''}\n")
    hosts = _table(
        *("host", "reached as", "CPUs", "NUMA node", "hugepages"),
        *("may be changed", "bound by", "labgrid"),
    )
    ports = _table("port", "model", "link partner")
    for host in inventory.hosts:
        hosts.add_row(
            host.name,
            _reached(host),
            ranges(host.cpus) or "any",
            "any" if host.numa is None else str(host.numa),
            str(host.hugepages),
            ", ".join(sorted(host.may)) or "nothing",
            host.bind,
            host.place.name if host.place else "-",
        )
        for port in host.ports:
            partner = str(port.partner) if port.partner else "-"
            ports.add_row(f"{host.name}/{port.bdf}", port.model or "any", partner)
    console.print(hosts)
    console.print()
    console.print(ports if ports.row_count else "It lists no port.")


def ranges(cpus: tuple[int, ...]) -> str:
    """Rising numbers of CPUs as Linux writes them: "2-4,7"."""
    runs: list[list[int]] = []
    for cpu in cpus:
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _reached(host: HostSpec) -> str:
    """In short: files of ssh's are left out."""
    if host.local:
        return "this machine"
    user = f"{host.user}@" if host.user else ""
    port = f", port {host.ssh_port}" if host.ssh_port is not None else ""
    jump = f", by {host.jump}" if host.jump else ""
    return f"{user}{host.address}{port}{jump}"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
