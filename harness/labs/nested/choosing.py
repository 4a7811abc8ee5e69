"""Which machine L1 is to be: under which QEMU, by which clock, with how many CPUs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness.core.errors import HarnessError, LabError, MissingCapability
from harness.labs.nested import accel, debian, qemusource
from harness.labs.nested.accel import Accelerator
from harness.labs.nested.image import SUITE, LabImage
from harness.labs.nested.progress import shown
from harness.labs.nested.qemusource import Source
from harness.labs.nested.toolchain import Toolchain
from harness.labs.nested.vm import LabMachine
from harness.labs.shape import LabShape

AGAIN = "nicproof lab build"
"""The command that tries a build that failed once more."""


def choose(
    image: LabImage, shape: LabShape, *, progress: bool = True, again: bool = False
) -> LabMachine:
    """The machine for this controller; the first call for an image probes KVM, and builds QEMU.

    Where a build once failed, the clock `auto` does without it, unless it is to be tried `again`.
    Raises MissingCapability or LabError if this lab cannot be had as it is asked for.
    """
    if _takes_kvm(image, shape):
        return _machine(image, accel.KVM, shape)
    if shape.clock == "wall":
        return _machine(image, accel.TCG, shape)
    if shape.clock == "virtual":
        return _by_one_cpu(image, shape)
    if shape.needs_smp or again:
        return _by_several(image, shape, progress)
    return _by_several_if_it_can(image, shape, progress)


def _takes_kvm(image: LabImage, shape: LabShape) -> bool:
    return shape.may_use_kvm and accel.kvm_works(image.toolchain, image.qemu_version)


def _machine(
    image: LabImage, usual: Accelerator, shape: LabShape, built: Path | None = None
) -> LabMachine:
    return LabMachine(image, usual.shaped(shape), built)


def _by_one_cpu(image: LabImage, shape: LabShape) -> LabMachine:
    """Under Debian's QEMU, mended."""
    if image.toolchain.fixed_qemu is None:
        raise MissingCapability(
            "virtual time of one CPU",
            accel.unmended(image.qemu_version),
            remedy="--clock virtual-smp, for which QEMU is built from source, or --clock wall",
        )
    return _machine(image, accel.VIRTUAL, shape)


def _by_several(image: LabImage, shape: LabShape, progress: bool) -> LabMachine:
    """Under a QEMU from source."""
    wanted = source(image)
    with shown(qemusource.SHARES, progress) as steps:
        built = qemusource.ensure_build(wanted, steps)
    output = Toolchain(image.root, built).qemu_version()
    if output != image.qemu_version:
        raise LabError(f"{built} is QEMU {output}, but the lab's image has {image.qemu_version}")
    failure(wanted).unlink(missing_ok=True)
    return _machine(image, accel.SMP, shape, built)


def _by_several_if_it_can(image: LabImage, shape: LabShape, progress: bool) -> LabMachine:
    """Else by one CPU, or by the world's clock; why is told, and kept for the next one."""
    wanted = source(image)
    why = _failed(wanted)
    if not why:
        try:
            return _by_several(image, shape, progress)
        except HarnessError as error:
            why = error.message
            with suppress(OSError):
                failure(wanted).write_text(why)
    if shape.cpus not in (None, 1):
        raise MissingCapability(f"virtual time of {shape.cpus} CPUs", why, remedy=AGAIN)
    with shown({}, progress) as steps:
        line = why.partition("\n")[0]
        steps.say(f"one CPU, for QEMU cannot be built here ({line}); `{AGAIN}` tries it again")
    with suppress(MissingCapability):
        return _by_one_cpu(image, replace(shape, cpus=None))
    return _machine(image, accel.TCG, replace(shape, cpus=None))


def source(image: LabImage) -> Source:
    """Of the image's QEMU."""
    return qemusource.source_of(image.packages, SUITE, debian.mirror())


def failure(wanted: Source) -> Path:
    """Says why that QEMU could not be built, if it could not."""
    return qemusource.builds() / f"{wanted.key}.failed"


def _failed(wanted: Source) -> str:
    try:
        return failure(wanted).read_text()
    except OSError:
        return ""


def usual(image: LabImage, each: Accelerator) -> LabMachine:
    """The machine that usually runs by an accelerator, if what it takes is there."""
    smp = each.clock == "virtual-smp"
    return LabMachine(image, each, qemusource.program(source(image).key) if smp else None)
