"""Hashes of files, by which a result names its checkpoint, and a copy is whole or not."""

from __future__ import annotations

import hashlib

from iopath.common.file_io import g_pathmgr


def sha256_of(path: str) -> str:
    """Return the file's SHA-256 sum, hexadecimal."""
    with g_pathmgr.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hash(path: str) -> str:
    """Return the first 16 hexadecimal digits of the file's SHA-256 sum, which a result names its checkpoint by."""
    return sha256_of(path)[:16]
