"""The options of a comparison run, defined once for `nicproof bench` and for pytest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, get_args

from harness import paths, series, store, workloads
from harness.errors import ConfigError
from harness.paths.base import PathOptions
from harness.qualify.record import CASES_FILE
from harness.units import ClockChoice

BOOTS, QUICK_BOOTS = 6, 2
"""Six boots are the fewest with which a paired sign-flip test can reach p < 0.05 (2/2^6)."""


@dataclass(frozen=True)
class Option:
    """One command-line option; `keywords` as argparse's add_argument takes them."""

    flag: str
    help: str
    keywords: dict[str, Any]


def _option(flag: str, help: str, **keywords: Any) -> Option:
    return Option(flag, help, keywords)


OPTIONS = (
    _option(
        "--paths",
        f"comma-separated network paths; of {', '.join(path.name for path in paths.ALL)}",
        default=",".join(paths.DEFAULT),
        metavar="NAMES",
    ),
    _option(
        "--workloads",
        f"comma-separated workloads; of {', '.join(workloads.NAMES)}",
        default=",".join(workloads.NAMES),
        metavar="NAMES",
    ),
    _option("--boots", f"boots of each path (default {BOOTS})", type=int, metavar="N"),
    _option("--quick", f"{QUICK_BOOTS} boots; figures are indicative only", action="store_true"),
    _option(
        "--clock",
        "virtual: 1 ns an instruction, so that times repeat on any machine (nested lab only); "
        "wall: the world's; auto (default): virtual where the lab is emulated, else wall",
        default="auto",
        choices=get_args(ClockChoice),
    ),
    _option("--seed", "seed of the order of boots (default: drawn, recorded)", type=int),
    _option("--run-dir", "where the results go (default results/<run-id>)", metavar="DIR"),
    _option("--name", "the series that this run belongs to in the history, e.g. main", default=""),
    _option(
        "--history",
        "where the history of runs is kept: a file, or postgresql://user@host/database (default "
        "$NICPROOF_HISTORY, else ~/.local/share/nicproof/history.db)",
        metavar="WHERE",
    ),
    _option("--no-history", "keep this run out of the history", action="store_true"),
    _option(
        "--udp-rate", "rate of the udp workload in Mbit/s (default 2)", type=float, metavar="MBITS"
    ),
    _option(
        "--explain",
        "print at the end where the time of a packet on this path goes: guest, exits, vhost, QEMU",
        metavar="PATH",
    ),
    _option("--vfio", "further properties of vfio-pci, e.g. x-no-mmap=on", default=""),
    _option("--virtio", "further properties of virtio-net-pci, e.g. packed=on", default=""),
    _option(
        "--guest-image",
        "a disk image with qemu-guest-agent to boot instead of the micro guest",
        metavar="FILE",
    ),
)


class _Namespace(Protocol):
    paths: str
    workloads: str
    boots: int | None
    quick: bool
    seed: int | None
    run_dir: str | None
    vfio: str
    virtio: str
    guest_image: str | None
    udp_rate: float | None
    clock: ClockChoice
    explain: str | None
    name: str
    history: str | None
    no_history: bool


@dataclass(frozen=True)
class BenchOptions:
    """A comparison run as asked for, checked."""

    run: str
    run_dir: Path
    paths: tuple[str, ...]
    workloads: tuple[str, ...]
    boots: int
    seed: int
    path_options: PathOptions
    guest_image: Path | None
    quick: bool
    udp_rate: int | None  # bit/s; None: the workload's own
    clock: ClockChoice
    explain: str  # a path, or none
    name: str  # of the series in the history; "" for none
    history: str | None  # where that is; None: the default
    kept: bool  # there, at the end

    @classmethod
    def of(cls, given: _Namespace) -> BenchOptions:
        """From parsed options; ConfigError names the option that cannot be."""
        boots = given.boots or (QUICK_BOOTS if given.quick else BOOTS)
        if boots < 1:
            raise ConfigError(f"--boots {boots}: at least one boot of each path is needed")
        image = Path(given.guest_image).resolve() if given.guest_image else None
        if image is not None and not image.is_file():
            raise ConfigError(f"--guest-image {given.guest_image}: no such file")
        return cls(
            run=new_run(),
            run_dir=free_run_dir(given.run_dir),
            paths=tuple(path.name for path in paths.select(_names(given.paths))),
            workloads=workloads.select(_names(given.workloads)),
            boots=boots,
            seed=random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed,
            path_options=PathOptions(vfio=given.vfio, virtio=given.virtio),
            guest_image=image,
            quick=given.quick,
            udp_rate=_udp_rate(given.udp_rate),
            clock=given.clock,
            explain=_explain(given.explain, given.paths),
            name=series.checked(given.name),
            history=given.history,
            kept=_kept(given),
        )

    def recorded(self) -> dict[str, str]:
        """What was varied, for RunInfo.options."""
        chosen = {
            "vfio": self.path_options.vfio,
            "virtio": self.path_options.virtio,
            "guest image": str(self.guest_image or ""),
            "quick": "yes" if self.quick else "",
        }
        return {key: value for key, value in chosen.items() if value}


def add_to(add: Callable[..., Any], options: Iterable[Option] = OPTIONS) -> None:
    """Register options with argparse's or pytest's adding function."""
    for option in options:
        add(option.flag, help=option.help, **option.keywords)


def new_run() -> str:
    """A run's id: when it was asked for, UTC."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def free_run_dir(asked: str | None) -> Path:
    """The directory for a run's results; ConfigError if it holds those of another."""
    run_dir = Path(asked or f"results/{new_run()}").resolve()
    if any((run_dir / name).exists() for name in (store.FILENAME, CASES_FILE)):
        raise ConfigError(
            f"--run-dir {asked}: already holds a run",
            remedy="choose another directory, or remove that one",
        )
    return run_dir


def as_arguments(given: object, options: Iterable[Option] = OPTIONS) -> list[str]:
    """Parsed options as pytest takes them: only those that were given a value."""
    arguments = []
    for option in options:
        value = getattr(given, option.flag.strip("-").replace("-", "_"))
        if value is True:
            arguments.append(option.flag)
        elif value not in (None, False, ""):
            arguments.append(f"{option.flag}={value}")
    return arguments


def _explain(path: str | None, chosen: str) -> str:
    if path and path not in _names(chosen):
        raise ConfigError(
            f"--explain {path}: not one of the run's paths", remedy=f"choose from {chosen}"
        )
    return path or ""


def _kept(given: _Namespace) -> bool:
    for flag, value in (("--name", given.name), ("--history", given.history)):
        if given.no_history and value:
            raise ConfigError(f"--no-history and {flag} {value}: one or the other")
    return not given.no_history


def _udp_rate(mbits: float | None) -> int | None:
    if mbits is None:
        return None
    if not 0 < mbits < 1e6:
        raise ConfigError(f"--udp-rate {mbits:g}: a rate in Mbit/s above 0 is needed")
    return round(mbits * 1e6)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
