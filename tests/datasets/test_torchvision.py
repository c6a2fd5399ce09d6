"""torchvision's data sets, from files of their real formats that are made here."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torchvision.datasets as sets
from PIL import Image
from scipy.io import savemat

from sweeper.catalog.datasets.store import pack
from sweeper.catalog.datasets.torchvision import KNOWN, Torchvision

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: Patch) -> None:
    def connect(*given: object) -> None:
        raise AssertionError(f"went to the network: {given}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def idx(array: np.ndarray) -> bytes:
    """Bytes in the format of MNIST's files."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def mnist_at(folder: Path, n: int = 6, prefix: str = "", label: int = 0) -> None:
    for part in ("train", "test" if prefix else "t10k"):
        images, labels = random(n, 28, 28, seed=len(part)), (np.arange(n) + label) % 10
        put(folder / f"{prefix}{part}-images-idx3-ubyte", idx(images))
        put(folder / f"{prefix}{part}-labels-idx1-ubyte", idx(labels))


def examples(data: Torchvision) -> Iterator[tuple[np.ndarray, int | None]]:
    for i in range(len(data)):
        example = data[i]
        yield example.image, example.label


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize(("split", "seed"), [("train", 5), ("test", 4)])
def test_mnist_and_its_kin(name: str, split: str, seed: int, tmp_path: Path) -> None:
    mnist_at(tmp_path / KNOWN[name].target / "raw")
    data = Torchvision(name=name, root=str(tmp_path), split=split, size=28)
    assert data.classes == tuple(getattr(sets, KNOWN[name].target).classes)
    found = list(examples(pickle.loads(pickle.dumps(data))))
    assert [label for _, label in found] == list(range(6))
    assert np.array_equal([image[0] for image, _ in found], random(6, 28, 28, seed=seed))
    store = pack(data, tmp_path / "out")
    assert store.meta.shape == (1, 28, 28)
    assert store.meta.name == (name if split == "train" else f"{name}-test")


@pytest.mark.parametrize(
    ("name", "first", "classes"),
    [("emnist", 0, 47), ("emnist_digits", 0, 10), ("emnist_letters", 1, 26)],
)
def test_emnist_stands_upright(name: str, first: int, classes: int, tmp_path: Path) -> None:
    variant = name.partition("_")[2] or "balanced"
    mnist_at(tmp_path / "EMNIST" / "raw", prefix=f"emnist-{variant}-", label=first)
    data = Torchvision(name=name, root=str(tmp_path), split="train", size=28, channels=3)
    assert len(data.classes) == classes
    for (image, label), raw, i in zip(
        examples(data), random(6, 28, 28, seed=5), range(6), strict=True
    ):
        assert np.array_equal(image, np.stack([raw.T] * 3))
        assert label == i
    if name == "emnist_letters":
        assert data.classes[:2] == ("a", "b")


def cifar_at(root: Path, monkeypatch: Patch, fine: bool = False) -> np.ndarray:
    """Files of CIFAR, which torchvision is told to know. The training images."""
    owner = sets.CIFAR100 if fine else sets.CIFAR10
    folder = root / owner.base_folder
    key, names = ("fine_labels", "fine_label_names") if fine else ("labels", "label_names")
    images = []
    for split in ("train_list", "test_list"):
        listed = []
        for i, (name, _) in enumerate(getattr(sets.CIFAR10 if not fine else owner, split)):
            array = random(4, 3072, seed=i + 10 * len(split))
            images += [array] if split == "train_list" else []
            entry = {"data": array, key: [0, 1, 2, 1], "batch_label": name}
            listed.append([name, md5(put(folder / name, pickle.dumps(entry, 2)))])
        monkeypatch.setattr(owner, split, listed)
    meta = {**owner.meta, "key": names}
    put(folder / meta["filename"], pickle.dumps({names: ["cat", "dog", "emu"]}, 2))
    meta["md5"] = md5(folder / meta["filename"])
    monkeypatch.setattr(owner, "meta", meta)
    return np.concatenate(images).reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("fine", [False, True])
def test_cifar(fine: bool, tmp_path: Path, monkeypatch: Patch) -> None:
    images = cifar_at(tmp_path, monkeypatch, fine)
    data = Torchvision(name="cifar100" if fine else "cifar10", root=str(tmp_path))
    assert data.classes == ("cat", "dog", "emu")
    found = list(examples(data))
    assert np.array_equal([image for image, _ in found], images)
    assert [label for _, label in found] == [0, 1, 2, 1] * (1 if fine else 5)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["EVIL"],)


