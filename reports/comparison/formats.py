"""A comparison as other tools read it.

A figure that the new side lacks has no value: formats of values leave it out, JUnit calls it an
error, and OpenMetrics has its verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from xml.etree import ElementTree

from harness.comparison.outcome import Comparison
from harness.comparison.verdict import LOST, RANK, Change, Verdict
from harness.core.metrics import metric_of
from reports.comparison.words import headline, trials


def every(outcome: Comparison) -> dict[str, str]:
    """File name -> content."""
    measured = [change for change in outcome.changes if not math.isnan(change.new)]
    return {
        "regression.json": as_json(outcome),
        "regression-junit.xml": as_junit(outcome),
        "benchmark-bigger-is-better.json": as_github_benchmark(measured, "higher"),
        "benchmark-smaller-is-better.json": as_github_benchmark(measured, "lower"),
        "bencher.json": as_bencher(measured),
        "metrics.txt": as_openmetrics(measured, outcome),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity, and no NaN."""
    return value if math.isfinite(value) else None


def as_json(outcome: Comparison) -> str:
    """Everything, for a program of one's own."""
    rows = [
        {
            "path": change.path,
            "workload": change.workload,
            "metric": change.metric,
            "unit": metric_of(change.metric).unit,
            "primary": change.primary,
            "verdict": change.verdict,
            "why": change.why,
            "base": _finite(change.base),
            "new": _finite(change.new),
            "ratio": _finite(change.shift.ratio),
            "interval": [
                _finite(end) if change.shift.bounded else None
                for end in (change.shift.low, change.shift.high)
            ],
            "p": _finite(change.p),
            "boots": change.shift.boots,
            "baseline": change.baseline,
            "exits": change.exits,
            "causes": change.causes,
        }
        for change in outcome.changes
    ]
    whole = {
        "base": outcome.base_name,
        "new": outcome.new_name,
        "base_options": outcome.base.info.options,
        "new_options": outcome.new.info.options,
        "method": outcome.method.name,
        "level": outcome.method.level,
        "headline": headline(outcome),
        "warnings": outcome.warnings,
        "finished": {side.label: side.info.finished for side in outcome.sides},
        "trials": [
            {"side": side, "path": path, "workload": workload, **ended}
            for side, path, workload, ended in _trials(outcome)
        ],
        "changes": rows,
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _trials(outcome: Comparison) -> Iterator[tuple[str, str, str, dict[str, int]]]:
    """How the trials of each side, path and workload ended."""
    for side in outcome.sides:
        for (path, workload), tally in side.tallies.items():
            yield side.label, path, workload, asdict(tally)


def as_junit(outcome: Comparison) -> str:
    """JUnit XML: a test case a primary figure; a regression fails, what the new side lacks is an
    error, and what cannot be told is skipped. The suite's output holds trials and warnings."""
    primary = outcome.primary
    suite = ElementTree.Element(
        "testsuite",
        name="nicproof compare",
        tests=str(len(primary)),
        failures=str(sum(change.verdict == "regression" for change in primary)),
        skipped=str(sum(change.verdict in _SKIPPED for change in primary)),
        errors=str(sum(change.verdict in LOST for change in primary)),
    )
    for change in primary:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{change.path}.{change.workload}", name=change.metric
        )
        if change.verdict in LOST:
            ElementTree.SubElement(case, "error", message=change.why, type=change.verdict)
        elif change.verdict == "regression":
            answer = f"{change.base:.6g} -> {change.new:.6g} {metric_of(change.metric).unit}"
            failure = ElementTree.SubElement(case, "failure", message=answer)
            failure.text = "\n".join(change.exits)
        elif change.verdict in _SKIPPED:
            message = f"{change.verdict}: {change.why}"
            ElementTree.SubElement(case, "skipped", message=message)
    output = ElementTree.SubElement(suite, "system-out")
    output.text = "\n".join((*trials(outcome), *outcome.warnings))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


_SKIPPED: tuple[Verdict, ...] = ("undecided", "only in new")


def as_github_benchmark(changes: Iterable[Change], better: str) -> str:
    """The custom formats of github-action-benchmark, which wants a file for each direction."""
    rows = [
        {
            "name": change.name,
            "unit": metric_of(change.metric).unit,
            "value": change.new,
            **_range(change),
        }
        for change in changes
        if metric_of(change.metric).better == better
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _range(change: Change) -> dict[str, str]:
    """By how much boots vary, which one alone does not tell."""
    if max(change.shift.boots) < 2:
        return {}
    return {"range": f"± {100 * change.shift.scale:.2g} %"}


def as_bencher(changes: Iterable[Change]) -> str:
    """Bencher's metric format (BMF): benchmark -> measure -> value."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for change in changes:
        measures = found.setdefault(f"{change.path}/{change.workload}", {})
        measures[change.metric] = {"value": change.new}
    return json.dumps(found, indent=1) + "\n"


def as_openmetrics(measured: Iterable[Change], outcome: Comparison) -> str:
    """OpenMetrics text: a gauge a metric, labelled by path and workload; how the trials of each
    side ended; and the verdict on each primary figure, and how many have which. GitLab, which reads
    it as its metrics report, shows a verdict that is not the target branch's as new."""
    by_metric: dict[str, list[str]] = {}
    for each in measured:
        labels = f'path="{each.path}",workload="{each.workload}"'
        by_metric.setdefault(each.metric, []).append(f"{{{labels}}} {each.new!r}")
    lines: list[str] = []
    for metric, samples in by_metric.items():
        meaning = metric_of(metric)
        lines += _family(f"nicproof_{metric}", f"{meaning.label} ({meaning.unit})", samples)
    ended = [
        f'{{side="{side}",path="{path}",workload="{workload}",ended="{how}"}} {count}'
        for side, path, workload, tally in _trials(outcome)
        for how, count in tally.items()
    ]
    lines += _family("nicproof_trials", "Trials by how they ended", ended)
    judged = [
        f'{{path="{each.path}",workload="{each.workload}",metric="{each.metric}",'
        f'verdict="{each.verdict}"}} 1'
        for each in outcome.primary
    ]
    lines += _family("nicproof_verdict", "The verdict on each figure that decides", judged)
    verdicts = [f'{{verdict="{each}"}} {outcome.count(each)}' for each in RANK]
    lines += _family("nicproof_figures", "Figures that decide, by verdict", verdicts)
    return "\n".join([*lines, "# EOF", ""])


def _family(name: str, message: str, samples: Iterable[str]) -> list[str]:
    """A gauge with its samples, each as its labels and its value."""
    return [
        f"# TYPE {name} gauge", f"# HELP {name} {message}", *(f"{name}{each}" for each in samples)
    ]  # fmt: skip
