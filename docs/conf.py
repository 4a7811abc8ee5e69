"""The documents as a site: `make docs`. Their source is Markdown that GitHub shows as well, so the
tree is the repository's and every link is one between files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

project = "nicproof"
html_title = "nicproof"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "build", "results", "harness", "suites", "fixtures", "reports"]
extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 3
highlight_language = "none"  # most of what is shown is typed, or printed
html_theme = "furo"
html_copy_source = False
html_show_copyright = False


def add_contents(_: Sphinx, name: str, source: list[str]) -> None:
    """The README of a directory leads to the pages beside it, in the order of its links."""
    if name.startswith("docs/") and name.endswith("/README"):
        pages = dict.fromkeys(re.findall(r"\]\(([^/)#]+)\.md[)#]", source[0]))
        source[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def open_files(_: Sphinx, document: nodes.document, name: str) -> None:
    """A link to a file that is no page opens it, where Sphinx would have it downloaded."""
    for found in list(document.findall(addnodes.download_reference)):
        place = os.path.relpath(f"_downloads/{found['filename']}", Path(name).parent)
        found.replace_self(nodes.reference("", "", *found.children, refuri=place))


def first_page(app: Sphinx, _: Exception | None) -> None:
    """The site's own address leads to its first page."""
    to = f'<meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
    Path(app.outdir, "index.html").write_text(to)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", add_contents)
    app.connect("doctree-resolved", open_files)
    app.connect("build-finished", first_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
