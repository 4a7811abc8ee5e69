"""Doctor's judgement of machines, on what real ones said of themselves."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import ConfigError, NotStarted
from harness.doctor import iommu, kernel, memory
from harness.doctor.cpu import COMMS, pace, virtualisation
from harness.doctor.exits import exits
from harness.doctor.findings import GUESTS, Finding, lacking
from harness.doctor.iommu import isolation, judge_iommu, judge_remapping
from harness.doctor.kernel import Option, judge, judge_lockdown, options
from harness.doctor.login import judge_sessions
from harness.doctor.memory import judge_memlock, judge_pages
from harness.doctor.python import python
from harness.doctor.virtualisation import judge_vfio, kvm, qemu
from harness.exits.accounting import BPF_FS_MAGIC, BPFFS, FORMAT, NEEDED
from harness.hosts.base import CommandResult
from harness.hosts.hugepages import EVERYWHERE, NODE, Pages, pages
from harness.hosts.local import LocalHost
from harness.hosts.program import program, require_python
from harness.labs.nested import accel
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.rooted_host import RootedHost

DATA = CAPTURED / "doctor"
PROC = CAPTURED / "proc"


def machine(name: str, answers: dict[str, str] | None = None) -> RootedHost:
    """One of data/doctor, to be read only."""
    return RootedHost(DATA / name, answers)


@pytest.fixture
def host(tmp_path: Path) -> RootedHost:
    return RootedHost(tmp_path)


def lets_count_exits(host: RootedHost) -> None:
    """KVM's trace events, a bpffs, and a kernel that takes the programs."""
    host.put("/proc/cpuinfo", "flags\t\t: vmx\n")
    host.put(FORMAT, (DATA.parent / "exits" / "kvm_exit.format").read_bytes())
    host.answers = {
        **host.answers,
        f"ls -d {' '.join(NEEDED)}": "\n".join(NEEDED),
        f"stat -f -c %t {BPFFS}": f"{BPF_FS_MAGIC}\n",
        "python3 -I -S -": "",
    }


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    found = {each.name: each for each in findings}
    assert len(found) == len(findings), "two findings of one name"
    return found


@pytest.mark.parametrize(
    ("name", "state", "detail"),
    [
        ("xeon-e5", "yes", "Intel(R) Xeon(R) CPU E5-2620 v4 @ 2.10GHz: VT-x (vmx)"),
        ("epyc-7502p", "yes", "AMD EPYC 7502P 32-Core Processor: AMD-V (svm)"),
        ("cloud-vm", "no", "AMD EPYC: neither vmx nor svm"),
    ],
)
def test_virtualisation_is_told_by_flags(name: str, state: str, detail: str) -> None:
    found = virtualisation(machine(name))[0]
    assert (found.state, found.detail) == (state, detail)


def test_the_remedy_for_virtualisation_depends_on_where_one_is(host: RootedHost) -> None:
    assert "let its host pass" in virtualisation(machine("cloud-vm"))[0].remedy
    host.put("/proc/cpuinfo", "flags\t\t: fpu vme\n")
    assert "in the BIOS" in virtualisation(host)[0].remedy


@pytest.mark.parametrize(
    ("value", "state"), [("Y\n", "yes"), ("1\n", "yes"), ("N\n", "note"), ("0\n", "note")]
)
def test_nested_virtualisation_is_a_parameter(host: RootedHost, value: str, state: str) -> None:
    shutil.copytree(DATA / "xeon-e5", host.root, dirs_exist_ok=True)
    assert virtualisation(host)[1].detail == "kvm_intel is not loaded"
    host.put("/sys/module/kvm_intel/parameters/nested", value)
    assert virtualisation(host)[1].state == state


DEBIAN = "6.12.117+deb13-amd64"


def debian(host: RootedHost, cpu: str = "xeon-e5", **files: str) -> RootedHost:
    """Debian's kernel on some CPU; `files` are those of modules."""
    for name in ("debian-13", cpu):
        shutil.copytree(DATA / name, host.root, dirs_exist_ok=True)
    host.answers = {
        "uname -r": f"{DEBIAN}\n",
        **{f"modinfo -n {module.replace('_', '-')}": file for module, file in files.items()},
    }
    return host


