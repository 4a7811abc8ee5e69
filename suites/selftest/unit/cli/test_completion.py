"""The Tab key: a real bash completes what is declared."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from harness import paths, workloads
from harness.cli.main import COMMANDS
from harness.core.metrics import METRICS
from harness.hosts.local import LocalHost
from harness.records import ablation
from harness.records.cases import FAMILIES
from suites.selftest.support import command

TAB = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$(complete -p nicproof | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
"""What bash does when the Tab key is pressed at the end of the last word."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = command.nicproof("completion", "bash")
    assert result.returncode == 0, result.error
    file = tmp_path_factory.mktemp("completion") / "nicproof.bash"
    file.write_text(result.text)
    return file


def tab(script: Path, line: str) -> set[str]:
    """What a line can go on with; an open word ends it."""
    words = shlex.join([*line.split(" ")])
    text = TAB.format(script=script, words=words)
    return set(LocalHost().run(("bash", "-c", text)).text.split())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("nicproof bench --paths ", {path.name for path in paths.ALL}),
        ("nicproof bench --paths virtio-", {"virtio-vhost"}),
        ("nicproof ab --paths sriov,nat", {"sriov,native"}),
        ("nicproof bench --workloads tcp-tx,lat", {"tcp-tx,latency"}),
        ("nicproof bench --workloads ", set(workloads.NAMES)),
        ("nicproof qualify --family ", set(FAMILIES)),
        ("nicproof ab --ablate ", set(ablation.NAMES)),
        ("nicproof bench --vhost ", {"on", "off"}),
        ("nicproof history plot ", set(METRICS)),
        ("nicproof history plot rtt_p50 --path sri", {"sriov"}),
        ("nicproof report --explain nat", {"native"}),
        ("nicproof completion z", {"zsh"}),
        ("nicproof bench --confi", {"--confirm"}),
        ("nicproof lab st", {"status"}),
    ],
)
def test_words_are_those_that_are_declared(script: Path, line: str, found: set[str]) -> None:
    assert tab(script, line) == found


def test_every_command_is_completed(script: Path) -> None:
    assert {each.__name__.rpartition(".")[2] for each in COMMANDS} <= tab(script, "nicproof ")


def test_a_run_is_a_directory_and_an_inventory_a_file(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "lab.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert tab(script, "nicproof report ") == {"results"}
    assert tab(script, "nicproof doctor --inventory la") == {"lab.toml"}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_can_read_its_script(tmp_path: Path) -> None:
    file = tmp_path / "_nicproof"
    file.write_text(command.nicproof("completion", "zsh").checked().text)
    LocalHost().run(("zsh", "-n", str(file)))
