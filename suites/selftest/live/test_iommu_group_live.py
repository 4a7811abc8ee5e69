"""A dual-port NIC behind a root port without ACS, as boards have it: one IOMMU group, real vfio.

That a guest starts is the kernel's own word that no driver was at work in the group: vfio claims it
first (iommu_group_claim_dma_owner in drivers/iommu/iommu.c), and a driver of the kernel's is in the
way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from harness import paths
from harness.journal.journal import Journal
from harness.journal.permissions import Binding, Holder
from harness.labs.choice import choose
from harness.labs.nested import lab as nested
from harness.labs.nested.image import is_built
from harness.labs.nested.lab import NestedLab
from harness.labs.nested.vm import LabMachine
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio, others
from harness.records.run import load
from suites.selftest.support.l1_host import inventory, nicproof

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(300)]

SECOND = "0000:01:00.1"
"""The other port of the card under test, cabled to nothing."""


class DualPort(LabMachine):
    """L1 with a second port on the first card, whose root port does not keep its functions apart.

    Functions are found by the list of ARI there, so the first has to name the second."""

    def argv(self) -> tuple[str, ...]:
        argv = list(super().argv())
        root = next(at for at, word in enumerate(argv) if "id=rp1" in word)
        argv[root] += ",disable-acs=on"
        first = next(at for at, word in enumerate(argv) if "bus=rp1" in word)
        argv[first] += ",addr=0.0,multifunction=on,x-pcie-ari-nextfn-1=on"
        return (
            *argv,
            *("-netdev", "hubport,id=h2,hubid=1"),
            *("-device", "igb,netdev=h2,mac=52:54:00:00:01:03,bus=rp1,addr=0.1"),
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NestedLab]:
    """Booted cold: no state is kept of this one."""
    if not is_built():
        pytest.skip("the nested lab's image (make it with: nicproof lab build)")
    usual = nested.nested_machine(progress=False)
    machine = DualPort(usual.image, usual.accel)
    with nested.started(machine, tmp_path_factory.mktemp("dual")) as lab:
        yield lab


@pytest.mark.usefixtures("settled")
def test_a_port_goes_to_a_guest_while_its_twin_is_held(lab: NestedLab, tmp_path: Path) -> None:
    """Its VFs do not: their PF is in the group, and igb must keep it."""
    assert others(lab.host, lab.ports.dut) == (SECOND,)
    lab_toml = inventory(lab, tmp_path, may='"bind", "sriov", "modules"')
    with lab_toml.open("a") as file:
        file.write(f'\n[[host.l1.port]]\nbdf = "{SECOND}"\n')
    chosen = (f"--lab={lab_toml}", "--paths=passthrough,sriov", "--workloads=latency")
    short = (f"--run-dir={tmp_path}/run", "--boots=1", "--seed=1", "--no-history")
    nicproof("bench", *chosen, *short)
    run = load(tmp_path / "run")
    (missing,) = run.info.missing
    assert missing.path == "sriov"
    assert missing.why.startswith(f"{lab.ports.dut} shares its IOMMU group")
    assert missing.why.endswith("is its PF, which igb must keep")
    trials = [trial for trial in run.trials if trial.workload == "latency"]
    assert {trial.path for trial in trials} == {"passthrough"}
    assert all(trial.valid for trial in trials), [trial.reasons for trial in trials]


def test_a_twin_that_the_inventory_does_not_list_is_left_alone(
    lab: NestedLab, tmp_path: Path
) -> None:
    ports = choose(str(inventory(lab, tmp_path))).ports
    (unmet,) = (path.missing(lab.host, ports) for path in paths.ALL if path.name == "passthrough")
    assert unmet is not None and unmet[0] == f"isolation of {lab.ports.dut}"
    assert unmet[1].startswith(f"{SECOND} shares its IOMMU group")
    assert unmet[1].endswith("is no port of the inventory")


@pytest.mark.parametrize("hold", get_args(Holder))
@pytest.mark.usefixtures("settled")
def test_a_twin_is_held_by_the_driver_that_the_inventory_says(hold: Holder, lab: NestedLab) -> None:
    ports = frozenset({lab.ports.dut, SECOND})
    journal = Journal(lab.host, f"held-by-{hold}", binding=Binding(hold=hold, ports=ports))
    with assign_to_vfio(lab.host, lab.ports.dut, journal):
        assert Device(lab.host, SECOND).driver == hold
    journal.close()
    assert Device(lab.host, SECOND).driver == "igb"
