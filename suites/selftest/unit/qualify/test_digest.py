"""The digest of a host's state, from what a host really printed and on the nested lab."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.hosts.orphans_agent import MARK
from harness.labs.base import Lab
from harness.pci.device import Device
from harness.qualify.checks.digest import State, differences, digest, parse
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "digest"


def captured(name: str) -> State:
    return parse((DATA / f"{name}.txt").read_text())


def test_a_digest_tells_what_is_set_and_nothing_that_moves() -> None:
    clean = captured("clean")
    assert clean["0000:01:00.0 driver"] == "igb"
    assert clean["0000:01:00.0 sriov_numvfs"] == "0"
    assert clean["eth1 flags"] == "BROADCAST MULTICAST UP"
    assert clean["eth1 link"] == "device 52:54:00:00:01:01"
    assert clean["eth1 addresses"] == ""
    assert clean["eth1 -g RX"] == "4096 256", "at most, and now"
    assert clean["eth1 -k tx-tcp-segmentation"] == "on"
    assert clean["namespaces"] == ""
    assert clean["mgmt addresses"] == "10.0.2.15/24"
    assert not [name for name in clean if "vf 0" in name or name.startswith(("/dev", "process"))]


CHANGES = {
    "0000:01:00.0 sriov_numvfs": ("0", "1"),
    "0000:01:00.0 sriov_drivers_autoprobe": ("1", "0"),
    "0000:01:10.0 driver": ("absent", "vfio-pci"),
    "0000:01:10.0 driver_override": ("absent", "vfio-pci"),
    "eth1 mtu": ("1500", "4000"),
    "eth1 addresses": ("", "198.18.0.2/24"),
    "eth1 flags": ("BROADCAST MULTICAST UP", "BROADCAST MULTICAST PROMISC UP"),
    "eth1 listens to all": ("0 unicast, 0 multicast", "1 unicast, 0 multicast"),
    "eth1 -g RX": ("4096 256", "4096 512"),
    "eth1 -k tx-tcp-segmentation": ("on", "off"),
    "namespaces": ("", "nicproof-partner"),
    "eth2 mtu": ("1500", "absent"),
    "nicproof-partner/eth2 mtu": ("absent", "1500"),
    "npmacvtap0 mtu": ("absent", "4000"),
    "process iperf3": ("absent", "1"),
    "process tcpdump": ("absent", "1"),
    "/proc/sys/net/ipv4/conf/eth1/arp_ignore": ("0", "1"),
    "/run/nicproof/g0-1": ("absent", "1"),
    "/var/lib/nicproof/journal/run-1/000000.json": ("absent", "1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_told(name: str) -> None:
    before, after = CHANGES[name]
    message = differences(captured("clean"), captured("changed"))
    assert f"{name}: {before} -> {after}" in message


def test_the_kernels_own_queueing_is_no_setting_of_one_that_is_down() -> None:
    """An interface that comes home from a namespace has none until it is set up again."""
    text = (DATA / "clean.txt").read_text()
    down = text.replace('"BROADCAST","MULTICAST","UP","LOWER_UP"', '"BROADCAST","MULTICAST"')
    assert down != text and '"qdisc":"mq"' in down
    moved, set_by_hand = (down.replace('"qdisc":"mq"', f'"qdisc":"{to}"') for to in ("noop", "red"))
    assert not differences(parse(down), parse(moved))
    assert "eth1 queueing: the kernel's 1000 -> red 1000" in differences(
        parse(down), parse(set_by_hand)
    )
    gone = text.replace('"qdisc":"mq"', '"qdisc":"noop"')
    assert "eth1 queueing: mq 1000 -> noop 1000" in differences(parse(text), parse(gone))


def test_settings_of_a_vf_are_told() -> None:
    setting = captured("changed")["eth1 vf 0"]
    assert '"address":"02:6e:00:00:00:01"' in setting
    assert '"spoofchk":false' in setting and '"vlan":5' in setting


def test_no_difference_is_told_between_equals() -> None:
    assert differences(captured("changed"), captured("changed")) == ()
    assert differences({"a": "1"}, {}) == ("a: 1 -> absent",)


def test_what_is_no_digest_is_refused() -> None:
    with pytest.raises(LabError, match="not the JSON expected"):
        parse("\n== addresses\nno such command\n")


@pytest.mark.lab
def test_a_change_on_a_host_is_noticed_and_so_is_its_undoing(lab: Lab) -> None:
    port = Device(lab.host, lab.ports.dut)
    (number, *_) = (path.rpartition("/")[2] for path in lab.host.glob(f"{port.sysfs}/msi_irqs/*"))
    affinity = f"/proc/irq/{number}/smp_affinity_list"
    prior = lab.host.read(affinity)
    before = digest(lab.host)
    assert differences(before, digest(lab.host)) == ()
    lab.host.run(("ip", "link", "set", port.interface, "mtu", "1400"))
    lab.host.run(("ethtool", "-C", port.interface, "rx-usecs", "50"))
    lab.host.write(affinity, b"0")
    try:
        message = differences(before, digest(lab.host))
    finally:
        lab.host.run(("ip", "link", "set", port.interface, "mtu", "1500"))
        lab.host.run(("ethtool", "-C", port.interface, "rx-usecs", "3"))
        lab.host.write(affinity, prior)
    assert set(message) > {
        f"{port.interface} mtu: 1500 -> 1400",
        f"{port.interface} -c rx-usecs: 3 -> 50",
    }
    assert [line for line in message if line.startswith(f"{port.bdf} affinity: ")]
    lab.host.run(("ip", "link", "add", "link", port.interface, "np5", "type", "vlan", "id", "5"))
    try:
        message = differences(before, digest(lab.host))
        assert any(line.startswith("np5 link: absent -> vlan 802.1Q 5 ") for line in message)
    finally:
        lab.host.run(("ip", "link", "del", "np5"))
    assert differences(before, digest(lab.host)) == ()


def test_what_somebody_elses_harness_has_under_way_is_told(tmp_path: Path) -> None:
    """By a program that no other test has under way."""
    program = tmp_path / "np-another"
    shutil.copy(shutil.which("sleep") or "sleep", program)
    host, before = LocalHost(), digest(LocalHost())
    with subprocess.Popen((program, "60"), env={**os.environ, MARK: "1"}) as other:
        message = differences(before, digest(host))
        other.kill()
    assert "process np-another: absent -> 1" in message
    with host.spawn((str(program), "60")):
        assert not [line for line in differences(before, digest(host)) if "np-another" in line]
