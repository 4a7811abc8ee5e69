"""`nicproof nic`: what a NIC is, what it can do, and how that compares with its model's profile."""

from __future__ import annotations

import argparse
import codecs
import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.errors import ConfigError
from harness.core.flags import nonempty
from harness.hosts.base import Host
from harness.hosts.local import LocalHost
from harness.pci.compare import compare
from harness.pci.dump import parse_dump
from harness.pci.profiles import profile_for
from harness.pci.survey import (
    Silent,
    Survey,
    ethernet_functions,
    from_dump,
    survey,
    surveys,
)

EXAMPLES = """\
examples:
  nicproof nic show                               the Ethernet functions of this machine
  sudo nicproof nic show 0000:01:00.0             one of them, whole
  sudo lspci -xxxx -nn > nics.txt                 on a machine without nicproof
  nicproof nic show --dump nics.txt               those of the dump
  nicproof nic show 01:00.1 --dump nics.txt --json | jq '.[].comparison'
"""


def add_parser(commands: Commands) -> None:
    """Register `nicproof nic`."""
    nic = command(
        commands,
        "nic",
        help="what a NIC is and can do, held against its profile",
        description="Look at NICs without touching them.",
        epilog=EXAMPLES,
    )
    verbs = nic.add_subparsers(title="commands", required=True, metavar="COMMAND")
    show = command(
        verbs,
        "show",
        help="identity, capabilities, and how they compare with the profile",
        description="Identity and capabilities of a NIC, from its PCI configuration space, sysfs "
        "and ethtool, and how they compare with the profile of its model. Nothing is changed. "
        "Capabilities are shown to root only. A difference is no failure: the exit status is 0.",
        epilog=EXAMPLES,
    )
    show.add_argument(
        "bdf",
        nargs="?",
        metavar="BDF",
        type=nonempty,
        help="a PCI address; without one, all Ethernet functions",
    )
    show.add_argument(
        "--dump", metavar="FILE", type=nonempty, help="read what `lspci -xxxx` printed instead"
    )
    add_json(show, "print everything as JSON")
    show.set_defaults(handler=run)


def run(given: argparse.Namespace) -> int:
    """Handler of `nicproof nic show`."""
    from harness.pci import view

    if given.dump is not None:
        found = dumped(Path(given.dump), given.bdf)
    else:
        found = live(LocalHost(), given.bdf)
    known = [each for each in found if isinstance(each, Survey)]
    silent = [each for each in found if isinstance(each, Silent)]
    if given.json:
        documents = [document(each) for each in known]
        documents += [{"address": each.address, "faults": [each.why]} for each in silent]
        print_json(documents)
    elif given.bdf is None and (given.dump is None or len(found) > 1):
        view.print_list(known, len(silent))
    elif known:
        view.print_whole(known[0])
    for each in silent:
        print(f"nicproof: {each.why}\n  remedy: {each.remedy}", file=sys.stderr)
    return 1 if silent else 0


def live(host: Host, bdf: str | None) -> tuple[Survey | Silent, ...]:
    """One function of a host, or all Ethernet ones; ConfigError if that one does not answer."""
    return surveys(host, ethernet_functions(host)) if bdf is None else (survey(host, bdf),)


def dumped(path: Path, bdf: str | None) -> tuple[Survey | Silent, ...]:
    """One device of a dump, or all Ethernet functions; ConfigError if it is no dump."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    # PowerShell's > writes UTF-16.
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if utf16 else "utf-8", errors="replace")
    try:
        return from_dump(parse_dump(text), bdf)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", remedy=error.remedy) from error


def document(found: Survey) -> dict[str, Any]:
    """Everything that is known of a function, for JSON."""
    profile = profile_for(*found.ids)
    return {
        "address": found.address,
        "vendor": found.ids[0],
        "device": found.ids[1],
        "model": profile.name(*found.ids),
        "profile": profile.model,
        "generic_profile": profile.generic,
        "description": found.description,
        "identity": found.config.identity,
        "bytes_read": found.config.size,
        "capabilities": [
            {"name": each.name, **msgspec.to_builtins(each)} for each in found.config.capabilities
        ],
        "faults": found.config.faults,
        "running": found.running,
        "comparison": compare(found, profile),
        "errata": profile.errata_of(found.ids[1]),
    }
