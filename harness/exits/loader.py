"""Puts three small BPF programs into the kernel that count and time a guest's VM exits.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 on x86-64 Linux (at
least 5.15) and nothing else. `harness.exits.accounting` sends its text to `python3 -I -S -`,
followed by a call of `main` with the specification, a dict:

    directory      where the programs and the counts are pinned, on a bpffs; is made. "": they are
                   only tried, and go with this program
    tids           the vCPU threads to count
    event          id of the kvm_exit trace event, from its `id` file
    reason_offset  where that event holds exit_reason, from its `format` file

kvm_exit notes the time and the reason for its thread; the thread's next kvm_entry adds the time
from exit to entry to the reason's count, and how much of it the thread was on a CPU. For that,
sched_switch notes when it leaves its CPU, and on each CPU when the last switch was: the last one
before a thread is seen on a CPU is the one that brought it. So no argument of sched_switch is read,
whose order changed between kernels (prev_state in 5.18, include/trace/events/sched.h), and no field
of a task. What is pinned lives on when this program has ended: the files below
`directory/counts` read as text, in the order of their names, and removing the directory takes
everything out. The programs are written out as
instructions (Documentation/bpf/standardization/instruction-set.rst), since a host has no compiler
of ours; numbers of calls, commands and helpers are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

SYS_BPF, SYS_PERF_EVENT_OPEN = 321, 298  # arch/x86/entry/syscalls/syscall_64.tbl
MAP_CREATE, PROG_LOAD, OBJ_PIN, RAW_TRACEPOINT_OPEN, BTF_LOAD, LINK_CREATE = 0, 5, 6, 17, 18, 28
MAP_HASH, MAP_ARRAY, MAP_PERCPU_ARRAY = 1, 2, 6
TRACEPOINT, RAW_TRACEPOINT = 5, 17  # kinds of programs
ATTACH_PERF_EVENT = 41
PERF_TYPE_TRACEPOINT, PERF_FLAG_FD_CLOEXEC = 2, 8
LOOKUP, UPDATE, KTIME_GET_NS, GET_CURRENT_PID_TGID = 1, 2, 5, 14  # helpers
NOEXIST = 1

VCPU = (b"since", b"reason", b"ended", b"out", b"away", b"guest_away")
"""Per vCPU thread, u64 each: when its exit began, 0 while the guest runs; the exit's reason; how
many exits have ended; when it left its CPU, 0 once it is known to be back; the time off its CPU
since the last exit or entry, as far as known; and such time while no exit was going on, in sum.

The last is not 0 where KVM lets interrupts, and so the scheduler, in between the exit and its trace
event: svm.c had that event in handle_exit() for long."""

SINCE, REASON, ENDED, OUT, AWAY, GUEST_AWAY = range(0, 8 * len(VCPU), 8)
VCPU_SIZE = 8 * len(VCPU)
EXITS = (b"count", b"time_ns", b"cpu_ns")
"""Per vCPU and reason, u64 each. The key has the vCPU's number above the reason's 32 bits."""

REASONS = 512
"""Room for exit reasons of a vCPU; SVM has some 180 codes, VMX 75 and a few flags above them."""

R0, R1, R2, R3, R4, _, R6, R7, R8, R9, R10 = range(11)
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE = 1, 2

REFUSED = 3
"""Exit status if the kernel does not let the programs in; whatever else fails ends with 1."""

libc = ctypes.CDLL(None, use_errno=True)
log = ctypes.create_string_buffer(1 << 16)  # what the verifier says


def insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)


def move(dst: int, src: int) -> bytes:
    return insn(0xBF, dst, src)


def put(dst: int, value: int) -> bytes:
    return insn(0xB7, dst, imm=value)


def subtract(dst: int, src: int) -> bytes:
    return insn(0x1F, dst, src)


def add(dst: int, src: int) -> bytes:
    return insn(0x0F, dst, src)


def load32(dst: int, src: int, off: int) -> bytes:
    return insn(0x61, dst, src, off)


def load64(dst: int, src: int, off: int) -> bytes:
    return insn(0x79, dst, src, off)


def store32(dst: int, off: int, src: int) -> bytes:
    return insn(0x63, dst, src, off)


def store64(dst: int, off: int, src: int) -> bytes:
    return insn(0x7B, dst, src, off)


def add64_atomically(dst: int, off: int, src: int) -> bytes:
    return insn(0xDB, dst, src, off)


def call(helper: int) -> bytes:
    return insn(0x85, imm=helper)


def map_pointer(dst: int, kind: int, fd: int, off: int = 0) -> bytes:
    return insn(0x18, dst, kind, imm=fd) + insn(0, imm=off)


def when_not_zero(register: int, body: bytes) -> bytes:
    return insn(0x15, register, off=len(body) // 8) + body


def when_zero(register: int, body: bytes) -> bytes:
    return insn(0x55, register, off=len(body) // 8) + body


def finish() -> bytes:
    return put(R0, 0) + insn(0x95)


def for_own_thread(state: int, tids: tuple[int, ...], body: bytes) -> bytes:
    """`body` with R7 at the running thread's record, if it is one of `tids`, and R8 its place
    among them."""
    code = b""
    for number, tid in reversed(list(enumerate(tids))):
        found = map_pointer(R7, PSEUDO_MAP_VALUE, state, VCPU_SIZE * number) + put(R8, number)
        found += insn(0x05, off=len(code) // 8)  # past the other threads
        code = insn(0x56, R0, off=len(found) // 8, imm=tid) + found + code
    return put(R7, 0) + call(GET_CURRENT_PID_TGID) + code + when_not_zero(R7, body)


def last_switch(switches: int) -> bytes:
    """R0 at the time of this CPU's last switch, or 0."""
    key = put(R1, 0) + store32(R10, -4, R1) + move(R2, R10) + insn(0x07, R2, imm=-4)
    return key + map_pointer(R1, PSEUDO_MAP_FD, switches) + call(LOOKUP)


