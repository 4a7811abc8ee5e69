"""Who has no part in a PF that vfio-pci owns gets none of its VFs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.qualification.cases import Evidence
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio
from harness.pci.vftoken import VfToken, functions_by_token, refusal
from harness.qemu.argv import GuestFiles, qemu_argv
from harness.qemu.process import qemu_process
from harness.qemu.vftoken import qemu_device, require_qemu
from harness.qualify.device import vfio
from harness.qualify.rig.act import under_test
from harness.qualify.rig.rig import Rig

DENIED = "EACCES"


@pytest.mark.case("kernel", needs=("SR-IOV", "IOMMU", "KVM"))
def test_vf_token(rig: Rig, evidence: Evidence) -> None:
    """A VF of a PF that vfio-pci owns opens with that PF's token only, for QEMU too."""
    host, journal, token = rig.host, rig.journal, VfToken()
    require_qemu(host, rig.guest.qemu)
    with (
        under_test("opening a VF by its token"),
        functions_by_token(host, rig.port.bdf, 1, token, journal) as (vf,),
        assign_to_vfio(host, vf, journal),
    ):
        assert refusal(host, vf) == DENIED, "the VF can be had without a token"
        assert refusal(host, vf, VfToken()) == DENIED, "the VF can be had with another token"
        assert refusal(host, vf, token) == "", "the VF cannot be had with its token"
        with qemu_device(host, vf, token, journal) as device:
            config = replace(rig.guest, name="token", extra_args=(*device, "-S"))
            files = GuestFiles.of("token", token=vf)
            argv = qemu_argv(config, files, ())
            with qemu_process(host, argv, files, journal=journal) as qemu:
                command = host.read(f"/proc/{qemu.pid}/cmdline").decode()
                assert f"/dev/vfio/{Device(host, vf).iommu_group}" in vfio.held(host, qemu.pid)
                assert token.value not in command
    evidence(f"{vf} refused with {DENIED} without the token and with another; QEMU has it with it")
