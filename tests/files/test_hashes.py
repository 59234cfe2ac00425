from __future__ import annotations

import subprocess

from mutualnet3d.files.hashes import file_hash, sha256_of


def test_sums_are_those_of_coreutils(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"some bytes" * 1000)
    expected = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert sha256_of(str(path)) == expected
    assert file_hash(str(path)) == expected[:16]
