"""`nicproof nic show`, from dumps, from this machine and from the nested lab's NICs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.cli.nic import live
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal
from harness.labs.base import Lab
from harness.pci import view
from harness.pci.address import Address
from harness.pci.compare import compare
from harness.pci.device import Device
from harness.pci.extended import Sriov
from harness.pci.profiles import profile_for
from harness.pci.sriov import virtual_functions
from harness.pci.survey import ethernet_functions, survey
from suites.selftest.support.answering import answering
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "pci"


def show(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints; it has to succeed."""
    assert main(["nic", "show", *arguments]) == 0
    return capsys.readouterr().out


def documents(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(show(capsys, *arguments, "--json"))
    return found


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_a_dump_of_one_nic_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, "--dump", str(DATA / "82576.txt"))
    assert "0000:01:00.0, 82576" in text and "E1000_DEV_ID_82576" in text
    assert "1 of 8 VFs, on" in text and "VF 10ca at offset 384, stride 2" in text
    assert "link 2.5 GT/s x4 of 2.5 GT/s x4" in text and "00-1b-21-ff-ff-2b-46-e0" in text
    assert "profile 82576" in text and "no " not in text.partition("agrees")[2].split("known")[0]
    assert "not pause frames" in text


def test_several_nics_are_listed_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show(capsys, "--dump", str(DATA / "qemu-igb.txt")).splitlines()
    assert len(lines) == 3, "the bridge and the SMBus controller are no NICs"
    assert lines[1].split()[:2] == ["0000:01:00.0", "82576"]
    assert lines[1].rstrip().endswith("capabilities, link width")
    assert lines[2].split()[:3] == ["0000:01:10.0", "82576", "VF"]
    assert lines[2].rstrip().endswith("nothing")


def test_one_of_a_dump_is_chosen_by_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    text = show(capsys, "01:10.0", "--dump", str(DATA / "qemu-igb.txt"))
    assert "0000:01:10.0, 82576 VF" in text and "8086:10ca" in text
    assert "PF: " not in text, "errata of PFs do not concern a VF"


def test_what_was_not_readable_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    header = show(capsys, "02:00.0", "--dump", str(DATA / "i350-header.txt"))
    assert "capabilities are shown to root only" in header and "not read" in header
    half = show(capsys, "01:00.0", "--dump", str(DATA / "82599.txt"))
    assert "256 of 4096 bytes were read" in half
    whole = show(capsys, "--dump", str(DATA / "82576.txt"))
    assert "note:" not in whole


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    (nic,) = documents(capsys, "--dump", str(DATA / "82576.txt"))
    assert (nic["vendor"], nic["device"], nic["model"]) == ("8086", "10c9", "82576")
    assert nic["generic_profile"] is False and nic["bytes_read"] == 4096
    capabilities = {each["name"]: each for each in nic["capabilities"]}
    assert capabilities["SR-IOV"]["total_vfs"] == 8 and capabilities["SR-IOV"]["at"] == 0x160
    assert capabilities["MSI-X"]["vectors"] == 10
    findings = {each["what"]: each for each in nic["comparison"]}
    assert findings["VFs of the device"]["agrees"] == "yes"
    assert all(each["source"] for each in [*nic["comparison"], *nic["errata"]])
    assert nic["running"] is None and nic["faults"] == []


