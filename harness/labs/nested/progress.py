"""What a person sees while the lab is made: one bar over all steps, or a line a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Steps:
    """Named steps, each with its expected share of the time, reported as they go by."""

    def __init__(self, shares: dict[str, float], console: Console | None, bar: Progress) -> None:
        self._console, self._bar = console, bar
        self._ends: dict[str, tuple[float, float]] = {}
        done = 0.0
        for name, share in shares.items():
            self._ends[name] = (done, done := done + share)
        self._task: TaskID = bar.add_task("", total=done)
        self._now = self._text = ""
        self._quarters = 0  # of the step, that have been told where there is no bar

    def step(self, name: str, detail: str = "") -> None:
        """`name` begins now."""
        self._now, self._text, self._quarters = name, f"{name} {detail}".strip(), 0
        self._bar.update(self._task, completed=self._ends[name][0], description=self._text)
        if self._in_lines:
            self.say(self._text)

    @property
    def _in_lines(self) -> bool:
        return self._console is not None and not self._console.is_terminal

    def fraction(self, done: float) -> None:
        """How much of the current step is done, 0 to 1."""
        begin, end = self._ends[self._now]
        share = min(max(done, 0.0), 1.0)
        self._bar.update(self._task, completed=begin + share * (end - begin))
        quarters = int(4 * share)
        if self._in_lines and self._quarters < quarters < 4:
            self._quarters = quarters
            self.say(f"{self._text}, {25 * quarters} %")

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._console is not None:
            self._console.print(f"nicproof: {line}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def shown(shares: dict[str, float], wanted: bool) -> Iterator[Steps]:
    """The display, on standard error; silent unless `wanted`."""
    console = Console(stderr=True) if wanted else None
    bar = Progress(
        TextColumn("nicproof:"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=console is None or not console.is_terminal,
    )
    with bar:
        yield Steps(shares, console, bar)
