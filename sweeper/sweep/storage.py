"""A place that every node reads and writes: a folder that all of them see, or a bucket."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from pyarrow import ArrowException, fs

BLOCK = 4 << 20
"""Bytes that are moved at a time, so that a file of any size costs no memory."""
DRAFT = ".draft-"
"""How the names of files begin that are not whole yet."""


class StorageError(RuntimeError):
    """A storage that cannot be used, or a name that would lead out of it."""


class Stamp(NamedTuple):
    """What tells one version of a stored file from another without reading it."""

    size: int
    changed: int


Wanted = Callable[[str], bool]


def everything(name: str) -> bool:
    """Want every file."""
    return True


def resolved(uri: str) -> str:
    """A storage's address as every process understands it: a path is made absolute here, on the
    driver. Raises StorageError for what is no storage, before anything is started."""
    return Storage(uri).uri


class Storage:
    """Files by name under one address: a path, or ``s3://bucket/folder``.

    A file appears whole or not at all. Nothing is read or written outside of the address: names
    have no ``..`` and are not absolute, and links are not followed out. All that goes wrong is a
    StorageError.
    """

    def __init__(self, uri: str) -> None:
        if "://" in uri:
            self.uri = uri.rstrip("/")
            self._check()
            with self._told("understood"):
                self._fs, self._root = fs.FileSystem.from_uri(self.uri)
        else:
            self.uri = os.path.abspath(Path(uri).expanduser()) if uri else ""
            self._check()
            self._fs, self._root = fs.LocalFileSystem(), self.uri
        self._folders = isinstance(self._fs, fs.LocalFileSystem)

    def __str__(self) -> str:
        return self.uri

    def under(self, prefix: str) -> Storage:
        """The storage of what lies under a prefix; it cannot reach what lies beside."""
        inner = Storage.__new__(Storage)
        inner._fs, inner._folders = self._fs, self._folders
        inner._root = self._path(prefix)
        inner.uri = _joined(self.uri, prefix)
        return inner

    def files(self, prefix: str = "", *, deep: bool = True) -> dict[str, Stamp]:
        """Every whole file under a prefix, or right under it unless ``deep``, by its name from
        there on; empty if there is none."""
        selector = fs.FileSelector(self._path(prefix), recursive=deep, allow_not_found=True)
        with self._told("listed", prefix):
            found = self._fs.get_file_info(selector)
        start = len(selector.base_dir.rstrip("/")) + 1
        return {
            info.path[start:]: Stamp(info.size, info.mtime_ns or 0)
            for info in found
            if info.type == fs.FileType.File and not info.base_name.startswith(DRAFT)
        }

    def folders(self, prefix: str = "") -> list[str]:
        """The names of the folders right under a prefix."""
        selector = fs.FileSelector(self._path(prefix), allow_not_found=True)
        with self._told("listed", prefix):
            found = self._fs.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        with self._told("read", name), self._fs.open_input_stream(self._path(name)) as file:
            data: bytes = file.read()
            return data

    def write(self, name: str, data: bytes) -> None:
        """Make a file of these bytes, in place of one of that name."""
        with self._appearing(name) as file:
            file.write(data)

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine to a name."""
        with self._told("given", name), path.open("rb") as source, self._appearing(name) as file:
            shutil.copyfileobj(source, file, BLOCK)

    def get(self, name: str, path: Path) -> None:
        """Copy a file to this machine, where it appears whole or not at all."""
        place = self._path(name)
        with self._told("read", name), self._fs.open_input_stream(place) as source:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{DRAFT}{os.getpid()}-{path.name}")
            try:
                with draft.open("wb") as file:
                    shutil.copyfileobj(source, file, BLOCK)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already are no matter."""
        for name in names:
            with self._told("cleared", name), contextlib.suppress(FileNotFoundError):
                self._fs.delete_file(self._path(name))

    def push(
        self, folder: Path, prefix: str, known: dict[str, Stamp], wanted: Wanted = everything
    ) -> list[str]:
        """Copy the files of a folder that are new or changed since ``known`` was noted, and note
        them. Returns their names. Links that lead out of the folder are refused."""
        sent = []
        for name, path in _walk(folder):
            if not wanted(name):
                continue
            try:
                stamp = stamp_of(path)
                if known.get(name) != stamp:
                    self.put(inside(folder, path), _joined(prefix, name))
                    known[name] = stamp
                    sent.append(name)
            except (StorageError, FileNotFoundError):
                if path.is_file():
                    raise  # else it was pruned meanwhile
        return sent

    def pull(
        self, prefix: str, folder: Path, known: dict[str, Stamp], wanted: Wanted = everything
    ) -> list[str]:
        """Copy the files under a prefix to a folder, where they are new, changed since ``known``
        was noted, or missing; and note them. Returns their names."""
        brought = []
        for name, stamp in sorted(self.files(prefix).items()):
            if not wanted(name):
                continue
            path = inside(folder, folder / checked(name))
            if known.get(name) != stamp or not path.is_file():
                self.get(_joined(prefix, name), path)
                known[name] = stamp
                brought.append(name)
        return brought

    def _check(self) -> None:
        law = "a storage is a path or s3://BUCKET/FOLDER"
        scheme = urlsplit(self.uri).scheme if "://" in self.uri else ""
        if not self.uri or scheme not in ("", "s3"):
            raise StorageError(f"{law}, but got {self.uri!r}")
        if "@" in urlsplit(self.uri).netloc and scheme:
            shown = f"{scheme}://…@{urlsplit(self.uri).netloc.rpartition('@')[2]}"
            law = "a storage's address is written down, so credentials stand in the environment"
            raise StorageError(f"{law}, but got {shown}")

    def _path(self, name: str) -> str:
        if not name:
            return str(self._root)
        path: str = f"{self._root}/{checked(name)}"
        if self._folders and not Path(path).resolve().is_relative_to(Path(self._root).resolve()):
            raise StorageError(f"names stay in their storage, but {name!r} leads out of {self}")
        return path

    @contextlib.contextmanager
    def _appearing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write to, which appears under its name once it is whole."""
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        # A put to a bucket is whole by itself; a file system needs a draft, and a rename.
        draft = f"{folder}/{DRAFT}{uuid.uuid4().hex}-{last}" if self._folders else path
        with self._told("written", name):
            if self._folders:
                self._fs.create_dir(folder, recursive=True)
            try:
                with self._fs.open_output_stream(draft) as file:
                    yield file
                if draft != path:
                    self._fs.move(draft, path)
            except BaseException:
                with contextlib.suppress(OSError, ArrowException):
                    self._fs.delete_file(draft)
                raise

    @contextlib.contextmanager
    def _told(self, done: str, name: str = "") -> Iterator[None]:
        """Tell of whatever goes wrong as a StorageError."""
        try:
            yield
        except (OSError, ArrowException, ValueError) as error:
            place = _joined(self.uri, name)
            reason = _reason(error)
            raise StorageError(f"a storage can be {done}, but {place}: {reason}") from error


