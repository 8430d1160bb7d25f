# SPDX-License-Identifier: Apache-2.0
"""Recipes from files: what they say, how they fit a backbone, and what is refused with file, key and rule."""

import dataclasses
from pathlib import Path

import pytest
from small_backbone import BESIDE, small_backbone

from respin.golden.backbones.recipe import Attachment, Recipe, RecipeError, load_recipe, parse_recipe, shipped

STAGES = {
    "efficientnet-lite0": [(1, 5), (3, 5), (5, 5), (8, 5), (11, 3), (15, 3)],
    "mobilenet-v2": [(1, 5), (3, 5), (6, 5), (10, 5), (13, 5), (16, 3)],
    "proxyless-mobile": [(1, 5), (5, 5), (9, 5), (13, 5), (17, 3), (21, 3)],
}
"""Block and kernel of each module."""


@pytest.mark.parametrize("name", STAGES)
def test_shipped_recipes(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.reads_image
    pool = 8 if name == "proxyless-mobile" else 4
    first, *others = recipe.attachments
    assert (first.groups, first.pool) == (1, pool)
    assert all((attachment.groups, attachment.pool) == (2, 2) for attachment in others)
    assert [(attachment.block, attachment.kernel) for attachment in recipe.attachments] == [
        (f"block{number}", kernel) for number, kernel in STAGES[name]
    ]
    assert all(attachment.expand == 1 for attachment in recipe.attachments)


def test_all_that_are_shipped_are_known() -> None:
    assert shipped() == sorted(STAGES)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[module]]\nblock = "block1"\nkernel = 3\n'
        '[[module]]\nblock = ["block4.expand", "block4.project"]\nexpand = 2\n',
        encoding="utf-8",
    )
    recipe = load_recipe(str(path))
    assert recipe == Recipe(
        attachments=(
            Attachment(block="block1", kernel=3),
            Attachment(block=("block4.expand", "block4.project"), kernel=5, groups=2, pool=2, expand=2),
        )
    )
    backbone = dataclasses.replace(small_backbone(1), recipe=recipe)
    assert backbone.beside == (1, 4)
    assert [(module.inputs, module.hidden, module.outputs) for module in backbone.rep_modules] == [
        (16, 16, 16),
        (24, 48, 24),
    ]


def test_a_backbone_names_its_blocks() -> None:
    assert small_backbone(1).beside == tuple(position for position, _ in BESIDE)
    names = "block0, block1, block2, block3, block4"
    with pytest.raises(RecipeError, match=f"block7 is no block of small; the blocks are {names}"):
        dataclasses.replace(small_backbone(1), recipe=Recipe(attachments=(Attachment(block="block7"),)))
    for blocks in (("block2", "block1"), ("block1", "block1")):
        recipe = Recipe(attachments=tuple(Attachment(block=block) for block in blocks))
        with pytest.raises(RecipeError, match="modules must come in the order of their blocks, one beside each"):
            dataclasses.replace(small_backbone(1), recipe=recipe)
    recipe = Recipe(attachments=(Attachment(block="block1"),), reads_image=True)
    grouped = dataclasses.replace(small_backbone(1), recipe=recipe)
    with pytest.raises(RecipeError, match="module beside block1: groups must divide 3 inputs and 8 hidden channels"):
        _ = grouped.rep_modules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module = [", "is not TOML: "),
        ("kernels = 3", "the recipe: kernels is no key; the keys are first_reads, module"),
        ("", "module must be a list of tables, [[module]] each"),
        ("module = 3", "module must be a list of tables, [[module]] each"),
        ('first_reads = "stem"\n[[module]]\nblock = "a"', "first_reads must be one of image, block, not 'stem'"),
        ("[[module]]\nkernel = 3", "module 1: block is missing"),
        ('[[module]]\nblock = "a"\n[[module]]\nblock = "b"\nkernel = 4', "module 2: kernel must be odd, not 4"),
        ('[[module]]\nblock = "a"\nkernel = 3.0', "module 1: kernel must be a whole number above 0, not 3.0"),
        ('[[module]]\nblock = "a"\npool = 0', "module 1: pool must be a whole number above 0, not 0"),
        ('[[module]]\nblock = "a"\ngroups = true', "module 1: groups must be a whole number above 0, not True"),
        ('[[module]]\nblock = "a"\nexpand = -1', "module 1: expand must be a number above 0, at most 64, not -1"),
        ('[[module]]\nblock = "a"\nexpand = nan', "module 1: expand must be a number above 0, at most 64, not nan"),
        ('[[module]]\nblock = "a"\nstride = 2', "module 1: stride is no key; the keys are block, kernel, groups, pool"),
        ("[[module]]\nblock = 3", "module 1: block must be one name, or those of its first and last layer, not 3"),
        ('[[module]]\nblock = ["a"]', "module 1: block must be one name, or those of its first and last layer"),
    ],
)
def test_wrong_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        parse_recipe(text)
    assert str(raised.value).startswith(message)
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        load_recipe(path)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"a recipe must be one of {', '.join(shipped())} or a .toml file, not 'x'"):
        load_recipe("x")
    with pytest.raises(RecipeError, match="none.toml: cannot be read: No such file or directory"):
        load_recipe(str(tmp_path / "none.toml"))
    latin = tmp_path / "latin.toml"
    latin.write_bytes("# é".encode("latin-1"))
    with pytest.raises(RecipeError, match="latin.toml: is not UTF-8 text"):
        load_recipe(str(latin))
