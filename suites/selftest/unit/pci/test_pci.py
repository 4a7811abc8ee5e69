"""PCI addresses and where VFs are to be found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import ConfigError, MissingCapability
from harness.pci.address import Address
from harness.qualify.rig.placement import link_limit
from suites.selftest.support.rooted_host import RootedHost

addresses = st.builds(
    Address,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFF),
    st.integers(0, 0x1F),
    st.integers(0, 7),
)


@given(addresses)
def test_an_address_survives_its_own_text(address: Address) -> None:
    assert Address.parse(str(address)) == address


def test_a_short_address_is_in_domain_0() -> None:
    assert Address.parse("01:00.1") == Address(0, 1, 0, 1)


@pytest.mark.parametrize("text", ["", "eth0", "0000:01:00", "0000:01:20.0", "01:00.8", "1:0.0"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"0000:01:00\.0"):
        Address.parse(text)


def test_vfs_of_a_real_82576_lie_on_the_next_bus() -> None:
    """82576: First VF Offset 384, VF Stride 2 (SR-IOV capability in its datasheet)."""
    pf = Address.parse("0000:01:00.0")
    found = [str(pf.vf(index, offset=384, stride=2)) for index in (0, 3, 4)]
    assert found == ["0000:02:10.0", "0000:02:10.6", "0000:02:11.0"]


@pytest.mark.parametrize(
    ("speed", "limit"),
    [("8.0 GT/s PCIe", 8.0), ("8 GT/s", 8.0), ("2.5 GT/s PCIe", 2.5), ("Unknown", None)],
)
def test_the_port_above_tells_its_limit_or_nothing(
    speed: str, limit: float | None, tmp_path: Path
) -> None:
    """A virtual root port does not (cloud-hypervisor, issue 4507)."""
    at = "/sys/bus/pci/devices/0000:01:00.0"
    below = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"
    host = RootedHost(tmp_path, {f"readlink -f {at}": f"{below}\n"})
    host.put("/sys/bus/pci/devices/0000:00:01.0/max_link_speed", f"{speed}\n")
    host.put("/sys/bus/pci/devices/0000:00:01.0/max_link_width", "8\n")
    if limit is None:
        with pytest.raises(MissingCapability, match=r"0000:00:01\.0, above .*: Unknown, 8"):
            link_limit(host, "0000:01:00.0")
    else:
        assert link_limit(host, "0000:01:00.0") == (limit, 8)
