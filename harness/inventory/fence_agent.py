"""Take the host from a run: end the connection of whoever holds its locks.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> DIRECTORY RUN MARK`. It looks for files of DIRECTORY that say that
they are RUN's and whose lock (flock(2)) somebody holds, and kills the process that this one says in
its environment, as MARK, that it was started by: the host's end of the run's connection. Whoever
is at the other end can do nothing here any more. It prints a line for each lock that was held.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
from pathlib import Path


def main(directory: str, run: str, mark: str) -> int:
    names = sorted(os.listdir(directory)) if os.path.exists(directory) else []
    for name in names:
        file = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if json.loads(os.read(file, 4096) or b"{}").get("run") == run:
                print(name)
                for holder in holders(file):
                    end_starter(holder, mark)
        os.close(file)
    return 0


def holders(file: int) -> "list[int]":
    """Who holds its lock, by /proc/locks (proc(5)): number, FLOCK, ADVISORY, WRITE, pid, file."""
    inode = str(os.fstat(file).st_ino)
    lines = map(str.split, Path("/proc/locks").read_text(encoding="ascii").splitlines())
    return [int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")]


def end_starter(pid: int, mark: str) -> None:
    with contextlib.suppress(OSError):  # it has ended meanwhile, or its starter has
        for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = word.partition(b"=")
            if name == mark.encode():
                os.kill(int(value), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
