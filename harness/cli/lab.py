"""`nicproof lab`: the nested lab for people who want to look around inside."""

from __future__ import annotations

import argparse
import os
import sys
import time

from harness.cli.cache import left_behind
from harness.cli.parser import Commands, command
from harness.labs.nested import keeper
from harness.labs.nested.image import ensure_image, use_patched, use_source
from harness.labs.nested.lab import prepare

EXAMPLES = """\
examples:
  nicproof lab build              make image and snapshot, if they are not there yet
  nicproof lab build --qemu source  with a QEMU built from Debian's source, about 5 minutes
  nicproof lab shell              a shell in the lab; starts one if none is up
  nicproof lab shell -- lspci -nn run one command there
  nicproof lab up                 start a lab that stays up in the background
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
    verbs.add_parser("up", help="start a lab in the background").set_defaults(handler=_up)
    verbs.add_parser("status", help="is one up, and how is it reached").set_defaults(
        handler=_status
    )
    shell = verbs.add_parser("shell", help="open a shell in the lab, or run a command")
    shell.add_argument("command", nargs="*", metavar="-- COMMAND", help="instead of a shell")
    shell.set_defaults(handler=_shell)
    verbs.add_parser("down", help="stop the lab").set_defaults(handler=_down)
    _add_build(verbs)


def _add_build(verbs: Commands) -> None:
    build = command(
        verbs,
        "build",
        help="make image and snapshot",
        description="Make image and snapshot, if they are not there yet. The lab runs under "
        "Debian's QEMU without two faults that make nested guests hang (docs/adr/0007).",
        epilog="example:\n  nicproof lab build --qemu source   needs two cores for 5 minutes, once",
    )
    build.add_argument(
        "--qemu",
        choices=("patched", "source"),
        help="how that is done: by one instruction of Debian's binary, which takes no time "
        "(patched, the default), or by building QEMU from Debian's source package (source). "
        "A choice stays until the other is made or the image is a new one.",
    )
    build.set_defaults(handler=_build)


def _build(given: argparse.Namespace) -> int:
    begin = time.monotonic()
    if given.qemu == "source":
        use_source(ensure_image())
    elif given.qemu == "patched":
        use_patched(ensure_image())
    machine, kept = prepare(run_dir=keeper.directory(), clock="auto")
    print(f"image     {machine.image.directory}")
    print(f"snapshot  {kept.path}")
    accel = machine.accel
    print(f"QEMU      {machine.image.qemu_version}, {accel.fidelity}, {accel.clock} clock")
    print(f"          its SVM fault: {machine.image.svm_fault}")
    if left := left_behind():
        print(f"cache     {left}")
    print(f"{time.monotonic() - begin:.1f} s")
    return 0


def _up(_: argparse.Namespace) -> int:
    state = keeper.current()
    if state is None:
        state = keeper.start()
    print(state.text())
    return 0


def _status(_: argparse.Namespace) -> int:
    state = keeper.current()
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
