"""Tell who holds which locks.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> DIRECTORY`. It prints what each file of DIRECTORY says whose lock
(flock(2)) somebody holds, a line each.
"""

import fcntl
import os
import sys


def main(directory: str) -> int:
    names = sorted(os.listdir(directory)) if os.path.exists(directory) else []
    for name in names:
        file = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            print(os.read(file, 4096).decode(errors="replace"))
        os.close(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
