"""Transactions: both programs over loopback with real sockets, and what is made of their answer."""

from __future__ import annotations

import ast
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError
from harness.core.metrics import METRICS, PRIMARY
from harness.guest.image.micro import MODULES
from harness.hosts.local import LocalHost
from harness.records.trial import TRANSACTIONS
from harness.window.window import WindowSpec, run_window
from harness.workloads import USUAL, fitted, rr, rr_asker_agent, rr_server_agent
from harness.workloads.base import ParsedOutput, Target
from harness.workloads.rr import (
    MOST_BYTES,
    MOST_FLOWS,
    RR,
    Counted,
    Exchange,
    Kind,
    RequestResponse,
)
from harness.workloads.traffic import Traffic

HOME = "127.0.0.1"
KINDS: tuple[Kind, ...] = ("tcp-rr", "udp-rr", "tcp-crr")
FEW = RequestResponse("tcp-rr", count=60, warmup=20, timeout=5.0)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Two ports, one after the other, that nobody has, where rr's own are looked for."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as next_one:
            one.bind((HOME, 0))
            found = int(one.getsockname()[1])
            try:
                next_one.bind((HOME, found + 1))
            except OSError:
                continue
            monkeypatch.setattr(rr, "PORT", found)
            return found
    raise AssertionError("no two ports together")


@pytest.fixture
def target() -> Target:
    return Target(HOME, "02:00:00:00:00:02", HOME, "02:00:00:00:00:01", "lo")


@contextmanager
def served(workload: RequestResponse, target: Target) -> Iterator[subprocess.Popen[bytes]]:
    argv = (sys.executable, *workload.server(target)[1:])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield server
        finally:
            server.kill()


@contextmanager
def signalled_amid_work(server: subprocess.Popen[bytes], signum: int) -> Iterator[None]:
    """Meanwhile the server gets a signal, as soon as it has waited for a hundred requests or so."""

    def waits() -> int:
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def send() -> None:
        begin = waits()
        Deadline(60.0, "requests").poll(lambda: waits() > begin + 100)
        server.send_signal(signum)

    with ThreadPoolExecutor() as pool:
        sent = pool.submit(send)
        yield
        sent.result()


def asked(workload: RequestResponse, target: Target) -> ParsedOutput:
    """In a window, as a trial asks."""
    result = run_window(LocalHost(), WindowSpec.of(workload.command(target)))
    return workload.parse(result.stdout, result.stderr, result.returncode)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("request_", "response", "flows"),
    [(1, 1, 1), (1, 1, 7), (10_000, 40_000, 7), (MOST_BYTES, MOST_BYTES, 1)],
)
def test_all_is_asked_and_answered(
    kind: Kind, request_: int, response: int, flows: int, target: Target
) -> None:
    workload = replace(FEW, name=kind, exchange=Exchange(request_, response, flows))
    with served(workload, target):
        found = asked(workload, target)
    assert found.error is None
    whole = found.counters[TRANSACTIONS]
    assert 80 <= whole <= 80 + flows - 1, "what was under way at the end has ended, too"
    assert (found.received_bytes, found.sent_bytes) == (whole * request_, whole * response)
    counted = Counted(**json.loads(found.raw["rr"]))
    assert sum(counted.rtt_ns.values()) == counted.recorded == 60 and found.lost == 0
    assert found.metrics["transactions"] == pytest.approx(60e9 / counted.recorded_ns)
    # Each flow has one under way: together they take as long as the flows' time.
    told = sum(int(ns) * number for ns, number in counted.rtt_ns.items())
    assert told < 1.01 * flows * counted.recorded_ns + flows * max(map(int, counted.rtt_ns))
    assert {*workload.primary, *workload.facts.summary} - {"rtt_p99"} <= found.metrics.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_by_time_it_goes_on_for_so_long(kind: Kind, target: Target) -> None:
    workload = replace(FEW, name=kind, count=0, seconds=0.3)
    with served(workload, target):
        found = asked(workload, target)
    counted = Counted(**json.loads(found.raw["rr"]))
    assert 0.3e9 <= counted.recorded_ns < 2e9 and counted.recorded > 20
    assert found.metrics["rtt_p50"] < 0.3e6


