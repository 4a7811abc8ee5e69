"""What makes a lab of a real host, on what machines say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import ConfigError
from harness.hosts.hugepages import EVERYWHERE, NODE
from harness.inventory import HostSpec, PortPair
from harness.journal.journal import DIRECTORY, Entry, Journal, UndoCommand
from harness.journal.permissions import EVERYTHING
from harness.labs.base import PartnerPort
from harness.labs.choice import RealChoice
from harness.labs.nested.image import LabImage
from harness.labs.real import lab as real
from harness.labs.real.fidelity import fidelity, judge
from harness.labs.real.lab import RealLab, open_real_lab, other_cpus
from harness.labs.real.lock import Owner
from harness.labs.real.programs import GUESTS_ONLY, LOOK, PACKAGES, require_programs
from harness.qemu.config import DeployedImage, Hugepages
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.rooted_host import RootedHost, with_82599

DOCTOR = CAPTURED / "doctor"

CPU = "model name\t: {model}\nflags\t\t: fpu vme hypervisor lahf_lm\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("xeon-e5", "hardware"), ("epyc-7502p", "hardware"), ("cloud-vm", "nested-kvm")],
)
def test_machines_and_what_runs_in_them(name: str, expected: str) -> None:
    assert fidelity(RootedHost(DOCTOR / name)) == expected


@pytest.mark.parametrize(
    ("model", "clocks", "expected"),
    [
        ("QEMU TCG CPU version 2.5+", "tsc hpet acpi_pm", "nested-tcg"),
        ("QEMU Virtual CPU version 2.5+", "tsc hpet acpi_pm", "nested-tcg"),
        ("QEMU Virtual CPU version 2.5+", "kvm-clock tsc hpet", "nested-kvm"),
        ("AMD EPYC 7502P 32-Core Processor", "kvm-clock tsc", "nested-kvm"),
        ("Intel(R) Xeon(R) CPU", "hyperv_clocksource_tsc_page", "nested-kvm"),
    ],
)
def test_a_virtual_machine_is_told_from_an_emulated_one(
    model: str, clocks: str, expected: str
) -> None:
    assert judge(CPU.format(model=model), "", clocks) == expected


def test_who_hides_the_flag_is_found_out_by_the_maker() -> None:
    hidden = CPU.format(model="Xeon").replace("hypervisor ", "")
    assert judge(hidden, "Dell Inc.\n", "tsc") == "hardware"
    assert judge(hidden, "QEMU\n", "tsc") == "nested-kvm"


PYTHON = {"python3 --version": "Python 3.11.2\n"}


def test_all_programs_that_are_missing_are_told_at_once(tmp_path: Path) -> None:
    line = " ".join(("sh", "-c", LOOK, "sh", *PACKAGES))
    iperf3 = {"iperf3 --version": "iperf 3.12 (cJSON 1.7.15)\n"}
    host = RootedHost(tmp_path, {line: "", **PYTHON, **iperf3})
    require_programs(host)
    host.answers = {line: "", **iperf3, "python3 --version": "Python 3.6.8\n"}
    with pytest.raises(ConfigError, match=r"alpha: python3 is 3\.6\.8, 3\.9 or newer is wanted"):
        require_programs(host)
    host.answers = {line: "iperf3\nip\nss\n"}
    with pytest.raises(ConfigError) as refused:
        require_programs(host)
    assert refused.value.message == "alpha has no iperf3, ip, ss"
    assert refused.value.remedy == "there: sudo apt-get install iperf3 iproute2"


@pytest.mark.parametrize(
    ("message", "version"),
    [("iperf 3.9 (cJSON 1.7.13)\n", "3.9"), ("iperf 3.10.1 (cJSON 1.7.13)\n", "3.10.1")],
)
def test_an_iperf3_whose_documents_are_read_wrong_is_refused_first(
    tmp_path: Path, message: str, version: str
) -> None:
    """Ubuntu 22.04 has 3.9: no sums of UDP, and both directions of --bidir under the same keys."""
    line = " ".join(("sh", "-c", LOOK, "sh", *PACKAGES))
    host = RootedHost(tmp_path, {line: "", **PYTHON, "iperf3 --version": message})
    with pytest.raises(ConfigError, match=r"3\.11 or newer is wanted") as refused:
        require_programs(host)
    assert refused.value.message.startswith(f"alpha: iperf3 {version} is too old")


SPEC = HostSpec("alpha", "alpha.lab", cpus=(2, 3))
BETA = HostSpec("beta", "beta.lab", may=frozenset({"sriov"}))


def server(root: Path, name: str, *programs: str) -> RootedHost:
    """One with an 82599, which says of these programs that it has them, and of no others."""
    host = with_82599(root / name)
    host.name = name
    looked = " ".join(("sh", "-c", LOOK, "sh", *programs))
    iperf3 = {"iperf3 --version": "iperf 3.18 (cJSON 1.7.15)\n"}
    host.answers = {**host.answers, **PYTHON, **iperf3, looked: ""}
    return host


@pytest.fixture
def beta(tmp_path: Path) -> RootedHost:
    """A server for a link partner: nobody may look for QEMU there."""
    return server(tmp_path, "beta", *(each for each in PACKAGES if each not in GUESTS_ONLY))


@pytest.fixture
def host(tmp_path: Path, beta: RootedHost, monkeypatch: pytest.MonkeyPatch) -> RootedHost:
    """The host that is reached, as beta is: a server that has everything; all ports are free."""
    host = server(tmp_path, "alpha", *PACKAGES)
    host.answers = {
        **host.answers,
        "qemu-system-x86_64 --version": "QEMU emulator version 10.0.13\n",
    }
    image = tmp_path / "image"
    image.mkdir()
    (image / "guest").write_text("cafe")
    for name in ("kernel", "initrd"):
        host.put(f"/var/cache/nicproof/guest-cafe/{name}")
    host.put("/proc/self/status", "Cpus_allowed:\tf\nCpus_allowed_list:\t0-3\n")

    @contextmanager
    def reached(spec: HostSpec) -> Iterator[RootedHost]:
        yield {"alpha": host, "beta": beta}[spec.name]

    monkeypatch.setattr(real, "reached", reached)
    monkeypatch.setattr(real, "require", lambda *_: None)
    monkeypatch.setattr(real, "orphans", lambda _: ())
    monkeypatch.setattr(real, "ensure_image", lambda **_: LabImage(image))
    return host


class Locks:
    """In place of those of the host: who holds one, in the order of taking."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: list[str] = []
        self.others: tuple[Owner, ...] = ()
        monkeypatch.setattr(real, "host_lock", lambda host, owner: self._lock(host, "host", owner))
        monkeypatch.setattr(real, "port_lock", self._lock)
        monkeypatch.setattr(real, "owners", lambda _: (*self.others, Owner("run", "me", "now")))

    @contextmanager
    def _lock(self, host: RootedHost, name: str, owner: Owner) -> Iterator[None]:
        assert owner.run == "run"
        self.held.append(f"{host.name} {name}")
        try:
            yield
        finally:
            self.held.remove(f"{host.name} {name}")


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> Locks:
    return Locks(monkeypatch)


