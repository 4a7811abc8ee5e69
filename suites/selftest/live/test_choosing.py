"""Which machine a lab has where its QEMU cannot be built: here, for want of mmdebstrap."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.core.errors import MissingCapability
from harness.core.xdg import cache_root
from harness.labs.nested import accel
from harness.labs.nested.choosing import AGAIN, choose, failure, source
from harness.labs.nested.image import LabImage, current_image, is_built
from harness.labs.shape import LabShape

pytestmark = pytest.mark.lab


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabImage:
    """The lab's, on a controller that has no QEMU from source, no KVM, and few programs."""
    if not is_built():
        pytest.skip("the lab's image (make it with: nicproof lab build)")
    found = current_image()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answers = cache_root() / "accelerators.json"
    answers.parent.mkdir(parents=True)
    answers.write_text(
        f'{{"kvm": {{"{accel.machine_identity()}, QEMU {found.qemu_version}": false}}}}'
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("unshare", "true", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(programs))
    return found


def test_a_lab_has_one_cpu_where_its_qemu_cannot_be_built(
    image: LabImage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image.toolchain.fixed_qemu is not None
    assert choose(image, LabShape()).accel == accel.VIRTUAL
    printed = capsys.readouterr()
    assert "one CPU" in printed.err + printed.out and AGAIN in printed.err + printed.out
    assert "mmdebstrap" in failure(source(image)).read_text()


def test_what_failed_is_not_tried_again_but_when_asked(image: LabImage) -> None:
    choose(image, LabShape())
    failure(source(image)).write_text("no source to be had\nand more")
    assert choose(image, LabShape()).accel == accel.VIRTUAL
    with pytest.raises(MissingCapability, match="no source to be had") as refused:
        choose(image, LabShape(cpus=4))
    assert refused.value.remedy == AGAIN
    for shape, again in ((LabShape(), True), (LabShape("virtual-smp"), False)):
        with pytest.raises(MissingCapability, match="mmdebstrap"):
            choose(image, shape, again=again)