def checked(name: str) -> str:
    """A name that stays where it is put. Raises StorageError for one that does not."""
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\\" in name or "\0" in name:
        law = "names in a storage are relative and have no '..'"
        raise StorageError(f"{law}, but got {name!r}")
    return name


def stamp_of(path: Path) -> Stamp:
    """What tells one version of a file here from another."""
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a folder, drafts aside, by its name from there on."""
    for root, _, files in os.walk(folder):
        for file in sorted(files):
            path = Path(root, file)
            if not file.startswith(DRAFT) and not file.endswith(".tmp"):
                yield path.relative_to(folder).as_posix(), path


def inside(folder: Path, path: Path) -> Path:
    """The path, if it is a file of the folder, or will be. Raises StorageError if it leads out, as
    through a link."""
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise StorageError(f"names stay in their folder, but {path} leads to {real}")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise StorageError(f"a storage keeps files, but {path} is none")
    return path


def _joined(prefix: str, name: str) -> str:
    # What follows a question mark says how to reach a bucket, and not where in it.
    path, mark, how = prefix.partition("?") if "://" in prefix else (prefix, "", "")
    return "/".join(part for part in (path, name) if part) + mark + how


def _reason(error: Exception) -> str:
    """What went wrong in a few words: pyarrow repeats the path, and adds the call that failed."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).partition("\n")[0]
