#!/bin/sh
# The C compiler as QEMU's build calls it. Only what emulates is optimised: the rest runs seldom, and
# compiles in half the time. What is optimised does without QEMU's two defences of registers and
# variables against exploits, a few per cent of the emulation's time: what runs in there is ours.
for source; do :; done
case $source in
../accel/tcg/* | ../tcg/* | ../target/i386/tcg/* | ../util/* | ../system/cpu* | \
    ../system/memory.c | ../system/physmem.c | ../net/net.c | ../net/queue.c | ../net/hub.c | \
    ../hw/net/* | ../hw/virtio/virtio* | ../hw/intc/* | ../hw/pci/msi* | ../hw/pci/pci.c | \
    ../hw/i386/*iommu.c)
    exec gcc "$@" -fzero-call-used-regs=skip -ftrivial-auto-var-init=uninitialized
    ;;
../fpu/*) exec gcc "$@" -O1 ;; # an eighth of the whole, if optimised, and guests seldom need it
*) exec gcc "$@" -O0 ;;
esac