def test_debians_kernel_has_what_guests_need(host: RootedHost) -> None:
    found = by_name(kernel.kernel(debian(host, vfio="/lib/x.ko\n", vfio_pci="/lib/y.ko\n")))
    assert list(found) == [
        *("CONFIG_IOMMU_SUPPORT", "CONFIG_INTEL_IOMMU", "CONFIG_IRQ_REMAP", "CONFIG_PCI_IOV"),
        *("CONFIG_PCI_STUB", "CONFIG_VFIO", "CONFIG_VFIO_IOMMU_TYPE1", "CONFIG_VFIO_PCI"),
        *("CONFIG_VFIO_NOIOMMU", "CONFIG_IOMMUFD"),
    ]
    assert found["CONFIG_INTEL_IOMMU"].detail == "built in (this machine's IOMMU)"
    assert found["CONFIG_VFIO"].detail.startswith("module vfio, which can be loaded")
    assert found["CONFIG_VFIO_PCI"].state == "yes"
    assert found["CONFIG_VFIO_NOIOMMU"].state == "note"
    gone = found["CONFIG_VFIO_IOMMU_TYPE1"]
    assert gone.state == "no" and "its file is not installed" in gone.detail
    assert "linux-modules-extra" in gone.remedy
    assert found["CONFIG_PCI_STUB"].state == "note", "missing too, but nothing needs it"


class WithoutModinfo(RootedHost):
    def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
        if argv[0] == "modinfo":
            raise NotStarted("alpha: cannot start modinfo: No such file or directory")
        return super().run(argv, **options)


def test_without_modinfo_no_module_is_said_to_be_missing(tmp_path: Path) -> None:
    """It is in /usr/sbin, or of a package that is not installed: the modules are there, maybe."""
    vfio = by_name(kernel.kernel(debian(WithoutModinfo(tmp_path))))["CONFIG_VFIO"]
    assert "of which nothing can be told: there is no modinfo" in vfio.detail
    assert (vfio.state, vfio.remedy) == ("note", "sudo apt-get install kmod")


def test_the_iommus_driver_is_that_of_the_cpu(host: RootedHost) -> None:
    assert "CONFIG_AMD_IOMMU" in by_name(kernel.kernel(debian(host, "epyc-7502p")))


def test_the_iommus_driver_is_that_of_the_firmwares_table(host: RootedHost) -> None:
    """As in a machine of QEMU's, which has VT-d beside a CPU that calls itself AMD's."""
    host.put("/sys/firmware/acpi/tables/DMAR", b"DMAR")
    found = by_name(kernel.kernel(debian(host, "epyc-7502p")))
    assert "CONFIG_INTEL_IOMMU" in found and "CONFIG_AMD_IOMMU" not in found


def test_a_kernel_without_anything_is_told() -> None:
    found = by_name(kernel.kernel(machine("cloud-vm", {"uname -r": "6.18\n"})))
    missing = {name for name, each in found.items() if each.state == "no"}
    assert missing == {
        *("CONFIG_AMD_IOMMU", "CONFIG_IRQ_REMAP", "CONFIG_PCI_IOV"),
        *("CONFIG_VFIO", "CONFIG_VFIO_IOMMU_TYPE1", "CONFIG_VFIO_PCI"),
    }


def test_modules_that_are_loaded_or_locked_out(host: RootedHost) -> None:
    debian(host, vfio="/lib/x.ko\n", vfio_pci="/lib/y.ko\n")
    host.put("/sys/module/vfio/refcnt", "1\n")
    host.put("/proc/sys/kernel/modules_disabled", "1\n")
    found = by_name(kernel.kernel(host))
    assert found["CONFIG_VFIO"].detail.startswith("module vfio, loaded")
    locked = found["CONFIG_VFIO_PCI"]
    assert locked.state == "no" and "loads no more modules" in locked.detail
    assert locked.remedy == "load vfio-pci at boot: /etc/modules-load.d"


def test_the_configuration_is_in_proc_or_in_boot_or_nowhere(host: RootedHost) -> None:
    text = (DATA / "debian-13" / "boot" / f"config-{DEBIAN}").read_bytes()
    assert kernel.config(host, DEBIAN) is None
    (unknown,) = kernel.kernel(host)
    assert unknown.state == "note" and "neither /proc/config.gz nor" in unknown.detail
    host.put(f"/boot/config-{DEBIAN}", text)
    assert kernel.config(host, DEBIAN) == text.decode().strip()
    host.put("/proc/config.gz", b"torn")
    assert kernel.config(host, DEBIAN) == text.decode().strip()
    host.put("/proc/config.gz", gzip.compress(b"CONFIG_VFIO=y\n"))
    assert kernel.parse(kernel.config(host, DEBIAN) or "") == {"VFIO": "y"}


