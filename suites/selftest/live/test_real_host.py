"""L1 of the nested lab as somebody's ordinary host, reached by nothing but a lab.toml.

What nicproof knows of the nested lab is of no help here: its port of sshd, its key and what may be
done stand in the file, and commands are started as a user starts them.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from harness import paths
from harness.guest.boot import boot
from harness.hosts.base import CommandResult, Host
from harness.hosts.hugepages import pages
from harness.inventory.reading import read
from harness.journal.journal import DIRECTORY, Journal
from harness.labs.choice import choose
from harness.labs.nested.image import is_built
from harness.labs.nested.lab import NestedLab, open_nested_lab
from harness.labs.nested.machine import ADDRESS
from harness.labs.reach import reached
from harness.labs.real.lock import Owner, owners, port_lock
from harness.paths.base import PathOptions
from harness.pci.device import Device
from harness.qemu.argv import RUN
from harness.qemu.config import GuestConfig, Hugepages
from harness.qualify.checks.digest import differences, digest
from harness.records.run import load
from harness.runs.suite import ROOT
from harness.tuning.governor import NONE
from suites.lab_toml import host_table, login
from suites.selftest.support.l1_host import NICPROOF, inventory, kill_run, nicproof

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SHORT = ("--workloads=latency", "--boots=1", "--seed=1", "--no-history")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NestedLab]:
    """A lab that nobody else is at work in, as other tests are in the session's."""
    if not is_built():
        pytest.skip("the nested lab's image (make it with: nicproof lab build)")
    with open_nested_lab(run_dir=tmp_path_factory.mktemp("host"), progress=False) as lab:
        yield lab


TUNED = '"bind", "sriov", "tune"'
PAGES = 128
"""Hugepages that a micro guest takes."""


@pytest.fixture
def hugepages(lab: NestedLab) -> Iterator[None]:
    """The host has set aside what one guest takes."""
    path = "/proc/sys/vm/nr_hugepages"
    before = lab.host.read(path)
    lab.host.write(path, str(PAGES).encode())
    yield
    lab.host.write(path, before)


def free_pages(lab: NestedLab) -> int:
    found = pages(lab.host, 0)
    assert found is not None
    return found.free


def bench(lab_toml: Path, name: str, *options: str) -> CommandResult:
    run_dir = lab_toml.with_name(name)
    return nicproof("bench", f"--lab={lab_toml}", f"--run-dir={run_dir}", *SHORT, *options)


@pytest.mark.usefixtures("settled", "hugepages")
def test_a_bench_on_a_host_of_an_inventory(lab: NestedLab, tmp_path: Path) -> None:
    """On CPUs, and with pages, that the inventory gives it; with all that it lets be tuned."""
    more = f'cpus = "0-1"\nnuma = 0\nhugepages = {PAGES}'
    lab_toml = inventory(lab, tmp_path, TUNED, more)
    result = bench(lab_toml, "run", "--paths=native,sriov")
    output = result.text + result.error
    assert result.returncode == 0, output
    assert (
        f"lab: l1 (127.0.0.1), {lab.ports.dut} against {lab.ports.partner}: as --lab says" in output
    )
    run = load(tmp_path / "run")
    assert run.info.finished and not run.info.missing
    assert (run.info.host, run.info.fidelity, run.info.clock) == ("l1", lab.fidelity, "wall")
    assert run.info.environment["lab"]["kind"] == "real host"
    assert run.info.environment["lab"]["CPUs of guests, QEMU and vhost"] == "0-1"
    assert run.info.environment["guest"] == {
        "virtual CPUs": "1, each on one of its own: 1",
        "CPUs of QEMU and vhost": "0",
        "memory": "256 MiB of hugepages of 2 MiB of NUMA node 0",
    }
    tuning = run.info.environment["tuning"]
    assert tuning["governor"] == NONE and tuning["irqbalance"] == "not running"
    for bdf in (lab.ports.dut, lab.ports.partner):
        assert re.match(r"rx-usecs 20.* \(before: rx-usecs 3.*\)$", tuning[f"moderation of {bdf}"])
    of = r"[1-9] of {}"
    ends = (lab.ports.dut, "0000:01:10.0")
    placement = run.info.environment["placement"]
    assert (placement["vCPUs"], placement["vhost"]) == ("1", "0")
    assert placement["the partner's programs"] == "any", "the inventory leaves no CPU to it"
    everywhere = f"{', '.join(map(of.format, ends))} on CPUs 0"
    for path in ("native", "sriov"):
        assert re.fullmatch(everywhere, placement[f"interrupts, {path}"])
        moderation = tuning[f"moderation of the port under test, {path}"]
        assert re.fullmatch(r"rx-usecs 20(, tx-usecs 20)?", moderation)
    assert placement["interrupts, sriov"] in (tmp_path / "run" / "report.md").read_text()
    measured = [trial for trial in run.trials if trial.workload == "latency"]
    assert {trial.path for trial in measured} == {"native", "sriov"}
    for trial in measured:
        assert trial.valid, trial.reasons


