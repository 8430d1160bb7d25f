# SPDX-License-Identifier: Apache-2.0
"""What is made of the register map agrees with it, as other tools read it."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from systemrdl import RDLCompiler

from respin.gen.folder import MANIFEST, FolderError, sha256
from respin.gen.registers.folder import INDEX, generate, write
from respin.gen.registers.markdown import markdown
from respin.rtl.config import preset
from respin.rtl.host.register_map import Access
from respin.rtl.host.registers import register_map

PAGE = Path(__file__).parents[2] / "docs" / "registers.md"
MAP = register_map(preset("tiny"))


@cache
def generated():
    return generate(preset("tiny"))


def text(name):
    content = generated()[name]
    return content if isinstance(content, str) else content.decode()


def test_the_page_in_the_documentation_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == markdown(MAP), "run: respin registers, and copy respin.md to it"
    assert markdown(register_map(preset("large"))) == markdown(MAP)


def test_same_configuration_same_bytes():
    assert generate(preset("tiny")) == generated()


def test_the_manifest_says_what_is_there():
    manifest = json.loads(text(MANIFEST))
    assert manifest["configuration"]["axi_bits"] == 32
    assert all(manifest["versions"].values())
    assert set(manifest["files"]) == set(generated()) - {MANIFEST}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == sha256(generated()[name])


def test_systemrdl_is_understood_as_it_was_meant(tmp_path):
    source = tmp_path / "respin.rdl"
    source.write_text(text("respin.rdl"))
    compiler = RDLCompiler()
    compiler.compile_file(str(source))
    top = compiler.elaborate().top
    registers = {node.inst_name: node for node in top.registers()}
    assert {name: node.address_offset for name, node in registers.items()} == {
        register.name: register.offset for register in MAP.registers
    }
    for register in MAP.registers:
        node = registers[register.name]
        assert node.size == 4
        found = {field.inst_name: (field.low, field.width) for field in node.fields()}
        assert found == {field.name: (field.low, field.width) for field in register.fields}
        for field in register.fields:
            part = node.get_child_by_name(field.name)
            assert part.is_sw_readable == (field.access is not Access.PULSE)
            assert part.is_sw_writable == (field.access is not Access.RO)
            assert part.implements_storage or field.access is Access.RO
            assert part.get_property("singlepulse") == (field.access is Access.PULSE)
            if field.has_reset:
                assert part.get_property("reset") == field.reset


def test_the_pages_are_there():
    assert b"Registers of respin" in generated()[INDEX]
    pages = b"".join(content for name, content in generated().items() if name.startswith("html/content/"))
    for register in MAP.registers:
        assert register.name.encode() in pages


def constants():
    names = {}
    exec(compile(text("respin_registers.py"), "respin_registers.py", "exec"), names)
    return {name: value for name, value in names.items() if not name.startswith("__")}


def test_python_constants():
    found = constants()
    assert found.pop("WINDOW_BYTES") == 4096
    for register in MAP.registers:
        assert found.pop(register.name) == register.offset
        for field in register.fields:
            name = f"{register.name}__{field.name.upper()}"
            values = [found.pop(f"{name}_{suffix}") for suffix in ("bp", "bw", "bm")]
            assert values == [field.low, field.width, field.mask]
            assert found.pop(f"{name}_reset", None) == (field.reset if field.has_reset else None)
    assert found == {}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("standard", ["gnu11", "gnu17"])
def test_the_c_header_says_the_same(standard, tmp_path):
    found = constants()
    found.pop("WINDOW_BYTES")
    lines = ['#include "respin.h"', "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name in found:
        value = f"RESPIN__{name}" if "__" in name else f"offsetof(respin_t, {name})"
        lines.append(f'    printf("{name} %llu\\n", (unsigned long long){value});')
    lines += ["    return 0;", "}", ""]
    (tmp_path / "respin.h").write_text(text("respin.h"))
    (tmp_path / "main.c").write_text("\n".join(lines))
    command = ["gcc", f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-o", "main", "main.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert dict(re.findall(r"(\w+) (\d+)", printed)) == {name: str(value) for name, value in found.items()}


def test_an_old_folder_is_replaced_and_a_foreign_one_is_not(tmp_path):
    folder = tmp_path / "out"
    write(preset("tiny"), folder)
    (folder / "left_over").write_text("old")
    write(preset("tiny"), folder)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == set(generated())
    (folder / MANIFEST).unlink()
    with pytest.raises(FolderError, match="holds something that respin did not write"):
        write(preset("tiny"), folder)
