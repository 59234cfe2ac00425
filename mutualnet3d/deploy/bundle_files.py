"""Checks of the files in a bundle's folder.

Files must be regular, whole by SHA256SUMS, of the kind that a library takes them for, and must not lead out of the
folder.

The sums come from the maker of the bundle: they show that a copy is whole, and nothing about its origin.
"""

from __future__ import annotations

import os
import re

from mutualnet3d.files.hashes import sha256_of
from mutualnet3d.files.json_file import MAX_BYTES
from mutualnet3d.files.regular import kind_of, read_bounded

SUMS = "SHA256SUMS"

# End of a file's name by format. The libraries take a file for what its name or its first bytes say.
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "openvino-int8": "-int8.xml"}

# Largest file: protobuf's bound is half of it. A sparse file can claim any size, and its sum takes as long.
_MAX_FILE_BYTES = 4 << 30

# Key of ONNX's entries for tensors that lie in other files. It has no other use in what `export` writes, and protobuf
# has a text one way only: without these bytes a file names no other.
_EXTERNAL_DATA = b"location"


def list_files(path: str) -> list[str]:
    """Return all files in a bundle but the list of their sums, relative to it, sorted.

    Args:
        path: path of the folder.

    Raises:
        ValueError: the folder has entries other than files and folders, such as links, a name with control characters,
            or a file that is too large.
    """
    names: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(path, folder)) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if _is_folder(entry, name, path):
                    folders.append(name)
                else:
                    names.append(name)
    return sorted(set(names) - {SUMS})


def _is_folder(entry: os.DirEntry[str], name: str, path: str) -> bool:
    """Return True for a folder, False for a file, see `list_files`."""
    if not name.isprintable():
        raise ValueError(f"{path}: the name {name!r:.200} in it has characters that cannot be printed")
    if entry.is_dir(follow_symlinks=False):
        return True
    status = entry.stat(follow_symlinks=False)
    if kind := kind_of(status.st_mode):
        raise ValueError(f"{path}: {name} is {kind}; a bundle has files and folders alone")
    if status.st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{path}: {name} has {status.st_size} bytes; allowed: {_MAX_FILE_BYTES}")
    return False


def write_sums(path: str) -> None:
    """Write the list of the sums of all files in `path`."""
    lines = [f"{sha256_of(os.path.join(path, name))}  {name}\n" for name in list_files(path)]
    with open(os.path.join(path, SUMS), "w", encoding="utf-8") as file:
        file.writelines(lines)


def check_sums(path: str) -> list[str]:
    """Refuse a bundle with a file that has changed; return its files, relative to it.

    Args:
        path: path of the folder.

    Raises:
        ValueError: a file is missing, damaged, not in the list, or no regular file; the message names it.
    """
    files = list_files(path)
    list_path = os.path.join(path, SUMS)
    if not os.path.lexists(list_path):
        raise ValueError(f"{path}: {SUMS} is missing, the list of what the bundle's files have to be")
    sums: dict[str, str] = {}
    text = read_bounded(list_path, "a list of sums", MAX_BYTES).decode("utf-8", "replace")
    for number, line in enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)\n", line)
        if not match:
            raise ValueError(
                f"{list_path}, line {number}: {line!r:.200}; expected a SHA-256 sum, two spaces and a file name"
            )
        if match[2] in sums:
            raise ValueError(f"{list_path}, line {number}: {match[2]!r:.200} is in the list twice")
        sums[match[2]] = match[1]
    for name in sorted(set(sums) ^ set(files)):
        shown = name if name.isprintable() else repr(name)
        raise ValueError(f"{path}: {shown:.200} is {f'missing; {SUMS} has it' if name in sums else f'not in {SUMS}'}")
    for name, expected in sums.items():
        if sha256_of(os.path.join(path, name)) != expected:
            raise ValueError(
                f"{path}: {name} is not what was written: its SHA-256 sum is another than in {SUMS}. It was damaged or "
                "changed; export or copy the bundle again"
            )
    return files


def check_onnx(path: str) -> None:
    """Refuse an ONNX file with weights in other files, which ONNX Runtime would read wherever they are.

    Args:
        path: path of the file.

    Raises:
        ValueError: the content names another file.
    """
    with open(path, "rb") as file:
        content = file.read()
    if _EXTERNAL_DATA in content:
        raise ValueError(
            f"{path}: its weights are in other files (external data); those of a bundle hold all of theirs"
        )


def check_openvino(path: str) -> None:
    """Refuse a file that OpenVINO, by its content, would read as another format than its own.

    Args:
        path: path of the file.

    Raises:
        ValueError: the content does not begin like that of OpenVINO's files.
    """
    with open(path, "rb") as file:
        start = file.read(5)
    if start != b"<?xml":
        raise ValueError(f"{path}: OpenVINO cannot read it: it does not begin with <?xml")