@pytest.mark.long
@pytest.mark.usefixtures("settled")
def test_a_qualification_on_hosts_of_an_inventory(lab: NestedLab, tmp_path: Path) -> None:
    """They are one machine by two names, which nicproof cannot know before it is there: the second
    worker finds the host locked, says by whom, and leaves all cases to the first."""
    lab_toml = inventory(lab, tmp_path)
    lab_toml.write_text(lab_toml.read_text() + host_table(lab, "again", "localhost"))
    chosen = (f"--lab={lab_toml}", "--family=discovery", "-n2")
    result = nicproof("qualify", *chosen, f"--run-dir={tmp_path}/run")
    output = result.text + result.error
    assert result.returncode == 0, output
    assert f"certificate: {tmp_path}/run/certificate.html" in result.text
    refused = r"gw[01]: no host is to be had: .*the host is in use by run \S+gw[01] of "
    assert re.search(refused, output), output
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text())
    (host,) = {case["host"] for case in certificate["cases"]}
    assert certificate["subject"]["host"] == host and host in ("l1", "again")
    assert certificate["counts"]["pass"]


@pytest.mark.usefixtures("settled")
def test_what_is_not_allowed_is_missing_by_name(lab: NestedLab, tmp_path: Path) -> None:
    choice = choose(str(inventory(lab, tmp_path, may='"bind"')))
    found = {path.name: path.missing(lab.host, choice.ports) for path in paths.ALL}
    assert {name: unmet[0] for name, unmet in found.items() if unmet} == {
        "native": "permission sriov",
        "sriov": "permission sriov",
    }


@contextmanager
def locked(lab: NestedLab) -> Iterator[None]:
    with port_lock(lab.host, lab.ports.dut, Owner.of("other")):
        yield


@contextmanager
def addressed(lab: NestedLab) -> Iterator[None]:
    device = ("198.51.100.7/24", "dev", Device(lab.host, lab.ports.partner).interface)
    lab.host.run(("ip", "address", "add", *device))
    try:
        yield
    finally:
        lab.host.run(("ip", "address", "del", *device))


@pytest.mark.parametrize(
    ("in_use", "reason"),
    [(locked, "is in use by run other"), (addressed, "has the address 198.51.100.7/24")],
)
def test_a_port_that_is_in_use_is_refused_before_anything_is_changed(
    in_use: Callable[[NestedLab], AbstractContextManager[None]],
    reason: str,
    lab: NestedLab,
    tmp_path: Path,
) -> None:
    with in_use(lab):
        before = digest(lab.host)
        result = bench(inventory(lab, tmp_path), "run", "--paths=native")
        assert result.returncode == 1
        assert reason in result.text, result.text + result.error
        assert not differences(before, digest(lab.host))
        assert not lab.host.glob(f"{DIRECTORY}/*")