def settle(switches: int) -> bytes:
    """If the thread was off its CPU and is seen on one, add that time to AWAY."""
    came = load64(R1, R0, 0) + load64(R2, R7, OUT) + subtract(R1, R2)
    came += load64(R2, R7, AWAY) + add(R1, R2) + store64(R7, AWAY, R1)
    came += put(R1, 0) + store64(R7, OUT, R1)
    return load64(R1, R7, OUT) + when_not_zero(R1, last_switch(switches) + when_not_zero(R0, came))


def on_exit(state: int, tids: tuple[int, ...], switches: int, reason_offset: int) -> bytes:
    body = load32(R1, R6, reason_offset) + store64(R7, REASON, R1) + settle(switches)
    body += load64(R1, R7, AWAY) + load64(R2, R7, GUEST_AWAY) + add(R1, R2)
    body += store64(R7, GUEST_AWAY, R1) + put(R1, 0) + store64(R7, AWAY, R1)
    body += call(KTIME_GET_NS) + store64(R7, SINCE, R0)
    return move(R6, R1) + for_own_thread(state, tids, body) + finish()


def on_entry(state: int, tids: tuple[int, ...], switches: int, counts: int) -> bytes:
    def at_reason(helper: int) -> bytes:
        key = move(R2, R10) + insn(0x07, R2, imm=-8)
        return map_pointer(R1, PSEUDO_MAP_FD, counts) + key + call(helper)

    value = -8 - 8 * len(EXITS)
    zeros = put(R1, 0) + b"".join(store64(R10, at, R1) for at in range(value, -8, 8))
    place = move(R3, R10) + insn(0x07, R3, imm=value) + put(R4, NOEXIST)
    insert = zeros + place + at_reason(UPDATE) + at_reason(LOOKUP)
    counted = put(R1, 1) + add64_atomically(R0, 0, R1) + add64_atomically(R0, 8, R6)
    counted += add64_atomically(R0, 16, R9) + add64_atomically(R7, ENDED, R1)
    ended = call(KTIME_GET_NS) + subtract(R0, R6) + move(R6, R0)
    ended += move(R9, R6) + load64(R1, R7, AWAY) + subtract(R9, R1)
    ended += put(R1, 0) + store64(R7, SINCE, R1)
    ended += load64(R1, R7, REASON) + store32(R10, -8, R1) + store32(R10, -4, R8)
    ended += at_reason(LOOKUP) + when_zero(R0, insert) + when_not_zero(R0, counted)
    # SINCE is 0 if its exit was before the programs were there.
    body = settle(switches) + load64(R6, R7, SINCE) + when_not_zero(R6, ended)
    body += put(R1, 0) + store64(R7, AWAY, R1)
    return for_own_thread(state, tids, body) + finish()


def on_switch(state: int, tids: tuple[int, ...], switches: int) -> bytes:
    """The current thread is still the one that leaves its CPU."""
    leaves = settle(switches) + store64(R7, OUT, R9)
    code = call(KTIME_GET_NS) + move(R9, R0) + for_own_thread(state, tids, leaves)
    return code + last_switch(switches) + when_not_zero(R0, store64(R0, 0, R9)) + finish()


