"""`nicproof doctor [HOST]`."""

from __future__ import annotations

import argparse
import sys

from harness.cli.inventory import add_host_options, host_of
from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.errors import ConfigError
from harness.doctor import table
from harness.doctor.controller import controller
from harness.doctor.cpu import pace, virtualisation
from harness.doctor.exits import exits
from harness.doctor.findings import GUESTS, Finding, Purpose, lacking
from harness.doctor.fix import fix
from harness.doctor.iommu import iommu
from harness.doctor.kernel import kernel, lockdown
from harness.doctor.login import login
from harness.doctor.memory import memory
from harness.doctor.network import network
from harness.doctor.nics import nics
from harness.doctor.python import python
from harness.doctor.virtualisation import kvm, qemu
from harness.hosts.base import Host
from harness.inventory.spec import LOCAL, HostSpec
from harness.journal.permissions import Permission
from harness.labs.nested import accel
from harness.labs.reach import reached

MODULES: frozenset[Permission] = frozenset({"modules"})
"""What --fix by itself allows on a host of which no inventory says what may be changed."""

BESIDE: tuple[Purpose, ...] = ("exit counts", "steady figures")
"""What is told of a host, too, and nothing fails by."""

EXAMPLES = """\
examples:
  nicproof doctor                                 can the nested lab run here?
  nicproof doctor local                           can this machine hand hardware to guests?
  nicproof doctor alpha                           a host of ./lab.toml, or a destination of ssh
  nicproof doctor root@10.0.0.7 --jump bastion --fix
  nicproof doctor --json | jq '.[].name'

exit status: 0 ready (without HOST: the nested lab can run here; with HOST: it can hand both
whole NICs and VFs to guests), 1 not ready, 2 wrong usage
"""


def add_parser(commands: Commands) -> None:
    """Register `nicproof doctor`."""
    parser = command(
        commands,
        "doctor",
        help="what a machine can and cannot do, and how to mend it",
        description="Look at a machine and say what it can and cannot do. Nothing is changed "
        "without --fix.",
        epilog=EXAMPLES,
    )
    add_host_options(parser)
    add_json(parser, "print the findings as JSON")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="load missing modules, with their undo in the journal; the rest is yours to mend",
    )
    parser.set_defaults(handler=run)


def run(given: argparse.Namespace) -> int:
    """Handler of `nicproof doctor`: print the findings, return the exit status."""
    spec = _spec(given)
    asked: tuple[Purpose, ...] = GUESTS if given.host else ("nested lab",)
    with reached(spec) as host:
        done = fix(host, spec.may) if given.fix else ()
        here = controller(host) if not given.host else ()
        findings = (*here, *examine(host, spec))
    for line in done:
        print(f"--fix: {line}", file=sys.stderr)
    if given.json:
        print_json(findings)
    else:
        table.print_findings(findings)
        where = f"on {spec.name}" if given.host else "here"
        purposes: tuple[Purpose, ...] = (*asked, *BESIDE) if given.host else asked
        for purpose in purposes:
            print(table.verdict(findings, purpose, where))
    return 1 if any(lacking(findings, purpose) for purpose in asked) else 0


def examine(host: Host, spec: HostSpec) -> tuple[Finding, ...]:
    """Everything doctor says of a host, in the order in which it is read."""
    return (
        *(() if spec.local else (login(host),)),
        python(host),
        *virtualisation(host),
        kvm(host, accel.known_answer() if spec.local else None),
        *iommu(host),
        *kernel(host),
        lockdown(host),
        exits(host),
        *memory(host, spec.hugepages, spec.numa),
        *qemu(host),
        *nics(host, spec),
        *network(host, spec),
        *pace(host, spec.cpus),
    )


def _spec(given: argparse.Namespace) -> HostSpec:
    """The host that is meant; without HOST this machine, as if there were no inventory."""
    if not given.host:
        if given.inventory:
            raise ConfigError("--inventory says nothing without a HOST", remedy="name one of its")
        return HostSpec(name="localhost", address=LOCAL, may=MODULES)
    return host_of(given, may=MODULES)
