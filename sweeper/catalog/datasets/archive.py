"""A zip or tar file of images."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import NOTED, ImageFiles, is_image, labels_of
from sweeper.catalog.datasets.images import ENDINGS, read
from sweeper.catalog.families import datasets

LARGEST = 1 << 28
"""Bytes of an encoded image: more are made to fill the memory."""

COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""By a file's first bytes."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: where it begins, of a tar, or its number, of a zip."""

    name: str
    start: int
    size: int
    link: bool


@datasets.register(provides={"images"})
class Archive(ImageFiles):
    """A zip or tar file of images, packed or not, read where it lies; folders in it are classes.

    Images are prepared as those of ``folder`` and come in the archive's order; a folder that holds
    all of them is no class. Nothing is unpacked. Raises ValueError for a member that is a link or
    would lie outside of the archive, unpacked, for an archive without images, or an image that
    cannot be read.
    """

    _handle: tuple[int, Opened] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handle": None}

    @property
    def _opened(self) -> Opened:
        """The archive, opened once per process: a position in a file cannot cross a fork."""
        if self._handle is None or self._handle[0] != os.getpid():
            opened = Zip(self.path) if zipfile.is_zipfile(self.path) else Tar(self.path)
            self._handle = os.getpid(), opened
        return self._handle[1]

    @cached_property
    def _all(self) -> list[Member]:
        try:
            found = list(self._opened.members())
        except Exception as error:  # whatever reading bytes raises that were made to break it
            raise broken(str(self.path), error) from error
        return [member for member in found if check(self.path, member)]

    @cached_property
    def members(self) -> list[Member]:
        images = [member for member in self._all if is_image(Path(member.name))]
        if not images:
            law = f"an archive holds images ({', '.join(sorted(ENDINGS))})"
            raise ValueError(f"{law}, but {self.path} holds none")
        return images

    @cached_property
    def _labelled(self) -> tuple[tuple[str, ...], list[int]]:
        paths = [Path(member.name) for member in self.members]
        top = len(Path(os.path.commonpath([path.parent for path in paths])).parts)
        folders = [Path(*path.parent.parts[top:]) for path in paths]
        note = next((member for member in self._all if member.name == NOTED), None)
        try:
            noted = None if note is None else self._opened.read(note)
        except Exception as error:  # as above
            raise broken(f"{self.path}: {NOTED}", error) from error
        return labels_of(paths, folders, noted, str(self.path))

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labelled[0]

    def fingerprint(self) -> str:
        return self._digest([self.path] if self.members else [])

    def __len__(self) -> int:
        return len(self.members)

    def _where(self, index: int) -> str:
        return f"{self.path}: {self.members[index].name}"

    def _read(self, index: int) -> Example:
        member = self.members[index]
        label = self._labelled[1][index] if self.classes else None
        image = read(lambda: self._opened.read(member), self._where(index), self.preparation.image)
        return Example(image, label)


def broken(where: str, error: Exception) -> ValueError:
    law = "an archive is a zip or tar file, whole and not encrypted"
    return ValueError(f"{law}, but {where}: {error or type(error).__name__}")


def check(archive: Path, member: Member) -> bool:
    """Raise ValueError if a member is a link, or would lie elsewhere when unpacked."""
    path = PurePosixPath(member.name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or ":" in (*path.parts, "")[0]
    if outside or member.link:
        law = "the members of an archive are files and folders in it"
        fault = "is a link or a device" if member.link else "lies outside"
        raise ValueError(f"{law}, but {member.name!r} of {archive} {fault}")
    return True


class Opened(Protocol):
    """An archive that is open."""

    def members(self) -> Iterator[Member]: ...

    def read(self, member: Member) -> bytes: ...


class Zip:
    """An open zip file."""

    def __init__(self, path: Path) -> None:
        self.file = zipfile.ZipFile(path)
        self.infos = self.file.infolist()

    def members(self) -> Iterator[Member]:
        for number, info in enumerate(self.infos):
            if not info.is_dir():
                link = stat.S_ISLNK(info.external_attr >> 16)
                yield Member(info.filename, number, info.file_size, link)

    def read(self, member: Member) -> bytes:
        check_size(member)
        return self.file.read(self.infos[member.start])


class Tar:
    """An open tar file, which is read forwards as far as possible, since it may be compressed."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            begin = file.read(6)
        opener = next((o for magic, o in COMPRESSIONS.items() if begin.startswith(magic)), open)
        self.file: IO[bytes] = opener(path, "rb")  # type: ignore[operator]
        weakref.finalize(self, self.file.close)
        self.lock = threading.Lock()

    def members(self) -> Iterator[Member]:
        with self.lock:
            archive = tarfile.open(fileobj=self.file, mode="r:")  # noqa: SIM115  (its file stays open)
            for info in archive:
                if not info.isdir():
                    plain = info.isreg() and not info.issparse()
                    yield Member(info.name, info.offset_data, info.size, not plain)
            # tarfile takes a damaged header for the end.
            self.file.seek(archive.offset)
            if self.file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"it is damaged at byte {archive.offset}")

    def read(self, member: Member) -> bytes:
        check_size(member)
        with self.lock:
            self.file.seek(member.start)
            return self.file.read(member.size)


def check_size(member: Member) -> None:
    if member.size > LARGEST:
        raise ValueError(f"a member has at most {LARGEST} bytes, but this has {member.size}")
