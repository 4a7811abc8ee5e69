"""Pages in a real browser without a screen: what a script finds in them.

One process a page and nothing to drive it by: the script that looks is part of the page, and what
it found is read from the document that Chromium prints in the end.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from harness.hosts.local import LocalHost

NAMES = ("chromium", "chromium-browser", "google-chrome")

_SECONDS = 120.0
_FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--virtual-time-budget=60000", "--window-size=1400,1000", "--dump-dom",
)  # fmt: skip

# A window has 500 px at least, a frame as few as one likes.
_AROUND = """<!DOCTYPE html><html lang="en"><head><title></title>
<meta name="color-scheme" content="light dark"></head><body>
<iframe title="page" style="width: 1280px; height: 900px; border: 0" srcdoc="{page}"></iframe>
</body></html>"""

_LOOK = """<script>
addEventListener("load", async () => {
  const tell = (found) => { parent.document.title = JSON.stringify(found); };
  const look = async () => { %s };
  try { tell({ found: await look() }); } catch (error) { tell({ error: `${error}` }); }
});
</script></body>"""


def program() -> str:
    """The browser's; skips the test that asks for it where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"pages in a browser: none of {', '.join(NAMES)} is installed")
    return found


def look(page: str, script: str, *, dark: bool = False) -> Any:
    """What `script` returns, the body of an async function that runs in the loaded page. The page
    is in a frame of 1280 px: `frameElement.style.width` makes it another."""
    whole = page.replace("</body>", _LOOK % script)
    assert whole != page
    with tempfile.TemporaryDirectory(prefix="nicproof-browser-") as directory:
        file = Path(directory) / "page.html"
        file.write_text(_AROUND.format(page=html.escape(whole)), encoding="utf-8")
        argv = (
            program(), *_FLAGS, *(("--no-sandbox",) if os.geteuid() == 0 else ()),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={directory}/profile", file.as_uri(),
        )  # fmt: skip
        printed = LocalHost().run(argv, timeout=_SECONDS)
    title = printed.text.partition("<title>")[2].partition("</title>")[0]
    assert title, f"the page told nothing: {printed.error}"
    outcome = json.loads(html.unescape(title))
    assert "error" not in outcome, outcome["error"]
    return outcome["found"]


def axe() -> str:
    """The source of axe-core, which looks for what keeps people from reading a page."""
    return (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
