"""`nicproof doctor` as a whole: its ports, --fix, its table and its exit status."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from harness.cli import doctor as commands
from harness.cli import main as cli
from harness.cli.doctor import MODULES
from harness.cli.nic import live
from harness.core.errors import LabError
from harness.doctor import table
from harness.doctor.controller import controller
from harness.doctor.findings import GUESTS, Finding, Purpose, lacking
from harness.doctor.fix import fix
from harness.doctor.kernel import options
from harness.doctor.nics import nics
from harness.hosts.program import program
from harness.inventory import HostSpec, PortRef, PortSpec
from harness.journal.journal import DIRECTORY, restore
from harness.labs.real import discover
from harness.pci.in_use import Verdict
from harness.runs.suite import ROOT
from suites.selftest.support.rooted_host import RootedHost, with_82599
from suites.selftest.unit.doctor.test_doctor import DATA, by_name, debian, lets_count_exits

FREE, BUSY = Verdict((), ()), Verdict(("eth1 is a member of bridge br0",), ())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RootedHost:
    """Both ports of a real 82599; the second one is in use."""
    host = with_82599(tmp_path / "alpha")
    _, other = ports(host)
    monkeypatch.setattr(discover, "inspect", lambda _, bdf: BUSY if bdf == other else FREE)
    return host


def ports(host: RootedHost) -> tuple[str, ...]:
    return tuple(path.rpartition("/")[2] for path in host.glob("/sys/bus/pci/devices/*"))


def test_a_port_that_does_not_answer_says_nothing_of_the_others(server: RootedHost) -> None:
    one, other = ports(server)
    server.put(f"/sys/bus/pci/devices/{other}/config", b"\xff" * 256)
    found = by_name(nics(server))
    assert "the device does not answer" in found[f"NIC {other}"].detail
    assert found[f"NIC {one}"].state == "yes" and found["a port to test"].detail == one
    both = discover.ports(server)
    assert [isinstance(each, discover.Port) for each in both] == [True, False]
    message = discover.render(HostSpec(name="alpha", address="a.lab"), both, ())
    assert (
        f'bdf = "{one}"' in message
        and f"# left out: {other}: configuration space reads ff" in message
    )
    assert [type(each).__name__ for each in live(server, None)] == ["Survey", "Silent"]


def test_firmware_that_forbids_a_port_to_guests_is_told(server: RootedHost) -> None:
    """As on a ProLiant: an RMRR for each port, and no addresses for the BARs of VFs."""
    assert not any(lacking(nics(server), purpose) for purpose in GUESTS)
    one, _ = ports(server)
    regions = (
        "0x00000000bdf6f000 0x00000000bdf7efff {}\n0x00000000fee00000 0x00000000feefffff msi\n"
    )
    group = "/sys/kernel/iommu_groups/30/reserved_regions"
    server.put(group, regions.format("direct-relaxable"))
    assert not any(lacking(nics(server), purpose) for purpose in GUESTS)
    server.put(group, regions.format("direct"))
    found = by_name(nics(server))
    assert "RMRR" in found[f"reserved memory of {one}"].detail
    assert found["a port to test"].state == "no"
    server.put(group, "")
    at = f"/sys/bus/pci/devices/{one}/resource"
    used, none = (
        "0x00000000df880000 0x00000000df8fffff 0x000000000014220c\n",
        f"{'0x' + '0' * 16} " * 3,
    )
    server.put(at, used + f"{none}\n" * 12)
    found = by_name(nics(server))
    assert "no addresses for their BARs" in found[f"SR-IOV of {one}"].detail
    assert [each.name for each in lacking(nics(server), "SR-IOV")] == ["a port to test"]
    server.put(at, used + f"{none}\n" * 6 + used + f"{none}\n" * 5)
    assert not any(lacking(nics(server), purpose) for purpose in GUESTS)


def test_one_port_that_is_fit_is_enough_without_an_inventory(server: RootedHost) -> None:
    one, other = ports(server)
    found = by_name(nics(server))
    assert found[f"NIC {one}"].detail == (
        "82599: driver ixgbe, interface eth0, firmware 0x61c10001, NUMA node 1"
    )
    assert found[f"SR-IOV of {one}"].detail == "63 VFs offered"
    assert found[f"isolation of {one}"].detail == "alone in IOMMU group 30"
    assert found[f"use of {one}"].detail == "nobody uses it"
    assert found[f"use of {other}"].detail == "eth1 is a member of bridge br0"
    assert found["a port to test"] == replace(
        found["a port to test"], state="yes", detail=one, needed=GUESTS
    )
    assert not any(lacking(tuple(found.values()), purpose) for purpose in GUESTS)


def test_all_ports_of_an_inventory_must_be_fit(server: RootedHost) -> None:
    one, other = ports(server)
    spec = HostSpec("alpha", "x", (PortSpec(one, "82599"),))
    assert not lacking(nics(server, spec), "SR-IOV")
    spec = replace(spec, ports=(PortSpec(one, "I350", PortRef("alpha", other)),))
    wrong = {each.name: each.detail for each in lacking(nics(server, spec), "passthrough")}
    assert wrong == {
        f"NIC {one}": "82599, the inventory says I350",
        f"use of {other}": "eth1 is a member of bridge br0",
    }
    absent = replace(spec, ports=(PortSpec("0000:99:00.0"),))
    (found,) = nics(server, absent)
    assert found.state == "no" and "no PCI function 0000:99:00.0" in found.detail


def test_sriov_that_is_switched_off_is_told(server: RootedHost) -> None:
    one, other = ports(server)
    for bdf, vfs in ((one, "0\n"), (other, "63\n")):
        server.put(f"/sys/bus/pci/devices/{bdf}/sriov_totalvfs", vfs)
    found = by_name(nics(server))
    off = found[f"SR-IOV of {one}"]
    assert (off.state, off.detail) == (
        "no",
        "no VFs offered: SR-IOV is off in the BIOS or the NIC's firmware",
    )
    assert found["a port to test"].state == "no", "one is in use, the other has no VFs"
    data = server.read(f"/sys/bus/pci/devices/{one}/config")
    server.put(f"/sys/bus/pci/devices/{one}/config", data.ljust(4096, b"\0"))
    hidden = by_name(nics(server))[f"SR-IOV of {one}"]
    assert hidden.detail.startswith("no SR-IOV capability in its configuration space")


def test_a_machine_without_a_known_nic(tmp_path: Path) -> None:
    (found,) = nics(RootedHost(tmp_path))
    assert found.state == "no" and found.needed == GUESTS


def test_what_cannot_be_asked_is_a_finding_not_the_end(
    server: RootedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Verdict:
        raise LabError("alpha: cannot start ss", remedy="install iproute2")

    monkeypatch.setattr(discover, "inspect", refuse)
    (found,) = nics(server)
    assert (found.state, found.detail) == ("no", "alpha: cannot start ss")


@pytest.fixture
def unloaded(tmp_path: Path) -> RootedHost:
    """Debian on a Xeon, with modules that are not loaded."""
    host = debian(RootedHost(tmp_path / "alpha"), vfio_pci="/lib/b.ko\n")
    host.answers = {
        **host.answers,
        "modinfo -n kvm_intel": "/lib/a.ko\n",
        "modprobe kvm_intel": "",
        "modprobe vfio-pci": "",
        "modprobe -r vfio-pci": "",
        "modprobe -r kvm_intel": "",
    }
    return host


def test_fix_loads_modules_and_restore_takes_them_back(unloaded: RootedHost) -> None:
    assert fix(unloaded, MODULES) == (
        "loaded kvm_intel; undone by: modprobe -r kvm_intel",
        "loaded vfio-pci; undone by: modprobe -r vfio-pci",
    )
    for module in ("kvm_intel", "vfio_pci"):
        unloaded.put(f"/sys/module/{module}/refcnt", "0\n")
    assert fix(unloaded, MODULES) == ("nothing to load",)
    assert restore(unloaded) == ("loaded module vfio-pci", "loaded module kvm_intel")
    assert not unloaded.glob(f"{DIRECTORY}*/*")


def test_fix_does_what_the_inventory_allows(unloaded: RootedHost) -> None:
    message = "not loaded, since the inventory does not allow it: kvm_intel, vfio-pci"
    assert fix(unloaded, frozenset({"bind", "sriov"})) == (message,)
    assert not unloaded.glob(f"{DIRECTORY}*/*")
    assert fix(unloaded, MODULES)[0].startswith("loaded kvm_intel")


def test_fix_tells_what_it_could_not_load(unloaded: RootedHost) -> None:
    del unloaded.answers["modprobe vfio-pci"]
    assert fix(unloaded, MODULES)[1] == "vfio-pci cannot be loaded: no"


def test_fix_leaves_alone_what_is_built_in_or_has_no_file(unloaded: RootedHost) -> None:
    unloaded.answers = {"modinfo -n vfio-pci": "(builtin)\n"}
    assert fix(unloaded, MODULES) == ("nothing to load",)


@pytest.fixture
def ready(server: RootedHost, monkeypatch: pytest.MonkeyPatch) -> RootedHost:
    """A server that lacks nothing; `nicproof doctor HOST` reaches it whatever the name."""
    for name in ("debian-13", "xeon-e5"):
        shutil.copytree(DATA / name, server.root, dirs_exist_ok=True)
    server.put("/dev/kvm")
    lets_count_exits(server)
    server.put("/sys/firmware/acpi/tables/DMAR")
    server.put("/proc/interrupts", (DATA / "interrupts" / "igb-remapped.txt").read_bytes())
    for module in ("vfio", "vfio_iommu_type1", "vfio_pci", "kvm_intel"):
        server.put(f"/sys/module/{module}/refcnt", "0\n")
    server.answers = {
        **server.answers,
        "uname -r": "6.12.117+deb13-amd64\n",
        " ".join(program("harness.doctor", "kvm")): "works\n",
        "python3 --version": "Python 3.13.5\n",
        "sh -c id -u; id -un; ulimit -l": "0\nroot\n8192\n",
        "qemu-system-x86_64 --version": "QEMU emulator version 10.0.13\n",
        "qemu-system-x86_64 -device vfio-pci,help": (
            DATA / "qemu" / "vfio-pci-help.txt"
        ).read_text(),
    }

    @contextmanager
    def reached(_: HostSpec) -> Iterator[RootedHost]:
        yield server

    monkeypatch.setattr(commands, "reached", reached)
    return server


@pytest.mark.usefixtures("ready")
def test_a_host_that_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "alpha.lab"]) == 0
    output = capsys.readouterr().out
    assert "Passthrough is possible on alpha.lab." in output
    assert "SR-IOV is possible on alpha.lab." in output
    assert "Exits can be counted on alpha.lab." in output
    assert "Figures can be steady on alpha.lab." in output


def test_a_host_that_is_not(
    ready: RootedHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    ready.put("/proc/interrupts", (DATA / "interrupts" / "i7-870-not-remapped.txt").read_bytes())
    ready.put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    assert cli.main(["doctor", "alpha.lab"]) == 1
    output = capsys.readouterr().out
    assert "SR-IOV is not possible on alpha.lab yet: interrupt remapping." in output
    assert "Figures will not be steady on alpha.lab: governor." in output
    assert "-> cpupower frequency-set -g performance" in output


def test_exits_that_cannot_be_counted_are_told_and_no_failure(
    ready: RootedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    del ready.answers["python3 -I -S -"]
    assert cli.main(["doctor", "alpha.lab"]) == 0
    output = capsys.readouterr().out
    assert "Exits cannot be counted on alpha.lab: exit accounting." in output


def test_a_host_of_an_inventory_is_asked_what_that_promises(
    ready: RootedHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = ports(ready)
    path = tmp_path / "lab.toml"
    path.write_text(
        f'[host.alpha]\naddress = "x"\nhugepages = 9\n[[host.alpha.port]]\nbdf = "{one}"\n'
    )
    arguments = ["doctor", "alpha", "--inventory", str(path)]
    assert cli.main([*arguments, "--json"]) == 1
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["hugepages"]["state"] == "no"
    assert found["hugepages"]["needed"] == ["passthrough", "SR-IOV"]
    path.write_text(path.read_text().replace("hugepages = 9\n", ""))
    assert cli.main([*arguments, "--fix"]) == 0
    assert "--fix: nothing to load" in capsys.readouterr().err


def test_the_manual_explains_every_line(ready: RootedHost) -> None:
    manual = (ROOT / "docs/real-host/doctor.md").read_text()
    spec = HostSpec("alpha", "x", cpus=(1,))
    for each in commands.examine(ready, spec):
        name = re.sub(r"(CONFIG)_.*|(NIC) .*|(.* of) 0000:.*", r"\1\2\3", each.name)
        assert name in manual, each.name
    for each in controller(ready):
        assert re.search(rf"^\|.*\b{each.name}\b.* \|", manual, re.MULTILINE), each.name
    for option in (*options("INTEL_IOMMU"), *options("AMD_IOMMU")):
        assert re.search(rf"^\|.*\b{option.name}\b.* \|", manual, re.MULTILINE), option.name


def test_this_machine_is_asked_about_the_nested_lab(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = cli.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    names = [each["name"] for each in found]
    assert names[0] == "architecture" and "CPU virtualisation" in names
    wrong = [each for each in found if each["state"] == "no" and "nested lab" in each["needed"]]
    assert status == (1 if wrong else 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-oProxyCommand=id"],
        ["--", "-oProxyCommand=id"],
        ["x", "--user=-x"],
        ["x", "--jump", ";"],
    ],
)
def test_what_is_no_host_is_refused(arguments: list[str]) -> None:
    try:
        status = cli.main(["doctor", *arguments])
    except SystemExit as error:  # argparse's own
        status = int(error.code or 0)
    assert status == 2


def test_an_inventory_alone_names_no_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--inventory", "lab.toml"]) == 2
    assert "--inventory says nothing without a HOST" in capsys.readouterr().err


def test_the_table_shows_what_devices_say_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_findings(
        (
            Finding("a", "no", "[bold]x[/]", "mend [it]", ("SR-IOV",)),
            Finding("b", "yes", "fine", "nothing to mend"),
        )
    )
    output = capsys.readouterr().out
    assert "[bold]x[/]" in output and "-> mend [it]" in output and "SR-IOV" in output
    assert "nothing to mend" not in output


def test_a_command_is_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    command = f"echo {'x' * 300} > /etc/security/limits.d/nicproof.conf; log in again"
    table.print_findings((Finding("a", "no", "y" * 200, command, GUESTS),))
    assert f"-> {command}" in capsys.readouterr().out


@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_there_is_a_sentence_for_every_purpose(purpose: Purpose) -> None:
    wrong = Finding("a thing", "no", "", needed=(purpose,))
    assert "a thing." in table.verdict((wrong,), purpose, "here")
    assert table.verdict((), purpose, "here").endswith("here.")
