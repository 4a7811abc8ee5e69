"""`nicproof inventory`: check an inventory of hosts, or write a first one."""

from __future__ import annotations

import argparse
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import get_args

from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.errors import ConfigError
from harness.core.flags import nonempty
from harness.hosts.base import Host
from harness.hosts.program import require_python
from harness.inventory import fields, reading
from harness.inventory.checks import contradictions
from harness.inventory.spec import LOCAL, Become, HostSpec
from harness.journal.journal import Journal
from harness.journal.permissions import Permission
from harness.labs.reach import inventory_at, reached
from harness.labs.real import discover
from harness.labs.real.cabling import cables
from harness.labs.real.lock import Owner

EXAMPLES = """\
examples:
  nicproof inventory check                        ./lab.toml, else ~/.config/nicproof/lab.toml
  nicproof inventory check rack12.toml
  nicproof inventory discover alpha.lab           print a first inventory of a host
  nicproof inventory discover local --probe --out lab.toml
  nicproof inventory discover root@10.0.0.7 --jump bastion --name alpha
  nicproof inventory discover alpha --out more.toml   by the login that ./lab.toml has for it
"""


def add_parser(commands: Commands) -> None:
    """Register `nicproof inventory`."""
    parser = command(
        commands,
        "inventory",
        help="the hosts and ports that nicproof may work with",
        description="The hosts and ports that nicproof may work with, in a file: lab.toml.",
        epilog=EXAMPLES,
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_check(verbs)
    _add_discover(verbs)


def _add_check(verbs: Commands) -> None:
    check = verbs.add_parser(
        "check",
        help="read an inventory and say what it says, or all that is wrong with it",
        description="Read an inventory without touching a host. Exit status 0: it can be used; "
        "2: it cannot, and everything that is wrong is told with its line.",
    )
    check.add_argument(
        "file", nargs="?", metavar="FILE", type=nonempty, help=f"default: {reading.NAME}"
    )
    add_json(check, "print what it says as JSON")
    check.set_defaults(handler=_check)


def _add_discover(verbs: Commands) -> None:
    parser = command(
        verbs,
        "discover",
        help="write a first inventory of a host",
        description="Look at a host and write a first inventory of it: known NICs, which of them "
        "are in use and by what, the CPUs next to them. Nothing is changed without --probe.",
        epilog=EXAMPLES,
    )
    add_host_options(parser, required=True)
    parser.add_argument("--name", type=nonempty, help="what to call it (default: from HOST)")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="find the cabling: set free ports up for some seconds and send frames between them",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=nonempty, help="write to a file, which must not exist yet"
    )
    parser.set_defaults(handler=_discover)


def add_ssh_options(parser: argparse.ArgumentParser) -> None:
    """How a host is reached, where the user's ssh configuration does not say it."""
    parser.add_argument(
        "--jump", metavar="HOST", type=nonempty, help="a host to go through, as for ssh -J"
    )
    parser.add_argument("--user", type=nonempty, help="the user to log in as")
    parser.add_argument(
        "--become", choices=get_args(Become), help="how that user's commands are done by root"
    )
    parser.add_argument("--ssh-port", type=int, metavar="N", help="TCP port of its sshd")
    parser.add_argument("--identity", metavar="FILE", type=nonempty, help="a private key")
    parser.add_argument(
        "--ssh-config", metavar="FILE", type=nonempty, help="instead of ~/.ssh/config"
    )
    parser.add_argument(
        "--known-hosts", metavar="FILE", type=nonempty, help="a file of its own for the host's key"
    )


def add_host_options(
    parser: argparse.ArgumentParser, default: str | None = None, *, required: bool = False
) -> None:
    """HOST, and how it is reached."""
    parser.add_argument(
        "host",
        nargs=None if required else "?",
        default=default,
        metavar="HOST",
        type=nonempty,
        help='"local", a host of the inventory, or one for ssh',
    )
    parser.add_argument("--inventory", metavar="FILE", type=nonempty, help="default: lab.toml")
    add_ssh_options(parser)


def host_of(
    given: argparse.Namespace, may: frozenset[Permission] = frozenset(), name: str = ""
) -> HostSpec:
    """The host that HOST means: of the inventory, else the one that the options describe, of which
    the caller says its `name`, else that is HOST, and what `may` be changed there."""
    inventory = inventory_at(given.inventory)
    if inventory and given.host in [host.name for host in inventory.hosts]:
        return inventory.host(given.host)
    spec = spec_of(given, name or ("localhost" if given.host == LOCAL else given.host))
    return replace(spec, may=may)


def spec_of(given: argparse.Namespace, name: str) -> HostSpec:
    """The host that the options describe; ConfigError if one of them is wrong."""
    keys = ("jump", "user", "become", "ssh_port", "identity", "ssh_config", "known_hosts")
    values = {key: value for key in keys if (value := getattr(given, key)) is not None}
    options = {key: fields.HOST[key](value) for key, value in values.items()}
    spec = HostSpec(name=name, address=fields.destination(given.host), **options)
    for path, what, remedy in contradictions((spec,)):
        raise ConfigError(f"--{str(path[-1]).replace('_', '-')}: {what}", remedy=remedy)
    return spec


def _check(given: argparse.Namespace) -> None:
    from harness.inventory import view

    inventory = inventory_at(given.file)
    if inventory is None:
        raise ConfigError(
            f"there is no {reading.NAME} here, nor one of yours in ~/.config/nicproof",
            remedy="write a first one: nicproof inventory discover HOST --out lab.toml",
        )
    if given.json:
        print_json(inventory)
    else:
        view.print_inventory(inventory)


def _discover(given: argparse.Namespace) -> None:
    spec = host_of(given, name=_name(given))
    if given.name:
        spec = replace(spec, name=given.name)
    out = Path(given.out) if given.out else None
    if out and out.exists():
        raise _there(out)
    with reached(spec) as host:
        every = discover.ports(host)
        found = tuple(each for each in every if isinstance(each, discover.Port))
        cabled = _cables(host, found) if given.probe else ()
    text = discover.render(spec, every, cabled)
    for each in every:
        if not isinstance(each, discover.Port):
            print(f"nicproof: left out: {each.why}\n  remedy: {each.remedy}", file=sys.stderr)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with out.open("x") as file:  # whoever made it meanwhile keeps it
            file.write(text)
    except FileExistsError as error:
        raise _there(out) from error
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    print(f"{out}: {len(found)} ports, {sum(port.free for port in found)} of them free")


def _cables(host: Host, found: tuple[discover.Port, ...]) -> tuple[tuple[str, str], ...]:
    """The cabling of the free ports that have an interface."""
    interfaces = {port.bdf: port.interface for port in found if port.free and port.interface}
    if len(interfaces) < 2:
        return ()
    require_python(host)
    owner = Owner.of(f"discover-{uuid.uuid4().hex[:8]}")
    journal = Journal(host, owner.run)
    try:
        return cables(host, interfaces, owner, journal)
    finally:
        journal.close()


def _name(given: argparse.Namespace) -> str:
    """A host's name in an inventory to be: what is asked for, else the first part of its own."""
    if given.name:
        return str(fields.host_name(given.name))
    if given.host == LOCAL:
        return "here"
    first = fields.destination(given.host).rpartition("@")[2].partition(".")[0]
    return first if fields.NAME.fullmatch(first) and not first.isdigit() else "host"


def _there(out: Path) -> ConfigError:
    return ConfigError(f"{out} is there already", remedy="choose another name, or move it away")