@contextmanager
def lossy(port: int, answers: Callable[[int], bytes | None]) -> Iterator[None]:
    """A server of datagrams that does with the nth what it is told, and takes connections."""
    with socket.socket(type=socket.SOCK_DGRAM) as own, socket.create_server((HOME, port)):
        own.bind((HOME, port))
        own.settimeout(0.05)
        over = threading.Event()

        def answer() -> None:
            numbers = count()
            while not over.is_set():
                try:
                    request, asker = own.recvfrom(100)
                except TimeoutError:
                    continue
                if (said := answers(next(numbers))) is not None:
                    own.sendto(said or request, asker)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("flows", [1, 4])
def test_what_has_no_answer_is_lost_and_the_next_goes_on(
    flows: int, target: Target, port: int
) -> None:
    workload = replace(FEW, name="udp-rr", timeout=0.05, exchange=Exchange(flows=flows))
    with lossy(port, lambda number: None if number % 10 == 5 else b""):
        found = asked(workload, target)
    assert found.error is None
    counted = Counted(**json.loads(found.raw["rr"]))
    assert 60 <= counted.recorded + counted.lost < 60 + flows
    # Some that are asked in the warm-up are missed only later.
    assert 5 <= counted.lost <= 6 + flows and found.lost == counted.lost
    assert 7 <= counted.missed <= 8 + flows and counted.missed >= counted.lost
    assert found.lost_bytes == counted.missed * 43
    assert found.metrics["loss"] == pytest.approx(
        100 * counted.lost / (counted.recorded + counted.lost)
    )
    assert found.metrics["rtt_max"] >= 50_000, "what is lost took as long as it was waited for"


def test_an_answer_to_another_request_is_not_taken(target: Target, port: int) -> None:
    workload = replace(FEW, name="udp-rr", timeout=0.05)
    with lossy(port, lambda number: b"\xff" if number % 10 == 5 else b""):
        found = asked(workload, target)
    assert found.error is None and 5 <= found.lost <= 7


def test_without_any_answer_it_gives_up(target: Target, port: int) -> None:
    workload = replace(FEW, name="udp-rr", timeout=0.002)
    with lossy(port, lambda _: None):
        found = asked(workload, target)
    assert found.error is not None
    assert found.error.endswith(f"asking {HOME} port {port}: no answer to 50 requests in a row")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flows", [1, 3])
def test_a_server_that_ends_is_told_at_once(kind: Kind, flows: int, target: Target) -> None:
    exchange = Exchange(flows=flows)
    workload = replace(FEW, name=kind, count=0, seconds=20, timeout=1.0, exchange=exchange)
    with served(workload, target) as server, signalled_amid_work(server, signal.SIGKILL):
        found = asked(workload, target)
    assert found.error is not None and "who asks ended with status 1" in found.error
    assert any(
        why in found.error for why in ("closed the connection", "refused", "reset by peer", "pipe")
    ), found.error


def test_a_server_that_hangs_is_not_waited_for_for_ever(target: Target) -> None:
    workload = replace(FEW, count=0, seconds=20, timeout=0.4)
    with served(workload, target) as server, signalled_amid_work(server, signal.SIGSTOP):
        found = asked(workload, target)
    assert found.error is not None and "no answer within 0.4 s" in found.error


@pytest.mark.parametrize(
    ("kind", "above"),
    [(socket.SOCK_STREAM, 0), (socket.SOCK_DGRAM, 0), (socket.SOCK_STREAM, 1)],
)
def test_a_port_that_is_taken_is_named(kind: int, above: int, target: Target, port: int) -> None:
    with socket.socket(type=kind) as other:
        other.bind((HOME, port + above))
        if kind == socket.SOCK_STREAM:
            other.listen()
        argv = (sys.executable, *FEW.server(target)[1:])
        ended = LocalHost().run(argv, check=False, timeout=20)
    assert ended.error == f"cannot answer at {HOME} port {port + above}: Address already in use\n"
    assert ended.returncode == 1 and not ended.text


def test_programs_of_a_guest_import_what_its_image_has() -> None:
    tree = ast.parse(Path(rr_server_agent.__file__).read_text())
    imported = {
        name
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.builtin_module_names) - {"gc"} <= set(MODULES)


@given(st.integers(1, 10**12))
def test_three_digits_are_kept(ns: int) -> None:
    kept = rr_asker_agent.rounded(ns)
    assert abs(kept - ns) <= 0.005 * ns and len(str(kept).rstrip("0")) <= 3
    assert rr_asker_agent.rounded(kept) == kept


