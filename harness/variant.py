"""What a guest and its NIC are made of beyond the path: one configuration, of which `bench` has
one and `ab` two."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn, Protocol

from harness import paths
from harness.errors import ConfigError
from harness.flags import add_to, option
from harness.paths.base import PathOptions

CONFIGURATION = (
    option("--vfio", "further properties of vfio-pci, e.g. x-no-mmap=on", default=""),
    option("--virtio", "further properties of virtio-net-pci, e.g. packed=on", default=""),
    option(
        "--vhost",
        "serve virtio-net by the host's kernel or by QEMU, whatever the path's name says",
        choices=("on", "off"),
    ),
    option("--queues", "pairs of queues of virtio-net (mq=on)", type=int, metavar="N"),
    option("--guest-cpus", "virtual CPUs of a guest (default 1)", type=int, metavar="N"),
    option("--guest-cpu", "QEMU's -cpu of the guests (default host)", metavar="MODEL", default=""),
    option(
        "--guest-machine",
        "further properties of the guests' -machine, e.g. kernel-irqchip=split",
        metavar="PROPERTIES",
        default="",
    ),
    option(
        "--guest-append",
        "further words of the micro guest's kernel command line, e.g. nox2apic",
        metavar="WORDS",
        default="",
    ),
    option(
        "--guest-image",
        "a disk image with qemu-guest-agent to boot instead of the micro guest",
        metavar="FILE",
    ),
    option(
        "--qemu", "QEMU of the guests, a path on the host (default the host's own)", metavar="FILE",
        default="",
    ),
    option(
        "--rx-usecs",
        "interrupt moderation of the interface that is measured, as ethtool -C sets it",
        type=int,
        metavar="N",
    ),
)  # fmt: skip


class _Namespace(Protocol):
    vfio: str
    virtio: str
    vhost: str | None
    queues: int | None
    guest_cpus: int | None
    guest_cpu: str
    guest_machine: str
    guest_append: str
    guest_image: str | None
    qemu: str
    rx_usecs: int | None


@dataclass(frozen=True)
class Variant:
    """One configuration, checked. What is empty or None is as usual."""

    vfio: str = ""
    virtio: str = ""
    vhost: str = ""  # "on" or "off"
    queues: int | None = None
    guest_cpus: int | None = None
    guest_cpu: str = ""
    guest_machine: str = ""
    guest_append: str = ""
    guest_image: Path | None = None
    qemu: str = ""
    rx_usecs: int | None = None  # microseconds

    @classmethod
    def of(cls, given: _Namespace) -> Variant:
        """From parsed options; ConfigError names the one that cannot be."""
        image = Path(given.guest_image).resolve() if given.guest_image else None
        if image is not None and not image.is_file():
            raise ConfigError(f"--guest-image {given.guest_image}: no such file")
        if image is not None and given.guest_append:
            raise ConfigError(
                "--guest-append: a disk image boots with its own kernel command line",
                remedy="leave out --guest-image, or set the words in the image",
            )
        for name, least in (("queues", 1), ("guest_cpus", 1), ("rx_usecs", 0)):
            value = getattr(given, name)
            if value is not None and value < least:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} {value}: a number from {least} up is needed")
        return cls(
            vfio=given.vfio,
            virtio=given.virtio,
            vhost=given.vhost or "",
            queues=given.queues,
            guest_cpus=given.guest_cpus,
            guest_cpu=given.guest_cpu,
            guest_machine=given.guest_machine,
            guest_append=given.guest_append,
            guest_image=image,
            qemu=given.qemu,
            rx_usecs=given.rx_usecs,
        )

    @property
    def path_options(self) -> PathOptions:
        """What the network paths need to know."""
        vhost = {"on": True, "off": False}.get(self.vhost)
        return PathOptions(vfio=self.vfio, virtio=self.virtio, vhost=vhost, queues=self.queues or 1)

    def recorded(self) -> dict[str, str]:
        """What is not as usual, by the options' names: {"vfio": "x-no-mmap=on"}."""
        values = {each.name.replace("_", "-"): getattr(self, each.name) for each in fields(self)}
        return {name: str(value) for name, value in values.items() if value not in ("", None)}


def told(recorded: Mapping[str, str]) -> str:
    """The options of a configuration among those that were recorded, as one would type them."""
    flags = {each.flag[2:] for each in CONFIGURATION}
    return shlex.join(f"--{name}={value}" for name, value in recorded.items() if name in flags)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parse(name: str, text: str, common: _Namespace) -> Variant:
    """The configuration that `--a` or `--b` describes, upon the options that both share.

    ConfigError says what is wrong in it.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_to(parser.add_argument, CONFIGURATION)
    shared = {each.name: getattr(common, each.name) for each in CONFIGURATION}
    try:
        return Variant.of(parser.parse_args(shlex.split(text), argparse.Namespace(**shared)))
    except (ConfigError, ValueError) as error:
        said = error.message if isinstance(error, ConfigError) else str(error)
        raise ConfigError(
            f"--{name} {text!r}: {said}",
            remedy="it takes " + ", ".join(each.flag for each in CONFIGURATION),
        ) from error


AFFECTED = {
    "vfio": ("passthrough", "sriov"),
    "virtio": ("virtio", "virtio-vhost"),
    "vhost": ("virtio-vhost",),
    "queues": ("virtio", "virtio-vhost"),
    "rx_usecs": ("sriov",),
}
"""Paths that an option makes a difference to; any other is a matter of every guest."""


def affected(a: Variant, b: Variant) -> tuple[str, ...]:
    """The default paths that differ between two configurations.

    ConfigError if the two are the same.
    """
    differing = [each.name for each in fields(a) if getattr(a, each.name) != getattr(b, each.name)]
    if not differing:
        raise ConfigError(
            "--a and --b: both are the same configuration",
            remedy="describe one of them, e.g. --b '--vfio x-no-mmap=on'",
        )
    guests = tuple(name for name in paths.DEFAULT if name != "native")
    chosen = {path for name in differing for path in AFFECTED.get(name, guests)}
    return tuple(path for path in paths.DEFAULT if path in chosen)
