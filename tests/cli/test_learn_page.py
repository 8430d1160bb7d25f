# SPDX-License-Identifier: Apache-2.0
"""The page of a study: it needs nothing from elsewhere, says what it was given, and does without what it was not."""

import re
from html.parser import HTMLParser

import pytest
import torch
from made_up_study import NAMES, TASKS, study, varied

from respin.cli.learn.differences import TARGETS
from respin.cli.learn.page import write_page
from respin.cli.learn.tables import signed
from respin.golden.backbones import Backbone, BackboneLayer, Block, InputFormat
from respin.golden.backbones.recipe import Attachment, Recipe
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.study import AGAINST, measure_memory
from respin.golden.learn.variations import VARIATIONS

PARTS = (
    "Test accuracy", "Differences", "Learning from few images", "Learning", "Memory", "Writes and endurance",
    "Saturation", "One task after the other",
)  # fmt: skip
VOID = {"meta", "line", "rect", "circle", "path", "use", "br"}


def without_pictures(given: dict[str, object]) -> dict[str, object]:
    drawn = ("memory", "continual", "means", "labels")
    return {key: value for key, value in given.items() if key not in drawn} | {
        "accuracy": {task: {} for task in given["accuracy"]}
    }


class Page(HTMLParser):
    """The text of a page; its elements must nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.labels: list[str] = []
        self.feed(text)
        assert not self.open
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.labels += [value for name, value in attrs if name == "aria-label"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)


def page(tmp_path, given: dict[str, object]) -> Page:
    write_page(tmp_path / "new" / "report.html", given)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    for elsewhere in ("http", "//", "<script", "<link", "<img", "@import", "src="):
        assert elsewhere not in text.replace("<!-- ", ""), elsewhere
    # What an element refers to stands in the page.
    ids = set(re.findall(r' id="([^"]+)"', text))
    referred = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert set(referred) <= ids
    return Page(text)


def test_a_whole_study(tmp_path):
    given = study()
    shown = page(tmp_path, given)
    for part in PARTS:
        assert any(heading.startswith(part) for heading in shown.headings)
    for name in NAMES:
        assert METHODS[name].title in shown.text
    for row in given["accuracy"].values():
        for found in row.values():
            assert f"{found['mean']:.2f} ± {found['deviation']:.2f}" in shown.text
    for row in given["differences"]:
        assert f"{signed(row['mean'])} {signed(row['lower'])} {signed(row['upper'])}" in shown.text
    for word in (
        "96 × 96", "2,000 (elpv: 1,968)", "of <mine> & $yours$", "22.34", "4.87", "8.47", "5,000,000", "32,000,000",
        "187,000", "86.17", "\u22124.13", "4.27", "391.8", "CC-BY-NC-SA", "Assumptions:", "1.23", "0.123", "0.000",
        "1,000", "respin learn --tasks", "torch",
    ):  # fmt: skip
        assert word in shown.text, word
    for row in given["labels"]["elpv"]:
        assert f"{row['methods']['linear']['mean']:.2f} ± {row['methods']['linear']['deviation']:.2f}" in shown.text
    scenarios = ("task-incremental", "class-incremental")
    for picture in ("Loss and share", "Memory of a", "Writes and", "images a class", *scenarios):
        assert sum(picture in label for label in shown.labels) == 1


def test_the_same_study_is_the_same_page(tmp_path):
    for name in ("one.html", "two.html"):
        write_page(tmp_path / name, study(TASKS[:1], NAMES[:2], seeds=2) | {"memory": {}, "continual": {}})
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.mark.parametrize(
    ("shift", "verdicts"),
    [
        # By the bound, not by the mean: an upper bound of the loss of exactly the limit is not below it.
        ({"mean": -0.5, "lower": -1.0, "upper": 0.0}, "✗ not met"),
        ({"mean": -0.5, "lower": -0.999, "upper": 0.0}, "✓ met"),
        ({"mean": -0.5, "lower": None, "upper": None}, "not decidable: one seed"),
    ],
)
def test_verdicts(shift, verdicts, tmp_path):
    given = without_pictures(study(names=("rep-net", "rep-net-float")))
    given["differences"] = [row | shift if row["task"] == "mean" else row for row in given["differences"]]
    text = page(tmp_path, given).text
    assert f"above \u22121.0 {verdicts}" in text
    assert "above \u22122.0 ✓ met" in text


@pytest.mark.parametrize(("lowers", "verdict"), [((0.1, 0.2, 0.3, -0.4), "✓ met"), ((0.1, 0.2, 0.0, 0.0), "✗ not met")])
def test_above_on_three_of_four_tasks(lowers, verdict, tmp_path):
    given = without_pictures(study(names=("rep-net", "linear")))
    for row, lower in zip(given["differences"], lowers, strict=False):
        row |= {"mean": lower + 0.1, "lower": lower, "upper": lower + 0.2}
    text = page(tmp_path, given).text
    assert f"{sum(lower > 0 for lower in lowers)} of 4 above 0 on 3 of 4 tasks {verdict}" in text
    assert "above \u22120.5 ✗" not in text


def test_targets_are_of_differences_that_a_study_has():
    assert {(target.of, target.against) for target in TARGETS} <= set(AGAINST)


def test_one_seed_decides_nothing(tmp_path):
    shown = page(tmp_path, study(TASKS[:2], NAMES[:3], seeds=1) | {"continual": {}})
    assert "not decidable: one seed" in shown.text
    assert "One seed gives no bound" in shown.text
    assert not re.search("✓|✗|targets met|±", shown.text)


def test_one_task_one_method(tmp_path):
    shown = page(tmp_path, study(tasks=("elpv",), names=("rep-net",), seeds=2) | {"continual": {}})
    assert "mean of" not in shown.text
    assert not any(heading.startswith("Differences") for heading in shown.headings)


def test_many_tasks_and_methods_of_other_names(tmp_path):
    given = study(tasks=("a/x", "b/x", "c", "d", "e"), names=("rep-net",), seeds=2) | {"continual": {}, "memory": {}}
    for row in (given["accuracy"]["c"], given["means"], given["methods"]):
        row["mine"] = row["rep-net"] | {"title": "a method of my own"}
    shown = page(tmp_path, given)
    assert "a method of my own" in shown.text
    assert {"a/x", "b/x"} <= set(shown.text.split())
    assert sum("Loss and share" in label for label in shown.labels) == 2


@pytest.mark.parametrize("key", study())
def test_a_missing_key(key, tmp_path):
    given = study(tasks=TASKS[3:], names=("rep-net", "linear"), seeds=2)
    del given["continual"]["class-incremental"]
    if key in ("licences", "command", "differences"):
        given = without_pictures(given)
    given.pop(key, None)
    shown = page(tmp_path, given)
    gone = {
        "differences": "Differences", "memory": "Memory", "continual": "One task", "accuracy": "Test",
        "saturation": "Saturation", "labels": "Learning from",
    }.get(key)  # fmt: skip
    assert gone is None or not any(heading.startswith(gone) for heading in shown.headings)


@pytest.mark.parametrize("count", [2, len(VARIATIONS)])
def test_variations_are_sorted_by_their_difference(count, tmp_path):
    given = varied(count)
    shown = page(tmp_path, given)
    assert "Variations of the rules" in shown.headings
    assert not any(heading.startswith("Differences") for heading in shown.headings)
    part = shown.text[shown.text.index("Variations of the rules") :]
    places = [part.index(METHODS[name].title) for name in list(given["methods"])[1:]]
    assert places == sorted(places, reverse=True)
    means = [row for row in given["differences"] if row["task"] == "mean"]
    for row in means:
        assert f"{signed(row['mean'])} {signed(row['lower'])} {signed(row['upper'])}" in part
    assert f"{count} variations of Rep-Net, INT8" in shown.text
    # Many of them are not drawn; a single method that is left has no one to be compared with.
    assert any("Memory of a" in label for label in shown.labels) == (count == 2)
    assert ("stand in tables alone" in shown.text) == (count > 2)


def test_nothing_at_all(tmp_path):
    assert "respin" in page(tmp_path, {}).text


def layer(name: str, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1) -> BackboneLayer:
    weight = torch.randn((outputs, inputs, kernel, kernel), generator=torch.Generator().manual_seed(inputs + outputs))
    bias, padding = torch.zeros(outputs), (kernel // 2,) * 4
    return BackboneLayer(name=name, weight=weight, bias=bias, stride=stride, padding=padding, activation="relu6")


def test_memory_of_every_method():
    """On 32 x 32 pixels; that the figures are right is tests/golden/test_learn_memory.py's."""
    backbone = Backbone(
        name="small",
        licence="none",
        stem=layer("stem", 3, 8, kernel=3, stride=2),
        blocks=tuple(Block(name=name, layers=(layer(f"{name}.project", 8, 8),)) for name in ("block0", "block1")),
        last=layer("last", 8, 64),
        input=InputFormat(mean=(127.0,) * 3, deviation=(128.0,) * 3, scale=1 / 128),
        recipe=Recipe(attachments=(Attachment(block="block1", kernel=3),)),
    )
    memory = measure_memory(backbone, list(METHODS), size=32, batch=4, classes=5)
    assert list(memory) == list(METHODS)
    for name, method in METHODS.items():
        integer = method.arithmetic == "int8"
        assert {key: figure is not None for key, figure in memory[name].items()} == {
            "published": True, "system": integer, "mram": integer, "task": True,
        }  # fmt: skip
    assert memory["rep-net"]["published"] == memory["rep-net-float"]["published"] > memory["head"]["published"]
    assert memory["head"]["mram"] < memory["rep-net"]["mram"]
    assert memory["head"]["system"] < memory["rep-net"]["published"]
    # Four bytes of each weight and bias of the head, 64 features to 5 classes; a backbone that learns is shared.
    assert memory["linear"]["task"] == memory["full-float"]["task"] == 4 * (64 * 5 + 5)
    assert memory["bias-float"]["task"] == memory["linear"]["task"] + 4 * (8 + 8 + 8 + 64)
    assert memory["rep-net"]["task"] < memory["rep-net-float"]["task"]
