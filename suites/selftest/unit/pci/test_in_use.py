"""Which ports are refused, from what hosts really printed and in namespaces of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.pci import usage as usage_module
from harness.pci.in_use import Verdict, judge, refusals, taken, users
from harness.pci.usage import (
    LOOK,
    Function,
    Interface,
    Peer,
    Usage,
    mounts,
    parse,
    plain,
    ssh_sessions,
    storage,
    way,
)
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "inventory"
BDF = "0000:01:00.0"


def busy() -> Usage:
    return parse((DATA / "busy.txt").read_text())


def verdict(found: Usage, interface: str, driver: str = "igb") -> Verdict:
    return judge(replace(found, functions=(Function(BDF, driver, (interface,), ()),)))


def test_a_port_without_use_is_free() -> None:
    assert verdict(busy(), "p0") == Verdict((), ())


def test_a_bridge_with_the_default_routes_is_refused_by_all_its_reasons() -> None:
    assert verdict(busy(), "p1").refusals == (
        "p1 is a member of bridge br0",
        "br0 carries the default route via 10.1.0.1 (table main)",
        "br0 carries the default route via fd01::1 (table main)",
        "br0 has the address 10.1.0.2/24, which nobody would put back",
        "br0 has the address fd01::2/64, which nobody would put back",
    )


def test_a_default_route_of_any_table_counts() -> None:
    assert verdict(busy(), "p2").refusals == (
        "p2 carries the default route via 10.2.0.1 (table 100)",
        "p2 carries the default route via 10.2.0.7 (table 100)",
        "p2 has the address 10.2.0.2/24, which nobody would put back",
    )


def test_what_is_stacked_upon_a_port_counts_wherever_it_is() -> None:
    assert verdict(busy(), "p3").refusals == ("mv3 (macvlan) is stacked upon p3",)
    assert verdict(busy(), "p4").refusals == (
        "mv4 (macvlan) in /run/netns/capt-there is stacked upon p4",
    )


def test_an_address_for_a_time_is_a_warning() -> None:
    assert verdict(busy(), "p5") == Verdict(
        (),
        ("p5 has the address 10.5.0.2/24, by DHCP or from a router: it comes back by itself",),
    )


def test_an_ssh_session_counts_by_its_local_address_and_by_its_way() -> None:
    message = "p6 carries an ssh session, with 10.6.0.1"
    assert message in verdict(busy(), "p6").refusals
    elsewhere = replace(busy(), peers=(Peer("an ssh session", "10.9.0.1"),))
    assert not [each for each in verdict(elsewhere, "p6").refusals if "session" in each]
    routed = replace(elsewhere, ways={"10.9.0.1": "p6"})
    assert "p6 carries an ssh session, with 10.9.0.1" in verdict(routed, "p6").refusals


@pytest.mark.parametrize("kind", ["bond", "team", "openvswitch", "vrf"])
def test_every_kind_of_master_counts(kind: str) -> None:
    text = (DATA / "busy.txt").read_text()
    found = parse(text.replace('"info_slave_kind":"bridge"', f'"info_slave_kind":"{kind}"'))
    assert verdict(found, "p1").refusals[0] == f"p1 is a member of {kind} br0"


@pytest.mark.parametrize("kind", ["vlan", "ipvlan", "macvtap"])
def test_every_kind_of_stacked_interface_counts(kind: str) -> None:
    text = (DATA / "busy.txt").read_text()
    found = parse(text.replace('"info_kind":"macvlan"', f'"info_kind":"{kind}"'))
    assert verdict(found, "p3").refusals == (f"mv3 ({kind}) is stacked upon p3",)
    assert verdict(found, "p4").refusals[0].startswith(f"mv4 ({kind}) in")


def test_a_function_that_a_program_has_open_is_refused() -> None:
    port = Function(BDF, "igb", ("p0",), ("/dev/vfio/11",))
    vf = Function("0000:01:10.0", "vfio-pci", (), ("/dev/vfio/12", "/dev/vfio/devices/vfio0"))
    found = replace(busy(), functions=(port, vf))
    assert judge(found).refusals == ()
    held = replace(found, opened={"/dev/vfio/devices/vfio0": "qemu-system-x86 (pid 7)"})
    assert judge(held).refusals == (
        "its VF 0000:01:10.0 is open, as /dev/vfio/devices/vfio0, in qemu-system-x86 (pid 7)",
    )


def test_the_use_of_a_vf_is_a_reason_against_its_port() -> None:
    port, vf = Function(BDF, "igb", ("p0",), ()), Function("0000:01:10.0", "igbvf", ("p2",), ())
    found = judge(replace(busy(), functions=(port, vf)))
    assert "p2 has the address 10.2.0.2/24, which nobody would put back" in found.refusals


def test_what_a_killed_run_leaves_is_no_user_and_what_others_have_is() -> None:
    """p2 carries a default route, p3 has a macvlan upon it, p5 an address; p0 is free."""

    def who(interface: str, *nodes: str) -> tuple[str, ...]:
        return users(replace(busy(), functions=(Function(BDF, "igb", (interface,), nodes),)))

    for ours in ("p0", "p3", "p5", ""):
        assert who(ours) == ()
    assert who("p1")[0] == "p1 is a member of bridge br0"
    assert [reason.partition(" via ")[0] for reason in who("p2")] == [
        "p2 carries the default route"
    ] * 2
    opened = replace(busy(), opened={"/dev/vfio/7": "qemu (pid 9)"})
    functions = (
        Function(BDF, "igb", ("p0",), ()),
        Function("0000:01:10.0", "vfio-pci", (), ("/dev/vfio/7",)),
    )
    assert users(replace(opened, functions=functions)) == (
        "VF 0000:01:10.0 is open, as /dev/vfio/7, in qemu (pid 9)",
    )


def test_a_function_that_is_gone_has_no_user() -> None:
    assert taken(LocalHost(), "ffff:1f:1f.7") == ()


@pytest.mark.parametrize(("driver", "refused"), [("igb", True), ("vfio-pci", False), ("", False)])
def test_an_interface_that_cannot_be_seen_is_refused(driver: str, refused: bool) -> None:
    found = judge(replace(busy(), functions=(Function(BDF, driver, (), ()),)))
    assert bool(found.refusals) == refused
    if refused:
        assert "cannot be seen" in found.refusals[0]


def test_a_host_that_does_not_tell_everything_is_an_error() -> None:
    text = (DATA / "busy.txt").read_text()
    with pytest.raises(LabError, match="did not tell its functions, opened"):
        parse(text[: text.index("== functions")])
    with pytest.raises(LabError, match="not the JSON expected"):
        parse(text.replace('[{"ifindex"', "[{ifindex", 1))


SS = (DATA / "sessions.txt").read_text()


def test_sessions_are_known_by_port_by_program_and_by_our_own_connection() -> None:
    assert list(ssh_sessions(SS, "")) == [
        Peer("an ssh session", "10.0.2.2", "10.0.2.15"),
        Peer("an ssh session", "10.0.3.9", "10.0.2.15"),
        Peer("an ssh session", "fe80::2", "fe80::1"),
    ]
    ours = list(ssh_sessions(SS, "10.0.4.4 443 10.0.2.15 41000\n"))
    assert ours[0] == Peer("this ssh session", "10.0.4.4", "10.0.2.15")
    assert len(ours) == 4


MOUNTS = (DATA / "mounts.txt").read_text()


def test_servers_of_filesystems_are_found_in_all_their_spellings() -> None:
    assert [(peer.what.split()[0], peer.address) for peer in mounts(MOUNTS)] == [
        ("/opt/jboss/jboss-eap/modules", "10.116.95.13"),
        ("/mnt/share", "fd00::7"),
        ("/mnt/ceph", "10.0.0.1"),
        ("/mnt/ceph", "10.0.0.2"),
        ("/mnt/new", "10.0.0.3"),
        ("/mnt/new", "fd00::8"),
        ("/mnt/ssh", "files.lab"),
    ]


STORAGE = """\
/sys/class/iscsi_connection/connection1:0/address:10.0.5.1
/sys/class/nvme/nvme0/address:0000:03:00.0
/sys/class/nvme/nvme1/address:traddr=10.0.5.2,trsvcid=4420,src_addr=10.0.5.9
/sys/block/nbd0/pid
"""


def test_servers_of_disks_are_found() -> None:
    sessions = 'ESTAB 0 0 10.0.5.9:50000 10.0.5.3:10809 users:(("nbd-client",pid=9,fd=4))\n'
    assert [peer.address for peer in storage(STORAGE, sessions)] == [
        "10.0.5.1",
        "10.0.5.2",
        "10.0.5.3",
    ]
    assert [peer.address for peer in storage("", sessions)] == []


def test_a_mounted_filesystem_counts_by_its_way() -> None:
    found = replace(
        busy(), peers=tuple(mounts(MOUNTS))[:1], ways={"10.116.95.13": "br0"}, routes=()
    )
    assert (
        "br0 carries /opt/jboss/jboss-eap/modules (nfs4, mounted from "
        "10.116.95.13:/export/jboss_modules64), with 10.116.95.13"
    ) in verdict(found, "p1").refusals


@pytest.mark.parametrize(
    ("written", "meant"),
    [("[::ffff:10.0.0.1]", "10.0.0.1"), ("[fe80::1%eth0]", "fe80::1"), ("files.lab", "files.lab")],
)
def test_addresses_in_all_their_spellings(written: str, meant: str) -> None:
    assert plain(written) == meant


def test_a_loop_of_interfaces_ends() -> None:
    found = Usage(
        interfaces=(Interface(2, "a", master="b"), Interface(3, "b", master="a")),
        routes=(),
        peers=(),
        functions=(Function(BDF, "igb", ("a",), ()),),
        opened={},
        elsewhere={},
    )
    assert judge(found).refusals == (
        "a is a member of the device b",
        "b is a member of the device a",
    )


class InNamespace(LocalHost):
    """This machine, its commands run in a network namespace."""

    def __init__(self, netns: str) -> None:
        super().__init__()
        self._enter = ("ip", "netns", "exec", netns)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        return super().run((*self._enter, *argv), timeout=timeout, stdin=stdin, check=check)


def test_whoever_may_not_know_everything_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_module, "LOOK", LOOK.replace("$(id -u)", "1000"))
    with pytest.raises(LabError, match="cannot be told: only root is told all") as caught:
        refusals(LocalHost(), BDF)
    assert "be root there" in caught.value.remedy


def test_a_host_without_the_tools_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = LOOK.replace("$(id -u)", "0").replace("in ip ss", "in ip no-such-tool ss")
    monkeypatch.setattr(usage_module, "LOOK", lacking)
    with pytest.raises(LabError, match="no-such-tool is not installed"):
        refusals(LocalHost(), BDF)


@pytest.fixture(scope="module")
def scenario() -> Iterator[tuple[str, str]]:
    """The namespaces of scenario.sh; skipped where there can be none."""
    here, there = (f"npguard-{side}-{os.getpid()}" for side in ("here", "there"))
    try:
        made = LocalHost().run((str(DATA / "scenario.sh"), here, there), check=False)
        if made.returncode != 0:
            pytest.skip(f"network namespaces: {made.error.strip()}")
        yield here, there
    finally:
        for netns in (here, there):
            LocalHost().run(("ip", "netns", "del", netns), check=False)


def look(host: LocalHost, device: Path, interface: str) -> Usage:
    """Everything but sysfs is real: a directory plays the port there."""
    (device / "net" / interface).mkdir(parents=True)
    (device / "vendor").write_text("0x8086\n")
    return parse(host.run(("sh", "-c", LOOK, "sh", str(device))).text)


def test_a_real_network_is_judged_as_the_recorded_one(
    scenario: tuple[str, str], tmp_path: Path
) -> None:
    here, there = scenario
    host = InNamespace(here)
    found = look(host, tmp_path / BDF, "p1")
    assert found.functions == (Function(BDF, "", ("p1",), ()),)
    for port in ("p0", "p1", "p2", "p3", "p5"):
        assert verdict(found, port) == verdict(busy(), port)
    assert verdict(found, "p4").refusals == (
        f"mv4 (macvlan) in /run/netns/{there} is stacked upon p4",
    )


LISTEN = """
import socket, sys
made = socket.create_server(("10.6.0.2", 22))
print("ready", flush=True)
peer, _ = made.accept()
sys.stdin.read()
"""
CALL = """
import socket, sys
made = socket.create_connection(("10.6.0.2", 22), 5)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def talking(netns: str, program: str) -> Iterator[None]:
    argv = ("ip", "netns", "exec", netns, sys.executable, "-c", program)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        yield


def test_a_real_session_is_seen(scenario: tuple[str, str], tmp_path: Path) -> None:
    here, there = scenario
    host = InNamespace(here)
    with talking(here, LISTEN), talking(there, CALL):
        found = look(host, tmp_path / BDF, "p6")
    assert "p6 carries an ssh session, with 10.6.0.1" in verdict(found, "p6").refusals
    assert way(host, "10.6.0.1") == "p6"
    assert way(host, "fd09::1") == "br0"


def test_a_name_is_resolved_to_find_the_way() -> None:
    assert way(LocalHost(), "localhost") == "lo"
    assert way(LocalHost(), "no.such.name.invalid") == ""
