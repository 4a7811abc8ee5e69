"""`nicproof ab` as a session of pytest's, on made-up records: what it says before the first boot,
and how it ends."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from fixtures.comparison.pairs import deciding, outlook
from harness.cli.main import _parser
from harness.core.flags import add_to
from harness.core.status import SESSION_UNDECIDED
from harness.runs.options import OPTIONS, Asked, BenchOptions
from reports.comparison.outcome import compare_variants
from suites.selftest.synthetic_run import write_run
from suites.selftest.test_variants import interleaved

pytest_plugins = ["pytester"]

PLUGINS = ("options", "progress", "history", "artifacts", "pairs")

MADE = """
import shutil

def test_made(bench_options):
    shutil.copytree({made!r}, bench_options.run_dir, dirs_exist_ok=True)
"""


def session(pytester: pytest.Pytester, slower: float, blocks: int, *more: str) -> pytest.RunResult:
    """Of a test that leaves such a run behind, as if it had been measured."""
    run = interleaved(slower, blocks=blocks)
    made = write_run(pytester.path / "made", run.info, run.trials)
    pytester.makepyfile(MADE.format(made=str(made)))
    options = (*(f"-pfixtures.{name}" for name in PLUGINS), "--b=--vfio x-no-mmap=on")
    options += ("--paths=virtio,sriov", "--workloads=tcp-tx,latency", "--no-history", "--progress")
    return pytester.runpytest_subprocess(
        *options, "--capture=no", f"--run-dir={pytester.path / 'run'}", *more
    )


@pytest.mark.parametrize(
    ("slower", "blocks", "options", "status"),
    [
        (0.0, 3, (), 0),
        (0.0, 3, ("--strict-verdict",), SESSION_UNDECIDED),
        (0.0, 10, ("--strict-verdict",), 0),
        (0.2, 10, ("--strict-verdict",), 1),
    ],
)
def test_what_is_undecided_is_a_bad_end_if_it_was_not_to_be(
    pytester: pytest.Pytester, slower: float, blocks: int, options: tuple[str, ...], status: int
) -> None:
    result = session(pytester, slower, blocks, *options)
    said = result.stdout.str()
    assert result.ret == status, said
    before = said.partition("report:")[0]
    assert "10 figures may decide, in 10 blocks at most: 7 are needed at least" in before


def test_the_command_calls_it_strict() -> None:
    given = _parser().parse_args(["ab", "--b=--vhost off", "--strict"])
    assert Asked.of(given).pair.strict_verdict
    assert not Asked.of(_parser().parse_args(["ab", "--b=--vhost off"])).pair.strict_verdict


def test_its_help_says_what_an_exit_of_zero_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["ab", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "0 no figure is shown to be worse" in said and "some may be undecided" in said
    assert "--strict " in said and "--strict-verdict" not in said


def asked(tmp_path: Path, *words: str) -> BenchOptions:
    parser = argparse.ArgumentParser()
    add_to(parser.add_argument, OPTIONS)
    given = parser.parse_args([*words, f"--run-dir={tmp_path / 'run'}"])
    return BenchOptions.of(Asked.of(given))


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--b=--vfio x-no-mmap=on", "--paths=sriov", "--workloads=latency"), 3),
        (("--b=--rx-usecs 3", "--paths=native", "--workloads=tcp-tx"), 1),
        (("--ablate=event_idx",), 2),
        (("--b=--vhost off", "--decide=virtio-vhost/latency/rtt_p50"), 1),
    ],
)
def test_as_many_figures_are_told_as_can_decide(
    tmp_path: Path, words: tuple[str, ...], count: int
) -> None:
    assert deciding(asked(tmp_path, *words)) == count


def test_what_is_told_before_is_what_is_judged() -> None:
    """No figure that decides is forgotten in the count."""
    judged = compare_variants(interleaved(0.0)).primary
    assert len(judged) == 10, (
        "of two paths: throughput, RTT, loss of probes, and exits of each load"
    )


def test_too_few_blocks_are_told_before_they_are_made(tmp_path: Path) -> None:
    run = asked(tmp_path, "--b=--vhost off", "--max-blocks=4")
    assert "too few to decide any: give --max-blocks 6 or more" in outlook(run)
    few, many = (
        asked(tmp_path, "--b=--qemu /bin/true", f"--workloads={loads}")
        for loads in ("latency", "tcp-tx,tcp-rx,latency,tcp-bidir")
    )
    assert "7 are needed at least, about 10 to tell" in outlook(few)
    assert "7 are needed at least, more than 10 to tell" in outlook(many)
