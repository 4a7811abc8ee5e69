"""Tell who holds the locks of a run.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> DIRECTORY RUN`. It looks for files of DIRECTORY that say that they are
RUN's and whose lock (flock(2)) somebody holds, and prints the number of each process that does.
"""

import fcntl
import json
import os
import sys
from pathlib import Path


def main(directory: str, run: str) -> int:
    names = sorted(os.listdir(directory)) if os.path.exists(directory) else []
    for name in names:
        file = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if json.loads(os.read(file, 4096) or b"{}").get("run") == run:
                print(*holders(file), sep="\n")
        os.close(file)
    return 0


def holders(file: int) -> "list[int]":
    """Who holds its lock, by /proc/locks (proc(5)): number, FLOCK, ADVISORY, WRITE, pid, file."""
    inode = str(os.fstat(file).st_ino)
    lines = map(str.split, Path("/proc/locks").read_text(encoding="ascii").splitlines())
    return [int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
