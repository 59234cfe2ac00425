"""Structure and check sums of the zip files that torch.save writes, looked at before anything of them is used.

torch.load compares no check sums, and a zip file may make false claims about itself.
"""

from __future__ import annotations

import os
import zipfile

_MAGIC = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END_SIZE = 22
_CONTENT = "data.pkl"
_FLAGS = 0x0808  # sizes after the content, names in UTF-8


def is_archive(path: str) -> bool:
    """Return True if the file begins like a zip file; torch's older files do not."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def check_archive(path: str) -> None:
    """Refuse a zip file that torch.save has not written so, or whose content is not the one that was written.

    A file that torch.save was told to write without check sums (`set_crc32_options(False)`) is read without them.

    Args:
        path: path of the file.

    Raises:
        ValueError: the structure or a check sum is wrong; it names the part.
        zipfile.BadZipFile, OSError, NotImplementedError: it is no zip file that can be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(max(size - _END_SIZE, 0))
        if file.read(len(_END)) != _END:
            raise ValueError("its last bytes are not the end of a zip file")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        if len(set(names)) != len(names):
            raise ValueError("two of its parts have the same name")
        roots = {name.partition("/")[0] for name in names}
        if len(roots) != 1 or f"{min(roots)}/{_CONTENT}" not in names:
            raise ValueError(f"its parts are not {_CONTENT} and others in one folder")
        if records[0].header_offset != 0 or archive.comment:
            raise ValueError("there is something before its first part or after its last one")
        for record in records:
            if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
                raise ValueError(f"its part {record.filename} is compressed, which torch.save does not do")
            # Python reads a part that says it is a folder or encrypted; torch leaves its memory as it was.
            if record.flag_bits & ~_FLAGS or record.external_attr & 0xFF or record.is_dir():
                raise ValueError(f"its part {record.filename} is said to be encrypted or a folder")
        # Stored, their sizes are those that memory is needed for.
        if sum(record.file_size for record in records) > size:
            raise ValueError("its parts are larger than the file")
        if all(record.CRC == 0 for record in records):
            return
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the check sum of {damaged} in it is wrong")
