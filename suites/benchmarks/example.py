"""The examples that the README opens, made anew from a run of one's own:
`make example RUN_DIR=results/<run-id>`.

A comparison gives docs/example, a qualification docs/certificate. What is shown is what the
records say, but for the command: how the run's own machine is laid out is nobody's business.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from msgspec.structs import replace

from harness.core.crash import guarded
from harness.core.errors import ConfigError
from harness.records import cases
from harness.records.run import Run, load
from harness.records.store import open_run
from harness.runs.suite import ROOT
from reports.certificate import document as certificate
from reports.run import bars, canvas, frames, tables
from reports.run import document as report
from reports.run.page import FIGURES

FIRST = ("tcp-tx", "latency")
Sections = Mapping[str, Mapping[str, str]]


def make(run_dir: Path, docs: Path) -> list[Path]:
    """The files that were made, below `docs`. The run is left as it is. ConfigError if the
    directory holds no run."""
    with tempfile.TemporaryDirectory(prefix="nicproof-") as directory:
        copy = Path(directory, run_dir.name)
        shutil.copytree(run_dir, copy)
        if (copy / cases.CASES_FILE).exists():
            return _copied(_certificate(copy), docs / "certificate")
        return _copied(_report(copy), docs / "example")


def _report(run_dir: Path) -> list[Path]:
    with open_run(run_dir) as store:
        info = store.info()
        shown = _shown(info.environment, "nicproof bench")
        store.save_info(replace(info, environment=shown))
    page, _ = report.render(run_dir)
    return [page, *sorted((run_dir / FIGURES).glob("*.png")), _first(run_dir)]


def _first(run_dir: Path) -> Path:
    """What the README begins with: exits per packet, of FIRST only, so that the first command is
    on the same screen."""
    whole = load(run_dir)
    run = Run(whole.info, tuple(each for each in whole.trials if each.workload in FIRST))
    boots = frames.per_boot(frames.measurements(run))
    exits = frames.exits_per_boot(frames.exits(run))
    data = canvas.Data(run, boots, exits, {}, tables.estimates(boots))
    file = run_dir / "first.png"
    with rc_context(canvas.RC):
        made = bars.exits_per_packet(data)
        if made is None:
            raise ConfigError(f"{run_dir}: it has no exits of {' or '.join(FIRST)}")
        canvas.save(made[0], file)
    return file


def _certificate(run_dir: Path) -> list[Path]:
    subject = cases.load_subject(run_dir)
    shown = _shown(subject.sections, "nicproof qualify")
    cases.save(replace(subject, sections=shown), run_dir)
    certificate.render(run_dir)
    return sorted(run_dir.glob(f"{cases.CERTIFICATE}.*"))


def _shown(sections: Sections, command: str) -> dict[str, dict[str, str]]:
    told = {name: dict(section) for name, section in sections.items()}
    if "controller" in told:
        told["controller"]["command"] = command
    return told


def _copied(files: list[Path], into: Path) -> list[Path]:
    into.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(each, into / each.name)) for each in files]


def main(run_dir: Path) -> int:
    for path in make(run_dir, ROOT / "docs"):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(Path(sys.argv[1]))))
