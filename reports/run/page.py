"""What all pages share: their templates, the names of their files, and how one is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context, select_autoescape
from jinja2.nodes import EvalContext
from markupsafe import Markup

from harness.core.metrics import Grounds
from harness.core.units import Clock, describe_clock
from reports.run import style, svg

if TYPE_CHECKING:
    from reports.run.canvas import Drawn  # and matplotlib with it, which not all pages need

HTML, MARKDOWN, FIGURES = "report.html", "report.md", "figures"

SCOPES: dict[Grounds, str] = {
    "silicon": "",
    "software": "for the software path, in virtual time",
    "lab": "in this lab; not evidence for silicon",
}
"""What a claim's verdict holds for."""


def write_whole(file: Path, text: str) -> None:
    """The file is complete or not there: it is renamed into its place."""
    unfinished = file.with_name(f".{file.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def templates(run_dir: Path) -> Environment:
    """The templates' environment; figures are those of this run."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=select_autoescape(["html.j2"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_without_tags,
    )
    environment.globals["on_dark"] = {svg.variable_of(c): d for c, d in style.ON_DARK.items()}
    environment.filters["drawing"] = lambda figure: _drawing(figure, run_dir / FIGURES)
    environment.filters["cell_md"] = _markdown_cell
    environment.filters["by_clock"] = _by_clock
    return environment


@pass_eval_context
def _without_tags(context: EvalContext, value: object) -> object:
    """What a template prints has no tag of its own; in HTML the template's escaping sees to it."""
    if context.autoescape or not isinstance(value, str):
        return value
    return value.replace("<", "&lt;")


def _drawing(figure: Drawn, directory: Path) -> Markup:
    """A figure as a part of the page."""
    drawing = (directory / f"{figure.name}.svg").read_text(encoding="utf-8")
    return Markup(svg.inline(drawing, figure.name, figure.text))


def _by_clock(clock: Clock) -> str:
    """What follows a fidelity."""
    words = describe_clock(clock)
    return f", {words}" if words else ""


def _markdown_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