@pytest.mark.parametrize("where", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_that_is_not_cifars_is_never_opened(
    where: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    cifar_at(tmp_path / "data", monkeypatch)
    bad = put(tmp_path / "data" / "cifar-10-batches-py" / where, pickle.dumps(Evil(), 2))
    data = Torchvision(name="cifar10", root=str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"torchvision knows, unchanged, but cifar10 in .*data: "):
        pack(data, tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    pickle.loads(bad.read_bytes())  # it would have been
    assert (tmp_path / "evil").is_dir()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_any_pickle_is_unknown_without_being_told(name: str, tmp_path: Path) -> None:
    known = KNOWN[name].splits["train"]
    for file in known.files:
        put(tmp_path / file, pickle.dumps({"data": random(1, 3072), "labels": [0]}, 2))
    with pytest.raises(ValueError, match="not found or corrupted"):
        len(Torchvision(name=name, root=str(tmp_path)))


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn(split: str, tmp_path: Path, monkeypatch: Patch) -> None:
    images = random(5, 32, 32, 3)
    file = tmp_path / f"{split}_32x32.mat"
    labels = np.array([[10], [1], [9], [10], [3]], np.uint8)
    savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
    known = {split: ["http://nowhere", file.name, md5(file)]}
    monkeypatch.setattr(sets.SVHN, "split_list", sets.SVHN.split_list | known)
    data = Torchvision(name="svhn", root=str(tmp_path), split=split)
    assert data.classes == tuple("0123456789")
    found = list(examples(data))
    assert np.array_equal([image for image, _ in found], images.transpose(0, 3, 1, 2))
    assert [label for _, label in found] == [0, 1, 9, 0, 3]


@pytest.mark.parametrize("split", ["train", "test", "unlabeled", "train+unlabeled"])
def test_stl10(split: str, tmp_path: Path, monkeypatch: Patch) -> None:
    folder, parts = tmp_path / "stl10_binary", {}
    for i, part in enumerate(("train", "test", "unlabeled")):
        parts[part] = random(3, 3, 96, 96, seed=i)
        # Columns first.
        put(folder / f"{part}_X.bin", parts[part].transpose(0, 1, 3, 2).tobytes())
        if part != "unlabeled":
            put(folder / f"{part}_y.bin", bytes([1, 10, 2]))
    put(folder / "class_names.txt", "\n".join("abcdefghij").encode())
    for listed in ("train_list", "test_list"):
        known = [[name, md5(folder / name)] for name, _ in getattr(sets.STL10, listed)]
        monkeypatch.setattr(sets.STL10, listed, known)
    data = Torchvision(name="stl10", root=str(tmp_path), split=split, size=96)
    found = list(examples(data))
    labelled = "unlabeled" not in split
    assert np.array_equal(
        [image for image, _ in found], np.concatenate([parts[p] for p in split.split("+")])
    )
    assert data.classes == (tuple("abcdefghij") if labelled else ())
    assert {label for _, label in found} == ({0, 9, 1} if labelled else {None})


def celeba_at(root: Path, monkeypatch: Patch, n: int = 6) -> None:
    folder = root / "celeba"
    names = [f"{i + 1:06d}.jpg" for i in range(n)]
    for i, name in enumerate(names):
        file = io.BytesIO()
        Image.new("RGB", (178, 218), (40 * i, 0, 0)).save(file, "JPEG", quality=95)
        put(folder / "img_align_celeba" / name, file.getvalue())
    smiling = [1 if i % 2 else -1 for i in range(n)]
    texts = {
        "list_attr_celeba.txt": [str(n), "Bald Smiling "]
        + [f"{name} -1 {s:2d}" for name, s in zip(names, smiling, strict=True)],
        "identity_CelebA.txt": [f"{name} {i}" for i, name in enumerate(names)],
        "list_bbox_celeba.txt": [str(n), "image_id x_1 y_1 width height"]
        + [f"{name} 1 2 3 4" for name in names],
        "list_landmarks_align_celeba.txt": [str(n), "lefteye_x lefteye_y"]
        + [f"{name} 1 2" for name in names],
        "list_eval_partition.txt": [f"{name} {i // 2}" for i, name in enumerate(names)],
    }
    for name, lines in texts.items():
        put(folder / name, "\n".join([*lines, ""]).encode())
    known = [
        (id, md5(folder / name) if name in texts else known, name)
        for id, known, name in sets.CelebA.file_list
    ]
    monkeypatch.setattr(sets.CelebA, "file_list", known)


@pytest.mark.parametrize(
    ("split", "which"), [("train", [0, 1]), ("valid", [2, 3]), ("test", [4, 5]), ("all", range(6))]
)
def test_celeba(split: str, which: list[int], tmp_path: Path, monkeypatch: Patch) -> None:
    celeba_at(tmp_path, monkeypatch)
    data = Torchvision(name="celeba", root=str(tmp_path), split=split, size=16)
    assert data.classes == ()
    found = list(examples(data))
    assert [label for _, label in found] == [None] * len(which)
    reds = [int(image[0].mean()) for image, _ in found]
    assert reds == pytest.approx([40 * i for i in which], abs=4)
    smiling = Torchvision(name="celeba", root=str(tmp_path), split=split, attribute="Smiling")
    assert smiling.classes == ("not Smiling", "Smiling")
    assert [label for _, label in examples(smiling)] == [i % 2 for i in which]
    assert smiling.fingerprint() != data.fingerprint()
    sad = Torchvision(name="celeba", root=str(tmp_path), attribute="Smilin")
    with pytest.raises(ValueError, match="are Bald, Smiling, but got 'Smilin'; did you mean"):
        pack(sad, tmp_path / "out")


def test_postscript_among_celebas_images_is_not_run(tmp_path: Path, monkeypatch: Patch) -> None:
    celeba_at(tmp_path, monkeypatch)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    put(tmp_path / "celeba" / "img_align_celeba" / "000002.jpg", script)
    with pytest.raises(ValueError, match=r"celeba in .*: image 1 cannot: .*this is EPS"):
        list(examples(Torchvision(name="celeba", root=str(tmp_path))))


def lsun_at(root: Path, name: str, levels: list[int], broken: bool = False) -> None:
    folder = root / f"{name}_lmdb"
    folder.mkdir(parents=True)
    with (
        lmdb.open(str(folder), map_size=1 << 22) as environment,
        environment.begin(write=True) as filled,
    ):
        for level in levels:
            file = io.BytesIO()
            Image.new("RGB", (20, 16), (level, 0, 0)).save(file, "WEBP", lossless=True)
            data = b"no image" if broken else file.getvalue()
            filled.put(hashlib.sha1(bytes([level])).hexdigest().encode(), data)


def test_lsun_by_one_scene_or_all(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    here, root = tmp_path / "here", tmp_path / "lsun"
    scenes = [s.removesuffix("_val") for s in KNOWN["lsun"].splits if s.endswith("_val")]
    for i, scene in enumerate(scenes):
        lsun_at(root, f"{scene}_val", [i, 100 + i])
    # What torchvision's reader would open, and write, in the working directory.
    cache = "_cache_" + "".join(c for c in str(root / "bedroom_val_lmdb") if c.isalpha())
    put(here / cache, pickle.dumps(Evil()))
    monkeypatch.chdir(here)
    data = Torchvision(name="lsun", root=str(root), split="bedroom_val", size=8)
    assert data.classes == ()
    assert sorted(int(image[0, 0, 0]) for image, _ in examples(data)) == [0, 100]
    every = Torchvision(name="lsun", root=str(root), split="val", size=8)
    assert every.classes == tuple(scenes)
    assert {int(image[0, 0, 0]) % 100 == label for image, label in examples(every)} == {True}
    assert len(pickle.loads(pickle.dumps(every))) == 20
    assert os.listdir(here) == [cache]
    assert not (tmp_path / "evil").exists()


def test_broken_images_and_files_of_lsun_are_named(tmp_path: Path) -> None:
    lsun_at(tmp_path, "tower_train", [1], broken=True)
    with pytest.raises(ValueError, match=r"lsun in .*: image 0 cannot: it is none of PNG"):
        list(examples(Torchvision(name="lsun", root=str(tmp_path), split="tower_train")))
    put(tmp_path / "tower_val_lmdb" / "data.mdb", b"x" * 10_000)
    with pytest.raises(ValueError, match=r"LMDB files in folders, but .*tower_val_lmdb: "):
        list(examples(Torchvision(name="lsun", root=str(tmp_path), split="tower_val")))


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_not_there_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    for split, part in KNOWN[name].splits.items():
        with pytest.raises(ValueError, match="is read from files in") as raised:
            pack(Torchvision(name=name, root=str(tmp_path), split=split), tmp_path / "out")
        assert str(tmp_path) in str(raised.value)
        for file in part.files:
            assert file in str(raised.value)
    how = (
        "cannot fetch"
        if name == "lsun"
        else "download: true beside the name in the search space fetches them"
    )
    assert how in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", KNOWN)
def test_a_download_that_fails_says_so(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    def urlopen(*given: object, **more: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setitem(__import__("sys").modules, "gdown", None)
    says = {"lsun": "cannot fetch", "celeba": "gdown"}.get(name, "no network here")
    split = next(iter(KNOWN[name].splits))
    data = Torchvision(name=name, root=str(tmp_path), split=split, download=True)
    with pytest.raises(ValueError, match=says):
        pack(data, tmp_path / "out")


def test_files_that_are_there_but_packed_are_named(tmp_path: Path) -> None:
    mnist_at(tmp_path / "MNIST" / "raw")
    for file in list((tmp_path / "MNIST" / "raw").iterdir()):
        put(file.with_name(f"{file.name}.gz"), gzip.compress(file.read_bytes()))
        file.unlink()
    with pytest.raises(ValueError, match=r"; unpack MNIST/raw/train-images-idx3-ubyte\.gz, "):
        Torchvision(name="mnist", root=str(tmp_path)).fingerprint()


@pytest.mark.parametrize("data", [b"", b"\0\0\x08\x03", idx(random(2, 28, 28))[:-1], b"x" * 100])
def test_broken_files_of_mnist_are_refused(data: bytes, tmp_path: Path) -> None:
    mnist_at(tmp_path / "MNIST" / "raw")
    put(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte", data)
    with pytest.raises(ValueError, match=r"unchanged, but mnist in "):
        pack(Torchvision(name="mnist", root=str(tmp_path)), tmp_path / "out")


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    mnist_at(tmp_path / "MNIST" / "raw")
    put(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", idx(np.array([0, 1, 200, 3, 4, 5])))
    data = Torchvision(name="mnist", root=str(tmp_path))
    with pytest.raises(ValueError, match=r"image 2 cannot: labels are below 10, but this is 200"):
        pack(data, tmp_path / "out")


def test_what_is_asked_for_is_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sets are mnist, .*'cifar'; did you mean 'cifar10'\?"):
        Torchvision(name="cifar")
    with pytest.raises(ValueError, match=r"parts of mnist are train, test, but got 'trian'; did"):
        Torchvision(name="mnist", split="trian")
    with pytest.raises(ValueError, match="celeba alone has attributes, but mnist"):
        Torchvision(name="mnist", attribute="Smiling")


def test_sets_have_the_side_that_they_are_mostly_trained_at() -> None:
    sides = {}
    for name, known in KNOWN.items():
        sides[name] = Torchvision(name=name, split=next(iter(known.splits))).side()
    large = {"stl10", "celeba", "lsun"}
    assert sides == {name: 64 if name in large else 32 for name in KNOWN}


def test_the_files_are_those_that_torchvision_names() -> None:
    def listed(owner: Any) -> set[str]:
        return {f"{owner.base_folder}/{name}" for name, _ in owner.train_list + owner.test_list}

    for name in ("cifar10", "cifar100"):
        owner = getattr(sets, KNOWN[name].target)
        meta = f"{owner.base_folder}/{owner.meta['filename']}"
        assert set(KNOWN[name].splits["test"].files) == listed(owner) | {meta}
    assert set(KNOWN["stl10"].splits["test"].files) == listed(sets.STL10)
    for split, (_, file, _) in sets.SVHN.split_list.items():
        assert KNOWN["svhn"].splits[split].files == (file,)
    texts = {f"celeba/{name}" for _, _, name in sets.CelebA.file_list if name.endswith(".txt")}
    assert set(KNOWN["celeba"].splits["all"].files) == texts | {"celeba/img_align_celeba"}
    for name in ("mnist", "fashion_mnist", "kmnist"):
        owner = getattr(sets, KNOWN[name].target)
        files = {f"{KNOWN[name].target}/raw/{f.removesuffix('.gz')}" for f, _ in owner.resources}
        assert set(KNOWN[name].splits["train"].files) == files
