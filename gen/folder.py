# SPDX-License-Identifier: Apache-2.0
"""A generated folder: it appears whole or not at all, with a manifest by which it is known again."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

MANIFEST = "manifest.json"


class FolderError(Exception):
    """The folder cannot be written; the message is one line."""


def as_bytes(content: str | bytes) -> bytes:
    """Return a file's bytes: text is written as UTF-8."""
    return content.encode() if isinstance(content, str) else content


def sha256(content: str | bytes) -> str:
    """Return the hash of a file as manifests give it."""
    return hashlib.sha256(as_bytes(content)).hexdigest()


def require_replaceable(folder: Path) -> None:
    """Raise FolderError if ``folder`` holds something without a manifest, that is, something not generated, or if
    nothing can be made beside it. Before long work this tells what :func:`write_folder` would tell after it."""
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderError(f"{folder} holds something that respin did not write; name another folder or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent):
            pass
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}") from error


def write_folder(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write ``files``, a manifest among them, by their paths in ``folder``.

    The folder is made beside its place and then renamed, so it is never half written. One that is there already is
    replaced if it holds a manifest, that is, if it was generated.

    Raises
    ------
    FolderError
        If the folder holds something else, or cannot be written.
    """
    folder = folder.absolute()
    require_replaceable(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
            made, old = Path(beside) / "made", Path(beside) / "old"
            made.mkdir()
            for name, content in files.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(as_bytes(content))
            if folder.exists():
                folder.rename(old)
            made.rename(folder)
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}") from error
