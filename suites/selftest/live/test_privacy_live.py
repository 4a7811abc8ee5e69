"""What a run keeps is its owner's alone, it listens to nobody else, and an inventory's words stay
words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import paths
from harness.guest.boot import boot
from harness.hosts.base import Host
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal
from harness.labs.nested.lab import NestedLab
from harness.paths.base import PathOptions
from harness.qemu.config import GuestConfig
from harness.runs.suite import ROOT
from suites.lab_toml import login
from suites.selftest.support.l1_host import NICPROOF

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

OTHERS = "65534"
"""nobody, of Debian."""

REACHED = r"""
setpriv --reuid {who} --regid {who} --clear-groups find "$@" -xdev -newermt "@$since" \
    \( -type f -readable -o -type s -writable \) -print 2>/dev/null || :
"""
"""New files that somebody else could read, and sockets that he could talk to."""

LISTENS = ("ss", "-Hltun")


def reached_by_others(host: Host, since: str, *places: str) -> list[str]:
    script = f"since={since}; {REACHED.format(who=OTHERS)}"
    return host.run(("sh", "-c", script, "sh", *places)).text.splitlines()


def listening(host: Host) -> set[str]:
    """Where programs of the host's own namespace listen: address and port."""
    return {line.split()[4] for line in host.run(LISTENS).text.splitlines()}


@pytest.fixture
def now(lab: NestedLab) -> str:
    """By the host's own clock."""
    return lab.host.run(("date", "+%s.%N")).text.strip()


def test_a_run_keeps_to_itself_what_it_has_on_the_host(
    lab: NestedLab, now: str, tmp_path: Path
) -> None:
    """QEMU's sockets and logs, the journal; and the logs that come to the controller."""
    listened = listening(lab.host)
    (path,) = paths.select(("sriov",))
    journal = Journal(lab.host, "private")
    logs = tmp_path / "run" / "logs"
    with (
        path.provision(lab.host, lab.ports, journal, PathOptions()) as attachment,
        boot(lab.host, GuestConfig(lab.guest, name="guest"), (attachment,), log_dir=logs) as guest,
    ):
        made = ["/run", "/tmp", "/var/lib/nicproof", "/var/log", "/dev/shm"]
        assert not reached_by_others(lab.host, now, *made)
        directory = guest.process.files.directory
        assert lab.host.glob(f"{directory}/*.sock"), "or there was nothing to be reached"
        assert listening(lab.host) == listened
    journal.close()
    assert (logs / "guest.serial.log").exists()
    assert logs.stat().st_mode & 0o077 == 0


def test_others_reach_what_is_there_for_them(lab: NestedLab, now: str) -> None:
    """So that nothing found by others says something."""
    lab.host.run(("sh", "-c", "umask 022; echo >/tmp/for-all; umask 077; echo >/tmp/for-me"))
    try:
        assert reached_by_others(lab.host, now, "/tmp") == ["/tmp/for-all"]
    finally:
        lab.host.run(("rm", "/tmp/for-all", "/tmp/for-me"))


def test_the_lab_listens_on_loopback_only(lab: NestedLab) -> None:
    """By the sockets of its QEMU, which is all of it that there is on this machine."""
    inodes = {
        each.readlink().name
        for each in Path(f"/proc/{lab.vm.pid}/fd").iterdir()
        if each.is_symlink()
    }
    places = [
        local
        for table in ("tcp", "tcp6", "udp", "udp6")
        for local, inode in sockets(Path(f"/proc/net/{table}"))
        if f"socket:[{inode}]" in inodes
    ]
    assert f"0100007F:{lab.ssh_port:04X}" in places
    assert {place.partition(":")[0] for place in places} == {"0100007F"}


def sockets(table: Path) -> Iterator[tuple[str, str]]:
    """Local address and inode of each (Documentation/networking/proc_net_tcp.rst)."""
    for line in table.read_text().splitlines()[1:]:
        words = line.split()
        yield words[1], words[9]


EVIL = "x;touch PWNED & touch PWNED | touch PWNED"


def test_words_of_an_inventory_are_never_commands(lab: NestedLab, tmp_path: Path) -> None:
    """In each field that takes them at all (test_inventory.py has those that do not)."""
    key = tmp_path / f"key {EVIL}"
    shutil.copy(lab.image.keys.client, key)
    key.chmod(0o600)
    (tmp_path / f"conf {EVIL}").write_text("Host nobody\n")
    table = login(lab, "l1", lab.ssh_port)
    table = table.replace(str(lab.image.keys.client), key.name)
    table = table.replace('"/dev/null"', f'"conf {EVIL}"')
    table = table.replace('"known_hosts"', f'"known {EVIL}"')
    (tmp_path / "lab.toml").write_text(
        f'[lab]\nname = "$(touch PWNED) `touch PWNED` {EVIL}"\n{table}\n'
        f'[[host.l1.port]]\nbdf = "{lab.ports.dut}"\n'
    )
    at = LocalHost(env={"PYTHONPATH": str(ROOT)})
    for command in ("inventory check", "doctor l1 --json", "restore l1", "persist l1"):
        argv = ("env", "-C", str(tmp_path), *NICPROOF, *command.split())
        result = at.run(argv, timeout=200, check=False)
        assert result.returncode in (0, 1), result.error
        assert "Traceback" not in result.error
    assert (tmp_path / f"known {EVIL}").read_text(), "the host was logged in to"
    assert not list(tmp_path.glob("**/PWNED"))
    assert not lab.host.exists("PWNED") and not lab.host.exists("/PWNED")
