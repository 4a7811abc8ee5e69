"""`nicproof persist HOST`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from harness.cli.inventory import add_host_options, host_of
from harness.cli.parser import Commands, command
from harness.core.errors import ConfigError
from harness.core.flags import nonempty
from harness.inventory import fields
from harness.inventory.spec import HostSpec
from harness.labs.reach import reached
from harness.persist.facts import facts
from harness.persist.files import File, Wishes, files

EXAMPLES = """\
examples:
  nicproof persist alpha                          what runs on alpha want of its boot
  nicproof persist alpha --vfs 4                  and four VFs on each of its ports
  nicproof persist alpha --vfio --port 0000:01:00.0

bench and qualify take ports with their own drivers and without VFs, and make what they need: --vfs
and --vfio are for hosts that are put to use.
"""

AFTERWARDS = (
    "Afterwards: update-grub; update-initramfs -u (or dracut -f); systemctl daemon-reload; reboot.",
    "To take it back, remove the files and do the same.",
)


def add_parser(commands: Commands) -> None:
    """Register `nicproof persist`."""
    parser = command(
        commands,
        "persist",
        help="print the files that make a host's set-up outlast a boot",
        description="Print the files that make the set-up of a host of the inventory outlast a "
        "boot: kernel command line, modules, udev rules, systemd units, each line with its reason. "
        "The host is looked at; nothing is written, there or here.",
        epilog=EXAMPLES,
    )
    add_host_options(parser)
    parser.add_argument("--vfs", type=int, default=0, metavar="N", help="VFs of each port")
    parser.add_argument("--vfio", action="store_true", help="bind the ports to vfio-pci")
    parser.add_argument(
        "--port",
        action="append",
        metavar="BDF",
        type=nonempty,
        help="only this port, as often as needed (default: all that the inventory lists)",
    )
    parser.set_defaults(handler=_persist)


def _persist(given: argparse.Namespace) -> None:
    spec, wishes = _spec(given), _wishes(given)
    bdfs = _ports(spec, given.port)
    with reached(spec) as host:
        found = facts(host, spec, bdfs, change=wishes.change, vfio=wishes.vfio)
    made = files(spec, found, wishes)
    print("\n".join(_shown(spec, bdfs, made)), end="")


def _spec(given: argparse.Namespace) -> HostSpec:
    if not given.host:
        raise ConfigError("which host?", remedy="nicproof persist HOST, a host of the inventory")
    spec = host_of(given)
    if not spec.ports:
        raise ConfigError(
            f"no inventory lists ports of {given.host}, and only those are set up",
            remedy=f"write one first: nicproof inventory discover {given.host} --out lab.toml",
        )
    return spec


def _wishes(given: argparse.Namespace) -> Wishes:
    if given.vfs < 0:
        raise ConfigError(f"--vfs {given.vfs} is no number of VFs", remedy="0 or more")
    if given.vfs and given.vfio:
        raise ConfigError(
            "--vfs and --vfio: under vfio-pci a port's own driver makes no VFs",
            remedy="one of the two; --port gives different ports different ones",
        )
    return Wishes(given.vfs, given.vfio)


def _ports(spec: HostSpec, chosen: list[str] | None) -> tuple[str, ...]:
    """In the inventory's order."""
    listed = tuple(port.bdf for port in spec.ports)
    asked = {fields.bdf(each) for each in chosen or listed}
    if strange := asked.difference(listed):
        raise ConfigError(
            f"--port {', '.join(sorted(strange))}: no port of {spec.name} in the inventory",
            remedy=f"one of: {', '.join(listed)}",
        )
    return tuple(bdf for bdf in listed if bdf in asked)


def _shown(spec: HostSpec, bdfs: tuple[str, ...], made: tuple[File, ...]) -> Iterator[str]:
    yield f"# The set-up of {spec.name} for {', '.join(bdfs)}: {len(made)} files."
    yield from (f"# {line}" for line in AFTERWARDS)
    for file in made:
        yield ""
        yield file.text
