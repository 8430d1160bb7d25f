# SPDX-License-Identifier: Apache-2.0
"""Who may import whom (the contracts stand in pyproject.toml), and that every folder is shipped."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("rtl", "gen", "sim", "golden", "firmware_model", "cli")


def test_import_contracts():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run(
        [*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {len(PROJECT['tool']['importlinter']['contracts'])} kept, 0 broken." in result.stdout


def test_every_folder_is_packaged():
    packages = {
        "respin." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_data_file_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for folder in FOLDERS:
        shipped = {path for pattern in patterns.get(f"respin.{folder}", []) for path in (ROOT / folder).glob(pattern)}
        there = {
            path
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
        }
        assert there == shipped


def test_the_dependencies_are_bounded():
    project = PROJECT["project"]
    extras = [item for items in project["optional-dependencies"].values() for item in items]
    for dependency in [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]:
        assert "==" in dependency or "<" in dependency, dependency


def test_sources_name_their_licence():
    for folder in (*FOLDERS, "tests"):
        for pattern in ("*.py", "*.v", "*.vlt", "*.toml"):
            for path in (ROOT / folder).rglob(pattern):
                head = path.read_text(encoding="utf-8").splitlines()[:2]
                assert any("SPDX-License-Identifier: Apache-2.0" in line for line in head), path
