# SPDX-License-Identifier: Apache-2.0
"""Archives from package registries: fetched once by the registry's own client, pinned by SHA-256, kept in a cache."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

Client = Literal["pip", "npm", "apt-get"]
Report = Callable[[str], None]

TIMEOUT = 900
"""Seconds that a client may take."""
_INSTALL = {
    "npm": "install npm (Debian: apt-get install npm)",
    "apt-get": "it comes from Debian's packages only",
    "pip": "install pip for this Python",
}


class SourceError(Exception):
    """A source that cannot be had; the message says why and what helps."""


def cache_folder() -> Path:
    """Return where archives are kept: ``$RESPIN_CACHE``, else ``respin`` in the user's cache folder."""
    given = os.environ.get("RESPIN_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "respin"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A package that carries data.

    Parameters
    ----------
    name:
        What it is, for messages.
    client:
        The command that fetches it.
    package, version:
        What to ask it for.
    sha256:
        Of the archive.
    licence:
        Of the data, in words.
    """

    name: str
    client: Client
    package: str
    version: str
    sha256: str
    licence: str

    @property
    def _kind(self) -> str:
        return {"pip": ".whl", "npm": ".tgz", "apt-get": ".deb"}[self.client]

    @property
    def path(self) -> Path:
        """Where the archive is kept."""
        return cache_folder() / f"{self.package}-{self.version.replace('~', '-')}{self._kind}"

    @property
    def cached(self) -> bool:
        """Whether an archive is there. (It is hashed when it is opened.)"""
        return self.path.is_file()

    def _command(self) -> list[str]:
        match self.client:
            case "pip":
                options = ["--no-deps", "--disable-pip-version-check", "--quiet", "--dest", "."]
                return [sys.executable, "-m", "pip", "download", *options, f"{self.package}=={self.version}"]
            case "npm":
                return ["npm", "pack", "--silent", f"{self.package}@{self.version}"]
            case "apt-get":
                return ["apt-get", "download", "-qq", f"{self.package}={self.version}"]

    def fetch(self, report: Report) -> Path:
        """Return the archive, from the cache or else from its registry; ``report`` is told what is going on.

        Raises
        ------
        SourceError
            If its client is missing or fails, or the archive is another one than was pinned.
        """
        if self.cached:
            if _sha256(self.path) == self.sha256:
                return self.path
            report(f"{self.path} is damaged: fetching it again")
        report(f"fetching {self.name} with {self.client} ({self.package} {self.version}); licence: {self.licence}")
        command = self._command()
        if shutil.which(command[0]) is None:
            raise SourceError(f"{self.name} needs the command {self.client}, not found: {_INSTALL[self.client]}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            try:
                done = subprocess.run(
                    command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False,
                    stdin=subprocess.DEVNULL,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise SourceError(f"{self.name}: {self.client} took more than {TIMEOUT} s") from None
            archives = [path for path in Path(folder).iterdir() if path.suffix == self._kind]
            if done.returncode or len(archives) != 1:
                said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
                raise SourceError(
                    f"{self.name}: {self.client} could not fetch {self.package} {self.version}; it said: {said}"
                )
            found = _sha256(archives[0])
            if found != self.sha256:
                raise SourceError(f"{self.name}: the archive's SHA-256 is {found}, pinned is {self.sha256}")
            archives[0].replace(self.path)
        return self.path

    def open(self, report: Report) -> "Archive":
        """Fetch the archive and open it."""
        return Archive(self.fetch(report))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Archive:
    """The files in a wheel, an npm package or a Debian package."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _members(self) -> dict[str, bytes]:
        if self.path.suffix == ".whl":
            with zipfile.ZipFile(self.path) as wheel:
                return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
        content = self.path.read_bytes()
        data = io.BytesIO(_debian_data(content) if self.path.suffix == ".deb" else content)
        with tarfile.open(fileobj=data) as tar:
            files = (member for member in tar.getmembers() if member.isfile())
            return {member.name.removeprefix("./"): tar.extractfile(member).read() for member in files}  # type: ignore[union-attr]

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """Return what is in the file ``name``."""
        if name not in self._members:
            raise SourceError(f"{self.path} holds no {name}")
        return self._members[name]


def _debian_data(content: bytes) -> bytes:
    """Return the tar archive of a package's files: a member ``data.tar.*`` of an ``ar`` archive (``man 5 ar``)."""
    if not content.startswith(b"!<arch>\n"):
        raise SourceError("a Debian package must be an ar archive")
    position = 8
    while position + 60 <= len(content):
        name = content[position : position + 16].decode("ascii").strip()
        size = int(content[position + 48 : position + 58])
        position += 60
        if name.startswith("data.tar"):
            return content[position : position + size]
        position += size + size % 2
    raise SourceError("the Debian package holds no data.tar")
