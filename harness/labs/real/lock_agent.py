"""Hold the lock of a port until whoever started this program is gone.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> DIRECTORY NAME CONTENT`. It takes the lock of the file NAME in
DIRECTORY (flock(2)), writes CONTENT into it and waits. Status 3 if the lock is taken: then it
prints what the file says of the owner.

The kernel lets go of the lock when this program ends, however it ends. It ends with its parent,
whose death makes a descriptor of it readable (pidfd_open(2)); no time is spent on waiting.
"""

import contextlib
import fcntl
import os
import select
import sys
import time

TAKEN = 3


def main(directory: str, name: str, content: str) -> int:
    parent = os.pidfd_open(os.getppid())
    with contextlib.suppress(FileExistsError):
        os.makedirs(directory, 0o700)
    inside = os.open(directory, os.O_DIRECTORY | os.O_NOFOLLOW)
    if os.fstat(inside).st_uid != os.getuid():
        print(f"{directory} belongs to somebody else", file=sys.stderr)
        return 1
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=inside)
    if not locked(file):
        print(os.read(file, 4096).decode(errors="replace"))
        return TAKEN
    os.ftruncate(file, 0)
    os.write(file, content.encode())
    select.select([parent], [], [])
    return 0


def locked(file: int) -> bool:
    """Whether the lock is ours now. Who looks which locks are held (owners_agent.py) has each for a
    moment, so one refusal is none yet."""
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
