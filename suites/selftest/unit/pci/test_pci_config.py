"""Configuration space of real NICs, of QEMU's, and of none; data/pci/README.md says where from."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import ConfigError
from harness.pci.address import Address
from harness.pci.capability import Express, Msi, Msix, Other, PowerManagement
from harness.pci.config import ConfigSpace, is_ethernet
from harness.pci.describe import describe
from harness.pci.dump import parse_dump
from harness.pci.extended import (
    AccessControl,
    AlternativeRouting,
    Bar,
    ErrorReporting,
    SerialNumber,
    Sriov,
)
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "pci"
FILES = ("82576", "82599", "i350", "i350-header", "qemu-igb")


def dumped(name: str, device: str) -> bytes:
    """The bytes of one device of a captured dump."""
    devices = parse_dump((DATA / f"{name}.txt").read_text())
    return next(each.data for each in devices if each.address == Address.parse(device))


def captured(name: str, device: str) -> ConfigSpace:
    return ConfigSpace.parse(dumped(name, device))


REAL = dumped("82576", "01:00.0")
ALL = [each.data for name in FILES for each in parse_dump((DATA / f"{name}.txt").read_text())]


def test_a_real_82576_is_read_as_lspci_read_it() -> None:
    space = captured("82576", "01:00.0")
    assert space.identity.ids == ("8086", "10c9") and space.identity.revision == 1
    assert space.identity.subsystem_device == "a03c" and space.identity.is_ethernet
    assert not space.identity.is_vf and not space.faults
    assert space.find(PowerManagement) == PowerManagement(0x40, 3, "D0", soft_reset=True)
    assert space.find(Msi) == Msi(0x50, vectors=1, enabled=False, wide=True, maskable=True)
    assert space.find(Msix) == Msix(
        0x70, 10, enabled=True, masked=False, table_bar=3, table_offset=0, pba_bar=3,
        pba_offset=0x2000,
    )  # fmt: skip
    assert space.find(AlternativeRouting) == AlternativeRouting(0x150, next_function=1)
    # lspci of 2008 wrote the serial number's bytes in their order, since then it does the reverse.
    assert space.find(SerialNumber) == SerialNumber(0x140, "00-1b-21-ff-ff-2b-46-e0")
    assert space.find(AccessControl) is None and space.shows(AccessControl)


def test_pci_express_of_a_real_82576() -> None:
    assert captured("82576", "01:00.0").find(Express) == Express(
        0xA0,
        version=2,
        port_type="endpoint",
        flr=True,
        extended_tags=False,
        max_payload=512,
        payload=256,
        max_read_request=512,
        link_max_speed=2.5,
        link_max_width=4,
        link_speed=2.5,
        link_width=4,
        slot_clock=True,
        errors=("correctable", "unsupported request"),
    )


def test_sriov_of_a_real_82576() -> None:
    sriov = captured("82576", "01:00.0").find(Sriov)
    assert sriov is not None
    assert (sriov.total_vfs, sriov.initial_vfs, sriov.num_vfs) == (8, 8, 1)
    assert (sriov.offset, sriov.stride, sriov.vf_device) == (384, 2, "10ca")
    assert sriov.enabled and sriov.memory_enabled and not sriov.ari_hierarchy
    assert sriov.supported_page_sizes == tuple(4096 << bit for bit in (0, 1, 4, 6, 8, 10))
    assert sriov.page_size == 4096
    assert sriov.vf_bars == (
        Bar(0, 0xD2840000, wide=True, prefetchable=False, ports=False),
        Bar(3, 0xD2860000, wide=True, prefetchable=False, ports=False),
    )
    assert sriov.addresses(Address.parse("01:00.0")) == (Address.parse("02:10.0"),)


def test_errors_are_named() -> None:
    real = captured("82576", "01:00.0").find(ErrorReporting)
    assert real == ErrorReporting(0x100, (), (), ("advisory non-fatal",), ("advisory non-fatal",))
    emulated = captured("qemu-igb", "01:00.0").find(ErrorReporting)
    assert emulated == ErrorReporting(
        0x100,
        (),
        ("uncorrectable internal", "TLP prefix blocked"),
        (),
        ("advisory non-fatal", "corrected internal", "header log overflow"),
    )


def test_a_real_82599_says_what_the_kernel_read_in_it() -> None:
    for port in ("01:00.0", "01:00.1"):
        space = captured("82599", port)
        msix, express = space.find(Msix), space.find(Express)
        assert msix is not None and (msix.vectors, msix.table_bar) == (64, 4)
        assert express is not None and express.flr
        assert (express.link_max_speed, express.link_max_width) == (5.0, 8)
        assert (express.link_speed, express.link_width) == (2.5, 2)
        assert Other(0xE0, 0x03, False, "Vital Product Data") in space.capabilities
        assert space.find(Sriov) is None and not space.shows(Sriov), "256 bytes do not tell"


def test_a_real_i350() -> None:
    space = captured("i350", "03:00.0")
    express = space.find(Express)
    assert space.identity.ids == ("8086", "1521")
    assert express is not None and express.flr
    assert (express.link_max_speed, express.link_max_width) == (5.0, 4)
    assert (express.link_speed, express.link_width) == (5.0, 4)
    power, msix = space.find(PowerManagement), space.find(Msix)
    assert power is not None and not power.soft_reset
    assert msix is not None and msix.vectors == 10


def test_without_root_only_the_identity_is_there() -> None:
    space = captured("i350-header", "02:00.3")
    assert space.identity.ids == ("8086", "1521") and space.identity.subsystem_vendor == "1028"
    assert space.capabilities == () and space.faults == ()
    assert not space.shows(Msix) and not space.shows(Sriov)


def test_a_vf_does_not_name_itself() -> None:
    space = captured("qemu-igb", "01:10.0")
    assert space.identity.ids == ("ffff", "ffff") and space.identity.is_vf
    assert space.identity.is_ethernet
    msix = space.find(Msix)
    assert msix is not None and msix.vectors == 3
    assert [each.at for each in space.capabilities] == [0xA0, 0x70, 0x100, 0x150]


def test_a_bridge_has_no_subsystem_but_capabilities() -> None:
    space = captured("qemu-igb", "00:03.0")
    express = space.find(Express)
    assert (space.identity.subsystem_vendor, space.identity.subsystem_device) == ("", "")
    assert not space.identity.is_ethernet
    assert express is not None and express.port_type == "root port"
    acs = space.find(AccessControl)
    assert acs is not None and acs.supported == (
        "source validation",
        "translation blocking",
        "P2P request redirect",
        "P2P completion redirect",
        "upstream forwarding",
        "direct translated P2P",
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "has 0"),
        (REAL[:100], "has 100"),
        (REAL + b"\0", "has 4097"),
        (b"\xff" * 256, "does not answer"),
        (b"\0" * 4096, "vendor ID 0000"),
        (REAL[:0x0E] + b"\x02" + REAL[0x0F:256], "header type 2"),
    ],
)
def test_what_is_no_configuration_space_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ConfigSpace.parse(data)


def altered(changes: dict[int, int]) -> ConfigSpace:
    """A real 82576 with some bytes changed."""
    data = bytearray(REAL)
    for at, value in changes.items():
        data[at] = value
    return ConfigSpace.parse(bytes(data))


def test_a_list_that_is_a_loop_ends_with_a_fault() -> None:
    space = altered({0x71: 0x40})  # MSI-X points back to Power Management
    assert [each.at for each in space.capabilities][:3] == [0x40, 0x50, 0x70]
    assert space.faults == ("the list of capability pointers is a loop: 0x40",)
    assert space.find(Express) is None and space.find(Sriov) is not None


def test_a_pointer_into_the_header_ends_the_list_with_a_fault() -> None:
    space = altered({0x41: 0x10})
    assert space.faults == ("the list of capability pointers leaves its area: 0x10",)
    assert altered({0x34: 0x08}).faults != ()


def test_extended_lists_are_followed_with_the_same_care() -> None:
    loop = altered({0x153: 0x10})  # ARI points back to AER at 0x100
    assert loop.faults == ("the list of extended capability pointers is a loop: 0x100",)
    assert loop.find(ErrorReporting) is not None and loop.find(Sriov) is None
    out = altered({0x152: 0x01, 0x153: 0x04})
    assert out.faults == ("the list of extended capability pointers leaves its area: 0x40",)


def test_a_capability_that_does_not_fit_is_named_and_not_decoded() -> None:
    standard = altered({0x51: 0xFC, 0xFC: 0x11, 0xFD: 0x00})
    assert standard.capabilities[2] == Other(0xFC, 0x11, False, "MSI-X (cut off)")
    extended = altered({0x152: 0xC1, 0x153: 0xFF, 0xFFC: 0x10})
    assert extended.capabilities[-1] == Other(0xFFC, 0x10, True, "SR-IOV (cut off)")


def test_no_capabilities_means_none() -> None:
    assert altered({0x06: 0x00}).find(Msix) is None, "the status register says: no list"
    assert altered({0x100: 0, 0x101: 0, 0x102: 0, 0x103: 0}).find(Sriov) is None


def test_reserved_bits_of_pointers_do_not_matter() -> None:
    assert altered({0x34: 0x43}).find(Express) == captured("82576", "01:00.0").find(Express)


def holds_together(data: bytes) -> None:
    """Any bytes are read or refused, in few steps, and what was read can be told and stored."""
    try:
        space = ConfigSpace.parse(data)
    except ConfigError:
        return
    assert len({each.at for each in space.capabilities}) == len(space.capabilities)
    for capability in space.capabilities:
        assert capability.name and isinstance(describe(capability), str)
        assert msgspec.json.encode(capability)
        assert space.find(type(capability)) is not None


sizes = st.sampled_from((64, 256, 4096))
noise = st.one_of(
    st.binary(max_size=300), sizes.flatmap(lambda n: st.binary(min_size=n, max_size=n))
)


@given(noise)
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    holds_together(data)


@given(st.sampled_from(ALL), st.integers(0, 4096))
def test_a_truncated_space_is_read_or_refused(data: bytes, size: int) -> None:
    holds_together(data[:size])
    is_ethernet(data[:size])


@settings(max_examples=300)
@given(st.sampled_from(ALL), st.lists(st.integers(0, 0x1C0 * 8 - 1), min_size=1, max_size=8))
def test_flipped_bits_are_read_or_refused(data: bytes, flips: list[int]) -> None:
    changed = bytearray(data)
    for flip in flips:
        if flip // 8 < len(changed):
            changed[flip // 8] ^= 1 << flip % 8
    holds_together(bytes(changed))
