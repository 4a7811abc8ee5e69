"""The rooms of the house, floor by floor, as the code's own imports have it:
`python -m suites.selftest.support.rooms`.

The floors are those of the contracts in pyproject.toml, which `make check` holds. Exit status 1 if
an arrow goes up.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence

import grimp

from harness.runs.suite import ROOT

PACKAGES = ("harness", "fixtures", "reports", "suites")


def floors() -> dict[str, list[list[str]]]:
    """Container -> its floors, the highest first, each with its rooms; "" is the top level."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contracts = (each for each in table["contracts"] if each["type"] == "layers")
    return {
        container: [floor.split(" | ") for floor in each["layers"]]
        for each in contracts
        for container in each.get("containers", [""])
    }


def below(graph: grimp.ImportGraph, container: str, room: str, rooms: Sequence[str]) -> list[str]:
    """The rooms of a container that one of them imports, by any module."""
    prefix = f"{container}." if container else ""
    inside = {prefix + room} | graph.find_descendants(prefix + room)
    found = {
        imported
        for module in inside
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return [
        each
        for each in rooms
        if each != room and any(f"{name}.".startswith(f"{prefix}{each}.") for name in found)
    ]


def main() -> int:
    """Print a line a room; 1 if a room imports one of a higher floor."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    up = 0
    for container, levels in floors().items():
        order = [room for level in levels for room in level]
        print(f"\n{container or 'the house'}")
        for level in levels:
            higher = set(order[: order.index(level[0])])
            for room in level:
                seen = below(graph, container, room, order)
                wrong = [each for each in seen if each in higher]
                up += len(wrong)
                arrow = f"-> {' '.join(seen)}" if seen else "-> nothing"
                print(f"  {room:<12} {arrow}{f'   UP: {wrong}' if wrong else ''}")
    print(f"\n{up} arrows go up.")
    return 1 if up else 0


if __name__ == "__main__":
    sys.exit(main())