def test_what_a_kernel_lacks_is_a_no_only_if_it_is_needed() -> None:
    needed, wanted = Option("A", "a thing", needed=GUESTS), Option("B", "another")
    assert judge(needed, "", "") == Finding(
        "CONFIG_A", "no", "missing (a thing)", "boot a kernel that has it", GUESTS
    )
    assert judge(wanted, "", "") == Finding("CONFIG_B", "note", "missing (another)")
    assert {option.name for option in options("X")} >= {"VFIO", "IRQ_REMAP", "X"}


@pytest.mark.parametrize(
    ("groups", "tables", "units", "state", "words"),
    [
        (71, ("DMAR",), ("dmar0", "dmar1"), "yes", "71 groups, by dmar0, dmar1, VT-d (DMAR table)"),
        (29, ("IVRS",), ("ivhd0",), "yes", "AMD-Vi (IVRS table) in the firmware"),
        (0, ("DMAR",), (), "no", "off in the kernel, though the firmware has VT-d"),
        (0, (), (), "no", "the firmware tells of none"),
    ],
)
def test_an_iommu_is_on_if_it_has_groups(
    groups: int, tables: tuple[str, ...], units: tuple[str, ...], state: str, words: str
) -> None:
    found = judge_iommu(groups, tables, units)
    assert found.state == state and words in found.detail
    assert bool(found.remedy) == (state == "no")


def interrupts(name: str) -> str:
    return (DATA / "interrupts" / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (interrupts("igb-remapped"), "on: 5 of 5 interrupts are remapped"),
        (interrupts("ice-remapped"), "on: 3 of 3 interrupts are remapped"),
        ((PROC / "interrupts").read_text(), "on: 16 of 16 interrupts are remapped"),
    ],
)
def test_remapped_interrupts_are_known_by_their_controllers(text: str, detail: str) -> None:
    found = judge_remapping(text, "N", "")
    assert (found.state, found.detail) == ("yes", detail)


def test_interrupts_that_are_not_remapped_come_with_the_kernels_reason() -> None:
    text = interrupts("i7-870-not-remapped")
    bare = judge_remapping(text, "N", "")
    assert (bare.state, bare.detail) == ("no", "off")
    assert bare.remedy.endswith(f"echo Y > {iommu.UNSAFE}")
    laptop = judge_remapping(text, "N", (DATA / "dmesg" / "i5-3210m.txt").read_text())
    assert "You are vulnerable to irq-injection attacks." in laptop.detail
    server = judge_remapping(text, "N", (DATA / "dmesg" / "sr950.txt").read_text())
    assert "x2apic disabled" in server.detail
    old = judge_remapping(text, "N", (DATA / "dmesg" / "erratum-5520.txt").read_text())
    assert "on a chipset that contains an erratum" in old.detail
    assert "vfio_iommu_type1" not in old.detail
    assert "another board" in old.remedy and "BIOS" not in old.remedy
    allowed = judge_remapping(text, "Y", "")
    assert allowed.state == "note" and "any interrupt to the host" in allowed.detail
    assert judge_remapping("", "N", "").state == "note"


def test_a_machine_without_iommu_is_not_asked_about_remapping() -> None:
    (found,) = iommu.iommu(machine("cloud-vm"))
    assert found.state == "no"


def test_the_iommu_is_read_from_sysfs(host: RootedHost) -> None:
    host.put("/sys/firmware/acpi/tables/DMAR")
    host.put("/sys/class/iommu/dmar0/x")
    host.put("/sys/kernel/iommu_groups/0/devices/x")
    host.put("/proc/interrupts", interrupts("igb-remapped"))
    found, remapping = iommu.iommu(host)
    assert found.detail == "on: 1 groups, by dmar0, VT-d (DMAR table) in the firmware"
    assert remapping.state == "yes"


