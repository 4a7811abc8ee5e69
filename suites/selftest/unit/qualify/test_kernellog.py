"""Whose lines of a kernel log count, and whom they blame."""

from __future__ import annotations

import pytest

from harness.core.errors import ConfigError
from harness.pci.address import Address
from harness.pci.messages import DIRECTORY, parse_sayings, sayings
from harness.pci.profiles import profiles
from harness.qualify.faults.kernellog import Found, LogLine, Watched, judge
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "kernellog"

PORT, PARTNER, VF, ROOT = (
    Address.parse(bdf) for bdf in ("0000:01:00.0", "0000:02:00.1", "0000:01:10.0", "0000:00:03.0")
)


def watching(driver: str) -> Watched:
    """A port of this driver with a VF, its partner, and the root port above them."""
    return Watched(
        frozenset({PORT, PARTNER, VF, ROOT}), frozenset({driver}), frozenset({"eth0", "eth1"})
    )


def judged(*lines: str, driver: str = "igb", allowed: str = "") -> Found:
    return judge(lines, watching(driver), allowed)


def test_what_is_said_of_healthy_devices_and_of_others_blames_nobody() -> None:
    log = (DATA / "benign.txt").read_text().splitlines()
    assert len(log) == 5
    assert judge(log, watching("ixgbe")) == Found()


def test_what_no_healthy_case_leaves_behind_is_a_complaint() -> None:
    *product, room, rmrr = (DATA / "faults.txt").read_text().splitlines()
    found = judge([*product, room, rmrr], watching("igb"))
    assert found == Found(product=tuple(product), rig=(room, rmrr))


@pytest.mark.parametrize(
    "line",
    [
        "vfio-pci 0000:41:10.0: not ready 65535ms after FLR; giving up",
        "igb 0000:05:00.1 eth3: PCIe link lost",
        "pcieport 0000:40:03.0: pciehp: Slot(3): Link Down",
        "pcieport 0000:00:03.0: AER: Corrected error message received from 0000:2d:00.0",
        "DMAR: [DMA Read NO_PASID] Request device [2d:00.0] fault addr 0x1000 [fault reason 0x06]",
        "AMD-Vi: Event logged [IO_PAGE_FAULT device=2d:00.0 domain=0x0001 address=0x0 flags=0x0]",
        "iwlwifi 0000:2d:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0 address=0x0]",
        "r8125 0000:22:04.0 eth4: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5010 ms",
        "NETDEV WATCHDOG: eno1 (tg3): transmit queue 0 timed out",
        "eno1: hw csum failure",
    ],
)
def test_other_devices_are_not_ours(line: str) -> None:
    assert judged(line) == Found()


@pytest.mark.parametrize(
    "line",
    [
        "pcieport 0000:00:03.0: AER: Corrected error message received from 0000:01:10.0",
        "pcieport 0000:00:03.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer",
        "pcieport 0000:00:03.0: DPC: containment event, status:0x1f01 source:0x0000",
        "DMAR: [DMA Write NO_PASID] Request device [01:10.0] fault addr 0x1000 [fault reason 0x05]",
        "AMD-Vi: Event logged [IO_PAGE_FAULT device=01:10.0 domain=0x0001 address=0x0 flags=0x0]",
        "vfio-pci 0000:01:10.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0003 address=0x0]",
        "vfio-pci 0000:01:00.0: Unable to change power state from D3cold to D0",
        "igb 0000:01:00.0 eth0: Detected Tx Unit Hang",
        "igb 0000:01:00.0 eth0: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5010 ms",
        "NETDEV WATCHDOG: eth0 (igb): transmit queue 0 timed out",
        "eth1: hw csum failure",
        "DMAR: VT-d detected Invalidation Time-out Error: SID 180",  # the VF's routing ID
        "DMAR: VT-d detected Invalidation Queue Error: Reason f",
        "vfio: misc device register failed",
    ],
)
def test_port_vf_partner_and_the_port_above_are_ours(line: str) -> None:
    assert judged(line) == Found(product=(line,))


def test_a_port_that_comes_up_again_says_nothing_bad() -> None:
    assert judged("pcieport 0000:00:03.0: AER: enabled with IRQ 27") == Found()