@given(st.lists(st.integers(1, 10**9), max_size=50))
def test_a_histogram_has_every_value(values: list[int]) -> None:
    found = rr_asker_agent.histogram(values)
    assert sum(found.values()) == len(values) and list(found) == sorted(found)
    for value in values:
        assert rr_asker_agent.rounded(value) in found


def answer(**changes: object) -> str:
    message = {
        "recorded": 1000,
        "recorded_ns": 50_000_000,
        "total": 1100,
        "rtt_ns": {"40000": 900, "90000": 90, "500000": 10},
        "lost": 0,
        "missed": 0,
    }
    return json.dumps({**message, **changes})


def test_percentiles_are_those_of_the_histogram() -> None:
    found = replace(FEW, name="udp-rr", exchange=Exchange(10, 20)).parse(answer(), "", 0)
    assert found.error is None and found.metrics.keys() <= METRICS.keys()
    assert found.metrics == {
        "transactions": 20_000.0,
        "rtt_min": 40.0,
        "rtt_p50": 40.0,
        "rtt_p90": 40.0,
        "rtt_p99": 90.0,  # p99.9 takes 10,000 (harness.core.percentiles)
        "rtt_max": 500.0,
        "loss": 0.0,
    }
    assert found.counters == {TRANSACTIONS: 1100}
    assert (found.received_bytes, found.sent_bytes) == (11_000, 22_000)
    many = answer(recorded=10_000, rtt_ns={"40000": 9989, "700000": 11})
    assert FEW.parse(many, "", 0).metrics["rtt_p999"] == 700.0
    assert "loss" not in FEW.parse(many, "", 0).metrics


def test_what_is_lost_counts_among_the_percentiles() -> None:
    workload = replace(FEW, name="udp-rr", timeout=0.2, exchange=Exchange(2000, 1))
    found = workload.parse(answer(lost=250, missed=251), "", 0)
    assert found.metrics["loss"] == 20.0 and found.metrics["rtt_p90"] == 200_000.0
    assert found.lost_bytes == 251 * (2000 + 2 * 42), "in two fragments"


@pytest.mark.parametrize(
    ("stdout", "rc", "why"),
    [
        ("", None, "who asks ended with no exit status"),
        ("", 1, "who asks ended with status 1: it said why"),
        (answer()[:40], 0, "who asks ended with status 0: it said why"),
        ("[]", 0, "who asks ended with"),
        (answer(recorded=0, rtt_ns={}, lost=9), 0, "none of 9 requests was answered"),
        (answer(recorded_ns=0), 0, "none of"),
    ],
)
def test_what_cannot_be_used_is_an_error(stdout: str, rc: int | None, why: str) -> None:
    found = FEW.parse(stdout, "it said why", rc)
    assert found.error is not None and found.error.startswith(why) and not found.metrics
    assert found.raw == ({"rr": stdout} if stdout else {})


@pytest.mark.parametrize("name", ["request", "response", "flows"])
def test_bounds(name: str) -> None:
    most = {"request": MOST_BYTES, "response": MOST_BYTES, "flows": MOST_FLOWS}[name]
    assert Exchange(**{name: most})
    for bad in (0, most + 1):
        with pytest.raises(ConfigError, match=rf"{most}.*not {bad}"):
            Exchange(**{name: bad})


@pytest.mark.parametrize("bad", [{"warmup": -1}, {"count": -1}, {"timeout": 0}, {"limit": 0}])
def test_what_makes_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tcp-rr"):
        replace(FEW, **bad)
    with pytest.raises(ConfigError, match="seconds"):
        RequestResponse("tcp-rr", seconds=0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_asked_for_is_in_the_record(kind: Kind) -> None:
    traffic = Traffic(rr_request=100, rr_response=2000, rr_flows=16)
    for clock, length in (("wall", "seconds"), ("virtual-smp", "count")):
        found = fitted(kind, clock, traffic=traffic).parameters  # type: ignore[arg-type]
        assert (found["request"], found["response"], found["flows"]) == ("100", "2000", "16")
        assert length in found and ("timeout" in found) == (kind == "udp-rr")
    assert fitted(kind, "wall").parameters["flows"] == "1"


def test_they_are_made_where_they_are_asked_for_only() -> None:
    assert {each.name for each in RR} == set(KINDS) and not {*KINDS} & {*USUAL}
    for each in RR:
        assert {*each.by_time.primary} <= {*PRIMARY}
