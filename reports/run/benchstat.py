"""A run in the format that Go's benchstat reads, so that people can check us with their own tool.

The format: https://golang.org/design/14313-benchmark-format, and for what is better, the unit
metadata of golang.org/x/perf/benchfmt. A line is a boot, which is the sample here.

benchstat makes a table of its own of every set of configuration lines (`key: value`), and compares
within a table only (golang.org/x/perf/cmd/benchstat, "Configuring comparisons"). So what must be
the same in two runs that are compared is configuration here, and nothing else is: what tells one
run from another stands in comments, which no reader of the format looks at.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.core.metrics import metric_of
from harness.records.alike import PARAMETERS, fingerprint
from harness.records.run import Run
from harness.records.trial import IDLE
from reports.run import frames


def text(run: Run) -> str:
    """The whole run."""
    boots = frames.per_boot(frames.measurements(run))
    return "\n".join([*_head(run, boots), "", *_lines(boots)]) + "\n"


def _head(run: Run, boots: pd.DataFrame) -> Iterator[str]:
    info, same = run.info, fingerprint(run)
    # A run may have workloads that the other has not, so their parameters are no key of the whole.
    about = {"run": info.run, "nic": info.nic, PARAMETERS: same.pop(PARAMETERS), **info.options}
    for name, value in about.items():
        yield f"# {name}: {' '.join(value.split())}"
    for key, value in same.items():
        yield f"{key.lower().replace(' ', '-')}: {' '.join(value.split()) or 'none'}"
    for metric in dict.fromkeys(boots["metric"]):
        if (better := metric_of(metric).better) != "none":
            yield f"Unit {metric} better={better}"


def _lines(boots: pd.DataFrame) -> Iterator[str]:
    """`BenchmarkPath/workload=tcp-tx 1 4166 throughput ...`: units are the metrics' names, as
    benchstat knows of "ns/op" and "B/s" that they may be scaled, and ours may not."""
    keys = ["path", "workload", "variant", "block", "boot"]
    for (path, workload, variant, _, _), group in boots.groupby(keys):
        if workload != IDLE:
            values = zip(group["value"], group["metric"], strict=True)
            figures = " ".join(f"{value:.9g} {metric}" for value, metric in values)
            yield f"{_name(str(path), str(workload), str(variant))} 1 {figures}"


def _name(path: str, workload: str, variant: str) -> str:
    """A benchmark's name begins with a capital letter; benchstat splits by what follows a slash
    (`-col /variant`)."""
    name = f"Benchmark{path[:1].upper()}{path[1:]}/workload={workload}"
    return f"{name}/variant={variant}" if variant else name
