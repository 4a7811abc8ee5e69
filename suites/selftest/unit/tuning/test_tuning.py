"""Tuning of a host: what is set, what is put back, and what is said of it.

sysfs and procfs are a directory here; the scripts that read and write them are the real ones. What
a kernel makes of them is seen in test_real_host.
"""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import CommandFailed, MissingCapability
from harness.hosts.local import LocalHost
from harness.inventory import PortPair
from harness.journal.journal import DIRECTORY, Journal, restore
from harness.journal.permissions import EVERYTHING
from harness.net.ethtool import (
    Coalescing,
    Rings,
    coalescing,
    coalescing_back,
    parse_coalescing,
    parse_rings,
    rings,
    set_coalescing,
    set_rings,
)
from harness.tuning import affinity, irqbalance
from harness.tuning.affinity import Interrupt, affinities, affinities_kept
from harness.tuning.coalescing import LAB_PROMPT_USECS, LAB_USECS, Place
from harness.tuning.governor import NONE, performance
from harness.tuning.governor import describe as describe_governor
from harness.tuning.rings import lengthen
from harness.tuning.run import UNNAMED, Settled, Tuning, port_tuned, tuned
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.rooted_host import PLAIN, RootedHost

ETHTOOL = CAPTURED / "ethtool"

PF, VF, PARTNER = "0000:01:00.0", "0000:01:10.0", "0000:02:00.0"


class Server(RootedHost):
    """Its shell runs for real."""

    plain = (*PLAIN, "sh")


@pytest.fixture(autouse=True)
def another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own irqbalance, if it has one, runs on."""
    monkeypatch.setattr(irqbalance, "NAME", "np-balance")


@pytest.fixture
def host(tmp_path: Path) -> Server:
    host = Server(tmp_path / "alpha")
    irqs(host, PF, {40: "0-7", 41: "5", 101: "0-7"})
    irqs(host, PARTNER, {42: "0-7"})
    for cpu in range(3):
        governor(host, cpu, "powersave", "balance_performance")
    return host


@pytest.fixture
def journal(host: Server) -> Journal:
    return Journal(host, "run")


def irqs(host: Server, bdf: str, affinities: dict[int, str]) -> None:
    """The function has these interrupts and no others."""
    at = host.root / f"sys/bus/pci/devices/{bdf}/msi_irqs"
    shutil.rmtree(at, ignore_errors=True)
    for number, cpus in affinities.items():
        host.put(f"/sys/bus/pci/devices/{bdf}/msi_irqs/{number}", "msix\n")
        host.put(f"/proc/irq/{number}/smp_affinity_list", f"{cpus}\n")


def governor(host: Server, cpu: int, name: str, preference: str) -> None:
    at = f"/sys/devices/system/cpu/cpu{cpu}/cpufreq"
    host.put(f"{at}/scaling_governor", f"{name}\n")
    host.put(f"{at}/energy_performance_preference", f"{preference}\n")


def state(host: Server) -> dict[str, str]:
    """All that could be tuned, file by file."""
    files = [path for top in ("sys", "proc") for path in (host.root / top).rglob("*")]
    return {str(path): path.read_text().strip() for path in files if path.is_file()}


def at(host: Server, *numbers: int) -> list[str]:
    return [host.read(f"/proc/irq/{n}/smp_affinity_list").decode().strip() for n in numbers]


def test_the_governor_is_performance_and_then_what_it_was(host: Server, journal: Journal) -> None:
    governor(host, 1, "schedutil", "power")
    before = state(host)
    with performance(host, (1, 2), journal) as message:
        assert message == "performance (before: powersave, schedutil)"
        changed = {path: value for path, value in state(host).items() if before[path] != value}
        assert set(changed.values()) == {"performance"}
        assert [path.split("/")[-3] for path in changed] == ["cpu1", "cpu2"]
        # What a driver may do of its own accord along with the governor:
        governor(host, 1, "performance", "performance")
    assert state(host) == before


def test_a_host_without_cpufreq_is_left_as_it_is(host: Server, journal: Journal) -> None:
    with performance(host, (7,), journal) as message:
        assert message == NONE
        assert not host.glob(f"{DIRECTORY}/*/*")


def test_a_governor_that_there_is_not_is_told() -> None:
    before, after = {"a": "powersave", "b": "powersave"}, {"a": "performance", "b": "powersave"}
    refused = "sh: 4: cannot create b: Invalid argument"
    message = describe_governor(before, after, refused)
    assert message == f"powersave, not everywhere performance (before: powersave): {refused}"


def test_interrupts_are_directed_and_put_back_each_where_it_was(
    host: Server, journal: Journal
) -> None:
    before = state(host)
    with affinities_kept(host, (PF, PARTNER), journal):
        found = affinities(host, (PF, PARTNER), (2, 3, 4))
        assert at(host, 40, 41, 101, 42) == ["2", "3", "4", "2"]
        assert affinity.describe(found, (2, 3, 4)) == f"3 of {PF}, 1 of {PARTNER} on CPUs 2-4"
    assert state(host) == before


def test_interrupts_that_a_driver_got_anew_are_put_back_by_position(
    host: Server, journal: Journal
) -> None:
    """After a guest had the port, its driver has other numbers, and the kernel's default."""
    with affinities_kept(host, (PF, PARTNER), journal):
        irqs(host, PF, {9: "2", 10: "2", 88: "2"})
    assert at(host, 9, 10, 88, 42) == ["0-7", "5", "0-7", "0-7"]
    assert at(host, 41) == ["5"], "somebody else's by now"


