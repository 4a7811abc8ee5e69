"""A workload's windows, for real on this machine: one, or two if the partner has another host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.hosts.local import LocalHost
from harness.hosts.program import PYTHON
from harness.journal.journal import Journal
from harness.measure.watch import Watch
from harness.paths.partner import Partner
from harness.window.window import Command, Probe, Reading, WindowResult, partner_probe

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="CAP_SYS_ADMIN: a network namespace is needed"
)

ALPHA, BETA = LocalHost("alpha"), LocalHost("beta")
"""This machine, as two hosts."""

TRAFFIC = """
import pathlib, socket, sys
pathlib.Path(sys.argv[1]).write_text("abc")
port = socket.socket(type=socket.SOCK_DGRAM)
port.bind(("127.0.0.1", 0))
for _ in range(3):
    port.sendto(b"frame", port.getsockname())
print("sent")
"""


@pytest.fixture
def partner() -> Iterator[Partner]:
    """Its port is the loopback of a namespace, which only sees what we send."""
    name = f"nicproof-test-{os.getpid()}"
    ALPHA.run(("ip", "netns", "add", name))
    try:
        ALPHA.run(("ip", "-n", name, "link", "set", "lo", "up"))
        yield Partner(ALPHA, name, "lo", "127.0.0.1", "", Journal(ALPHA, "watch"))
    finally:
        ALPHA.run(("ip", "netns", "delete", name))


def edges(name: str, file: Path) -> Probe:
    """When a window opened and closed, and what was in a file then."""

    def parse(result: WindowResult) -> Reading:
        texts = (result.before[str(file)], result.after[str(file)])
        return Reading(
            {
                f"{name}.opened": result.opened_ns,
                f"{name}.closed": result.opened_ns + result.window_ns,
                f"{name}.written": len(texts[1]) - len(texts[0]),
            }
        )

    return Probe(name, parse, read=(str(file),))


@pytest.fixture
def watch(partner: Partner, tmp_path: Path) -> Watch:
    """Of a partner on the host under test."""
    file = tmp_path / "file"
    file.touch()
    far = (partner_probe("lo"), edges("far", file))
    return Watch(ALPHA, partner, (edges("near", file),), far)


def traffic(watch: Watch) -> Command:
    """Three frames, and three letters into the file."""
    (file,) = watch.near[0].read
    return Command((*PYTHON, "-c", TRAFFIC, file))


def test_on_one_host_there_is_one_window(watch: Watch) -> None:
    found = watch.over(traffic(watch))
    seen = found.reading.counters
    assert found.wider_ns == 0
    assert (seen["near.opened"], seen["near.closed"]) == (seen["far.opened"], seen["far.closed"])
    assert seen["near.written"] == 3 and seen["partner.rx_packets"] == 3


def test_with_a_partner_on_another_host_the_one_under_test_is_watched_around_the_traffic(
    watch: Watch,
) -> None:
    apart = replace(watch, partner=replace(watch.partner, host=BETA))
    found = apart.over(traffic(watch))
    seen = found.reading.counters
    assert seen["near.opened"] < seen["far.opened"] < seen["far.closed"] < seen["near.closed"]
    near, far = (seen[f"{end}.closed"] - seen[f"{end}.opened"] for end in ("near", "far"))
    assert (found.window.window_ns, found.wider_ns) == (far, near - far)
    assert seen["near.written"] == 3 and seen["partner.rx_packets"] == 3
    assert (found.window.returncode, found.window.stdout) == (0, "sent\n")


def test_traffic_that_fails_is_the_workloads_to_judge_there_too(watch: Watch) -> None:
    apart = replace(watch, partner=replace(watch.partner, host=BETA))
    found = apart.over(Command(("sh", "-c", "echo why >&2; exit 3")))
    assert (found.window.returncode, found.window.stderr) == (3, "why\n")
    assert found.reading.counters["partner.rx_packets"] == 0
