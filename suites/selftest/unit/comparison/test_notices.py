"""What those are told who do not read the report: GitLab, GitHub's annotations, a mail, metrics.

Undecided and missing figures are to be named in each of them.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from email import message_from_string
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.comparison.outcome import Comparison, compare, compare_variants
from harness.hosts.base import CommandResult
from harness.records.run import Run
from harness.records.trial import Failure
from reports.comparison import document, formats, notices
from suites.selftest.support.command import nicproof
from suites.selftest.support.synthetic_run import make_run, write_run

PATHS, WORKLOADS = ("virtio", "sriov", "passthrough"), ("tcp-tx", "latency")


def made(seed: int, boots: int = 8) -> Run:
    run = Run(*make_run(boots, paths=PATHS, workloads=WORKLOADS, trials=1, seed=seed))
    return Run(msgspec.structs.replace(run.info, run=f"made-{seed}"), run.trials)


def worse(run: Run, by: float = 0.5) -> Run:
    """sriov is slower, and passthrough could not be booted."""
    failures = tuple(
        Failure(path="passthrough", boot=boot, error="QEMU ended: 100 % of µVMs")
        for boot in range(run.info.boots)
    )
    trials = tuple(
        msgspec.structs.replace(
            each,
            metrics={
                name: value * (by if name == "throughput" else 1.0)
                for name, value in each.metrics.items()
            },
        )
        if each.path == "sriov"
        else each
        for each in run.trials
        if each.path != "passthrough"
    )
    return Run(msgspec.structs.replace(run.info, failures=failures), trials)


@pytest.fixture(scope="module")
def bad() -> Comparison:
    outcome = compare(made(1), worse(made(2)))
    verdicts = {change.verdict for change in outcome.primary}
    assert verdicts >= {"regression", "undecided", "not measured"}
    return outcome


@pytest.fixture(scope="module")
def good() -> Comparison:
    """Nothing changed at all."""
    return compare(made(1), Run(made(2).info, made(1).trials))


SEVERITIES = {"info", "minor", "major", "critical", "blocker"}


def quality(outcome: Comparison, directory: Path = Path("results/x")) -> dict[str, dict[str, Any]]:
    """GitLab's entries, by fingerprint."""
    entries = json.loads(notices.as_code_quality(outcome, directory))
    found = {entry["fingerprint"]: entry for entry in entries}
    assert len(found) == len(entries), "each is told from all others"
    return found


def test_gitlab_has_an_entry_for_all_that_is_not_well(bad: Comparison) -> None:
    found = quality(bad)
    for entry in found.values():
        assert entry.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in SEVERITIES
        assert entry["location"] == {"path": "results/x/regression.md", "lines": {"begin": 1}}
    checks = [entry["check_name"] for entry in found.values()]
    for verdict in ("not measured", "regression", "undecided"):
        figures = [each for each in bad.changes if each.verdict == verdict and each.primary]
        more = [each for each in bad.changes if each.verdict == verdict == "regression"]
        assert checks.count(f"nicproof: {verdict}") == max(len(figures), len(more)) > 0
    severity = {entry["check_name"]: entry["severity"] for entry in found.values()}
    assert severity["nicproof: not measured"] == "critical"
    texts = [entry["description"] for entry in found.values()]
    assert any(text.startswith("regression: sriov, tcp-tx: Throughput -") for text in texts)
    assert any("passthrough, latency: Loss" in text and "QEMU ended" in text for text in texts)


def test_what_was_found_before_is_the_same_finding(bad: Comparison) -> None:
    again = compare(made(3), worse(made(4), by=0.4))
    lost = {name for name, entry in quality(bad).items() if entry["severity"] == "critical"}
    assert lost and lost <= quality(again, Path("results/y")).keys()
    other = msgspec.structs.replace(made(4).info, nic="X710 0000:01:00.0")
    elsewhere = compare(made(3), worse(Run(other, made(4).trials)), across=["NIC model"])
    assert not lost & quality(elsewhere).keys()


def test_gitlab_has_no_entry_where_all_is_well(good: Comparison) -> None:
    assert {change.verdict for change in good.primary} <= {"no change", "undecided"}
    assert all("regression" not in entry["check_name"] for entry in quality(good).values())
    identical = compare_variants(both_equal())
    assert {change.verdict for change in identical.primary} == {"no change"}
    assert quality(identical) == {}


def both_equal() -> Run:
    run = made(1)
    trials = tuple(
        msgspec.structs.replace(each, variant=name) for each in run.trials for name in "ab"
    )
    return Run(msgspec.structs.replace(run.info, variants={"a": {}, "b": {}}), trials)