@pytest.fixture
def choice(host: RootedHost) -> RealChoice:
    one, two = (path.rpartition("/")[2] for path in host.glob("/sys/bus/pci/devices/*"))
    return RealChoice("so it is", Path("lab.toml"), SPEC, PortPair(one, two, frozenset({"bind"})))


def test_a_lab_holds_the_host_and_both_ports(choice: RealChoice, locks: Locks) -> None:
    with open_real_lab(choice, run="run", progress=False) as lab:
        dut, partner = choice.ports.dut, choice.ports.partner
        assert locks.held == ["alpha host", f"alpha {dut}", f"alpha {partner}"]
        assert lab.ports == choice.ports
        assert lab.partner_port == PartnerPort(lab.host, partner, frozenset({"bind"}), (0, 1))
        assert lab.qemu_version == "10.0.13"
        assert lab.guest.kernel == "/var/cache/nicproof/guest-cafe/kernel"
        assert lab.describe()["CPUs of guests, QEMU and vhost"] == "2-3"
        assert lab.describe()["may be changed"] == "bind"
    assert locks.held == []


def test_what_serves_no_guest_gets_the_other_cpus_of_the_ports_node(host: RootedHost) -> None:
    host.put("/proc/self/status", "Cpus_allowed:\tffff\nCpus_allowed_list:\t0-9\n")
    assert other_cpus(host, replace(SPEC, cpus=())) == ()
    assert other_cpus(host, replace(SPEC, cpus=tuple(range(16)))) == ()
    near = replace(SPEC, numa=1)
    everywhere = (0, 1, *range(4, 10))
    assert other_cpus(host, replace(SPEC, numa=7)) == everywhere, "as of a kernel without NUMA"
    host.put("/sys/devices/system/node/node1/cpulist", "2-3,8-9\n")
    assert other_cpus(host, near) == (8, 9)
    host.put("/sys/devices/system/node/node1/cpulist", "2-3\n")
    assert other_cpus(host, near) == everywhere, "the inventory leaves the whole node to guests"
    host.put("/sys/devices/system/node/node1/cpulist", "\n")
    assert other_cpus(host, near) == everywhere, "a node of memory only"


def set_aside(host: RootedHost, free: int) -> None:
    host.put(f"{NODE.format(1)}/nr_hugepages", "512\n")
    host.put(f"{NODE.format(1)}/free_hugepages", f"{free}\n")
    host.put(f"{EVERYWHERE}/free_hugepages", "2000\n")
    host.put(f"{EVERYWHERE}/resv_hugepages", "0\n")


