# SPDX-License-Identifier: Apache-2.0
"""Where Rep-Net modules stand beside a backbone, and which: read from a TOML file.

::

    first_reads = "image"                   # or "block": what the first module reads

    [[module]]
    block = "block1"                        # or its first and last layer, ["features.2.0", "features.2.6"]
    kernel = 5
    groups = 1
    pool = 4
    expand = 1.0

Modules come in the order of their blocks. ``first_reads`` is ``"block"`` unless given; a module's ``kernel`` is 5, its
``groups`` and ``pool`` are 2, its ``expand`` is 1 unless given.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from respin.golden.repnet import RepModule

RECIPE_FOLDER = Path(__file__).parent / "recipes"
READS = ("image", "block")
"""What the first module may read."""


class RecipeError(ValueError):
    """A recipe cannot be read, or does not fit its backbone; the message is one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A module beside a block.

    Parameters
    ----------
    block:
        The block's name, or the names of its first and its last layer.
    kernel, groups, pool, expand:
        Of the module, as in :class:`respin.golden.repnet.RepModule`.
    """

    block: str | tuple[str, str]
    kernel: int = 5
    groups: int = 2
    pool: int = 2
    expand: float = 1.0

    def __post_init__(self) -> None:
        for name in ("kernel", "groups", "pool"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RecipeError(f"{name} must be a whole number above 0, not {value!r}")
        if self.kernel % 2 == 0:
            raise RecipeError(f"kernel must be odd, not {self.kernel!r}")
        if not isinstance(self.expand, int | float) or isinstance(self.expand, bool) or not 0 < self.expand <= 64:
            raise RecipeError(f"expand must be a number above 0, at most 64, not {self.expand!r}")
        names = (self.block,) if isinstance(self.block, str) else self.block
        if not isinstance(names, tuple) or len(names) > 2 or not all(isinstance(name, str) for name in names):
            raise RecipeError(f"block must be one name, or those of its first and last layer, not {self.block!r}")

    def module(self, inputs: int, outputs: int) -> RepModule:
        """Return the module from ``inputs`` channels to the block's ``outputs``."""
        try:
            return RepModule(
                inputs=inputs,
                outputs=outputs,
                kernel=self.kernel,
                groups=self.groups,
                pool=self.pool,
                expand=self.expand,
            )
        except ValueError as error:
            raise RecipeError(f"module beside {self}: {error}") from error

    def __str__(self) -> str:
        return self.block if isinstance(self.block, str) else " to ".join(self.block)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All modules beside a backbone, in the order of their blocks.

    ``reads_image`` is whether the first one reads the image; else it reads its block's input, like all others.
    """

    attachments: tuple[Attachment, ...] = ()
    reads_image: bool = False


NO_MODULES = Recipe()
"""A backbone alone."""


def shipped() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for path in RECIPE_FOLDER.glob("*.toml"))


def load_recipe(source: str | Path) -> Recipe:
    """Load a recipe: by the name of a shipped one, or from the path of a TOML file.

    Raises
    ------
    RecipeError
        Naming the file, the key, the rule and the value.
    """
    if isinstance(source, str) and not source.endswith(".toml"):
        if source not in shipped():
            raise RecipeError(f"a recipe must be one of {', '.join(shipped())} or a .toml file, not {source!r}")
        path = RECIPE_FOLDER / f"{source}.toml"
    else:
        path = Path(source)
    try:
        return parse_recipe(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_recipe(text: str) -> Recipe:
    """Make a recipe of the text of a file; raises RecipeError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"is not TOML: {error}") from error
    _known("the recipe", table, ("first_reads", "module"))
    reads = table.get("first_reads", "block")
    if reads not in READS:
        raise RecipeError(f"first_reads must be one of {', '.join(READS)}, not {reads!r}")
    modules = table.get("module")
    if not isinstance(modules, list) or not all(isinstance(entry, dict) for entry in modules):
        raise RecipeError("module must be a list of tables, [[module]] each")
    attachments = tuple(_attachment(f"module {number}", entry) for number, entry in enumerate(modules, 1))
    return Recipe(attachments=attachments, reads_image=reads == "image")


def _attachment(where: str, entry: Mapping[str, Any]) -> Attachment:
    _known(where, entry, [field.name for field in fields(Attachment)])
    if "block" not in entry:
        raise RecipeError(f"{where}: block is missing")
    block = entry["block"]
    block = tuple(block) if isinstance(block, list) and len(block) == 2 else block
    try:
        return Attachment(**(dict(entry) | {"block": block}))
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _known(where: str, table: Mapping[str, Any], keys: tuple[str, ...] | list[str]) -> None:
    for key in table:
        if key not in keys:
            raise RecipeError(f"{where}: {key} is no key; the keys are {', '.join(keys)}")
