"""How the evidence on interleaved configurations grew: what is drawn is what was judged."""

from __future__ import annotations

import msgspec

from harness.comparison import sequential_pairs
from harness.comparison.outcome import compare, compare_variants, evidence
from harness.records.boots import Boots, boots_of
from harness.records.run import Run
from suites.selftest.support.synthetic_run import make_run

PLANNED = 12


def made(seed: int, blocks: int = 10) -> Run:
    paths, workloads = ("virtio", "sriov"), ("tcp-tx", "latency")
    return Run(*make_run(blocks, paths=paths, workloads=workloads, trials=1, seed=seed))


def slower(run: Run, by: float) -> Run:
    trials = tuple(
        msgspec.structs.replace(
            each, metrics={k: v * (by if k == "throughput" else 1) for k, v in each.metrics.items()}
        )
        for each in run.trials
    )
    return Run(run.info, trials)


def pair(by: float, blocks: int = 10) -> Run:
    both = zip(made(1, blocks).trials, slower(made(1, blocks), by).trials, strict=True)
    trials = tuple(
        msgspec.structs.replace(each, variant=variant)
        for two in both
        for variant, each in zip("ab", two, strict=True)
    )
    info = msgspec.structs.replace(made(1).info, boots=PLANNED, variants={"a": {}, "b": {}})
    return Run(info, trials)


def test_a_course_ends_with_what_was_judged() -> None:
    for base, new in ((made(1), made(2)), (made(1), slower(made(2), 0.5))):
        boots = boots_of(base), boots_of(new)
        judged = {each.name: each for each in sequential_pairs.judge(*boots, PLANNED)}
        courses = {each.figure.name: each for each in sequential_pairs.courses(*boots, PLANNED)}
        assert courses.keys() == judged.keys()
        for name, course in courses.items():
            assert course.verdict == judged[name].verdict, name
            assert course.steps[-1].shift == judged[name].shift
            assert course.figure.margin == judged[name].margin


def first(boots: Boots, blocks: int) -> Boots:
    return {
        name: {block: value for block, value in of.items() if block < blocks}
        for name, of in boots.items()
    }


def test_a_step_is_what_would_have_been_judged_had_one_stopped_there() -> None:
    base, new = boots_of(made(1)), boots_of(slower(made(2), 0.7))
    for blocks in (8, 9):
        then = {
            each.name: each
            for each in sequential_pairs.judge(first(base, blocks), first(new, blocks), PLANNED)
            if each.primary and each.metric != "loss"  # a margin is of all blocks
        }
        steps = {
            course.figure.name: step
            for course in sequential_pairs.courses(base, new, PLANNED)
            for step in course.steps
            if step.blocks == blocks
        }
        for name, change in then.items():
            assert steps[name].shift == change.shift, name
            assert steps[name].verdict == change.verdict, name


def test_a_pair_is_told_as_its_block_gave_it() -> None:
    (course,) = [
        each for each in evidence(compare_variants(pair(0.8)))
        if each.figure.name == "sriov/tcp-tx/throughput"
    ]  # fmt: skip
    assert set(course.pairs) == set(range(10))
    assert all(abs(ratio - 0.8) < 1e-9 for ratio in course.pairs.values())
    assert [step.blocks for step in course.steps] == [8, 9, 10]
    assert course.verdict == "regression"


def test_before_the_first_look_nothing_is_known() -> None:
    for course in evidence(compare_variants(pair(0.8, 5))):
        assert course.steps == [] and course.verdict == "undecided" and len(course.pairs) == 5


def test_two_runs_have_no_blocks_in_common() -> None:
    assert evidence(compare(made(1), made(2))) == ()
