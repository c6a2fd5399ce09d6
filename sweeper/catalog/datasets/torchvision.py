"""The data sets that torchvision knows how to read."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import lmdb
from annotated_types import Ge
from PIL import Image

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import ImageFiles, plain
from sweeper.catalog.datasets.images import FORMATS, Resize, limit, naming
from sweeper.catalog.families import datasets
from sweeper.registry import nearest

ROOT = "data"
"""Where files are looked for: PyTorch's examples put them there, too."""

SCENES = (
    "bedroom",
    "bridge",
    "church_outdoor",
    "classroom",
    "conference_room",
    "dining_room",
    "kitchen",
    "living_room",
    "restaurant",
    "tower",
)

DIGITS = tuple("0123456789")
TRANSPOSE = Image.Transpose.TRANSPOSE


@dataclass(frozen=True)
class Split:
    """One part of a set: what it is built with, and the files that it is read from, from the root
    on."""

    arguments: Mapping[str, Any]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """A set: its class in torchvision, and its parts. ``labels`` begin at ``first``; ``sideways``
    says that its images lie on their side; ``classes`` are their names where torchvision has
    none; ``side`` is the size, in px, that GANs are mostly trained at on it."""

    target: str
    splits: Mapping[str, Split]
    channels: Literal[1, 3] = 3
    first: int = 0
    sideways: bool = False
    classes: tuple[str, ...] = ()
    side: int = 32


def halves(*files: str) -> dict[str, Split]:
    """A training and a test part, of which torchvision wants the files of both."""
    return {name: Split({"train": name == "train"}, files) for name in ("train", "test")}


