"""Servers of the endpoint; its counters, from text that a guest's kernel printed at the edges of a
window.

The guest (Linux 6.12) had a VF of an 82576 as eth0, and tcp-rx crossed it meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from harness.core.errors import LabError, MissingCapability
from harness.guest.boot import Guest
from harness.hosts.local import LocalHost
from harness.hosts.program import PYTHON
from harness.measure.endpoint import INTERRUPTS, STAT, Counted, Endpoint, _parse_read
from harness.qemu.attachment import NicAttachment
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED
TEXT = (DATA / "endpoint-edges.txt").read_text()
COUNTED = Counted("eth0", "/sys/devices/pci0000:00/0000:00:02.0")
BEFORE, AFTER = _parse_read(TEXT, COUNTED.proc)


def column(text: str, start: str, place: int) -> int:
    """A word of the line that starts so, as awk would take it, apart from the parsers."""
    (line,) = (line.strip() for line in text.splitlines() if line.strip().startswith(start))
    return int(line.split()[place])


def test_the_readers_text_holds_every_file_of_both_edges() -> None:
    device = {f"{COUNTED.device}/{name}" for name in ("irq", "msi_irqs/26", "msi_irqs/27")}
    for edge in (BEFORE, AFTER):
        assert edge.keys() == {*COUNTED.proc, *device, f"{COUNTED.device}/msi_irqs/28"}
        assert edge[f"{COUNTED.device}/msi_irqs/26"] == "msix"
        assert edge[INTERRUPTS].startswith("           CPU0")
    # The first of three readings only warms up.
    assert TEXT.startswith("0\n") and TEXT.count("Inter-|") == 3


def test_counters_grow_by_what_the_files_do() -> None:
    def grown(file: str, start: str, place: int) -> int:
        return column(AFTER[file], start, place) - column(BEFORE[file], start, place)

    net, irqs = COUNTED.net_dev, INTERRUPTS
    busy = sum(grown(STAT, "cpu ", place) for place in (1, 2, 3, 6, 7))
    counters = COUNTED.between(BEFORE, AFTER)
    assert counters == {
        "guest.rx_bytes": grown(net, "eth0:", 1),
        "guest.rx_packets": grown(net, "eth0:", 2),
        "guest.tx_bytes": grown(net, "eth0:", 9),
        "guest.tx_packets": grown(net, "eth0:", 10),
        "guest.rx_missed": 0,
        "guest.ip_received": grown(COUNTED.snmp, "Ip: 2 64", 3),
        "guest.retransmitted": 0,
        "guest.udp_dropped": 0,
        "guest.cpu_busy_ns": busy * 10_000_000,
        "guest.cpu_total_ns": (busy + grown(STAT, "cpu ", 4) + grown(STAT, "cpu ", 8)) * 10_000_000,
        "irq.device": sum(grown(irqs, f"{number}:", 1) for number in (26, 27, 28)),
        "irq.timer": grown(irqs, "LOC:", 1),
        "irq.ipi": 0,
        "irq.other": sum(grown(irqs, name, 1) for name in ("4:", "25:", "MCP:", "HYP:", "IWI:")),
    }
    assert counters["irq.device"] > 1000 > counters["irq.timer"] > 0


def test_without_message_signalled_interrupts_the_line_is_the_devices() -> None:
    """As with 8139cp: no directory msi_irqs, and a line."""
    texts = {path: text for path, text in AFTER.items() if "/msi_irqs/" not in path}
    intx = texts | {f"{COUNTED.device}/irq": "9\n", INTERRUPTS: "  CPU0\n 9:  7  IO-APIC  eth0\n"}
    assert COUNTED.absolute(intx)["irq.device"] == 7
    assert "irq.device" not in COUNTED.absolute(texts)  # 0: none


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match="eth7"):
        Counted("eth7", COUNTED.device).absolute(AFTER)


def test_a_file_that_is_not_there_is_named() -> None:
    texts = {path: text for path, text in AFTER.items() if path != COUNTED.snmp}
    with pytest.raises(LabError, match="/proc/1/net/snmp could not be read at both edges"):
        COUNTED.between(texts, AFTER)


def end(guest: bool) -> Endpoint:
    """On this machine; what matters of a guest is that its processes tell nothing before they
    end."""
    attachment = NicAttachment(path="sriov", mac="02:00:00:00:00:01", driver="igbvf")
    there = cast(Guest, object()) if guest else None
    return Endpoint(LocalHost(), "lo", 1500, attachment, "igbvf", {}, there)


@pytest.fixture(autouse=True)
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.measure.endpoint.SAID", str(tmp_path / "said"))


COUNTING = 'echo >>"$1"; echo ready; exec sleep 60'


@pytest.mark.parametrize("guest", [False, True])
def test_a_server_is_started_once_and_again_when_it_has_ended(guest: bool, tmp_path: Path) -> None:
    started = tmp_path / "started"
    argv = ("sh", "-c", COUNTING, "sh", str(started))
    there = end(guest)
    with there.stack:
        for _ in range(3):
            there.serve(argv)
            assert started.read_text() == "\n"
        (server,) = there.servers.values()
        server.terminate()
        server.wait(10)
        there.serve(argv)
        assert started.read_text() == "\n\n"
        there.serve(())
        (server,) = there.servers.values()
        assert server.poll() is None
    assert server.poll() is not None, "it ends with the endpoint"


@pytest.mark.parametrize("guest", [False, True])
def test_a_server_that_cannot_be_says_why(guest: bool) -> None:
    there = end(guest)
    argv = ("sh", "-c", "echo not yet; sleep 0.3; echo port 5202 is taken >&2; exit 1")
    with there.stack, pytest.raises(MissingCapability, match=r"a server .*: port 5202 is taken"):
        there.serve(argv)


@pytest.mark.parametrize(("guest", "remedy"), [(True, "in the image"), (False, "newer")])
def test_without_python_there_is_no_server(
    guest: bool, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = end(guest)
    monkeypatch.setenv("PATH", str(tmp_path))
    with there.stack, pytest.raises(MissingCapability, match="there is no python3") as caught:
        there.serve((*PYTHON, "-c", "print('ready')"))
    assert remedy in caught.value.remedy and not there.servers


def test_a_reader_that_was_cut_short_is_no_reading() -> None:
    with pytest.raises(LabError, match="could not be read at both edges"):
        COUNTED.between(*_parse_read(TEXT[: TEXT.rindex("\n2\n")], COUNTED.proc))
