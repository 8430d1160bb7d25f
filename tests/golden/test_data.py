# SPDX-License-Identifier: Apache-2.0
"""Data sets read from folders: IDX files, torchvision's CIFAR-10, pictures."""

import gzip
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import idx
from PIL import Image

from respin.golden.data import SourceError, load_dataset

SEED = int(os.environ.get("RESPIN_SEED", "1"))
SPLITS = ("train", "t10k")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def levels_of(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def write_idx(folder: Path, **changed: bytes | None) -> None:
    """Write four images and their labels for either part; ``images`` and ``labels`` are the training part's files."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    contents = {"images": idx(images), "labels": idx(np.array([0, 2, 1, 2], np.uint8))}
    for split in SPLITS:
        chosen = contents | (changed if split == "train" else {})
        for kind, rank in (("images", 3), ("labels", 1)):
            path, content = folder / f"{split}-{kind}-idx{rank}-ubyte.gz", chosen[kind]
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)


@pytest.mark.parametrize("inside", ["", "MNIST/raw", "FashionMNIST/raw"])
def test_idx_folder(tmp_path: Path, inside: str) -> None:
    write_idx(tmp_path / "set" / inside)
    data = load_dataset(str(tmp_path / "set"))
    assert (data.name, data.classes) == ("set", ("0", "1", "2"))
    assert data.train.images.shape == (4, 1, 5, 6)
    assert data.train.images.flatten().tolist() == list(range(120))
    assert data.train.labels.tolist() == [0, 2, 1, 2]
    assert data.test is not None
    assert len(data.test) == 4


EMPTY = idx(np.zeros((0, 5, 6), np.uint8))
CUT_OFF = idx(np.zeros((4, 5, 6), np.uint8))[:-9]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"images": None}, "train-images-idx3-ubyte.gz|must hold a folder of images"),
        ({"labels": None}, "train-labels-idx1-ubyte.gz: No such file"),
        ({"images": b"garbage"}, "train-images-idx3-ubyte.gz: an IDX file must be gzipped"),
        ({"images": CUT_OFF}, "train-images-idx3-ubyte.gz: an IDX file must be gzipped"),
        ({"labels": gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00")}, "must start with 00 00 08"),
        ({"labels": gzip.compress(b"\x00\x00\x08")}, "must hold its sizes, not end after 3 bytes"),
        ({"labels": gzip.compress(b"\x00\x00\x08\x03\x00\x00")}, "must hold its sizes, not end after 6 bytes"),
        ({"labels": gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x04abc")}, r"of \[4\] must hold 4 bytes, not 3"),
        ({"images": gzip.compress(b"\x00\x00\x08\x02" + b"\xff" * 8)}, "must hold 18446744065119617025 bytes, not 0"),
        ({"labels": idx(np.zeros(3, np.uint8))}, r"labels must be int64 \(4,\)"),
        ({"images": idx(np.zeros((4, 30), np.uint8))}, "images must be uint8"),
        # The other part has labels that the training part does not know.
        ({"labels": idx(np.zeros(4, np.uint8))}, r"labels must be in 0\.\.0, not 0\.\.2"),
        ({"images": EMPTY, "labels": idx(np.zeros(0, np.uint8))}, "holds no training image"),
    ],
)
def test_wrong_idx_files_are_refused(tmp_path: Path, changed: dict[str, bytes | None], why: str) -> None:
    write_idx(tmp_path / "set", **changed)
    with pytest.raises(SourceError, match=why):
        load_dataset(str(tmp_path / "set"))


class Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Pickles bytes as Python 2 did its strings: so the files that torchvision downloads are made."""

    def save_string(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_string}  # type: ignore[attr-defined]


def python2_pickle(value: object) -> bytes:
    data = io.BytesIO()
    Python2(data, protocol=2).dump(value)
    # NumPy's module was called so until its version 2.
    return data.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_batch(rng: np.random.Generator, count: int = 2) -> dict[bytes, object]:
    return {b"data": levels_of(rng, count, 3072), b"labels": rng.integers(0, 10, count).tolist(), b"batch_label": b"x"}


def write_cifar(folder: Path, rng: np.random.Generator, dump: Callable[[object], bytes]) -> dict[str, dict]:
    folder.mkdir(parents=True)
    batches = {name: cifar_batch(rng) for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]}
    for name, batch in batches.items():
        (folder / name).write_bytes(dump(batch))
    return batches


@pytest.mark.parametrize("dump", [python2_pickle, pickle.dumps], ids=["python 2", "python 3"])
@pytest.mark.parametrize("inside", [False, True])
def test_torchvision_cifar10(
    tmp_path: Path, rng: np.random.Generator, dump: Callable[[object], bytes], inside: bool
) -> None:
    folder = tmp_path / "set" / "cifar-10-batches-py"
    batches = write_cifar(folder, rng, dump)
    data = load_dataset(str(folder if inside else folder.parent))
    assert data.test is not None
    for part, chosen in ((data.train, [f"data_batch_{i}" for i in range(1, 6)]), (data.test, ["test_batch"])):
        images = np.concatenate([batches[name][b"data"] for name in chosen])
        assert torch.equal(part.images.flatten(1), torch.from_numpy(images))
        assert part.images.shape[1:] == (3, 32, 32)
        assert part.labels.tolist() == [label for name in chosen for label in batches[name][b"labels"]]