def test_an_unknown_model_has_the_generic_profile(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    dump = tmp_path / "i210.txt"  # a real 82576 that says it is another model
    dump.write_text((DATA / "82576.txt").read_text().replace("00: 86 80 c9 10", "00: 86 80 33 15"))
    assert "There is no profile of 8086:1533" in show(capsys, "--dump", str(dump))
    (nic,) = documents(capsys, "--dump", str(dump))
    assert nic["generic_profile"] is True and nic["model"] == "8086:1533"
    assert [each["what"] for each in nic["comparison"]] == ["link, as trained"]


def test_a_fault_of_the_device_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    dump = tmp_path / "loop.txt"
    dump.write_text((DATA / "82576.txt").read_text().replace("70: 11 a0", "70: 11 40"))
    assert "note: the list of capability pointers is a loop: 0x40" in show(
        capsys, "--dump", str(dump)
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ff:1f.7"], "localhost has no PCI function 0000:ff:1f.7"),
        (["eth0"], "'eth0' is not a PCI address"),
        (["--dump", "/no/such/file"], "cannot read /no/such/file: No such file"),
        (["--dump", "/"], "cannot read /: Is a directory"),
        (["--dump", __file__], "there is no device in it"),
        (["--dump", str(DATA / "82576.txt"), "02:00.0"], "there is no 0000:02:00.0 in it"),
    ],
)
def test_mistakes_are_told_in_one_line_and_how_to_mend_them(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nic", "show", *arguments]) == 2
    printed = capsys.readouterr()
    first, *rest = printed.err.splitlines()
    assert says in first and printed.out == ""
    assert len(rest) <= 1 and all(line.startswith("  remedy: ") for line in rest)


def test_a_device_that_does_not_answer_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    dump = tmp_path / "dead.txt"
    row = " ".join(["ff"] * 16)
    rows = "\n".join(f"{at:02x}: {row}" for at in range(0, 256, 16))
    dump.write_text(f"01:00.0 Ethernet controller: Intel Corporation 82576\n{rows}\n")
    says = "nicproof: 0000:01:00.0: configuration space reads ff throughout"
    assert main(["nic", "show", "--dump", str(dump)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(says) and printed.out == ""
    dump.write_text(
        dump.read_text() + (DATA / "82576.txt").read_text().replace("01:00.0", "02:00.0")
    )
    assert main(["nic", "show", "--dump", str(dump)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(says) and "0000:02:00.0" in printed.out
    assert main(["nic", "show", "--dump", str(dump), "--json"]) == 1
    silent = json.loads(capsys.readouterr().out)[-1]
    assert silent["address"] == "0000:01:00.0" and "reads ff" in silent["faults"][0]
    assert main(["nic", "show", "01:00.0", "--dump", str(dump)]) == 2
    assert "reads ff throughout: the device does not answer" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nic", "show", "--help"])
    assert "sudo lspci -xxxx" in capsys.readouterr().out


def test_this_machines_functions_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever they are: each is listed, read, and compared without an exception."""
    there = ethernet_functions(LocalHost())
    listed = show(capsys)
    assert all(bdf in listed for bdf in there) and (there or "no Ethernet function" in listed)
    assert [nic["address"] for nic in documents(capsys)] == list(there)
    for bdf in there:
        assert bdf in show(capsys, bdf)


@pytest.mark.lab
def test_the_labs_nic_and_its_vf(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """QEMU's igb, live, over ssh: what it shares with an 82576, and what it lacks."""
    pf, journal = lab.ports.dut, Journal(lab.host, "nic-show")
    assert pf in ethernet_functions(lab.host) and lab.ports.partner in ethernet_functions(lab.host)
    with virtual_functions(lab.host, pf, ("02:6e:00:00:00:01",), journal) as (vf,):
        whole = survey(lab.host, pf)
        sriov = whole.config.find(Sriov)
        assert sriov is not None and sriov.num_vfs == 1 and sriov.enabled
        assert [str(address) for address in sriov.addresses(Address.parse(pf))] == [vf]
        assert whole.running is not None and whole.running.vfs == 1
        findings = {each.what: each for each in compare(whole, profile_for(*whole.ids))}
        differs = {what for what, found in findings.items() if found.agrees == "no"}
        assert differs == {"capabilities", "link width"}
        assert findings["VFs of the driver"].found == "7"
        assert findings["reset methods"].agrees == findings["offloads"].agrees == "yes"

        virtual = answering(live(lab.host, vf))[0]
        assert virtual.ids == ("8086", "10ca") and virtual.config.identity.is_vf
        assert virtual.running is not None and virtual.running.pf == pf
        assert Device(lab.host, vf).model == "82576 VF"
        view.print_whole(virtual)
        assert f"one of {pf}" in capsys.readouterr().out
    unread = replace(whole, config=replace(whole.config, size=64, capabilities=()))
    agrees = {each.what: each.agrees for each in compare(unread, profile_for(*unread.ids))}
    assert agrees["MSI-X vectors"] == "unknown" and agrees["VFs of the driver"] == "yes"
    journal.close()
