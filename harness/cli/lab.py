"""`nicproof lab`: the nested lab for people who want to look around inside."""

from __future__ import annotations

import argparse
import os
import sys
import time

from harness.cli.cache import left_behind
from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.flags import add_to, options_of, read
from harness.labs.nested import keeper
from harness.labs.nested.lab import prepare
from harness.labs.shape import Machine

EXAMPLES = """\
examples:
  nicproof lab build              make image, QEMU and snapshot, if they are not there yet
  nicproof lab shell              a shell in the lab; starts one if none is up
  nicproof lab shell -- lspci -nn run one command there
  nicproof lab up                 start a lab that stays up in the background
  nicproof lab up --lab-cpus 16   one that has room for many guests
  nicproof lab status             what is up, and how to reach it
  nicproof lab down               stop it
"""


def add_parser(commands: Commands) -> None:
    """Register `nicproof lab`."""
    lab = command(
        commands,
        "lab",
        help="the nested lab: up, status, shell, down, build",
        description="The nested lab is a VM that has what a lab server has: KVM, an IOMMU and two "
        "cabled 82576 ports with SR-IOV. `bench` makes one of its own each time; these commands "
        "are for looking around.",
        epilog=EXAMPLES,
    )
    verbs = lab.add_subparsers(title="commands", required=True, metavar="COMMAND")
    up = verbs.add_parser("up", help="start a lab in the background")
    add_to(up.add_argument, options_of(Machine))
    add_json(up, "print what status does as JSON")
    up.set_defaults(handler=_up)
    status = verbs.add_parser("status", help="is one up, and how is it reached")
    add_json(status, "print it as JSON; null if none is up")
    status.set_defaults(handler=_status)
    shell = verbs.add_parser("shell", help="open a shell in the lab, or run a command")
    shell.add_argument("command", nargs="*", metavar="-- COMMAND", help="instead of a shell")
    shell.set_defaults(handler=_shell)
    verbs.add_parser("down", help="stop the lab").set_defaults(handler=_down)
    _add_build(verbs)


def _add_build(verbs: Commands) -> None:
    build = command(
        verbs,
        "build",
        help="make image, QEMU and snapshot",
        description="Make what a lab needs, if it is not there yet: the image, QEMU from Debian's "
        "source with nicproof's patches, and the state of a lab that has booted. A build of QEMU "
        "that failed is tried again.",
        epilog="example:\n  nicproof lab build   needs two cores for 4 minutes, once",
    )
    add_to(build.add_argument, options_of(Machine))
    build.set_defaults(handler=_build)


def _build(given: argparse.Namespace) -> int:
    begin = time.monotonic()
    shape = read(Machine, given).shape()
    machine, kept = prepare(shape, run_dir=keeper.directory(), again=True)
    print(f"image     {machine.image.directory}")
    print(f"snapshot  {kept.path}")
    accel = machine.accel
    program = machine.built or "Debian's program"
    print(f"QEMU      {machine.image.qemu_version}, {program}")
    print(f"          its SVM fault: {machine.svm_fault}")
    print(f"L1        {accel.fidelity}, {accel.clock} clock, CPUs: {accel.cpus}")
    if left := left_behind():
        print(f"cache     {left}")
    print(f"{time.monotonic() - begin:.1f} s")
    return 0


def _up(given: argparse.Namespace) -> int:
    state = keeper.current()
    if state is None:
        state = keeper.start(read(Machine, given).shape(follows=True))
    if given.json:
        print_json(state.document())
    else:
        print(state.text())
    return 0


def _status(given: argparse.Namespace) -> int:
    state = keeper.current()
    if given.json:
        print_json(None if state is None else state.document())
        return 1 if state is None else 0
    print("no lab is up; start one with: nicproof lab up" if state is None else state.text())
    return 1 if state is None else 0


def _shell(given: argparse.Namespace) -> int:
    state = keeper.current() or keeper.start()
    sys.stdout.flush()
    argv = state.ssh_argv(tuple(given.command), terminal=sys.stdin.isatty())
    os.execvp(argv[0], argv)


def _down(_: argparse.Namespace) -> int:
    print("stopped" if keeper.stop() else "no lab is up (a run has one of its own)")
    return 0


def main() -> int:
    """For `python -m harness.cli.lab`: the same commands without the rest of nicproof."""
    parser = argparse.ArgumentParser(prog="nicproof")
    add_parser(parser.add_subparsers(required=True))
    given = parser.parse_args()
    return int(given.handler(given))


if __name__ == "__main__":
    sys.exit(main())
