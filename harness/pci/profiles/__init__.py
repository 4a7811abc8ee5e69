"""What is known of each NIC model, one TOML file a model: an expectation, never the truth.

To add a model, write a file: `generic.toml` says what it may hold. Nothing else needs to change.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from harness.core.errors import ConfigError

T = TypeVar("T")

Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4}$")]
"""A vendor or device ID, as `lspci -nn` prints it."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class Fact(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True):
    """One figure, and where it is written: a datasheet's section, or a driver's file and symbol."""

    value: T
    source: Annotated[str, msgspec.Meta(min_length=1)]


class Registers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where, in a VF's first BAR, what it takes to let it send by hand is."""

    control: int
    mailbox: int
    message: int  # the mailbox's memory
    queue: int  # TDBAL, the address of the first ring of frames to send


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a function of a model, its PF or its VF, should be found to be. What is None is not
    known."""

    ids: dict[Id, str] = {}  # device ID to its name in the driver, which is also its source
    driver: Fact[str] | None = None
    msix: Fact[Count] | None = None
    queues: Fact[Count] | None = None  # of the device, in pairs of a receive and a send queue
    channels: Fact[Count] | None = None  # of these, those that the driver gives (ethtool -l)
    max_mtu: Fact[Count] | None = None  # bytes
    ptp: Fact[bool] | None = None  # a hardware clock
    flr: Fact[bool] | None = None  # as told by the function's own PCI Express capability
    resets: Fact[tuple[str, ...]] | None = None  # as in sysfs' reset_method
    isolated: Fact[bool] | None = None  # an IOMMU group of its own, if the slot allows it
    capabilities: Fact[tuple[str, ...]] | None = None
    offloads: Fact[tuple[str, ...]] | None = None  # as `ethtool -k` names them
    registers: Fact[Registers] | None = None


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The PCI Express link that the device was made for."""

    speed: Fact[float]  # GT/s a lane
    width: Fact[Count]  # lanes


class Vfs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many VFs a PF can have, and where they lie."""

    device: Fact[Count]  # TotalVFs of its SR-IOV capability
    driver: Fact[Count]  # sriov_totalvfs, what the PF's driver leaves of them
    offset: Fact[Count]
    offset_ari: Fact[Count]  # the same in a hierarchy that has ARI
    stride: Fact[Count]


class Erratum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A known fault, or a limit, that a verdict has to allow for."""

    of: Literal["pf", "vf"]
    what: str
    verdict: str  # what it changes
    source: str


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model. The generic one, for every NIC that has no file, expects nothing."""

    model: str
    title: str
    vendor: str = ""
    speed: Fact[Count] | None = None  # Mbit/s, the most that a port can do
    link: Link | None = None
    vfs: Vfs | None = None
    pf: Expected = Expected()
    vf: Expected = Expected()
    errata: tuple[Erratum, ...] = ()

    @property
    def generic(self) -> bool:
        """Nothing is known of this model: whatever it shows can be neither right nor wrong."""
        return not self.pf.ids

    def is_vf(self, device: str) -> bool:
        """Is this device ID one of the model's VFs?"""
        return device in self.vf.ids

    def expected(self, device: str) -> Expected:
        """What a function with this device ID should be found to be."""
        return self.vf if self.is_vf(device) else self.pf

    def errata_of(self, device: str) -> tuple[Erratum, ...]:
        """Errata that concern a function with this device ID: a PF's all, a VF's its own."""
        return tuple(each for each in self.errata if each.of == "vf" or not self.is_vf(device))

    def name(self, vendor: str, device: str) -> str:
        """The field's name of the function, or its IDs where the model is not known."""
        if self.generic:
            return f"{vendor}:{device}"
        return f"{self.model} VF" if self.is_vf(device) else self.model


def parse_profile(text: str, name: str) -> Profile:
    """A profile from its TOML; ConfigError says which key of `name` is wrong."""
    try:
        return msgspec.toml.decode(text, type=Profile)
    except msgspec.DecodeError as error:
        raise ConfigError(f"profile {name}: {error}") from error


@cache
def profiles() -> dict[str, Profile]:
    """Every profile there is, by its model's name."""
    files = sorted(Path(__file__).parent.glob("*.toml"))
    found = (parse_profile(file.read_text(), file.name) for file in files)
    return {profile.model: profile for profile in found}


def models() -> str:
    """The models that have a profile, in words: "82576, I350 or X540"."""
    *most, last = (model for model, profile in profiles().items() if not profile.generic)
    return f"{', '.join(most)} or {last}" if most else last


def pf_drivers() -> tuple[str, ...]:
    """Drivers of all PFs that have a profile."""
    return _drivers(profile.pf for profile in profiles().values())


def vf_drivers() -> tuple[str, ...]:
    """Drivers of their VFs."""
    return _drivers(profile.vf for profile in profiles().values())


def _drivers(functions: Iterable[Expected]) -> tuple[str, ...]:
    return tuple(sorted({each.driver.value for each in functions if each.driver}))


def profile_for(vendor: str, device: str) -> Profile:
    """The profile of a PF or VF with these IDs (four hexadecimal digits); else the generic one."""
    known = (
        profile
        for profile in profiles().values()
        if profile.vendor == vendor and (device in profile.pf.ids or profile.is_vf(device))
    )
    return next(known, profiles()["generic"])
