# SPDX-License-Identifier: Apache-2.0
"""Archives and files as package registries and data sets have them, made by hand."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image


def wheel(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.mkdir("package")
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarball(files: dict[str, bytes], mode: str = "w:gz", prefix: str = "") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo(f"{prefix}package")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo(f"{prefix}link")
        link.type, link.linkname = tarfile.SYMTYPE, "package"
        archive.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{prefix}{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def ar_archive(members: dict[str, bytes]) -> bytes:
    """As ``man 5 ar`` has it: a header of 60 characters before each member, members at even positions."""
    data = b"!<arch>\n"
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        data += header.encode("ascii") + content + b"\n" * (len(content) % 2)
    return data


def debian_package(files: dict[str, bytes]) -> bytes:
    # An odd member before the one that matters, so that the padding does too.
    members = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", "data.tar.xz": tarball(files, "w:xz", "./")}
    return ar_archive(members)


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {"pip": wheel, "npm": tarball, "apt-get": debian_package}


def png(levels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(levels).save(data, "png")
    return data.getvalue()


def idx(values: np.ndarray) -> bytes:
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(b"\x00\x00\x08" + bytes([values.ndim]) + sizes + values.tobytes())