def test_gitlab_reads_the_metrics_line_by_line_as_a_shell_would(bad: Comparison) -> None:
    """A name, which is a word, and a value, which is the next one."""
    text = formats.as_openmetrics((each for each in bad.changes if each.new == each.new), bad)
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    samples = dict(line for line in lines if line)
    place = "nicproof_verdict{path=%s,workload=latency,metric=%s,verdict=%s}"
    assert samples[place % ("passthrough", "loss", "not measured")] == "1"
    judged = [name for name in samples if name.startswith("nicproof_verdict{")]
    assert len(judged) == len(bad.primary)
    assert samples["nicproof_figures{verdict=undecided}"] == str(bad.count("undecided"))
    assert all(float(value) >= 0 for value in samples.values())


def compared(directory: Path, base: Run, new: Run, **env: str) -> CommandResult:
    for name, run in (("base", base), ("new", new)):
        write_run(directory / name, run.info, run.trials)
    where = [str(directory / name) for name in ("base", "new")]
    return nicproof("compare", *where, f"--out={directory / 'out'}", **env)


def test_a_github_job_gets_annotations_and_a_summary(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    result = compared(tmp_path, made(1), worse(made(2)), **github)
    assert result.returncode == 1, result.error
    told = [line for line in result.text.splitlines() if line.startswith("::")]
    lost, slow, undecided = told
    assert lost.startswith("::error title=nicproof%3A 5 of 15 figures%3A not measured::")
    assert "passthrough, latency: Loss" in lost and "%0A" in lost and "100 %25 of" in lost
    assert slow.startswith("::error title=nicproof%3A ") and "sriov, tcp-tx: Throughput" in slow
    assert undecided.startswith("::notice ")
    assert "5 of 15 figures are not measured" in summary.read_text()
    elsewhere = compared(tmp_path / "x", made(1), worse(made(2)), GITHUB_ACTIONS="")
    assert "::error" not in elsewhere.text


def test_a_mail_is_plain_and_names_what_matters(bad: Comparison) -> None:
    text = notices.as_mail(bad)
    assert text.isascii() and max(map(len, text.splitlines())) <= notices.COLUMNS
    mail = message_from_string(text)
    body = mail.get_payload()
    assert isinstance(body, str)
    subject = str(mail["Subject"])
    assert subject.startswith("nicproof FAILED: 5 not measured, 1 worse, 7 undecided")
    renamed = replace(bad, new_name="pr-7", changes=bad.primary[:6])
    assert notices.subject(renamed) == "nicproof FAILED: 5 not measured, 1 worse of 6: pr-7"
    assert "not measured (5)\n- passthrough, latency: " in body
    assert "- sriov, tcp-tx: Throughput -" in body and "QEMU ended: 100 % of \\xb5VMs" not in body
    assert "uVMs" in body and f"undecided ({bad.count('undecided')})" in body
    looks = [each for each in bad.primary if each.verdict == "undecided" and each.beyond]
    rest = bad.count("undecided") - len(looks)
    assert f"- {rest}{' more' if looks else ''} that may be no change" in body
    assert "trials: base 48 valid" in body


def test_a_mail_of_nothing_bad_says_so(good: Comparison) -> None:
    text = notices.as_mail(good)
    assert text.startswith("Subject: nicproof passed: ")
    undecided = good.count("undecided")
    assert (f"{undecided} undecided" in text.splitlines()[0]) == bool(undecided)


def test_they_lie_beside_the_report(bad: Comparison, tmp_path: Path) -> None:
    document.write(bad, tmp_path)
    assert json.loads((tmp_path / "gl-code-quality.json").read_text())
    assert (tmp_path / "mail.txt").read_text() == notices.as_mail(bad)


def test_transactions_are_judged_and_told() -> None:
    def run(seed: int, rate: float) -> Run:
        info, trials = make_run(8, paths=("sriov",), workloads=("tcp-rr",), trials=1, seed=seed)
        slower = (
            msgspec.structs.replace(
                each, metrics=each.metrics | {"transactions": rate * each.metrics["transactions"]}
            )
            for each in trials
        )
        return Run(msgspec.structs.replace(info, run=f"made-{seed}"), tuple(slower))

    outcome = compare(run(1, 1.0), run(2, 0.5))
    verdicts = {change.metric: change.verdict for change in outcome.primary}
    assert verdicts["transactions"] == "regression" and "rtt_p50" in verdicts
    text = formats.as_openmetrics(
        (each for each in outcome.changes if each.new == each.new), outcome
    )
    place = 'path="sriov",workload="tcp-rr"'
    assert f'nicproof_verdict{{{place},metric="transactions",verdict="regression"}} 1' in text
    for name in ("exits", "irqs", "cpu"):
        assert f"nicproof_{name}_per_transaction{{{place}}} " in text