def test_hugepages_that_are_promised_are_there_or_the_run_does_not_begin(
    host: RootedHost, choice: RealChoice, locks: Locks
) -> None:
    choice = replace(choice, host=replace(SPEC, numa=1, hugepages=256))
    refused = "alpha has no hugepages of 2 MiB on NUMA node 1, the inventory promises 256"
    with pytest.raises(ConfigError, match=refused), open_real_lab(choice, run="run"):
        pass
    set_aside(host, 255)
    refused = "alpha has 255 hugepages of 2 MiB free on NUMA node 1, the inventory promises 256"
    with pytest.raises(ConfigError, match=refused) as short, open_real_lab(choice, run="run"):
        pass
    assert short.value.remedy.startswith(f"there: echo 513 > {NODE.format(1)}/nr_hugepages;")
    assert locks.held == []
    set_aside(host, 256)
    with open_real_lab(choice, run="run", progress=False) as lab:
        assert lab.hugepages == Hugepages(256, 1)


@pytest.fixture
def remote_partner(choice: RealChoice) -> RealChoice:
    """The second port is one of beta."""
    return replace(choice, remote_partner=BETA, ports=replace(choice.ports, remote_partner=True))


def test_a_partner_on_another_host_is_held_there(
    remote_partner: RealChoice, beta: RootedHost, locks: Locks
) -> None:
    dut, partner = remote_partner.ports.dut, remote_partner.ports.partner
    with open_real_lab(remote_partner, run="run", progress=False) as lab:
        assert locks.held == ["alpha host", f"alpha {dut}", "beta host", f"beta {partner}"]
        assert lab.host.name == "alpha"
        assert lab.partner_port == PartnerPort(beta, partner, frozenset({"sriov"}))
        assert lab.describe()["may be changed"] == "bind"
    assert locks.held == []


def test_rates_are_worth_what_the_lesser_end_is(
    remote_partner: RealChoice, beta: RootedHost, locks: Locks
) -> None:
    with open_real_lab(remote_partner, run="run", progress=False) as lab:
        assert lab.fidelity == "hardware"
    beta.put("/sys/class/dmi/id/sys_vendor", "QEMU\n")
    with open_real_lab(remote_partner, run="run", progress=False) as lab:
        assert lab.fidelity == "nested-kvm"
        assert lab.caveat == "alpha or beta is a virtual machine itself (nested-kvm)"
    assert locks.held == []


def test_what_a_run_left_on_the_partners_host_is_restored_there(
    remote_partner: RealChoice, beta: RootedHost, locks: Locks
) -> None:
    crashed(beta, "run-0")
    with (
        pytest.raises(ConfigError, match="beta: changes are left over") as refused,
        open_real_lab(remote_partner, run="run", progress=False),
    ):
        pass
    assert refused.value.remedy == "nicproof restore beta --inventory lab.toml"
    assert locks.held == []


def crashed(host: RootedHost, run: str) -> None:
    entry = Entry("bound a port", (UndoCommand(("true",)),))
    host.put(f"{DIRECTORY}/{run}/000000.json", msgspec.json.encode(entry))


def test_what_a_crashed_run_left_is_a_reason_not_to_begin(
    host: RootedHost, choice: RealChoice, locks: Locks
) -> None:
    crashed(host, "run-0")
    with (
        pytest.raises(ConfigError, match="that did not come to their end: run-0") as refused,
        open_real_lab(choice, run="run", progress=False),
    ):
        pass
    assert refused.value.remedy == "nicproof restore alpha --inventory lab.toml"
    assert locks.held == []


def test_what_a_crashed_run_still_has_under_way_is_one_too(
    choice: RealChoice, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "orphans", lambda _: ("timeout", "ip", "timeout"))
    with (
        pytest.raises(ConfigError, match="had started there still runs: ip, timeout") as refused,
        open_real_lab(choice, run="run", progress=False),
    ):
        pass
    assert refused.value.remedy == "nicproof restore alpha --inventory lab.toml"
    assert locks.held == []


def test_what_is_to_stay_and_what_the_living_do_are_none(
    host: RootedHost, choice: RealChoice, locks: Locks
) -> None:
    Journal(host, "doctor-1").keep("loaded a module", (UndoCommand(("true",)),))
    crashed(host, "discover-2")
    locks.others = (Owner("discover-2", "ada", "now"),)
    with open_real_lab(choice, run="run", progress=False):
        pass


def test_only_a_virtual_machine_has_a_caveat() -> None:
    image = DeployedImage("/k", "/i")
    ports = PortPair(may=EVERYTHING)
    machine = RealLab(RootedHost(Path("/")), SPEC, ports, "hardware", "10.0.13", image)
    assert machine.caveat == ""
    virtual = RealLab(RootedHost(Path("/")), SPEC, ports, "nested-tcg", "10.0.13", image)
    assert virtual.caveat == "alpha is a virtual machine itself (nested-tcg)"
