"""Where the report of a run is: in the directory that the run had when it was added, if it still is
that run's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from harness.records.history.base import Place
from harness.records.store import ASKED_FILE


@dataclass(frozen=True)
class Report:
    """The report of a run, or why there is none to be linked to."""

    address: str = ""  # relative to a site's directory; "" for none
    why: str = ""

    @property
    def short(self) -> str:
        return self.why.partition(" at ")[0]

    def seen_from(self, prefix: str) -> str:
        """The address on a page in the directory from which `prefix` leads up."""
        return prefix + self.address if self.address else ""


class _Asked(msgspec.Struct):
    """What of a run's own document tells whose directory it is."""

    run: str = ""


class Reports:
    """The reports of runs, for pages in the directory `site`."""

    def __init__(self, places: Mapping[str, Sequence[Place]], site: Path) -> None:
        self._places = places
        self._site = site
        self._found: dict[str, Report] = {}

    def of(self, digest: str, run: str, page: str) -> Report:
        """The page of that name in the directory of a run."""
        if digest not in self._found:
            self._found[digest] = self._look(self._places.get(digest, ()), run, page)
        return self._found[digest]

    def _look(self, places: Sequence[Place], run: str, page: str) -> Report:
        for place in places:
            file = place.directory / page
            if _is_of(place.directory, run) and os.path.exists(file):
                return Report(quote(os.path.relpath(file, self._site)))
        if not places:
            return Report(why="place not known")
        where = " and ".join(f"{place.machine}:{place.directory}" for place in places)
        return Report(why=f"no report at {where}")


def _is_of(directory: Path, run: str) -> bool:
    """Is the directory that run's? Another one may have come into its place since."""
    try:
        asked = msgspec.json.decode((directory / ASKED_FILE).read_bytes(), type=_Asked)
    except FileNotFoundError:  # a copy of the records alone, or of before that was written
        return True
    except (OSError, msgspec.MsgspecError):
        return False
    return asked.run in ("", run)
