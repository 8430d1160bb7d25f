# SPDX-License-Identifier: Apache-2.0
"""Everything that is made of the register map, as a folder with a manifest."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from respin.gen.folder import MANIFEST, as_bytes, require_replaceable, sha256, write_folder
from respin.gen.registers.constants import constants
from respin.gen.registers.markdown import markdown
from respin.gen.registers.peakrdl import TOOLS, exports
from respin.gen.registers.systemrdl import systemrdl
from respin.gen.versions import commit, package_version
from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.registers import register_map

INDEX = "html/index.html"


def generate(config: AcceleratorConfig) -> dict[str, str | bytes]:
    """Return every file's content by path, the manifest last."""
    registers = register_map(config)
    name = registers.name
    text = systemrdl(registers)
    files: dict[str, str | bytes] = {
        f"{name}.rdl": text,
        f"{name}.md": markdown(registers),
        f"{name}_registers.py": constants(registers),
        **exports(text, name),
    }
    manifest = {
        "versions": {tool: package_version(tool) for tool in ("respin", *TOOLS)},
        "commit": commit(),
        "configuration": asdict(config),
        "files": {
            path: {"bytes": len(as_bytes(content)), "sha256": sha256(content)} for path, content in files.items()
        },
    }
    return {**files, MANIFEST: json.dumps(manifest, indent=2) + "\n"}


def write(config: AcceleratorConfig, folder: Path) -> Mapping[str, str | bytes]:
    """Write the files into ``folder`` and return them.

    Raises
    ------
    respin.gen.folder.FolderError
        If the folder holds something else, or cannot be written.
    """
    require_replaceable(folder.absolute())
    files = generate(config)
    write_folder(folder, files)
    return files
