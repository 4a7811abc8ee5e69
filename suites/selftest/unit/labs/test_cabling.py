"""Cables found by frames, over veth pairs and a bridge in a namespace of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal
from harness.labs.real.cabling import cables, pairs, probe
from harness.labs.real.lock import Owner
from harness.net.netdev import link
from suites.selftest.unit.pci.test_in_use import InNamespace

SCENE = """
set -e
ip netns add "$1"
ip -n "$1" link add a1 type veth peer name b1
ip -n "$1" link add a2 type veth peer name b2
# c1 and c2 hang on one switch, which hears what it must not pass on.
ip -n "$1" link add s0 type bridge
for number in 1 2; do
    ip -n "$1" link add "c$number" type veth peer name "s$number"
    ip -n "$1" link set "s$number" master s0 up
    ip -n "$1" link set "c$number" up
done
for name in s0 a1 b1 b2; do ip -n "$1" link set "$name" up; done
"""
"""a1 is cabled to b1, a2 to b2; a2 is down."""


@pytest.fixture
def host() -> Iterator[InNamespace]:
    netns = f"npcable-{os.getpid()}"
    try:
        made = LocalHost().run(("sh", "-c", SCENE, "sh", netns), check=False)
        if made.returncode != 0:
            pytest.skip(f"network namespaces: {made.error.strip()}")
        yield InNamespace(netns)
    finally:
        LocalHost().run(("ip", "netns", "del", netns), check=False)


def test_frames_are_heard_at_the_other_end_of_a_cable_only(host: InNamespace) -> None:
    heard = probe(host, ("a1", "b1", "c1", "c2"))
    assert heard == {("a1", "b1"), ("b1", "a1")}


def test_a_port_that_is_down_neither_hears_nor_ends_the_probe(host: InNamespace) -> None:
    assert probe(host, ("a1", "b1", "a2", "b2")) == {("a1", "b1"), ("b1", "a1")}


def test_an_interface_that_is_not_there_is_an_error(host: InNamespace) -> None:
    with pytest.raises(LabError, match=r"no frames could be sent: .*No such device"):
        probe(host, ("a1", "nothing"))


def test_a_name_is_no_option_and_no_command(host: InNamespace, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no frames could be sent"):
        probe(host, (f"$(touch {tmp_path}/pwned)", "--help; id"))
    assert not (tmp_path / "pwned").exists()


def test_ports_are_set_up_for_the_probe_and_down_again(
    host: InNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Namespaces share /sys with this machine, so only what ip says of the link can be looked at.
    state = {"a2": "0x1002"}
    monkeypatch.setattr(host, "read", lambda path: _flags(path, state))
    monkeypatch.setattr(host, "exists", lambda path: "/net/" in path or Path(path).exists())
    journal = Journal(LocalHost(), "run", root=str(tmp_path / "journal"))
    journal.host = host
    ports = {"0000:01:00.0": "a1", "0000:01:00.1": "b1", "0000:02:00.0": "a2", "0000:02:00.1": "b2"}
    assert not _up(host, "a2")
    found = cables(host, ports, Owner("run", "me", "now"), journal, locks=str(tmp_path / "locks"))
    assert found == (("0000:01:00.0", "0000:01:00.1"), ("0000:02:00.0", "0000:02:00.1"))
    assert not _up(host, "a2")
    assert _up(host, "b2")
    assert not list((tmp_path / "journal").glob("*/*"))


def _flags(path: str, down: dict[str, str]) -> bytes:
    if not path.startswith("/sys/class/net/"):
        return Path(path).read_bytes()
    return down.get(path.split("/")[4], "0x1003").encode()


def _up(host: InNamespace, interface: str) -> bool:
    return "UP" in link(host, interface).flags


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ([("a", "b"), ("b", "a")], [("a", "b")]),
        ([("a", "b")], []),  # one way only: a broken cable, or a tap
        ([("a", "a")], []),  # a loop back
        ([(x, y) for x in "abc" for y in "abc" if x != y], []),  # a hub
        ([("b", "a"), ("a", "b"), ("c", "d"), ("d", "c")], [("a", "b"), ("c", "d")]),
    ],
)
def test_two_that_hear_nobody_else_are_a_cable(
    heard: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    assert list(pairs(heard)) == expected
