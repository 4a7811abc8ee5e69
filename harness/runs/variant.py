"""What a guest, its NIC and its traffic are made of beyond the path: one configuration, of which
`bench` has one, `ab` two, and `sweep` one for each point of its grid."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from msgspec.structs import fields, replace

from harness import paths
from harness.core.errors import ConfigError
from harness.core.flags import LINE_MAX, PATH_MAX, add_to, given_of, options_of, says
from harness.guest.image.diskfile import look_at
from harness.paths.base import PathOptions
from harness.workloads.traffic import Traffic


class Variant(Traffic, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration, its traffic included. What is empty or None is as usual."""

    vfio: Annotated[
        str, says("further properties of vfio-pci, e.g. x-no-mmap=on", max_length=LINE_MAX)
    ] = ""
    virtio: Annotated[
        str, says("further properties of virtio-net-pci, e.g. packed=on", max_length=LINE_MAX)
    ] = ""
    vhost: (
        Annotated[
            Literal["on", "off"],
            says("serve virtio-net by the host's kernel or by QEMU, whatever the path's name says"),
        ]
        | None
    ) = None
    queues: (  # linux/if_tap.h: MAX_TAP_QUEUES
        Annotated[int, says("pairs of queues of virtio-net (mq=on)", metavar="N", ge=1, le=256)]
        | None
    ) = None
    guest_cpus: (  # xAPIC: an ID has 8 bits, of which 255 is everybody
        Annotated[int, says("virtual CPUs of a guest (default 1)", metavar="N", ge=1, le=255)]
        | None
    ) = None
    guest_cpu: (
        Annotated[
            str,
            says(
                "QEMU's -cpu of the guests (default host)",
                metavar="MODEL",
                min_length=1,
                max_length=LINE_MAX,
            ),
        ]
        | None
    ) = None
    guest_machine: Annotated[
        str,
        says(
            "further properties of the guests' -machine, e.g. kernel-irqchip=split",
            metavar="PROPERTIES",
            max_length=LINE_MAX,
        ),
    ] = ""
    guest_append: Annotated[
        str,
        says(
            "further words of the micro guest's kernel command line, e.g. nox2apic",
            metavar="WORDS",
            max_length=LINE_MAX,
        ),
    ] = ""
    guest_image: (
        Annotated[
            str,
            says(
                "a disk image with qemu-guest-agent to boot instead of the micro guest",
                metavar="FILE",
                min_length=1,
                max_length=PATH_MAX,
            ),
        ]
        | None
    ) = None
    qemu: (
        Annotated[
            str,
            says(
                "QEMU of the guests, a path on the host (default the host's own)",
                metavar="FILE",
                min_length=1,
                max_length=PATH_MAX,
            ),
        ]
        | None
    ) = None
    rx_usecs: (  # linux/ethtool.h: u32 rx_coalesce_usecs
        Annotated[
            int,
            says(
                "interrupt moderation of the interface that is measured, as ethtool -C sets it",
                metavar="N",
                ge=0,
                le=2**32 - 1,
            ),
        ]
        | None
    ) = None

    def checked(self) -> Variant:
        """The same with its files found; ConfigError names an option that cannot be."""
        self.require_sound()
        if self.guest_image is None:
            return self
        if self.guest_append:
            raise ConfigError(
                "--guest-append: a disk image boots with its own kernel command line",
                remedy="leave out --guest-image, or set the words in the image",
            )
        try:
            image = Path(self.guest_image).resolve(strict=True)
        except OSError as error:
            raise ConfigError(f"--guest-image {self.guest_image}: {error.strerror}") from error
        if not image.is_file():
            raise ConfigError(f"--guest-image {self.guest_image}: not a file")
        look_at(image)
        return replace(self, guest_image=str(image))

    @property
    def path_options(self) -> PathOptions:
        """What the network paths need to know."""
        vhost = None if self.vhost is None else self.vhost == "on"
        return PathOptions(
            vfio=self.vfio,
            virtio=self.virtio,
            vhost=vhost,
            queues=1 if self.queues is None else self.queues,
        )

    def recorded(self) -> dict[str, str]:
        """What is not as usual, by the options' names: {"vfio": "x-no-mmap=on"}."""
        values = {each.flag[2:]: getattr(self, each.name) for each in CONFIGURATION}
        return {name: str(value) for name, value in values.items() if value not in ("", None)}


CONFIGURATION = options_of(Variant)


def describe(recorded: Mapping[str, str]) -> str:
    """The options of a configuration among those that were recorded, as one would type them."""
    flags = {each.flag[2:] for each in CONFIGURATION}
    return shlex.join(f"--{name}={value}" for name, value in recorded.items() if name in flags)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parse(name: str, text: str, common: Variant) -> Variant:
    """The configuration that `--a` or `--b` describes, upon what both share.

    ConfigError says what is wrong in it.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_to(parser.add_argument, CONFIGURATION)
    try:
        given = given_of(parser.parse_args(shlex.split(text)), CONFIGURATION)
        return replace(common, **given).checked()
    except (ConfigError, ValueError) as error:
        message = error.message if isinstance(error, ConfigError) else str(error)
        raise ConfigError(
            f"--{name} {text!r}: {message}",
            remedy="it takes " + ", ".join(each.flag for each in CONFIGURATION),
        ) from error


def affected(a: Variant, b: Variant) -> tuple[str, ...]:
    """The default paths that differ between two configurations.

    ConfigError if the two are the same.
    """
    options = differing((a, b))
    if not options:
        raise ConfigError(
            "--a and --b: both are the same configuration",
            remedy="describe one of them, e.g. --b '--vfio x-no-mmap=on'",
        )
    chosen = {path for option in options for path in affected_by(option)}
    return tuple(path for path in paths.DEFAULT if path in chosen)


def differing(variants: Collection[Variant]) -> tuple[str, ...]:
    """The fields in which configurations differ."""
    names = (each.name for each in fields(Variant))
    return tuple(name for name in names if len({getattr(each, name) for each in variants}) > 1)


def affected_by(option: str) -> tuple[str, ...]:
    """Paths to which it makes a difference: those that say so, else all that have a guest; and what
    is of the traffic, to all."""
    if option in Traffic.__struct_fields__:
        return tuple(path.name for path in paths.ALL)
    saying = tuple(path.name for path in paths.ALL if option in path.varies)
    return saying or tuple(path.name for path in paths.ALL if path.has_guest)
