"""`--plan`: what a command would do, and how long by what earlier runs took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core.units import Clock
from harness.labs.nested import accel
from harness.labs.nested.machine import NAME
from harness.labs.shape import SMP_CPUS, LabShape
from harness.measure.plan import PlannedBoot, trials_of
from harness.records.cases import CaseRecord, ListedCase
from harness.records.durations import Load, Pace, Span
from harness.records.history.runs import open_history
from harness.records.run import Run
from harness.runs import caseplan
from harness.runs.plan import ROUGH, ROUGH_SOURCE
from suites.selftest.support import command
from suites.selftest.support.synthetic_run import make_run

BEGIN = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
START = 12.0
SECONDS = {"idle": 2.0, "tcp-tx": 10.0, "latency": 30.0}
"""What each takes; the last of a boot, latency, takes TURN more until the next one begins."""
TURN = 8.0
PATHS, LOADS = ("virtio", "sriov"), ("tcp-tx", "latency")


def earlier_run(boots: int = 3, clock: Clock = "virtual-smp", slower: float = 1.0) -> Run:
    """A run of both paths, whose trials begin as they would if they took so long."""
    info, records = make_run(boots, paths=PATHS, workloads=("idle", *LOADS), trials=0)
    now, timed = BEGIN + timedelta(seconds=START), []
    for record in records:
        started = now.isoformat(timespec="milliseconds")
        timed.append(msgspec.structs.replace(record, started=started, clock=clock, warmup=False))
        last = TURN if record.workload == LOADS[-1] else 0.0
        now += timedelta(seconds=slower * (SECONDS[record.workload] + last))
    ready = (BEGIN + timedelta(seconds=START)).isoformat(timespec="seconds")
    info = msgspec.structs.replace(
        info,
        run=f"{BEGIN:%Y%m%d-%H%M%S}-7f3a",
        created=ready,
        host=NAME,
        clock=clock,
        lab_cpus=SMP_CPUS,
    )
    return Run(info, tuple(timed))


def loads(*names: str) -> list[Load]:
    """As that run has them."""
    parameters = {"tcp-tx": {"seconds": "2", "omit": "1"}}
    return [Load(name, parameters.get(name, {})) for name in names]


def test_a_boot_takes_what_its_trials_took() -> None:
    pace = Pace.of([earlier_run()])
    assert pace.start.usual == START and pace.runs == 1
    whole = sum(SECONDS.values()) + TURN
    assert pace.boot("sriov", loads("idle", *LOADS)) == Span(whole, whole, whole)
    assert pace.boot("e1000e", loads("idle", *LOADS)).usual == whole, "by the other paths'"
    assert pace.boot("sriov", loads("tcp-tx", "latency", "latency")).usual == (
        10.0 + 2 * (30.0 + TURN)
    ), "it is known only as the last one"


def test_runs_of_different_pace_give_a_span() -> None:
    pace = Pace.of([earlier_run(), earlier_run(slower=2.0)])
    found = pace.boot("sriov", loads("idle", *LOADS))
    assert 50.0 <= found.low < found.usual < found.high <= 100.0
    assert pace.runs == 2


def test_what_a_trial_is_told_to_take_by_the_worlds_clock_is_known() -> None:
    """Ten seconds after two were never measured; all but the three of then takes as long again."""
    pace = Pace.of([earlier_run(clock="wall")], wall=True)
    longer = Load("tcp-tx", {"seconds": "10", "omit": "2"})
    assert pace.boot("sriov", [longer]).usual == SECONDS["tcp-tx"] - 3.0 + 12.0
    assert pace.boot("sriov", loads("tcp-tx")).usual == SECONDS["tcp-tx"]
    virtual = Pace.of([earlier_run()])
    assert virtual.boot("sriov", [longer]).usual == SECONDS["tcp-tx"], "seconds of another clock"


def test_trials_of_the_same_parameters_count_before_others() -> None:
    short = earlier_run()
    sized = [
        msgspec.structs.replace(each, parameters={"bytes": "9"})
        if each.workload == "tcp-tx"
        else each
        for each in earlier_run(slower=4.0).trials
    ]
    pace = Pace.of([short, Run(short.info, tuple(sized))])
    assert pace.boot("sriov", loads("tcp-tx")).usual == SECONDS["tcp-tx"]
    assert pace.boot("sriov", [Load("tcp-tx", {"bytes": "9"})]).usual == 4 * SECONDS["tcp-tx"]


def test_what_failed_says_nothing_of_what_will_not() -> None:
    run = earlier_run()
    waited = [msgspec.structs.replace(each, valid=False) for each in run.trials]
    assert Pace.of([Run(run.info, tuple(waited))]) == Pace()


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Span(360.0, 540.0, 840.0), "about 9 min (6 to 14)"),
        (Span(40.0, 50.0, 60.0), "about 50 s (40 to 60)"),
        (Span(50.0, 50.0, 50.0), "about 50 s"),
    ],
)
def test_a_span_in_words(span: Span, text: str) -> None:
    assert str(span) == text


def test_a_boot_has_a_baseline_and_its_paths_first_trial_a_warm_up() -> None:
    first, second = PlannedBoot(0, "sriov", 0), PlannedBoot(1, "sriov", 1)
    assert trials_of(first, LOADS, has_guest=True) == ["idle", "tcp-tx", "tcp-tx", "latency"]
    assert trials_of(second, LOADS, has_guest=True) == ["idle", "tcp-tx", "latency"]
    assert trials_of(second, LOADS, has_guest=False) == ["tcp-tx", "latency"]


@pytest.mark.parametrize(
    ("shape", "clock", "cpus"),
    [
        (LabShape("wall", 1), "wall", 1),
        (LabShape("virtual"), "virtual", 1),
        (LabShape("virtual-smp"), "virtual-smp", SMP_CPUS),
        (LabShape(exit_cost_ns=2000), "virtual-smp", SMP_CPUS),
    ],
)
def test_which_clock_a_lab_gets_is_known_before(shape: LabShape, clock: str, cpus: int) -> None:
    found = accel.foreseen(shape)
    assert (found.clock, found.cpus) == (clock, cpus)
    assert found.exit_cost_ns == shape.exit_cost_ns


def plan(tmp_path: Path, verb: str, *options: str) -> Any:
    """What `--plan --json` says; nothing else is left behind."""
    where = f"--history={tmp_path / 'history.db'}"
    lab = ("--lab=nested", "--clock=virtual-smp")
    result = command.nicproof(verb, *lab, where, *options, "--plan", "--json")
    assert result.returncode == 0, result.error
    assert {each.name for each in tmp_path.iterdir()} == {"history.db"}, "no run has begun"
    return json.loads(result.text)


def test_a_bench_is_told_by_runs_of_such_a_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--paths=virtio,sriov", "--workloads=tcp-tx,latency", "--boots=2")
    found = plan(tmp_path, "bench", *options)
    assert found["source"] == ROUGH_SOURCE, "the history is empty"
    assert found["takes"]["usual"] == ROUGH.usual * (2 * 2 * 2 + 2), "two are warm-ups"
    with open_history(str(tmp_path / "history.db")) as history:
        for run in (earlier_run(), earlier_run(clock="virtual", slower=50.0)):
            history.add(run.info, run.trials)
    found = plan(tmp_path, "bench", *options)
    assert found["source"] == "17 trials of 1 earlier run in such a lab"
    whole = sum(SECONDS.values()) + TURN
    assert found["takes"]["usual"] == START + 4 * whole + 2 * SECONDS["tcp-tx"]
    assert (found["trials"], found["others"], len(found["order"])) == (8, 6, 4)
    assert (found["clock"], found["lab_cpus"], found["guest_cpus"]) == (
        "virtual-smp",
        SMP_CPUS,
        "2-4",
    )


def test_two_configurations_are_told_with_the_blocks_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = plan(tmp_path, "ab", "--b=--virtio packed=on", "--guest-cpus=2")
    assert found["variants"] == {"a": {}, "b": {"virtio": "packed=on"}}
    assert found["options"] == {"guest-cpus": "2"}
    assert "in 10 blocks at most: 7 are needed at least" in found["outlook"]
    assert len(found["order"]) == 2 * 10 * len(found["paths"])


@pytest.mark.parametrize("verb", [("bench",), ("ab", "--b=--vhost off"), ("qualify",)])
def test_json_is_of_a_plan(verb: Sequence[str]) -> None:
    result = command.nicproof(*verb, "--json")
    assert result.returncode == 2 and "--json: it says nothing without" in result.error


def listed(*names: str) -> Iterator[ListedCase]:
    for name in names:
        yield ListedCase(id=name, family="ptp", title="", decided_by="device", needs=())


def took(name: str, seconds: float) -> CaseRecord:
    return CaseRecord(
        id=name, family="ptp", title="", decided_by="device", verdict="pass", seconds=seconds
    )


def test_cases_take_what_they_took() -> None:
    runs = [(took("ptp.a", 1.0), took("ptp.b", 9.0)), (took("ptp.a", 3.0), took("ptp.b", 9.0))]
    assert caseplan.takes(tuple(listed("ptp.a", "ptp.b")), runs).usual == 2.0 + 9.0
    unseen = caseplan.takes(tuple(listed("ptp.c")), runs)
    assert 2.0 < unseen.usual < 9.0, "as cases do"
    assert caseplan.takes(tuple(listed("ptp.a", "ptp.b")), []) == caseplan.ROUGH * 2


def test_a_qualification_is_told_with_the_cases_that_there_are() -> None:
    result = command.nicproof("qualify", "--lab=nested", "--family=ptp,stress", "--plan", "--json")
    assert result.returncode == 0, result.error
    found = json.loads(result.text)
    families = {each["family"] for each in found["cases"]}
    assert families == {"ptp", "stress"} and found["soak"] == 20
    assert found["takes"]["low"] < found["takes"]["usual"] < found["takes"]["high"]
