# SPDX-License-Identifier: Apache-2.0
"""The Verilog of an accelerator as a folder: each block a file, and a manifest that says what they are."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from respin.gen.blocks import DELIVERED
from respin.gen.emit import Port, emit, ports
from respin.gen.folder import MANIFEST, require_replaceable, sha256, write_folder
from respin.gen.integration import CORE, WAIVERS, WRAPPER, core, waivers, wrapper
from respin.gen.versions import commit, versions
from respin.rtl.config import AcceleratorConfig


def generate(config: AcceleratorConfig) -> dict[str, str]:
    """Return every file's text by name, the manifest last."""
    texts: dict[str, str] = {}
    files: dict[str, Any] = {}
    listings: dict[str, list[Port]] = {}
    for block in DELIVERED:
        component = block.make(config)
        listings[block.name] = ports(component)
        text = emit(component, block.name, config=config)
        texts[f"{block.name}.v"] = text
        files[f"{block.name}.v"] = {
            "module": block.name,
            "title": block.title,
            "bytes": len(text.encode()),
            "sha256": sha256(text),
            "latency_cycles": getattr(component, "latency", None),
            "ports": [asdict(port) for port in listings[block.name]],
        }
    beside = {
        WRAPPER: ("a wrapper to copy an instance of the machine from", wrapper(config, listings[DELIVERED[0].name])),
        WAIVERS: ("what Verilator's lint need not say of it", waivers()),
        CORE: ("the machine as a FuseSoC core", core(config)),
    }
    for name, (title, text) in beside.items():
        texts[name] = text
        files[name] = {"title": title, "bytes": len(text.encode()), "sha256": sha256(text)}
    manifest = {"versions": versions(), "commit": commit(), "configuration": asdict(config), "files": files}
    return texts | {MANIFEST: json.dumps(manifest, indent=2) + "\n"}


def write(config: AcceleratorConfig, folder: Path) -> dict[str, Any]:
    """Write the accelerator's Verilog into ``folder`` and return the manifest.

    Raises
    ------
    FolderError
        If the folder holds something else, or cannot be written.
    """
    folder = folder.absolute()
    require_replaceable(folder)
    texts = generate(config)
    write_folder(folder, texts)
    manifest: dict[str, Any] = json.loads(texts[MANIFEST])
    return manifest
