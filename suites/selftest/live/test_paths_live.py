"""Every path on the nested lab: what provisioning changes is put back; broken guests are told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness import paths
from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.exits import accounting
from harness.guest.boot import boot
from harness.hosts.program import PYTHON
from harness.inventory import LinkPlan
from harness.journal.journal import Journal, restore
from harness.labs.base import Lab
from harness.measure.plan import PlannedBoot
from harness.measure.runner import Bench, boot_path
from harness.net.ethtool import parse_rings, rings
from harness.paths.base import NetworkPath, PathOptions
from harness.paths.partner import partner
from harness.pci.device import Device
from harness.qemu.config import DeployedImage, GuestConfig
from harness.qualify.checks.digest import State, digest
from harness.tuning.rings import ENOUGH, lengthen, lengthened
from harness.window.window import Command
from harness.workloads.base import Idle
from harness.workloads.iperf3 import Iperf3
from suites.selftest.live.test_exits_live import UNPRIVILEGED

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.mark.parametrize("path", paths.ALL, ids=lambda path: path.name)
def test_provisioning_changes_the_host_and_puts_it_back(
    path: NetworkPath, lab: Lab, settled: State
) -> None:
    assert path.missing(lab.host, lab.ports) is None
    journal = Journal(lab.host, "selftest")
    with path.provision(lab.host, lab.ports, journal, PathOptions()) as attachment:
        assert digest(lab.host) != settled
        assert attachment.path == path.name
        assert lab.host.glob(f"{journal.directory}/*.json")
    journal.close()


@pytest.mark.usefixtures("settled")
def test_the_partners_rings_are_as_long_as_they_can_be_and_put_back(lab: Lab) -> None:
    """With 256 descriptors it was the partner that lost frames, not the path under test."""
    interface = Device(lab.host, lab.ports.partner).interface
    before = rings(lab.host, interface)
    assert before is not None and before.rx < before.rx_max
    journal = Journal(lab.host, "rings")
    with partner(lab.host, lab.ports.partner, LinkPlan(), journal) as other:
        show = other.run(("ethtool", "-g", other.interface)).text
        meanwhile = parse_rings(show)
        assert meanwhile is not None
        assert (meanwhile.rx, meanwhile.tx) == (before.rx_max, before.tx_max)
    journal.close()
    assert rings(lab.host, interface) == before
    assert rings(lab.host, "lo") is None


def test_a_receive_ring_is_as_long_as_a_window_and_then_as_before(lab: Lab, settled: State) -> None:
    """With 256 descriptors a guest on virtio-vhost received half of what it could."""
    interface = Device(lab.host, lab.ports.dut).interface
    before = rings(lab.host, interface)
    assert before is not None and before.rx < ENOUGH <= before.rx_max
    journal = Journal(lab.host, "ring")
    with lengthened(lab.host, interface, journal) as words:
        assert words == f"{ENOUGH} (before: {before.rx})"
        assert rings(lab.host, interface) == replace(before, rx=ENOUGH)
        assert restore(lab.host), "as after a crash"
        assert rings(lab.host, interface) == before
        assert lengthen(lab.host, interface) == f"{ENOUGH}", "a driver that was bound anew"
    journal.close()
    assert digest(lab.host) == settled


@pytest.mark.usefixtures("settled")
def test_what_a_killed_run_left_is_restored_from_its_journal(lab: Lab) -> None:
    """The journal alone, read from the host's disk, undoes a provisioned VF."""
    (path,) = paths.select(("sriov",))
    journal = Journal(lab.host, "killed")
    provisioning = path.provision(lab.host, lab.ports, journal, PathOptions())
    provisioning.__enter__()
    # From here on nobody leaves the context: that is what a SIGKILL does.
    done = restore(lab.host)
    assert [what.partition(" ")[0] for what in done] == ["bound", "made"]


@pytest.mark.usefixtures("settled")
def test_a_guest_that_panics_is_told_within_its_deadline(lab: Lab, tmp_path: Path) -> None:
    """The kernel finds no init. Its own words are in the error and in the log."""
    append = f"{lab.guest.append} rdinit=/nothing"
    image = DeployedImage(lab.guest.kernel, lab.guest.initrd, append)
    config = GuestConfig(image, name="panics")
    with (
        pytest.raises(LabError, match="Kernel panic"),
        boot(lab.host, config, (), log_dir=tmp_path),
    ):
        pass
    assert "Kernel panic" in (tmp_path / "panics.serial.log").read_text(errors="replace")


@pytest.mark.usefixtures("settled")
def test_a_guest_killed_in_mid_trial_is_an_error_and_its_trial_is_kept(bench: Bench) -> None:
    """It ends there and then, as it is in vain; its record says why it is invalid; the next path
    finds the host as it was."""
    with boot_path(bench, PlannedBoot(0, "sriov", 0)) as place:
        guest = place.endpoint.guest
        assert guest is not None
        kill = ("kill", "-9", str(guest.qemu_pid))

        def kill_amid_traffic() -> None:
            begun = ("pgrep", "-x", "iperf3")  # the partner's: the guest's is in the guest
            traffic = Deadline(60, "traffic")
            traffic.poll(lambda: bench.host.run(begun, check=False).returncode == 0)
            bench.host.run(kill)

        killer = threading.Thread(target=kill_amid_traffic)
        killer.start()
        with pytest.raises(LabError, match="the guest ended while traffic ran; its QEMU has ended"):
            place.trial(Iperf3("tcp-tx", seconds=10, omit=0))
        killer.join()
        with pytest.raises(LabError, match="after an earlier failure"):
            place.trial(Iperf3("tcp-rx"))
    last = bench.store.trials()[-1]
    assert (last.path, last.workload, last.valid) == ("sriov", "tcp-tx", False)
    assert "the rig failed" in last.reasons[0]


@pytest.mark.usefixtures("settled")
def test_a_host_that_lets_no_exits_be_counted_is_measured_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounting, "PYTHON", (*UNPRIVILEGED, *PYTHON))
    with boot_path(bench, PlannedBoot(0, "virtio", 0)) as place:
        record = place.trial(Idle(seconds=1))
    assert record.valid and record.exits is None
    assert record.counters["cpu.vcpu_ns"] > 0, "what else is known of the guest is there"
    assert "does not let exits be counted: BTF: Operation not" in bench.store.info().uncounted


AROUND = """
ping -q -c 20 -i 0.01 "$1" >/dev/null
echo ready
read -r go
ping -q -c 5 -i 0.01 "$1"
"""
"""Twenty round trips before the window, five in it."""


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("path", ["sriov", "native"])
def test_the_endpoints_own_counters_cover_the_window(path: str, bench: Bench) -> None:
    """Also its interrupts: those of the NIC, and of nothing else."""
    with boot_path(bench, PlannedBoot(0, path, 0)) as place:
        argv = ("sh", "-c", AROUND, "sh", bench.link.guest_ip)
        found = place.watch.over(Command(argv, handshake=True))
        again = place.watch.over(Command(argv, handshake=True))
    for each in (found, again):
        seen = each.reading.counters
        assert each.window.returncode == 0
        # Beside the round trips there is an address that is asked for, at most.
        assert 5 <= seen["guest.rx_packets"] <= 10
        # What the partner sent just before its own edge may arrive after the endpoint's.
        assert 0 <= seen["guest.rx_packets"] - seen["partner.tx_packets"] <= 1
        assert 1 <= seen["irq.device"] <= 40
        assert (path == "native") == (each.guest_wider_ns == 0)


def test_a_path_there_is_not_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'sriow' is not a path\n.*choose from native, .*sriov"):
        paths.select(("sriov", "sriow"))