def mnist(target: str) -> Known:
    files = [f"{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]
    return Known(target, halves(*(f"{target}/raw/{file}" for file in files)), channels=1)


def emnist(variant: str) -> Known:
    prefix = f"EMNIST/raw/emnist-{variant}"
    splits = {
        name: Split(
            {"train": name == "train", "split": variant},
            (f"{prefix}-{name}-images-idx3-ubyte", f"{prefix}-{name}-labels-idx1-ubyte"),
        )
        for name in ("train", "test")
    }
    # Of the letters, torchvision's first class stands for none.
    return Known("EMNIST", splits, channels=1, first=int(variant == "letters"), sideways=True)


def named(target: str, files: Mapping[str, tuple[str, ...]], **more: Any) -> Known:
    """A set whose parts go by their names."""
    return Known(target, {s: Split({"split": s}, f) for s, f in files.items()}, **more)


STL10 = tuple(
    f"stl10_binary/{name}"
    for name in ("train_X.bin", "train_y.bin", "unlabeled_X.bin", "test_X.bin", "test_y.bin")
)
CELEBA = tuple(
    f"celeba/{name}"
    for name in (
        "img_align_celeba",
        "list_attr_celeba.txt",
        "identity_CelebA.txt",
        "list_bbox_celeba.txt",
        "list_landmarks_align_celeba.txt",
        "list_eval_partition.txt",
    )
)
KNOWN: Mapping[str, Known] = {
    "mnist": mnist("MNIST"),
    "fashion_mnist": mnist("FashionMNIST"),
    "kmnist": mnist("KMNIST"),
    "emnist": emnist("balanced"),
    "emnist_digits": emnist("digits"),
    "emnist_letters": emnist("letters"),
    "svhn": named(
        "SVHN", {s: (f"{s}_32x32.mat",) for s in ("train", "test", "extra")}, classes=DIGITS
    ),
    "cifar10": Known(
        "CIFAR10",
        halves(
            *(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
            "cifar-10-batches-py/test_batch",
            "cifar-10-batches-py/batches.meta",
        ),
    ),
    "cifar100": Known(
        "CIFAR100", halves(*(f"cifar-100-python/{f}" for f in ("train", "test", "meta")))
    ),
    "stl10": named(
        "STL10",
        dict.fromkeys(("train", "test", "unlabeled", "train+unlabeled"), STL10),
        classes=DIGITS,
        side=64,
    ),
    "celeba": named("CelebA", dict.fromkeys(("train", "valid", "test", "all"), CELEBA), side=64),
    "lsun": Known(
        "",
        {
            f"{scene}_{split}": Split({"scenes": (scene,)}, (f"{scene}_{split}_lmdb",))
            for scene in SCENES
            for split in ("train", "val")
        }
        | {
            split: Split({"scenes": SCENES}, tuple(f"{scene}_{split}_lmdb" for scene in SCENES))
            for split in ("train", "val")
        },
        side=64,
    ),
}


@datasets.register(provides={"images"})
class Torchvision(ImageFiles):
    """A set that torchvision reads: mnist, fashion_mnist, svhn, cifar10, stl10, celeba, lsun, ….

    Also kmnist, emnist, emnist_digits, emnist_letters and cifar100. Files are looked for in
    ``root``, where torchvision has them, and checked by their MD5 where it knows it, always before
    a pickle is opened; they are fetched only with ``download``. ``split`` is train, test or what
    else the set has, of lsun bedroom_train or the like. Of celeba, ``attribute`` is one that is the
    label. Images are prepared as those of ``folder``, in as many ``channels`` as they have unless
    it is given; emnist's are turned upright. Raises ValueError when files are not there or others.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str = ROOT,
        split: str = "train",
        size: Annotated[int, Ge(4)] = 32,
        channels: Literal[1, 3] | None = None,
        resize: Resize = "crop",
        attribute: str | None = None,
        download: bool = False,
    ) -> None:
        self.known, self.split = KNOWN[of(name, KNOWN, "torchvision's sets")], split
        self.part = self.known.splits[of(split, self.known.splits, f"the parts of {name}")]
        super().__init__(
            path=root, size=size, channels=channels or self.known.channels, resize=resize
        )
        self.set, self.attribute, self.download = name, attribute, download
        if attribute is not None and name != "celeba":
            raise ValueError(f"celeba alone has attributes, but {name} is given {attribute!r}")

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "_opened"}

    @property
    def name(self) -> str:
        return plain(self.set if self.split == "train" else f"{self.set}-{self.split}")

    @cached_property
    def _opened(self) -> Any:
        """The set as torchvision has it."""
        self._check()
        if self.set == "lsun":
            return Lsun(self.path, self.part)
        # It takes a second to import, and nothing else needs it.
        import torchvision.datasets as sets

        build = getattr(sets, self.known.target)
        try:
            return build(root=str(self.path), download=self.download, **self.part.arguments)
        except Exception as error:  # whatever reading files raises, or fetching them
            known = "the files of a set are those that torchvision knows, unchanged"
            raise ValueError(f"{known}, but {self.set} in {self.path}: {error}") from error

    def _check(self) -> None:
        """Raise ValueError when files are not there that are not to be fetched, either."""
        missing = [file for file in self.part.files if not (self.path / file).exists()]
        if not missing or (self.download and self.set != "lsun"):
            return
        packed = [f"{file}.gz" for file in missing if (self.path / f"{file}.gz").exists()]
        how = "download: true beside the name in the search space fetches them"
        if self.set == "lsun":
            how = "torchvision cannot fetch them"
        if packed:
            how = f"unpack {', '.join(packed)}"
        law = f"{self.set} is read from files in {self.path} (root)"
        raise ValueError(f"{law}, but these are not there: {', '.join(missing)}; {how}")

    @cached_property
    def _column(self) -> int | None:
        if self.attribute is None:
            return None
        names = [name for name in self._opened.attr_names if name]
        return names.index(of(self.attribute, names, "celeba's attributes"))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        if self.set == "celeba":
            return () if self.attribute is None else (f"not {self.attribute}", self.attribute)
        if "unlabeled" in self.split:
            return ()
        names = tuple(getattr(self._opened, "classes", None) or self.known.classes)
        return names[self.known.first :] if len(names) > 1 else ()

    def fingerprint(self) -> str:
        self._check()
        files = [self.path / file for file in self.part.files]
        there = [file for file in files if file.exists()]
        return self._digest(there, self.set, self.split, self.attribute)

    def __len__(self) -> int:
        return len(self._opened)

    def side(self) -> int:
        return self.known.side

    def _where(self, index: int) -> str:
        return f"{self.set} in {self.path}: image {index}"

    def _read(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        with naming(self._where(index)):
            image, target = self._opened[index]
            with image:
                limit(image.width, image.height)
                upright = image.transpose(TRANSPOSE) if self.known.sideways else image
                return Example(self.preparation.image(upright), self._label(target))

    def _label(self, target: Any) -> int | None:
        if not self.classes:
            return None
        label = int(target if self._column is None else target[self._column]) - self.known.first
        if not 0 <= label < len(self.classes):
            raise ValueError(f"labels are below {len(self.classes)}, but this is {label}")
        return label


class Lsun:
    """LSUN's LMDB files, an image for each key. torchvision's own reader keeps a pickle of the keys
    in the working directory, and opens whatever is there by its name."""

    def __init__(self, root: Path, part: Split) -> None:
        self.folders = [root / file for file in part.files]
        scenes = part.arguments["scenes"]
        self.classes = scenes if len(scenes) > 1 else ()
        self.keys = [
            (number, key) for number, folder in enumerate(self.folders) for key in keys_of(folder)
        ]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        number, key = self.keys[index]
        with environment(self.folders[number]).begin() as transaction:
            data = transaction.get(key, b"")
        return Image.open(io.BytesIO(data), formats=FORMATS), number


_environments: dict[tuple[int, str], lmdb.Environment] = {}


def environment(folder: Path) -> lmdb.Environment:
    """An LMDB file, of which a process may open one once, and none may cross a fork."""
    key = os.getpid(), str(folder)
    if key not in _environments:
        _environments[key] = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    return _environments[key]


def keys_of(folder: Path) -> list[bytes]:
    """The keys of an LMDB file. Raises ValueError when it is none."""
    try:
        with environment(folder).begin() as transaction:
            return list(transaction.cursor().iternext(keys=True, values=False))
    except lmdb.Error as error:
        raise ValueError(f"lsun is LMDB files in folders, but {folder}: {error}") from error


def of(name: str, known: Any, what: str) -> str:
    """The name. Raises ValueError if it is none of those known."""
    if name in known:
        return name
    hint = f"; did you mean {close!r}?" if (close := nearest(name, known)) else ""
    raise ValueError(f"{what} are {', '.join(known)}, but got {name!r}{hint}")