@pytest.mark.parametrize(
    "line",
    [
        "igb 0000:01:00.0 eth0: Reset adapter",
        "NETDEV WATCHDOG: eth7 (igb): transmit queue 0 timed out",  # ours, perhaps
        "DMAR: VT-d detected Invalidation Time-out Error: SID 2d00",  # perhaps not
        "igb 0000:01:00.0: malformed Tx packet detected and dropped, LVMMC:0x10000000",
        "vfio-pci 0000:01:10.0: not ready 1023ms after FLR; waiting",
    ],
)
def test_what_may_be_a_fault_is_suspect(line: str) -> None:
    assert judged(line) == Found(suspect=(line,))


def test_unknown_words_of_ours_are_suspect_if_the_kernel_calls_them_an_error() -> None:
    words = "igb 0000:01:00.0: I have never felt like this"
    message, warning = f"<3>[ 7.1] {words}", f"<4>[ 7.2] {words}"
    assert judged(message, warning, "<3>[ 7.3] tg3 0000:05:00.0: x") == Found(
        suspect=(f"[ 7.1] {words}",)
    )


def test_a_program_that_writes_to_the_log_is_not_the_kernel() -> None:
    line = "[  9.1] BUG: soft lockup - of nobody"
    assert judged(f"<11>{line}", f"<30>{line}") == Found()
    assert judged(f"<1>{line}") == Found(product=(line,))


def test_a_vfs_own_driver_and_name_are_learnt_from_the_log() -> None:
    up = "<6>[ 1.0] igbvf 0000:01:10.0 enp1s16: Link is Up 1000 Mbps Full Duplex"
    dead = "NETDEV WATCHDOG: enp1s16 (igbvf): transmit queue 0 timed out"
    assert judged(up, f"<6>[ 2.0] {dead}") == Found(product=(f"[ 2.0] {dead}",))
    assert judged(f"<6>[ 2.0] {dead}") == Found()


WARNING = """\
<4>[127582.038035] ------------[ cut here ]------------
<4>[127582.038046] NETDEV WATCHDOG: {interface} ({driver}): transmit queue 0 timed out
<4>[127582.038093] WARNING: CPU: 2 PID: 0 at net/sched/sch_generic.c:466 dev_watchdog+0x20d/0x220
<4>[127582.038095] Modules linked in: xt_nat igb i2c_algo_bit [last unloaded: tg3]
<4>[127582.038268] RIP: 0010:dev_watchdog+0x20d/0x220
<4>[127582.038300] Call Trace:
<4>[127582.038301]  <IRQ>
<4>[127582.038310]  call_timer_fn+0x2d/0x130
<4>[127582.038400]  </IRQ>
<4>[127582.038410] ---[ end trace 1c2c3e3d5f0b9f2a ]---
"""

OOPS = """\
<1>[  44.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008
<1>[  44.000002] #PF: supervisor read access in kernel mode
<4>[  44.000003] Oops: 0000 [#1] PREEMPT SMP PTI
<4>[  44.000004] CPU: 3 PID: 811 Comm: kworker/3:2 Tainted: G        W          6.12.0 #1
<4>[  44.000005] RIP: 0010:{function}+0x1d/0x90{module}
<4>[  44.000006] Call Trace:
<4>[  44.000007]  <TASK>
<4>[  44.000008]  process_one_work+0x1e5/0x3b0
<4>[  44.000009]  </TASK>
"""

TASK = """\
<3>[ 245.1] INFO: task {task}:923 blocked for more than 120 seconds.
<3>[ 245.1]       Not tainted 6.12.0 #1
<6>[ 245.1] Call Trace:
<6>[ 245.1]  <TASK>
<6>[ 245.1]  __schedule+0x3d9/0x1490
<6>[ 245.1]  {frame}
<6>[ 245.1]  </TASK>
"""

SHARED = """\
<3>[ 88.1] irq 16: nobody cared (try booting with the "irqpoll" option)
<4>[ 88.1] Call Trace:
<4>[ 88.1]  __report_bad_irq+0x35/0xa7
<3>[ 88.1] handlers:
<3>[ 88.1] [<00000000c8f9a6f5>] {handler}
<0>[ 88.1] Disabling IRQ #16
"""


