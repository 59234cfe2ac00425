"""Regular files told from folders, pipes and devices: to read a pipe waits for ever."""

from __future__ import annotations

import os
import stat


def check_regular(path: str, kind: str) -> None:
    """Refuse a local path that is there and no file, or a link in a circle.

    Args:
        path: path of a file; one that does not exist passes.
        kind: name for the error, "a checkpoint" for instance.

    Raises:
        ValueError: a folder, a pipe, a device, a socket, or a link that cannot be followed; it names path and kind.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise ValueError(f"{path}: a link to nothing; it must be {kind}") from None
        return
    except (OSError, ValueError) as error:  # a circle of links, a name that is too long or has a NUL byte
        raise ValueError(f"{path!r}: cannot be read as {kind}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        found = next((name for test, name in _KINDS if test(mode)), "something else than a file")
        raise ValueError(f"{path}: {found}; it must be {kind}")


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
