"""What Python loads of its library for some modules, as byte code.

A program of its own, for the Python whose library it is; it needs python3 >= 3.9, and is run as
`python3 -B -I -S -X utf8 -c <this text> <module>...`. It prints one JSON object: the files that the
modules come from, and all that these import, by their paths below the library's directory. Byte
code, of a file that ends in .pyc, is told in base64; of an extension module, which is taken as it
is, null.

With -X utf8 the codecs are those that a guest loads, whose locale is C (PEP 540). The byte code is
without docstrings and assertions, and is never compared with a source (PEP 552, unchecked hash):
there is none where it goes.
"""

from __future__ import annotations

import sys

UNCHECKED_HASH = (1).to_bytes(4, "little")


def files_of(modules: list[str]) -> list[str]:
    """Where these modules come from, and what else was loaded; what is built in has no file."""
    for name in modules:
        __import__(name)
    files = (getattr(module, "__file__", None) for module in sys.modules.values())
    return sorted({path for path in files if path})


def byte_code(path: str, shown: str) -> bytes:
    """A .pyc of the source at `path`, whose tracebacks say `shown`."""
    import importlib.util
    import marshal

    with open(path, "rb") as file:  # noqa: PTH123 - nothing is to be loaded that is not told
        source = file.read()
    code = compile(source, shown, "exec", dont_inherit=True, optimize=2)
    head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH
    return head + importlib.util.source_hash(source) + marshal.dumps(code)


def main() -> None:
    files = files_of(sys.argv[1:])
    # Only now: what this program needs itself is not to be among them.
    import base64
    import json
    import os

    library = os.path.dirname(os.__file__)
    found: dict[str, str | None] = {}
    for path in files:
        name = os.path.relpath(path, library)
        source = name.endswith(".py")
        code = base64.b64encode(byte_code(path, name)).decode() if source else None
        found[name + "c" if source else name] = code
    print(json.dumps(found))


if __name__ == "__main__":
    main()