@contextmanager
def running_bench(lab_toml: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A bench that has begun; killed if it still runs in the end."""
    log = lab_toml.with_name("killed.log")
    options = (f"--lab={lab_toml}", f"--run-dir={lab_toml.parent}/killed", "--paths=sriov", *SHORT)
    with (
        log.open("wb") as out,
        subprocess.Popen(
            (*NICPROOF, "bench", *options), cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()  # what it changed is put back
            process.wait(60)


THREADS = r'grep -hs "^Name:\|^Cpus_allowed_list:" "/proc/$1/task/"*/status || :'


@pytest.mark.usefixtures("settled", "hugepages")
def test_all_threads_of_a_guest_are_on_its_cpus(lab: NestedLab, tmp_path: Path) -> None:
    """The vCPU on its own, all others, among them vhost's worker, on those of the rest. Its memory
    is made of hugepages."""
    (path,) = paths.select(("virtio-vhost",))
    journal = Journal(lab.host, "pinned")
    config = GuestConfig(
        lab.guest, name="pinned", cpus=(0,), vcpu_cpus=(1,), hugepages=Hugepages(PAGES, 0)
    )
    assert free_pages(lab) == PAGES
    with (
        path.provision(lab.host, lab.ports, journal, PathOptions()) as attachment,
        boot(lab.host, config, (attachment,), log_dir=tmp_path, journal=journal) as guest,
    ):
        assert free_pages(lab) == 0
        output = lab.host.run(("sh", "-c", THREADS, "sh", str(guest.qemu_pid))).text.splitlines()
    journal.close()
    values = [line.partition("\t")[2] for line in output]
    on = dict(zip(values[::2], values[1::2], strict=True))
    assert f"vhost-{guest.qemu_pid}" in on
    assert on.pop("CPU 0/KVM") == "1"
    assert set(on.values()) == {"0"}


SECOND_SSHD = 2222

APART = rf"""
for place in /run/lock /run/netns /var/lib/nicproof; do
    mkdir -p "$place" && mount -t tmpfs -o mode=755 apart "$place"
done
exec /usr/sbin/sshd -D -e -p {SECOND_SSHD}
"""
"""What two hosts have apart, as far as that is of concern: locks, named namespaces, journals."""


@pytest.fixture(scope="module")
def two_hosts(lab: NestedLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab.toml that names L1 twice, as alpha and as beta, each with one of its ports."""
    forward = f"hostfwd_add mgmt tcp:127.0.0.1:0-{ADDRESS}:{SECOND_SSHD}"
    assert not lab.vm.qmp.command("human-monitor-command", **{"command-line": forward})
    table = str(lab.vm.qmp.command("human-monitor-command", **{"command-line": "info usernet"}))
    port = re.search(rf"127\.0\.0\.1\s+(\d+)\s+{re.escape(ADDRESS)}\s+{SECOND_SSHD}\s", table)
    assert port, table
    path = tmp_path_factory.mktemp("two") / "lab.toml"
    path.write_text(
        f"""
        {login(lab, "alpha", lab.ssh_port, may=TUNED)}
        [[host.alpha.port]]
        bdf = "{lab.ports.dut}"
        partner = "beta/{lab.ports.partner}"
        {login(lab, "beta", int(port[1]), may="")}
        [[host.beta.port]]
        bdf = "{lab.ports.partner}"
        """
    )
    with lab.host.spawn(("unshare", "--mount", "sh", "-c", APART)):
        wait_for(lambda: f":{SECOND_SSHD} " in lab.host.run(("ss", "-Hltn")).text)
        yield path


@pytest.fixture
def beta(two_hosts: Path) -> Iterator[Host]:
    """The other host."""
    with reached(read(two_hosts).host("beta")) as host:
        yield host


@pytest.mark.long
@pytest.mark.usefixtures("settled")
def test_a_bench_with_its_partner_on_another_host(
    lab: NestedLab, two_hosts: Path, beta: Host
) -> None:
    before = digest(beta)
    result = bench(two_hosts, "run", "--paths=native,sriov", "--workloads=tcp-tx")
    output = result.text + result.error
    assert result.returncode == 0, output
    assert f"{lab.ports.dut} against {lab.ports.partner} of beta (127.0.0.1): as" in output
    assert not differences(before, digest(beta))
    run = load(two_hosts.with_name("run"))
    assert (run.info.host, run.info.partner_host, run.info.finished) == ("alpha", "beta", True)
    assert run.info.environment["link partner"]["host"] == "beta"
    assert run.info.environment["link partner's host"]["kernel"]
    tuning = run.info.environment["tuning"]
    assert [key for key in tuning if key.startswith("moderation of 0")] == [
        f"moderation of {lab.ports.dut}"
    ]
    assert {(trial.path, trial.workload) for trial in run.counted} == {
        ("native", "tcp-tx"),
        ("sriov", "tcp-tx"),
        ("sriov", "idle"),
    }
    for trial in run.trials:
        assert trial.valid, trial.reasons
        assert trial.wider_ns > 0
        assert bool(trial.exits) == (trial.path == "sriov")
    assert "link partner on beta" in two_hosts.with_name("run").joinpath("report.md").read_text()


@pytest.mark.long
def test_what_a_killed_bench_left_is_told_and_restored_on_each_host(
    lab: NestedLab, two_hosts: Path, beta: Host
) -> None:
    hosts = {"alpha": lab.host, "beta": beta}
    before = {name: digest(host) for name, host in hosts.items()}
    with running_bench(two_hosts) as doomed:
        wait_for(lambda: bool(lab.host.glob(f"{RUN}/*/qemu.pid")), doomed)
        alive = restore(two_hosts, "alpha")
        assert "alpha: left alone, since it is at work: run" in alive.text, alive.error
        assert alive.text.endswith("alpha: nothing to restore\n")
        kill_run(doomed)
    for host in hosts.values():
        let_go(host)
    left = lab.host.glob(f"{DIRECTORY}/*/*")
    interface = Device(lab.host, lab.ports.dut).interface
    assert left
    assert f"{interface} -c rx-usecs: 3 -> 20" in differences(before["alpha"], digest(lab.host))
    refused = bench(two_hosts, "refused", "--paths=native")
    assert refused.returncode == 1
    assert f"nicproof restore alpha --inventory {two_hosts}" in refused.text, refused.error
    assert lab.host.glob(f"{DIRECTORY}/*/*") == left
    undone = {
        "alpha": (
            "started a guest",
            "directed the interrupts",
            f"set the interrupt moderation of {interface}",
        ),
        "beta": ("moved eth",),
    }
    for name in hosts:
        restored = restore(two_hosts, name)
        assert restored.returncode == 0, restored.error
        for what in undone[name]:
            assert f"{name}: undone: {what}" in restored.text
        assert restore(two_hosts, name).text == f"{name}: nothing to restore\n"
    # Only now: both hosts are one machine, so alpha's digest lacks the port that beta moved.
    for name, host in hosts.items():
        assert not differences(before[name], digest(host))


def restore(lab_toml: Path, host: str) -> CommandResult:
    return nicproof("restore", host, "--inventory", str(lab_toml))


def let_go(host: Host) -> None:
    """Nobody is at work there any more."""
    wait_for(lambda: not owners(host))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """For as long as the process runs."""
    end = time.monotonic() + 300
    while not condition():
        assert process is None or process.poll() is None, "it ended by itself"
        assert time.monotonic() < end
        time.sleep(0.2)