def test_a_port_is_isolated_if_nothing_but_bridges_shares_its_group(host: RootedHost) -> None:
    devices = "/sys/bus/pci/devices"
    for bdf, device_class in (("0000:00:01.0", "0x060400"), ("0000:01:00.0", "0x020000")):
        host.put(f"/sys/kernel/iommu_groups/7/devices/{bdf}")
        host.put(f"{devices}/{bdf}/class", f"{device_class}\n")
    host.link(f"{devices}/0000:01:00.0/iommu_group", "../../../../kernel/iommu_groups/7")
    assert isolation(host, "0000:01:00.0", "7").detail == "alone in IOMMU group 7"
    for bdf in ("0000:01:00.1", "0000:01:00.2"):
        host.put(f"/sys/kernel/iommu_groups/7/devices/{bdf}")
        host.put(f"{devices}/{bdf}/class", "0x020000\n")
    host.link(f"{devices}/0000:01:00.1/driver", "../../bus/pci/drivers/igb")
    shared = isolation(host, "0000:01:00.0", "7")
    assert shared.state == "no" and shared.needed == GUESTS
    assert shared.detail == "IOMMU group 7 has also 0000:01:00.1 (igb), 0000:01:00.2 (no driver)"
    assert isolation(host, "0000:01:00.0", "7", {"0000:01:00.1"}).state == "no"
    held = isolation(host, "0000:01:00.0", "7", {"0000:01:00.1", "0000:01:00.2"})
    assert held.state == "yes" and held.detail == f"{shared.detail}, held meanwhile"


@pytest.mark.parametrize(
    ("found", "wanted", "state"),
    [
        (Pages(512, 512, "/path"), 512, "yes"),
        (Pages(512, 100, "/path"), 512, "no"),
        (Pages(0, 0, "/path"), 0, "note"),
        (None, 0, "note"),
        (None, 8, "no"),
    ],
)
def test_hugepages_are_held_against_what_the_inventory_promises(
    found: Pages | None, wanted: int, state: str
) -> None:
    assert judge_pages(found, wanted).state == state


def test_hugepages_are_those_of_the_node(host: RootedHost) -> None:
    at = NODE.format(1)
    assert memory.memory(host, 8, 1)[0].detail == "none of 2 MiB here"
    set_aside(host, at, 8, 4)
    set_aside(host, EVERYWHERE, 20, 9)
    host.put(f"{EVERYWHERE}/resv_hugepages", "0\n")
    found = memory.memory(host, 8, 1)[0]
    assert found.detail == "4 of 8 free, the inventory promises 8"
    assert found.remedy == f"echo 12 > {at}/nr_hugepages", "the four that are in use stay so"


@pytest.mark.parametrize(("promised", "node", "free"), [(0, 4, 9), (7, 2, 2), (9, 0, 0)])
def test_hugepages_that_are_promised_to_others_are_not_free(
    promised: int, node: int, free: int, host: RootedHost
) -> None:
    set_aside(host, NODE.format(1), 8, 4)
    set_aside(host, EVERYWHERE, 20, 9)
    host.put(f"{EVERYWHERE}/resv_hugepages", f"{promised}\n")
    assert (free_pages(host, 1), free_pages(host, None)) == (node, free)


def set_aside(host: RootedHost, at: str, there: int, free: int) -> None:
    host.put(f"{at}/nr_hugepages", f"{there}\n")
    host.put(f"{at}/free_hugepages", f"{free}\n")


def free_pages(host: RootedHost, node: int | None) -> int:
    found = pages(host, node)
    assert found is not None
    return found.free


@pytest.mark.parametrize(
    ("uid", "limit", "state"),
    [
        ("0", "8192", "yes"),
        ("1000", "unlimited", "yes"),
        ("1000", "4194304", "yes"),
        ("1000", "8192", "no"),
        ("", "", "note"),
    ],
)
def test_the_memlock_limit_binds_all_but_root(uid: str, limit: str, state: str) -> None:
    assert judge_memlock(uid, "ada", limit).state == state


