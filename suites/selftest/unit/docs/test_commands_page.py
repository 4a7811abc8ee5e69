"""docs/commands.md is what the commands say of themselves."""

from __future__ import annotations

from harness.cli.main import COMMANDS
from harness.cli.page import page
from harness.runs.suite import ROOT


def test_the_page_of_commands_is_of_these_commands() -> None:
    made = page()
    written = (ROOT / "docs/commands.md").read_text()
    assert made == written, "python -m harness.cli.page > docs/commands.md"
    for each in COMMANDS:
        assert f"\n## nicproof {each.__name__.rpartition('.')[2]}\n" in made
    assert "\n- `--exit-cost NS`: " in made and "\n## nicproof lab shell\n" in made