def test_vfs_interrupts_are_directed_as_they_appear(host: Server, journal: Journal) -> None:
    with affinities_kept(host, (PF,), journal):
        host.link(f"/sys/bus/pci/devices/{PF}/virtfn0", f"../{VF}")
        irqs(host, VF, {60: "0-7"})
        assert affinities(host, (PF,), (2,))[VF] == (Interrupt(60, "2"),)


def test_an_interrupt_that_stays_where_it_is_is_told() -> None:
    found = affinity.parse(f"{PF} 40 2\n{PF} 41 0-7\n")
    message = affinity.describe(found, (2, 3))
    assert message == f"1 of {PF} on CPUs 2-3; could not be directed: 41 of {PF} on 0-7"
    assert affinity.describe({}, (2,)) == "none on CPUs 2"


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes by irqbalance's name, as it is in these tests."""
    program = shutil.copy(shutil.which("sleep") or "", tmp_path / irqbalance.NAME)
    with subprocess.Popen((program, "60")) as process:
        try:
            yield process
        finally:
            process.kill()


def await_paused(process: subprocess.Popen[bytes], paused: bool) -> None:
    """A signal takes its time. The third field of /proc/PID/stat (proc_pid_stat(5)) is "T" of a
    process that one has stopped."""
    stat = Path(f"/proc/{process.pid}/stat")
    Deadline(10.0, "the signal's effect").poll(
        lambda: (stat.read_text().rpartition(") ")[2][0] == "T") == paused
    )


