"""Dumps as lspci prints them; data/pci/README.md says where they are from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import ConfigError
from harness.pci.address import Address
from harness.pci.dump import Dumped, parse_dump
from harness.pci.survey import Silent, from_dump
from suites.selftest.support.answering import answering
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "pci"


def text(name: str) -> str:
    return (DATA / f"{name}.txt").read_text()


def rows(data: bytes) -> str:
    """As lspci -x prints bytes."""
    return "".join(f"{at:02x}: {data[at : at + 16].hex(' ')}\n" for at in range(0, len(data), 16))


HEADER = bytes.fromhex("8680c910 07041000 01000002 10008000") + bytes(48)


def test_devices_are_told_apart_and_v_text_is_passed_over() -> None:
    devices = parse_dump(text("qemu-igb"))
    assert [str(each.address) for each in devices] == [
        "0000:00:03.0",
        "0000:00:1f.3",
        "0000:01:00.0",
        "0000:01:10.0",
    ]
    assert [len(each.data) for each in devices] == [4096, 256, 4096, 4096]
    pf = devices[2]
    assert pf.description.startswith("Ethernet controller: Intel Corporation 82576 Gigabit")
    assert text("qemu-igb").splitlines()[pf.line - 1].startswith("01:00.0 Ethernet")
    assert pf.data[:4].hex() == "8680c910" and pf.data[0x160] == 0x10


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("01:10.0 Ethernet controller [0200]: Intel Corporation 82576 VF [8086:10ca] (rev 01)",
         ("8086", "10ca")),
        ("0000:01:10.0 0200: 8086:10ca (rev 01)", ("8086", "10ca")),
        ("10000:01:10.0 Ethernet controller: Intel Corporation 82576 VF", None),
    ],
)  # fmt: skip
def test_ids_are_taken_from_n_and_nn(line: str, ids: tuple[str, str] | None) -> None:
    (device,) = parse_dump(f"{line}\n{rows(HEADER)}")
    assert device.ids == ids and device.data == HEADER
    assert device.address.function == 0 and device.address.device == 0x10


def test_a_vfs_ids_follow_from_the_pf_in_the_same_dump() -> None:
    found = {each.address: each.ids for each in answering(from_dump(parse_dump(text("qemu-igb"))))}
    assert found == {"0000:01:00.0": ("8086", "10c9"), "0000:01:10.0": ("8086", "10ca")}
    alone = [each for each in parse_dump(text("qemu-igb")) if each.address.device == 0x10]
    assert answering(from_dump(tuple(alone)))[0].ids == ("ffff", "ffff")
    named = Dumped(alone[0].address, "Virtual Function [8086:10ca]", alone[0].data, 1)
    assert answering(from_dump((named,)))[0].ids == ("8086", "10ca")


def test_windows_line_ends_and_lspcis_asides_do_not_matter() -> None:
    aside = "pcilib: sysfs_read_vpd: read failed: No such device\n"
    devices = parse_dump(aside + text("82599").replace("\n", "\r\n"))
    assert [each.data for each in devices] == [each.data for each in parse_dump(text("82599"))]


DEVICE = "01:00.0 Ethernet controller: Intel Corporation 82576\n"
ROWS = rows(HEADER)


@pytest.mark.parametrize(
    ("dump", "says"),
    [
        ("", "no device"),
        ("\n\n", "no device"),
        (ROWS, "line 1 has bytes, but of no device"),
        ("what is this\n", "no device"),
        (DEVICE, "line 1: 0000:01:00.0 has 0 bytes"),
        (DEVICE + ROWS[:-52], "line 1: 0000:01:00.0 has 48 bytes"),
        (DEVICE + ROWS.replace("10: ", "20: ", 1), "line 3 has 16 bytes for offset 20"),
        (DEVICE + ROWS.replace(" 10 00 80 00\n", " 10\n", 1), "line 2 has 13 bytes for offset 00"),
        (DEVICE + ROWS.replace("86 80", "86 8g"), "line 3 has 16 bytes for offset 10"),
        (DEVICE + DEVICE + ROWS, "line 1: 0000:01:00.0 has 0 bytes"),
    ],
)
def test_what_is_no_dump_is_refused_with_its_line(dump: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_dump(dump)
    assert "lspci -xxxx" in caught.value.remedy


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "root@host:~# \n"),
        ("```\n", "```\n"),
        ("\ufeff", ""),
        ("libkmod: ERROR ../libkmod/libkmod.c:514 lookup_builtin_file()\n", ""),
        ("$ sudo lspci -xxxx\n", "\n"),
    ],
)
def test_what_is_pasted_along_is_passed_over(before: str, after: str) -> None:
    (device,) = parse_dump(f"{before}{DEVICE}{ROWS}{after}")
    assert device.data == HEADER


def test_a_paste_that_is_indented_or_wrapped_is_read_as_lspci_reads_it() -> None:
    wrapped = text("x710-wrapped")
    (device,) = parse_dump(wrapped)
    assert answering(from_dump((device,)))[0].ids == ("8086", "1572") and len(device.data) == 256
    indented = "".join(f"    {line}\n" for line in wrapped.splitlines())
    assert parse_dump(indented) == (device,)


def test_what_is_whole_of_a_dump_that_was_cut_off_is_read() -> None:
    data = bytes(range(256)) * 16
    (device,) = parse_dump(f"{DEVICE}{rows(data[:0x140])}")
    assert device.data == data[:256]


def test_a_device_that_cannot_be_read_is_named_if_it_was_asked_for() -> None:
    broken = Dumped(Address.parse("01:00.0"), "", b"\xff" * 0x0A + b"\0\2" + b"\xff" * 52, 1)
    with pytest.raises(ConfigError, match=r"0000:01:00\.0: no configuration space"):
        from_dump((broken,), "01:00.0")
    (silent,) = from_dump((broken,))
    assert isinstance(silent, Silent) and "no configuration space" in silent.why
    devices = (broken, *parse_dump(text("qemu-igb")))
    assert answering(from_dump(devices, "01:10.0"))[0].ids == ("8086", "10ca")
    (bridge,) = answering(from_dump(devices, "00:03.0"))
    assert bridge.ids == ("1b36", "000c"), "a bridge, if asked for"


lines = st.lists(st.sampled_from(text("82599").splitlines() + text("i350").splitlines()))


@given(st.one_of(st.text(), lines.map("\n".join)))
def test_any_text_is_read_or_refused(dump: str) -> None:
    try:
        devices = parse_dump(dump)
        from_dump(devices)
    except ConfigError:
        return
    assert devices


sizes = st.sampled_from((64, 256, 4096))
spaces = st.lists(
    sizes.flatmap(lambda n: st.binary(min_size=n, max_size=n)), min_size=1, max_size=3
)


@settings(max_examples=30)
@given(spaces)
def test_what_lspci_prints_is_read_back(contents: list[bytes]) -> None:
    dump = "\n".join(f"00:{index:02x}.0 Thing\n\tFlags: fast\n{rows(data)}"
                     for index, data in enumerate(contents))  # fmt: skip
    devices = parse_dump(dump)
    assert [each.data for each in devices] == contents
    assert [each.address for each in devices] == [
        Address(0, 0, index, 0) for index in range(len(contents))
    ]
