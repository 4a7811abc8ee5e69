"""Which worker of pytest-xdist gets which file of tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from xdist.scheduler import LoadFileScheduling

LABS = 2
"""Workers with a lab at once: each takes a core and more. A third one has what needs none, much of
which waits for something."""


class TwoLabs(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """One worker gets all files that share the lab of the session, so that it is opened once, and
    no more than LABS have files with a lab while there are others. (pytest-xdist's own
    --dist=loadgroup does nothing with pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "lab" if _shares_lab(self.config.rootpath / file) else file

    def _assign_work_unit(self, node: Any) -> None:
        others = [unit for each, unit in self.assigned_work.items() if each is not node]
        if sum(map(self._has_lab, others)) >= LABS:
            scope = next((each for each in self.workqueue if not self._needs_lab(each)), None)
            if scope is not None:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _has_lab(self, assigned: dict[str, dict[str, bool]]) -> bool:
        """Of what a worker has been given, whether a file with a lab is still to be done."""
        return any(
            self._needs_lab(scope) and not all(done.values()) for scope, done in assigned.items()
        )

    def _needs_lab(self, scope: str) -> bool:
        return scope == "lab" or _marked(self.config.rootpath / scope)


@cache
def _marked(file: Path) -> bool:
    return "mark.lab" in file.read_text()


@cache
def _shares_lab(file: Path) -> bool:
    """A file whose fixture `lab` is its own, or which has commands open theirs, may run on any
    worker. `settled` looks at the session's lab."""
    text = file.read_text()
    shares = "lab:" in text or '"settled"' in text
    return _marked(file) and "def lab(" not in text and shares