@pytest.mark.parametrize(
    ("trace", "blames", "first"),
    [
        (WARNING.format(interface="eth0", driver="igb"), "product", "NETDEV WATCHDOG: eth0"),
        (WARNING.format(interface="eno1", driver="tg3"), "suspect", "NETDEV WATCHDOG: eno1"),
        (OOPS.format(function="igb_down", module=" [igb]"), "product", "BUG: kernel NULL"),
        (OOPS.format(function="vfio_pin", module=" [vfio_iommu_type1]"), "product", "BUG: kernel"),
        (OOPS.format(function="kfree", module=""), "product", "BUG: kernel NULL"),
        (OOPS.format(function="iwl_trans", module=" [iwlwifi]"), "suspect", "BUG: kernel NULL"),
        (TASK.format(task="nfsd", frame="nfsd_write+0x1a/0x20 [nfsd]"), "suspect", "INFO: task"),
        (TASK.format(task="ip", frame="igb_close+0x1a/0x20 [igb]"), "product", "INFO: task ip:923"),
        (SHARED.format(handler="usb_hcd_irq [usbcore]"), "suspect", "irq 16: nobody cared"),
        (SHARED.format(handler="igb_intr [igb]"), "product", "irq 16: nobody cared"),
    ],
)
def test_a_trace_is_one_complaint_of_whose_code_it_goes_through(
    trace: str, blames: str, first: str
) -> None:
    between = "<6>[ 1.0] igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Down"
    lines = trace.splitlines()
    found = judged(*lines[:3], between, *lines[3:], "<6>[ 2.0] igb 0000:01:00.0: fine")
    message = {"product": found.product, "suspect": found.suspect}
    assert [blame for blame, lines in message.items() if lines] == [blames]
    (output,) = message[blames]
    assert first in output


def test_a_trace_without_an_end_hides_nothing() -> None:
    bug, after = "BUG: Bad page state in process qemu", "AMD-Vi: Completion-Wait loop timed out"
    assert judged(bug, after) == Found(product=(bug, after))
    next_one = WARNING.format(interface="eth0", driver="igb").splitlines()
    assert judged(bug, after, *next_one).product[:2] == (bug, after)


def test_the_same_words_are_told_once() -> None:
    lines = [f"<3>[ {second}.0] igb 0000:01:00.0 eth0: PCIe link lost" for second in range(3)]
    assert judged(*lines).product == ("[ 0.0] igb 0000:01:00.0 eth0: PCIe link lost (3 times)",)


def test_what_a_case_means_to_provoke_is_no_complaint() -> None:
    line = "DMAR: [DMA Read NO_PASID] Request device [01:10.0] fault addr 0x1000"
    assert judged(line, allowed="DMAR: |AMD-Vi: ") == Found()


@pytest.mark.parametrize(
    "raw",
    [
        "<3>[   12.345678] igb 0000:01:00.0 eth0: words",
        "<3>[   12.345678][  T345] igb 0000:01:00.0 eth0: words",  # CONFIG_PRINTK_CALLER
        "igb 0000:01:00.0 eth0: words",
        "igb 0000:01:00.0 eth0 (unregistering): words",
    ],
)
def test_a_line_is_read_with_and_without_priority_and_time(raw: str) -> None:
    line = LogLine.parse(raw)
    assert (line.driver, line.function, line.interface, line.body) == ("igb", PORT, "eth0", "words")
    assert line.level == (3 if raw.startswith("<") else None)


def test_a_line_without_an_interface() -> None:
    unnamed = "igb 0000:01:00.0 (unnamed net_device) (uninitialized): PHC removed"
    for raw in (unnamed, "igb 0000:01:00.0: PHC removed"):
        line = LogLine.parse(raw)
        assert (line.function, line.interface, line.body) == (PORT, "", "PHC removed")


def test_every_speaker_can_be_read() -> None:
    names = {path.stem for path in DIRECTORY.glob("*.toml")}
    assert names >= {"kernel", "igb", "ixgbe", "i40e", "ice", "vfio-pci"}
    for name in names:
        assert sayings(name)
    drivers = {each.pf.driver.value for each in profiles().values() if each.pf.driver}
    assert drivers <= names, "a driver of a known model has no file of its sayings"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[says]]\npattern = '('\nblames = 'rig'\nsource = 's'", "missing \\), unterminated"),
        ("[[says]]\npattern = 'x'\nblames = 'me'\nsource = 's'", "Invalid enum value 'me'"),
        ("[[says]]\npattern = 'x'\nblames = 'rig'", "`source`"),
    ],
)
def test_a_bad_file_says_which_and_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"x.toml: .*{message}"):
        parse_sayings(text, "x.toml")