def test_irqbalance_stands_still_meanwhile(
    balancer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    journal = Journal(LocalHost(), "run", str(tmp_path / "journal"))
    with irqbalance.paused(LocalHost(), journal) as message:
        assert message == "paused"
        await_paused(balancer, True)
    await_paused(balancer, False)


def test_an_irqbalance_that_somebody_else_has_paused_stays_so(
    balancer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    balancer.send_signal(signal.SIGSTOP)
    await_paused(balancer, True)
    journal = Journal(LocalHost(), "run", str(tmp_path / "journal"))
    with irqbalance.paused(LocalHost(), journal) as message:
        assert message == "not running"
    await_paused(balancer, True)


def test_restore_lets_irqbalance_go_on_after_a_crash(
    balancer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """What `restore` finds while the change lasts; that it is undone once more does no harm."""
    root = str(tmp_path / "journal")
    with irqbalance.paused(LocalHost(), Journal(LocalHost(), "run", root)):
        assert restore(LocalHost(), root) == (f"paused {irqbalance.NAME}",)
        await_paused(balancer, False)


AGES = ("5.16", "6.1", "6.7", "6.14")
"""Of ethtool, from Ubuntu 22.04 to Debian 13; each asked the same kernel (6.12)."""


@pytest.mark.parametrize("age", AGES)
def test_moderation_is_read_from_what_ethtool_prints_at_any_age(age: str) -> None:
    printed = (ETHTOOL / f"virtio-coalescing-{age}.txt").read_text()
    assert parse_coalescing(printed) == Coalescing(0, 0, adaptive_rx=False)
    on = printed.replace("Adaptive RX: off  TX: n/a", "Adaptive RX: on  TX: off")
    on = on.replace("CQE mode RX: n/a", "CQE mode RX: off")
    assert parse_coalescing(on) == Coalescing(0, 0, adaptive_rx=True, adaptive_tx=False)
    assert parse_coalescing("") == Coalescing()


@pytest.mark.parametrize("age", AGES)
def test_rings_are_read_from_what_ethtool_prints_at_any_age(age: str) -> None:
    printed = (ETHTOOL / f"pf-rings-{age}.txt").read_text()
    assert parse_rings(printed) == Rings(rx=256, tx=256, rx_max=4096, tx_max=4096)
    assert parse_rings("") is None
    assert parse_rings(printed.replace("TX:", "XX:")) is None


def test_a_tool_that_fails_is_not_a_driver_that_has_nothing(tmp_path: Path) -> None:
    tool = tmp_path / "ethtool"
    host = LocalHost(env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    for ask in (rings, coalescing):
        for message, status in (
            ("Operation not supported", None),
            ("No such device", CommandFailed),
        ):
            tool.write_text(f"#!/bin/sh\necho netlink error: {message} >&2\nexit 1\n")
            tool.chmod(0o755)
            if status is None:
                assert ask(host, "eth0") in (None, Coalescing())
            else:
                with pytest.raises(status, match=message):
                    ask(host, "eth0")


@pytest.mark.parametrize("argv", [set_rings("eth0", 64, 64), set_coalescing("eth0", Coalescing(3))])
def test_a_setting_that_is_so_already_is_no_failure(argv: tuple[str, ...], tmp_path: Path) -> None:
    """Which an ethtool that asks by ioctl ends with 80 for."""
    tool = tmp_path / "ethtool"
    host = LocalHost(env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    for status in (80, 1):
        tool.write_text(f'#!/bin/sh\necho "$@"\nexit {status}\n')
        tool.chmod(0o755)
        said = host.run(argv, check=False)
        assert said.returncode == (0 if status == 80 else status)
        assert said.text.split()[:2] in (["-G", "eth0"], ["-C", "eth0"])


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize(
    ("most", "now", "words"),
    [
        (4096, 256, "256, not 4096: no memory"),
        (4096, 4096, "4096"),
        (1024, 256, "256, not 1024: no memory"),
        (8192, 256, "256, not 4096: no memory"),
        (8192, 8000, "8000"),
    ],
)
def test_a_ring_is_to_hold_a_window_if_it_can(
    age: str, most: int, now: int, words: str, tmp_path: Path
) -> None:
    """By an ethtool that can set nothing."""
    asked, current = (ETHTOOL / f"pf-rings-{age}.txt").read_text().split("Current")
    printed = f"{asked.replace('4096', str(most))}Current{current.replace('256', str(now))}"
    (tmp_path / "printed").write_text(printed)
    tool = tmp_path / "ethtool"
    tool.write_text(
        f"#!/bin/sh\n[ $1 = -g ] && exec cat {tmp_path}/printed\necho no memory >&2\nexit 1\n"
    )
    tool.chmod(0o755)
    host = LocalHost(env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert lengthen(host, "eth0") == words


def test_moderation_is_put_back_before_it_is_adaptive_again() -> None:
    """ice and iavf refuse rx-usecs together with adaptive-rx (ice_set_rc_coalesce)."""
    back = coalescing_back("eth0", Coalescing(50, 8, adaptive_rx=True, adaptive_tx=False))
    assert [undo.argv[5:] for undo in back] == [
        ("eth0", "rx-usecs", "50", "tx-usecs", "8"),
        ("eth0", "adaptive-rx", "on", "adaptive-tx", "off"),
    ]
    assert [undo.when for undo in back] == ["/sys/class/net/eth0"] * 2
    (only,) = coalescing_back("eth0", Coalescing(rx_usecs=3))
    assert only.argv == set_coalescing("eth0", Coalescing(rx_usecs=3))


@pytest.mark.parametrize(
    ("prior", "fixed", "message"),
    [
        (Coalescing(3), Coalescing(20), "rx-usecs 3"),
        (Coalescing(3, 3), Coalescing(20, 20), "rx-usecs 3, tx-usecs 3"),
        (Coalescing(3, 0), Coalescing(20, 0), "rx-usecs 3"),
        (
            Coalescing(50, 50, adaptive_rx=True, adaptive_tx=True),
            Coalescing(20, 20, adaptive_rx=False, adaptive_tx=False),
            "rx-usecs 50, tx-usecs 50, adaptive",
        ),
    ],
)
def test_moderation_is_fixed_in_each_direction_that_has_its_own(
    prior: Coalescing, fixed: Coalescing, message: str
) -> None:
    assert (prior.fixed(20), str(prior)) == (fixed, message)


@pytest.mark.parametrize("usecs", [LAB_USECS, LAB_PROMPT_USECS])
def test_no_driver_of_the_lab_goes_on_choosing_at_what_it_is_held_at(usecs: int) -> None:
    """Kernel 6.12: a number of which 3 bits remain means "adaptive", in igbvf's unit of it (EITR
    counts 256 ns), in e1000e's interrupts a second, and in igb's quarters of a microsecond."""
    igbvf = 1_000_000_000 // ((usecs << 2) * 256)
    assert [each & 3 for each in (igbvf, 1_000_000 // usecs, usecs << 2)] == [0, 0, 0]


SETTING = """#!/bin/sh
[ $1 = -c ] && { echo "rx-usecs: $(cat "$0.$2")"; exit; }
echo "$4" >"$0.$2"
"""
"""An ethtool whose interfaces are files."""


def test_what_waits_for_each_interrupt_has_it_soon_and_the_rest_as_before(tmp_path: Path) -> None:
    tool = tmp_path / "ethtool"
    tool.write_text(SETTING)
    tool.chmod(0o755)
    host = LocalHost(env={"PATH": f"{tmp_path}:/usr/bin:/bin"})

    def now() -> list[str]:
        return [Path(f"{tool}.{name}").read_text().strip() for name in ("eth0", "eth1")]

    for name in ("eth0", "eth1"):
        Path(f"{tool}.{name}").write_text("65\n")
    ends = (Place(host, "eth0"), Place(host, "eth1"))
    tuning = Tuning(host, PortPair("0000:ff:1f.7", PARTNER), {}, LAB_USECS, ends=True)
    with pytest.raises(RuntimeError, match="traffic"), tuning.prompt(*ends) as chosen:
        assert chosen == {"moderation": "ports 0 us, where traffic ends 10 us"}
        assert now() == ["0", "10"]
        raise RuntimeError("traffic failed")
    assert now() == ["65", "65"]
    with tuning.prompt(ends[0], None) as chosen:
        assert chosen == {"moderation": "ports 0 us"} and now() == ["0", "65"]
    assert now() == ["65", "65"]
    with dataclasses.replace(tuning, ends=False).prompt(*ends) as chosen:
        assert chosen == {} and now() == ["65", "65"], "ports of a real host are left alone"


def test_what_cannot_be_tuned_is_said_and_the_rest_is_put_back(
    host: Server, journal: Journal
) -> None:
    """Ports without an interface, so without moderation."""
    before = state(host)
    with tuned(host, PortPair(PF, PARTNER), (1, 2), journal) as tuning:
        assert tuning.applied["governor"] == "performance (before: powersave)"
        assert "left as it is" in tuning.applied[f"moderation of {PF}"]
        seen = tuning.settle("sriov", (1,))
        assert seen == Settled({"interrupts, sriov": f"3 of {PF} on CPUs 1"}, {})
    assert state(host) == before
    assert not host.glob(f"{DIRECTORY}/*/*")


def test_a_partner_on_another_host_is_left_alone(host: Server, journal: Journal) -> None:
    """What has its BDF on the host under test is something else."""
    with tuned(host, PortPair(PF, PARTNER, remote_partner=True), (1, 2), journal) as tuning:
        assert f"moderation of {PARTNER}" not in tuning.applied
        seen = tuning.settle("sriov", (1,))
        assert seen.interrupts == {"interrupts, sriov": f"3 of {PF} on CPUs 1"}


def test_without_cpus_neither_governor_nor_interrupts_are_touched(
    host: Server, journal: Journal
) -> None:
    before = state(host)
    with tuned(host, PortPair(PF, PARTNER), (), journal) as tuning:
        assert tuning.applied["governor"] == tuning.applied["interrupts"] == UNNAMED
        assert tuning.settle("sriov", ()) == Settled({}, {})
        assert state(host) == before


@pytest.mark.parametrize("cpus", [(), (1, 2)])
def test_nothing_is_tuned_that_the_inventory_does_not_allow(
    cpus: tuple[int, ...], host: Server
) -> None:
    barred = Journal(host, "run", may=EVERYTHING - {"tune"})
    before = state(host)
    with (
        pytest.raises(MissingCapability, match=r"permission tune: .* of alpha"),
        tuned(host, PortPair(PF, PARTNER), cpus, barred),
    ):
        pass
    assert state(host) == before


def test_a_crashed_run_is_untuned_by_restore(host: Server, journal: Journal) -> None:
    """As above."""
    before = state(host)
    with tuned(host, PortPair(PF, PARTNER), (1, 2), journal) as tuning:
        tuning.settle("virtio", (1,))
        assert before.items() - state(host).items()
        assert restore(host) == (
            f"directed the interrupts of {PF}",
            "set the governor of CPUs 1-2 to performance",
        )
        assert state(host) == before
    assert state(host) == before


def test_interrupts_of_both_ports_are_placed_where_nothing_else_is_tuned(
    host: Server, journal: Journal
) -> None:
    before = state(host)
    with (
        affinity.placed(host, PARTNER, (0,), journal) as message,
        port_tuned(host, PortPair(PF, PARTNER), (1, 2), journal) as tuning,
    ):
        assert tuning.applied == {
            f"moderation of {PF}": "left as it is: it has no interface",
            f"moderation of {PARTNER}": "left as it is: it has no interface",
            f"receive ring of {PF}": "left as it is: it has no interface",
        }
        assert message == f"1 of {PARTNER} on CPUs 0"
        seen = tuning.settle("sriov", (1, 2))
        assert seen == Settled({"interrupts, sriov": f"3 of {PF} on CPUs 1-2"}, {})
        found = affinity.affinities(host, (PF, PARTNER))
        assert [each.affinity for each in found[PF]] == ["1", "2", "1"], "each has one, in turn"
        assert [each.affinity for each in found[PARTNER]] == ["0"]
    assert state(host) == before
