# SPDX-License-Identifier: Apache-2.0
"""Files that commands write: refused before long work where they cannot be, and there whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from respin.cli.console import BAD_INPUT, fail

PICTURE_SUFFIXES = (".png", ".svg")


def require_folder(folder: Path) -> None:
    """Make a folder, or find it made; ends with exit code 2 if files cannot be put there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        fail(f"{folder}: cannot be written: there is a file where a folder must be", BAD_INPUT)
    except OSError as error:
        fail(f"{folder}: cannot be written: {error.strerror}", BAD_INPUT)


def require_file(path: Path) -> None:
    """Make the folder of a file; ends with exit code 2 if the file cannot be written or replaced.

    What is there and is no file, a folder or a device, is never replaced.
    """
    if path.exists() and not path.is_file():
        fail(f"{path}: cannot be written: is a folder or a device, not a file", BAD_INPUT)
    require_folder(path.parent)


def require_picture(path: Path) -> None:
    """Do what :func:`require_file` does, of a name that says which kind of picture it is to be."""
    if path.suffix not in PICTURE_SUFFIXES:
        fail(f"--picture must be a file named {' or '.join(PICTURE_SUFFIXES)}, not {str(path)!r}", BAD_INPUT)
    require_file(path)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a place beside ``path`` to write to; what was written there takes its place if nothing went wrong."""
    require_file(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            beside = Path(folder) / path.name
            yield beside
            beside.replace(path)
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}")


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
