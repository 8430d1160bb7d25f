# SPDX-License-Identifier: Apache-2.0
"""The Verilog of an accelerator as a folder: each block a file, and a manifest that says what they are."""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from respin.gen.blocks import DELIVERED
from respin.gen.emit import emit, ports
from respin.gen.versions import commit, versions
from respin.rtl.config import AcceleratorConfig

MANIFEST = "manifest.json"


class FolderError(Exception):
    """The folder cannot be written; the message is one line."""


def generate(config: AcceleratorConfig) -> dict[str, str]:
    """Return every file's text by name, the manifest last."""
    texts: dict[str, str] = {}
    files: dict[str, Any] = {}
    for block in DELIVERED:
        component = block.make(config)
        listing = [asdict(port) for port in ports(component)]
        text = emit(component, block.name, config=config)
        texts[f"{block.name}.v"] = text
        files[f"{block.name}.v"] = {
            "module": block.name,
            "title": block.title,
            "bytes": len(text.encode()),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "latency_cycles": getattr(component, "latency", None),
            "ports": listing,
        }
    manifest = {"versions": versions(), "commit": commit(), "configuration": asdict(config), "files": files}
    return texts | {MANIFEST: json.dumps(manifest, indent=2) + "\n"}


def write(config: AcceleratorConfig, folder: Path) -> dict[str, Any]:
    """Write the accelerator's Verilog into ``folder`` and return the manifest.

    The folder is made beside its place and then renamed, so it is never half written. One that is there already is
    replaced if it holds a manifest, that is, if this wrote it.

    Raises
    ------
    FolderError
        If the folder holds something else, or cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderError(f"{folder} holds something that respin did not write; name another folder or remove it")
    texts = generate(config)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
            made, old = Path(beside) / "made", Path(beside) / "old"
            made.mkdir()
            for name, text in texts.items():
                (made / name).write_text(text, encoding="utf-8")
            if folder.exists():
                folder.rename(old)
            made.rename(folder)
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}") from error
    manifest: dict[str, Any] = json.loads(texts[MANIFEST])
    return manifest
