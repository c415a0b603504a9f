"""Archive: a zip file in memory whose members are few, small and plainly named."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib

from langchain_softprompt.errors import InvalidSoftPromptError, UnsafeFileError
from langchain_softprompt.printable import printable, shown

ZIP_MAGIC = b"PK\x03\x04"
# Above the largest soft prompt that either format has held: 2,047 rows of 16,384 numbers in float32.
MOST_BYTES = 256 << 20
_MOST_MEMBERS = 64
_MEMBER = b"PK\x01\x02"  # what each entry of a zip file's directory begins with
_ENCRYPTED = 0x1
# Python's reader bounds what it unpacks at once for these two only.
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Archive:
    """Members are read into memory; none is ever unpacked to disk.

    All of them are looked at before one is read: an archive with one hostile member is refused as a whole.

    Args:
        file: What the file is called in messages.
        content: The whole zip file.

    Raises:
        UnsafeFileError: A member's name leads out of the archive, or it is a link.
        InvalidSoftPromptError: It is no whole zip file, or has too many or too large members, or two of one name.
    """

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        # Counted before it is parsed: a directory of millions of entries would burn time and memory.
        if (entries := content.count(_MEMBER)) > _MOST_MEMBERS:
            raise InvalidSoftPromptError(file=file, field="members", expected=f"at most {_MOST_MEMBERS}", found=str(entries))
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
            members = self._zip.infolist()
        except _BROKEN as error:
            raise self._broken(error) from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            self._check(member)
            if member.filename in self._members:
                raise InvalidSoftPromptError(file=file, field="members", expected="each name once", found=shown(member.filename))
            self._members[member.filename] = member
        if (total := sum(member.file_size for member in members)) > MOST_BYTES:
            raise InvalidSoftPromptError(file=file, field="size", expected=f"at most {MOST_BYTES} bytes unpacked", found=f"{total} bytes")

    @property
    def names(self) -> list[str]:
        """Names of the members, in order."""
        return list(self._members)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Read one member whole; no more is ever unpacked than it says it has.

        Raises:
            InvalidSoftPromptError: It is too large, damaged, or another size than it says.
        """
        member, file = self._members[name], f"{self.file}/{printable(name)}"
        if member.file_size > most:
            raise InvalidSoftPromptError(file=file, field="size", expected=f"at most {most} bytes", found=f"{member.file_size} bytes")
        try:
            with self._zip.open(member) as stream:
                content = stream.read(member.file_size + 1)
        except _BROKEN as error:
            raise self._broken(error) from error
        if len(content) != member.file_size:
            expected = f"{member.file_size} bytes, as the archive says"
            raise InvalidSoftPromptError(file=file, field="size", expected=expected, found=f"{len(content)} bytes")
        return content

    def _check(self, member: zipfile.ZipInfo) -> None:
        name = member.orig_filename  # Python cuts the other one short at a NUL character
        steps = name.split("/")
        if name != member.filename or name.startswith("/") or ".." in steps or re.search(r"[\\\x00-\x1f]|^[A-Za-z]:", name):
            raise UnsafeFileError(file=self.file, field="member", expected="a plain name inside the archive", found=shown(name))
        mode = member.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeFileError(
                file=self.file, field=printable(name), expected="a regular file in the archive", found=stat.filemode(mode)
            )
        if member.flag_bits & _ENCRYPTED:
            raise InvalidSoftPromptError(
                file=self.file, field=printable(name), expected="a member that is not encrypted", found="a password"
            )
        if member.compress_type not in _PACKINGS:
            found = f"method {member.compress_type}"
            raise InvalidSoftPromptError(file=self.file, field=printable(name), expected="stored or deflated", found=found)

    def _broken(self, error: Exception) -> InvalidSoftPromptError:
        return InvalidSoftPromptError(file=self.file, field="content", expected="a whole zip file", found=printable(error))


__all__ = ["MOST_BYTES", "ZIP_MAGIC", "Archive"]
