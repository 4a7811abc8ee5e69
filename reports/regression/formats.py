"""A comparison as other tools read it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from xml.etree import ElementTree

from reports.frames import metric_of
from reports.regression.outcome import Outcome
from reports.regression.verdict import Change


def every(outcome: Outcome) -> dict[str, str]:
    """File name -> content."""
    changes = outcome.changes
    return {
        "regression.json": as_json(outcome),
        "regression-junit.xml": as_junit(changes),
        "benchmark-bigger-is-better.json": as_github_benchmark(changes, "higher"),
        "benchmark-smaller-is-better.json": as_github_benchmark(changes, "lower"),
        "bencher.json": as_bencher(changes),
        "metrics.txt": as_openmetrics(changes),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def as_json(outcome: Outcome) -> str:
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
            "base": change.base,
            "new": change.new,
            "ratio": _finite(change.shift.ratio),
            "interval": [_finite(change.shift.low), _finite(change.shift.high)],
            "p": change.p,
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
        "changes": rows,
    }
    return json.dumps(whole, indent=1) + "\n"


def as_junit(changes: Iterable[Change]) -> str:
    """JUnit XML: a test case a primary figure; a regression fails, what is undecided is skipped."""
    primary = [change for change in changes if change.primary]
    suite = ElementTree.Element(
        "testsuite",
        name="nicproof compare",
        tests=str(len(primary)),
        failures=str(sum(change.verdict == "regression" for change in primary)),
        skipped=str(sum(change.verdict == "undecided" for change in primary)),
        errors="0",
    )
    for change in primary:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{change.path}.{change.workload}", name=change.metric
        )
        said = f"{change.base:.6g} -> {change.new:.6g} {metric_of(change.metric).unit}"
        if change.verdict == "regression":
            failure = ElementTree.SubElement(case, "failure", message=said)
            failure.text = "\n".join(change.exits)
        elif change.verdict == "undecided":
            ElementTree.SubElement(case, "skipped", message=change.why)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_github_benchmark(changes: Iterable[Change], better: str) -> str:
    """The custom formats of github-action-benchmark, which wants a file for each direction."""
    rows = [
        {
            "name": change.name,
            "unit": metric_of(change.metric).unit,
            "value": change.new,
            "range": f"± {100 * change.shift.scale:.2g} %",
        }
        for change in changes
        if metric_of(change.metric).better == better
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def as_bencher(changes: Iterable[Change]) -> str:
    """Bencher's metric format (BMF): benchmark -> measure -> value."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for change in changes:
        measures = found.setdefault(f"{change.path}/{change.workload}", {})
        measures[change.metric] = {"value": change.new}
    return json.dumps(found, indent=1) + "\n"


def as_openmetrics(changes: Iterable[Change]) -> str:
    """OpenMetrics text: a gauge a metric, labelled by path and workload."""
    by_metric: dict[str, list[Change]] = {}
    for change in changes:
        by_metric.setdefault(change.metric, []).append(change)
    lines = []
    for metric, group in by_metric.items():
        name = f"nicproof_{metric}"
        unit = metric_of(metric).unit
        lines += [f"# TYPE {name} gauge", f"# HELP {name} {metric_of(metric).label} ({unit})"]
        lines += [
            f'{name}{{path="{each.path}",workload="{each.workload}"}} {each.new!r}'
            for each in group
        ]
    return "\n".join([*lines, "# EOF", ""])