class Harmful:
    """What runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_names_anything_but_arrays_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "set"
    write_cifar(folder, rng, pickle.dumps)
    for harm in (Harmful(tmp_path / "harm"), {b"data": [Harmful(tmp_path / "harm")]}, os.system, eval):
        (folder / "data_batch_3").write_bytes(pickle.dumps(harm))
        with pytest.raises(SourceError, match=r"data_batch_3.*names (posix\.mkdir|posix\.system|builtins\.eval): only"):
            load_dataset(str(folder))
    assert not (tmp_path / "harm").exists()


def test_wrong_cifar_batches_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "set"
    write_cifar(folder, rng, pickle.dumps)
    good = cifar_batch(rng)
    wrong: list[object] = [
        [1, 2],
        {b"data": good[b"data"]},
        good | {b"data": [1, 2]},
        good | {b"data": np.zeros((2, 3072), np.float32)},
        good | {b"data": np.array([None, None])},
        good | {b"data": np.zeros((2, 3000), np.uint8)},
        good | {b"labels": [1]},
        good | {b"labels": [1, 10]},
        good | {b"labels": [1, -1]},
        good | {b"labels": ["a", "b"]},
        good | {b"labels": [0.5, 0.5]},
    ]
    whole = pickle.dumps(good)
    contents = [pickle.dumps(batch) for batch in wrong] + [b"", b"garbage", whole[:-40], whole[:30]]
    for content in contents:
        (folder / "data_batch_2").write_bytes(content)
        with pytest.raises(SourceError):
            load_dataset(str(folder))
    # Whatever a damaged file makes the unpickler do, the message is ours.
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, 200, 3):
            damaged[place] = rng.integers(0, 256)
        (folder / "data_batch_2").write_bytes(bytes(damaged))
        try:
            load_dataset(str(folder))
        except SourceError:
            refused += 1
    assert refused > 20
    (folder / "data_batch_2").unlink()
    with pytest.raises(SourceError, match="data_batch_2 is no batch of CIFAR-10.*No such file"):
        load_dataset(str(folder))


def write_images(folder: Path, *, level: int = 0, side: int = 20) -> None:
    """Two classes of two plain pictures each, a tall one and a wide one, in several formats."""
    for label, (name, suffixes) in enumerate({"cat": (".png", ".JPG"), "dog": (".bmp", ".gif")}.items()):
        (folder / name).mkdir(parents=True)
        for number, suffix in enumerate(suffixes):
            size = (side, 2 * side) if number else (2 * side, side)
            colour = (level + 100 * label, 60, 60)
            kind = "jpeg" if suffix == ".JPG" else suffix[1:]
            Image.new("RGB", size, colour).save(folder / name / f"{number}{suffix}", kind)
        (folder / name / "notes.txt").write_text("no image", encoding="utf-8")


def test_image_folder_without_a_split(tmp_path: Path) -> None:
    write_images(tmp_path / "set")
    (tmp_path / "set" / "readme.png").write_bytes(b"a file beside the classes")
    (tmp_path / "set" / ".thumbnails").mkdir()
    (tmp_path / "set" / "cat" / "._1.png").write_bytes(b"what a file manager leaves")
    data = load_dataset(str(tmp_path / "set"))
    assert (data.name, data.classes, data.test) == ("set", ("cat", "dog"), None)
    assert data.folds > 1
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.images.shape == (4, 3, 224, 224)
    expected = torch.tensor([[0, 60, 60]] * 2 + [[100, 60, 60]] * 2)
    # JPEG and GIF come near a colour.
    assert int((data.train.images - expected[:, :, None, None]).abs().max()) <= 3


def test_image_folder_with_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "set" / "train")
    write_images(tmp_path / "set" / "test", level=80)
    monkeypatch.chdir(tmp_path / "set")
    data = load_dataset(".")
    assert data.name == "set"
    assert data.test is not None
    assert int(data.train.images[0, 0].max()) <= 3
    assert int((data.test.images[0, 0].int() - 80).abs().max()) <= 3
    assert data.test.labels.tolist() == [0, 0, 1, 1]


def test_a_folder_with_a_training_part_alone_is_cut(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "train")
    assert load_dataset(str(tmp_path / "set")).test is None


def test_wrong_image_folders_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "set"
    write_images(folder)
    noise = levels_of(rng, 30, 30, 3)
    for kind in ("png", "jpeg", "bmp", "ppm", "tiff"):
        data = io.BytesIO()
        Image.fromarray(noise).save(data, kind)
        path = folder / "cat" / f"damaged.{kind}"
        path.write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
        with pytest.raises(SourceError, match=f"damaged.{kind} is no image that can be read"):
            load_dataset(str(folder))
        path.unlink()
    bad = folder / "cat" / "bad.ppm"
    for content in (b"", b"P6 3z 30 255\n", b"P6 100000 100000 255\n", b"no picture"):
        bad.write_bytes(content)
        with pytest.raises(SourceError, match=r"bad\.ppm is no image that can be read"):
            load_dataset(str(folder))
    bad.unlink()
    wide = folder / "dog" / "wide.png"
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(wide)
    with pytest.raises(SourceError, match=r"wide\.png has more than 8 bits a level"):
        load_dataset(str(folder))
    wide.unlink()
    (folder / "empty").mkdir()
    with pytest.raises(SourceError, match=r"empty holds no image \(\.png, "):
        load_dataset(str(folder))


def test_image_folders_need_two_classes_and_images_to_test(tmp_path: Path) -> None:
    (tmp_path / "one" / "cat").mkdir(parents=True)
    with pytest.raises(SourceError, match="must hold a folder of images for each of two or more classes, not 1"):
        load_dataset(str(tmp_path / "one"))
    write_images(tmp_path / "set" / "train")
    (tmp_path / "set" / "test" / "cat").mkdir(parents=True)
    with pytest.raises(SourceError, match="test/cat holds no image"):
        load_dataset(str(tmp_path / "set"))


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(SourceError, match="a data set must be one of cifar10, .*, or a folder, not 'imagenet'"):
        load_dataset("imagenet")