def test_a_user_whose_name_has_a_blank_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As winbind gives them."""
    monkeypatch.setattr(memory, "output_of", lambda *_: "1000\nEXAMPLE\\john smith\n8192\n")
    found = memory._memlock(LocalHost())
    assert found.state == "no" and found.detail.startswith("EXAMPLE\\john smith: 8192 KiB")


def test_groups_that_vfio_makes_without_an_iommu_are_none(tmp_path: Path) -> None:
    host = RootedHost(tmp_path)
    host.put("/sys/kernel/iommu_groups/0/name", "vfio-noiommu\n")
    host.put("/sys/kernel/iommu_groups/0/devices/0000:01:00.0")
    (found,) = iommu.iommu(host)
    assert found.state == "no" and found.detail.startswith("off")


def test_iommufd_gives_what_type1_does(tmp_path: Path) -> None:
    host = RootedHost(tmp_path, {"uname -r": "6.12\n"})
    for config, state in (("CONFIG_IOMMUFD_VFIO_CONTAINER=y\n", "yes"), ("CONFIG_A=y\n", "no")):
        host.put("/boot/config-6.12", config)
        (found,) = (f for f in kernel.kernel(host) if f.name == "CONFIG_VFIO_IOMMU_TYPE1")
        assert found.state == state


def test_the_memlock_limit_is_asked_of_the_user_that_we_are() -> None:
    assert memory.memory(LocalHost())[1].state in ("yes", "no")


def test_qemu_and_its_vfio_pci(host: RootedHost) -> None:
    output = (DATA / "qemu" / "vfio-pci-help.txt").read_text()
    assert [each.state for each in qemu(host)] == ["no"]
    host.answers = {
        "qemu-system-x86_64 --version": "QEMU emulator version 10.0.13 (Debian 1:10.0.13)\n",
        "qemu-system-x86_64 -device vfio-pci,help": output,
    }
    version, vfio = qemu(host)
    assert (version.state, version.detail) == ("yes", "10.0.13")
    assert (vfio.state, vfio.detail) == ("yes", "50 properties")
    old = judge_vfio("".join(line for line in output.splitlines(True) if "vf-token" not in line))
    assert old.state == "note" and "not vf-token (a VF whose PF" in old.detail
    assert judge_vfio("").state == "no"
    host.answers["qemu-system-x86_64 --version"] = "no version\n"
    assert qemu(host)[0].state == "note"


def test_kvm_is_tried_not_believed(host: RootedHost) -> None:
    assert kvm(host).detail == "no /dev/kvm"
    host.put("/dev/kvm")
    line = " ".join(program("harness.doctor", "kvm"))
    host.answers = {line: "works\n"}
    assert kvm(host).state == "yes"
    assert kvm(host, boots=True).state == "yes"
    assert kvm(host, boots=False).detail == "three instructions, but no kernel"
    host.answers = {line: "/dev/kvm: Permission denied\n"}
    assert (kvm(host).state, kvm(host).detail) == ("no", "/dev/kvm: Permission denied")
    host.answers = {}
    assert kvm(host).detail == "no", "the last words of a program that failed"


def test_the_kvm_program_says_what_fails() -> None:
    *python, text = program("harness.doctor", "kvm")
    wrong = subprocess.run(
        [*python, text.replace("/dev/kvm", "/dev/null")], capture_output=True, text=True, check=True
    )
    assert wrong.stdout == "a call: Inappropriate ioctl for device\n"
    absent = subprocess.run(
        [*python, text.replace("/dev/kvm", "/no/kvm")], capture_output=True, text=True, check=True
    )
    assert absent.stdout == "/no/kvm: No such file or directory\n"


def test_real_kvm_runs_the_three_instructions_if_it_boots_guests() -> None:
    if not Path("/dev/kvm").exists() or accel.known_answer() is False:
        pytest.skip("KVM that boots guests")
    assert kvm(LocalHost()).state == "yes"


CPU = "/sys/devices/system/cpu"


def test_a_machine_at_a_steady_pace(host: RootedHost) -> None:
    host.put(f"{CPU}/online", "0-7\n")
    for cpu in range(2):
        host.put(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor", "performance\n")
    host.put(f"{CPU}/intel_pstate/no_turbo", "1\n")
    host.put(f"{CPU}/smt/control", "off\n")
    host.put("/proc/cmdline", "quiet isolcpus=managed_irq,2-7 iommu=pt\n")
    host.answers = {" ".join(COMMS): "systemd\nirqbalanced\n"}
    host.put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
    found = pace(host, (2, 3, 4))
    assert {each.state for each in found} == {"yes"}
    assert len(found) == 7


def test_a_machine_at_any_pace(host: RootedHost) -> None:
    host.put(f"{CPU}/online", "0-3\n")
    for cpu, governor in enumerate(("performance", "powersave")):
        host.put(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor", f"{governor}\n")
    host.put(f"{CPU}/cpufreq/boost", "1\n")
    host.put(f"{CPU}/smt/control", "on\n")
    host.put(f"{CPU}/cpu0/topology/thread_siblings_list", "0,2\n")
    host.put(f"{CPU}/isolated", "\n")
    host.answers = {" ".join(COMMS): "systemd\nirqbalance\n"}
    host.put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
    found = by_name(pace(host, (2, 3, 4)))
    assert found["CPUs of a run"].detail == "CPUs 2-4: 4 not online"
    assert found["governor"].detail == "performance, powersave"
    assert found["turbo"].remedy == f"echo 0 > {CPU}/cpufreq/boost"
    assert (found["SMT"].state, "0,2" in found["SMT"].detail) == ("note", True)
    assert found["isolated CPUs"].remedy == "kernel command line: isolcpus=managed_irq,2-4"
    assert found["irqbalance"].state == "no"
    assert "hpet" in found["clock source"].detail
    wrong = lacking(tuple(found.values()), "steady figures")
    assert [each.name for each in wrong] == ["governor", "turbo", "irqbalance", "clock source"]


def test_cpus_that_the_scheduler_leaves_alone_are_a_note(host: RootedHost) -> None:
    host.put(f"{CPU}/isolated", "3-7\n")
    host.put("/proc/cmdline", "isolcpus=domain,managed_irq,3-7\n")
    found = by_name(pace(host, (2, 3, 4)))["isolated CPUs"]
    assert (found.state, found.detail[:4]) == ("note", "3-4 ")


def test_a_machine_that_tells_nothing_of_its_pace() -> None:
    found = by_name(pace(machine("cloud-vm")))
    assert found["governor"].state == found["turbo"].state == "note"
    assert found["SMT"].detail == "notsupported"
    assert found["isolated CPUs"].detail == "none"
    assert found["clock source"].state == "yes"


def test_only_a_no_that_is_needed_stands_in_the_way() -> None:
    no = Finding("a", "no", "", needed=("SR-IOV",))
    assert lacking((no, replace(no, state="note"), replace(no, needed=())), "SR-IOV") == (no,)
    assert lacking((no,), "passthrough") == ()


@pytest.mark.parametrize(
    ("settings", "state", "words"),
    [
        ("port 22\nmaxsessions 10\n", "no", "10 at once over a connection: enough for bench"),
        ("maxsessions 150\n", "yes", "150 at once"),
        ("", "note", "does not tell"),
    ],
)
def test_sshd_has_room_for_what_a_run_does_at_once(settings: str, state: str, words: str) -> None:
    found = judge_sessions(settings)
    assert found.state == state and words in found.detail
    assert ("MaxSessions" in found.remedy) == (state != "yes")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("Python 3.9.18\n", ""),
        ("Python 3.13.0rc2\n", ""),
        ("Python 3.10.12\n", ""),  # which is no 3.1
        ("Python 3.6.8\n", "python3 is 3.6.8, 3.9 or newer is wanted"),
        ("", "there is no python3, 3.9 or newer is wanted"),
    ],
)
def test_a_python_that_is_too_old_is_told_before_anything_is_done(
    host: RootedHost, message: str, why: str
) -> None:
    if message:
        host.answers = {"python3 --version": message}
    found = python(host)
    if not why:
        assert found.state == "yes" and found.detail == message.strip()
        require_python(host)
        return
    assert (found.state, found.detail, found.needed) == ("no", why, GUESTS)
    with pytest.raises(ConfigError, match=rf"alpha: {why}\n.*alternatives"):
        require_python(host)


@pytest.mark.parametrize(
    ("modes", "state", "words"),
    [
        ("[none] integrity confidentiality", "yes", "off"),
        ("none [integrity] confidentiality", "note", "no module without a signature"),
        ("none integrity [confidentiality]", "note", "what programs read of the kernel"),
        ("", "note", "not told"),
    ],
)
def test_a_kernel_that_is_locked_down_is_told(modes: str, state: str, words: str) -> None:
    found = judge_lockdown(modes)
    assert found.state == state and words in found.detail and not found.needed


def test_whether_exits_can_be_counted_is_tried(host: RootedHost) -> None:
    lets_count_exits(host)
    assert exits(host).state == "yes"
    del host.answers["python3 -I -S -"]
    refused = exits(host)
    assert refused.state == "no" and refused.needed == ("exit counts",)
    assert "does not let exits be counted: no" in refused.detail
    host.answers.pop(f"stat -f -c %t {BPFFS}")
    host.answers[f"stat -f -c %t {BPFFS}"] = "62656572\n"  # sysfs's own
    assert "mount -t bpf" in exits(host).remedy
    del host.answers[f"ls -d {' '.join(NEEDED)}"]
    assert "tracefs" in exits(host).remedy


def test_trace_events_that_cannot_be_read_are_a_missing_capability(host: RootedHost) -> None:
    """They are listed where they may not be read: to who is not root, by some kinds of lockdown."""
    lets_count_exits(host)
    (host.root / FORMAT.lstrip("/")).unlink()
    found = exits(host)
    assert found.state == "no" and FORMAT in found.detail
