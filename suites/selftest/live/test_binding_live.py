"""What the kernel makes of it: by override and by ID, vfio-pci and pci-stub, in the nested lab."""

from __future__ import annotations

from typing import get_args

import pytest

from harness.journal.journal import Journal, restore
from harness.journal.permissions import Binding, BindMode
from harness.labs.base import Lab
from harness.pci.binding import bound
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio
from harness.pci.sriov import virtual_functions

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

MACS = ("02:6e:00:00:00:01", "02:6e:00:00:00:02")
TAKE = 'printf %s "$1" >/sys/bus/pci/drivers/vfio-pci/bind'
"""Refused by a driver that does not know the function's ID."""


@pytest.mark.usefixtures("settled")
def test_an_id_is_told_for_one_vf_and_not_left_behind(lab: Lab) -> None:
    """Of two VFs without a driver, which have one ID, new_id binds both; only one stays bound."""
    journal = Journal(lab.host, "by-id", binding=Binding("new_id"))
    with virtual_functions(lab.host, lab.ports.dut, MACS, journal) as (vf, sibling):
        with assign_to_vfio(lab.host, vf, journal):
            assert Device(lab.host, vf).driver == "vfio-pci"
            assert Device(lab.host, sibling).driver == ""
            output = lab.host.run(("sh", "-c", TAKE, "sh", sibling), check=False)
            assert output.returncode != 0, "vfio-pci still knows the ID"
        assert Device(lab.host, vf).driver == ""
    journal.close()


@pytest.mark.parametrize("mode", get_args(BindMode))
@pytest.mark.usefixtures("settled")
def test_a_port_held_by_pci_stub_is_given_back_by_its_run_or_by_restore(
    mode: BindMode, lab: Lab
) -> None:
    """Its twin, of the same ID, keeps its driver all the time."""
    journal = Journal(lab.host, "held", binding=Binding(mode))
    holding = bound(lab.host, lab.ports.dut, "pci-stub", journal)
    holding.__enter__()
    assert Device(lab.host, lab.ports.dut).driver == "pci-stub"
    assert Device(lab.host, lab.ports.partner).driver == "igb"
    # From here on nobody leaves the context: that is what a SIGKILL does.
    done = restore(lab.host)
    assert f"bound {lab.ports.dut} to pci-stub" in done
