"""nicproof on Debians as people install them: the way of docs/real-host, a step a test.

The steps build on one another. Each Debian is an ordinary host, reached by nothing but a lab.toml,
by an account with sudo, and commands are started as a user starts them. Its udev renames what
appears, its manager of networks sets up what it sees, and its firewall, if it has one, drops what
it does not know.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.doctor.findings import Finding
from harness.doctor.network import network
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.inventory.reading import read
from harness.journal.journal import DIRECTORY
from harness.labs.nested.lab import NestedLab
from harness.labs.real.lock import owners
from harness.qemu.argv import RUN
from harness.qualify.checks.digest import differences, digest
from harness.runs.suite import ROOT
from suites.distro.image import DEBIAN_12, DEBIAN_13, GUEST, USER, Distro
from suites.distro.machine import opened
from suites.lab_toml import login
from suites.selftest.support.l1_host import NICPROOF, kill_run

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]

LIMIT = 7000.0
"""Seconds of a command: hundreds of cases, each of dozens of commands, each a sudo."""

MAY = '"bind", "sriov", "tune", "modules"'

HANDS = {
    DEBIAN_13.name: {"NetworkManager": "manages enp1s0, enp2s0:"},
    DEBIAN_12.name: {
        "systemd-networkd": "manages enp1s0, enp2s0:",
        "input policy": "the firewall drops what comes in by enp1s0, enp2s0",
    },
}
"""Who else has a hand in the ports, as doctor says it."""


@dataclass(frozen=True)
class Debian:
    """One that runs, and a user's directory."""

    distro: Distro
    lab: NestedLab
    home: Path

    @property
    def found(self) -> Path:
        """The inventory that discover has written."""
        return self.home / "lab.toml"

    def known(self, name: str, user: str) -> None:
        """An inventory that says how it is reached by an account, and no more."""
        table = login(self.lab, "debian", self.lab.ssh_port, may="", more="")
        text = table.replace('user = "root"', f'user = "{user}"\nbecome = "sudo"')
        (self.home / name).write_text(text)

    def nicproof(self, *words: str) -> CommandResult:
        """A command, as its user starts it."""
        host = LocalHost(env={"PYTHONPATH": str(ROOT)})
        argv = ("env", "-C", str(self.home), *NICPROOF, *words)
        return host.run(argv, timeout=LIMIT, check=False)


@pytest.fixture(scope="module", params=[DEBIAN_13, DEBIAN_12], ids=lambda distro: distro.name)
def debian(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Debian]:
    home = tmp_path_factory.mktemp(request.param.name)
    with opened(request.param, home) as lab:
        debian = Debian(request.param, lab, home)
        debian.known("known.toml", USER)
        yield debian


@pytest.fixture
def settled(debian: Debian) -> Iterator[None]:
    """The host is afterwards as it was before, to the last fact of its digest."""
    before = digest(debian.lab.host)
    yield
    assert not differences(before, digest(debian.lab.host))


def succeeded(result: CommandResult) -> str:
    """What it said, all of it."""
    output = result.text + result.error
    assert result.returncode == 0, output
    return output


def test_an_account_that_may_not_use_sudo_is_told_so_in_a_line(debian: Debian) -> None:
    debian.known("guest.toml", GUEST)
    result = debian.nicproof("doctor", "debian", "--inventory=guest.toml")
    assert result.returncode == 2, result.text + result.error
    assert result.error.startswith("nicproof: debian: sudo does not let us be root: sudo: ")
    assert result.error.splitlines()[1].startswith("  remedy: there, as root: echo ")


def test_doctor_finds_all_and_names_who_else_has_a_hand_in(debian: Debian) -> None:
    output = succeeded(debian.nicproof("doctor", "debian", "--inventory=known.toml"))
    for what in ("Passthrough is possible", "SR-IOV is possible", "Exits can be counted"):
        assert f"{what} on debian." in output, output
    for who, what in HANDS[debian.distro.name].items():
        assert re.search(rf"^note +{who} +{re.escape(what)}", output, re.M), output


@pytest.mark.usefixtures("settled")
def test_discover_finds_the_cable(debian: Debian) -> None:
    words = ("debian", "--inventory=known.toml", "--probe", f"--out={debian.found}")
    succeeded(debian.nicproof("inventory", "discover", *words))
    spec = read(debian.found).host("debian")
    partners = {port.bdf: port.partner and port.partner.bdf for port in spec.ports}
    dut, partner = debian.lab.ports.dut, debian.lab.ports.partner
    assert partners == {dut: partner, partner: dut}
    text = debian.found.read_text()
    text = text.replace("may = []", f"may = [{MAY}]").replace("# cpus =", "cpus =")
    debian.found.write_text(text)
    succeeded(debian.nicproof("inventory", "check"))


QUICK = {
    "every path": ("--workloads=latency",),
    "a stream": ("--workloads=tcp-tx", "--paths=sriov"),
}
"""A second of a stream takes minutes where the host is emulated, a second of probes does not."""


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("what", QUICK)
def test_a_quick_bench(what: str, debian: Debian, tmp_path: Path) -> None:
    """While others manage the ports."""
    words = ("--quick", *QUICK[what], "--no-history", f"--run-dir={tmp_path}/bench")
    output = succeeded(debian.nicproof("bench", *words))
    assert "lab: debian (127.0.0.1)" in output
    assert "missing" not in output, output


def test_what_doctor_says_keeps_others_off_the_ports(debian: Debian) -> None:
    host, spec = debian.lab.host, read(debian.found).host("debian")

    def hands() -> dict[str, Finding]:
        return {found.name: found for found in network(host, spec) if found.state == "note"}

    found = hands()
    assert found.keys() == HANDS[debian.distro.name].keys()
    for each in found.values():
        host.run(("sh", "-c", each.remedy))
    Deadline(LIMIT, "ports that nobody else manages").poll(lambda: not hands())


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("family", ["discovery", "lifecycle", "datapath"])
def test_a_family_of_cases(family: str, debian: Debian) -> None:
    words = (f"--family={family}", f"--run-dir={family}")
    output = succeeded(debian.nicproof("qualify", *words))
    counts = json.loads((debian.home / family / "certificate.json").read_text())["counts"]
    assert counts["pass"] and not counts.get("fail") and not counts.get("error"), output


def test_what_a_killed_bench_has_left_is_put_back(debian: Debian) -> None:
    """By restore, and not before: it names the host, and the next run is refused."""
    host = debian.lab.host
    before = digest(host)
    argv = (*NICPROOF, "bench", "--quick", "--no-history", "--paths=sriov", "--run-dir=killed")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, cwd=debian.home, env=env) as doomed:
        try:
            begun = Deadline(LIMIT, "the run's guest")
            begun.poll(lambda: host.glob(f"{RUN}/*/qemu.pid") or doomed.poll() is not None)
            assert doomed.poll() is None, "it ended by itself"
            kill_run(doomed)
        finally:
            doomed.terminate()
    Deadline(LIMIT, "the end of its locks").poll(lambda: not owners(host))
    assert host.glob(f"{DIRECTORY}/*/*") and differences(before, digest(host))
    refused = debian.nicproof("bench", "--quick", "--no-history", "--paths=native")
    assert refused.returncode == 1
    assert "nicproof restore debian" in refused.text + refused.error
    output = succeeded(debian.nicproof("restore", "debian"))
    assert "debian: undone: started a guest" in output
    assert differences(before, digest(host)) == ()
    assert debian.nicproof("restore", "debian").text == "debian: nothing to restore\n"