def text(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def at(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def checked(result: int, what: str) -> int:
    if result < 0:
        message = log.value.decode(errors="replace").strip()[-500:]
        print(f"{what}: {os.strerror(ctypes.get_errno())} {message}".strip(), file=sys.stderr)
        sys.exit(REFUSED)
    return result


def bpf(command: int, attributes: bytes, what: str) -> int:
    padded = ctypes.create_string_buffer(attributes, 128)
    return checked(int(libc.syscall(SYS_BPF, command, padded, 128)), what)


def load_types(vcpus: int) -> int:
    """BTF by which the kernel prints the maps (Documentation/bpf/btf.rst). 1: u32; 2: u64; 3: a
    struct of EXITS; 4: one of VCPU for all vCPUs in a row, as 6.12 leaves out a brace where it
    prints an array of structures."""
    words = dict.fromkeys((b"u32", b"u64", b"exits", b"vcpu", *EXITS, *VCPU))
    strings = b"".join(b"\0" + word for word in words) + b"\0"

    def name(word: bytes) -> int:
        return strings.index(b"\0" + word + b"\0") + 1

    def struct_of(word: bytes, *members: bytes) -> bytes:
        packed = struct.pack("3I", name(word), 4 << 24 | len(members), 8 * len(members))
        for place, member in enumerate(members):
            packed += struct.pack("3I", name(member), 2, 64 * place)
        return packed

    types = struct.pack("4I", name(b"u32"), 1 << 24, 4, 32)
    types += struct.pack("4I", name(b"u64"), 1 << 24, 8, 64)
    types += struct_of(b"exits", *EXITS) + struct_of(b"vcpu", *VCPU * vcpus)
    header = struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    blob = text(header + types + strings)
    return bpf(BTF_LOAD, struct.pack("QQ3I", at(blob), at(log), len(blob), len(log), 1), "BTF")


def make_map(kind: int, name: bytes, entries: int, size: int, *types: int) -> int:
    """A map. `types`: the BTF and in it the numbers of the keys' and of the values' type; without
    it keys are u32 and the map has no text."""
    key = 8 if types[1:2] == (2,) else 4
    attributes = (kind, key, size, entries, 0, 0, 0, name, 0, *(types or (0, 0, 0)))
    return bpf(MAP_CREATE, struct.pack("7I16s4I", *attributes), f"the map {name.decode()}")


def load_program(kind: int, name: bytes, code: bytes) -> int:
    instructions, license_ = text(code), text(b"GPL\0")
    attributes = struct.pack(
        "IIQQIIQII16s",
        *(kind, len(code) // 8, at(instructions), at(license_), 1, len(log), at(log), 0, 0, name),
    )
    return bpf(PROG_LOAD, attributes, f"the program for {name.decode()}")


def pin(fd: int, path: str) -> None:
    name = text(path.encode() + b"\0")
    bpf(OBJ_PIN, struct.pack("QI", at(name), fd), f"pinning {path}")


def attach_raw(program: int, event: bytes) -> int:
    name = text(event + b"\0")
    attributes = struct.pack("QI", at(name), program)
    return bpf(RAW_TRACEPOINT_OPEN, attributes, f"attaching to {event.decode()}")


def attach_exit(program: int, event: int) -> int:
    """By a perf event, though it is opened for CPU 0, the program runs on every CPU."""
    attributes = ctypes.create_string_buffer(
        struct.pack("IIQ", PERF_TYPE_TRACEPOINT, 128, event), 128
    )
    opened = libc.syscall(SYS_PERF_EVENT_OPEN, attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)
    fd = checked(int(opened), "a perf event for kvm_exit")
    link = struct.pack("4I", program, fd, ATTACH_PERF_EVENT, 0)
    return bpf(LINK_CREATE, link, "attaching to kvm_exit")


def main(spec: dict) -> None:  # type: ignore[type-arg]
    tids, directory = tuple(spec["tids"]), spec["directory"]
    types = load_types(len(tids))
    state = make_map(MAP_ARRAY, b"vcpus", 1, VCPU_SIZE * len(tids), types, 1, 4)
    counts = make_map(MAP_HASH, b"exits", REASONS * len(tids), 8 * len(EXITS), types, 2, 3)
    switches = make_map(MAP_PERCPU_ARRAY, b"switches", 1, 8)
    switch, entry, leave = (
        on_switch(state, tids, switches),
        on_entry(state, tids, switches, counts),
        on_exit(state, tids, switches, spec["reason_offset"]),
    )
    links = (
        attach_raw(load_program(RAW_TRACEPOINT, b"sched_switch", switch), b"sched_switch"),
        attach_raw(load_program(RAW_TRACEPOINT, b"kvm_entry", entry), b"kvm_entry"),
        attach_exit(load_program(TRACEPOINT, b"kvm_exit", leave), spec["event"]),
    )
    if not directory:
        return
    for path in (directory, f"{directory}/counts"):
        os.mkdir(path, 0o700)
    names = ("counts/1-vcpus", "counts/2-exits", "switch", "entry", "exit")
    for fd, name in zip((state, counts, *links), names):  # noqa: B905 - python 3.9
        pin(fd, f"{directory}/{name}")
