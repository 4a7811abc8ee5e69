"""The main job: every path under the same workloads, in interleaved boots, every exit counted."""

from __future__ import annotations

import pytest

from harness.records.trial import TrialRecord


def test_path_carries_the_workload_and_proves_it(trial: TrialRecord) -> None:
    """The trial's traffic went over the path that the record names, and was measured whole."""
    if not trial.valid:
        pytest.fail("\n".join(trial.reasons), pytrace=False)
