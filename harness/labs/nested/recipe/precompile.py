"""Precompile the header that each of QEMU's files begins with, for those that are not optimised.

gcc takes it by its name (info gcc, "Precompiled Headers") where the flags are the same, so there is
one for what knows the emulated CPU, and one for what does not. It saves most files half their time.
Run in the build's directory, once that is configured.
"""

import json
import shlex
import subprocess
from pathlib import Path

HEADER = Path("../include/qemu/osdep.h").resolve()

EXAMPLES = ("dump/dump.c", "hw/i386/pc.c")
"""A file of either kind, whose flags are those of all."""


def argv_of(command: str, header: Path, result: Path) -> tuple[str, ...]:
    """A file's command of the compile database, for `header` instead."""
    words = iter(shlex.split(command))
    argv = []
    for word in words:
        if word in ("-o", "-c", "-MQ", "-MF"):
            next(words)
        elif word != "-MD":
            argv.append(word)
    return (*argv, "-o", str(result), "-x", "c-header", str(header))


def main() -> None:
    """Make one for each of EXAMPLES."""
    result = HEADER.with_name(f"{HEADER.name}.gch")
    result.mkdir()
    commands = json.loads(Path("compile_commands.json").read_text())
    for example in EXAMPLES:
        (command,) = (each["command"] for each in commands if each["file"] == f"../{example}")
        argv = argv_of(command, HEADER, result / f"{Path(example).stem}.gch")
        subprocess.run(argv, check=True)


if __name__ == "__main__":
    main()
