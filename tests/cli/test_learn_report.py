# SPDX-License-Identifier: Apache-2.0
"""The page of a study: it needs nothing from elsewhere, says what it was given, and does without what it was not."""

import math
import re
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
import torch

from respin.cli.learn.markdown import write_markdown
from respin.cli.learn.report import write_report
from respin.cli.learn.view import TARGETS, signed
from respin.golden.backbones import Backbone, BackboneLayer, Block, InputFormat
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.protocol import Difference, Summary
from respin.golden.learn.study import AGAINST, measure_memory

TASKS = ("cifar10", "fashion_mnist", "elpv", "photos/of <mine> & $yours$")
NAMES = ("rep-net", "rep-net-float", "linear", "head", "bias", "full-float")
ABOVE = dict(zip(NAMES, (0.0, 0.006, -0.02, -0.03, -0.01, 0.02), strict=True))
"""Accuracy of a method, less that of the first."""
PARTS = (
    "Test accuracy",
    "Differences",
    "Learning",
    "From fewer images",
    "Memory",
    "Writes and endurance",
    "Saturation",
    "One task after the other",
)
VOID = {"meta", "line", "rect", "circle", "path", "use", "br"}


def accuracies(task: int, name: str, seeds: int) -> list[float]:
    return [0.8 + 0.03 * task + ABOVE[name] + 0.002 * math.sin(7 * seed + len(name)) for seed in range(seeds)]


def cell(task: int, name: str, seeds: int) -> dict[str, object]:
    values = accuracies(task, name, seeds)
    curve = [(step, 2 * math.exp(-step / 100), 1 - math.exp(-step / 100)) for step in range(50, 501, 50)]
    wear = {"rows": 9e5, "bytes": 3.2e7, "strips": 5e6, "weights": 2.6e6 + task, "most": 610.0 + task, "years": 187e3}
    return {
        **asdict(Summary.of(values)),
        "seeds": values,
        "settings": [METHODS[name].settings[0].name] * seeds,
        "curves": [[] if name == "linear" else curve[: len(curve) - seed % 2] for seed in range(seeds)],
        "wear": wear if METHODS[name].arithmetic == "int8" else None,
    }


def differences(tasks: tuple[str, ...], names: tuple[str, ...], seeds: int) -> list[dict[str, object]]:
    rows = []
    for of, against in AGAINST:
        if {of, against} <= set(names):
            for number, task in enumerate((*tasks, "mean")):
                found = Difference.of(accuracies(number, of, seeds), accuracies(number, against, seeds))
                rows.append({"task": task, "of": of, "against": against, **asdict(found)})
    return rows


def scenario(tasks: list[str], names: tuple[str, ...]) -> dict[str, object]:
    rows = [[0.9 - 0.031 * (row - column) for column in range(row + 1)] for row in range(len(tasks))]
    figures = {"rows": rows, "average": 0.8617, "backward_transfer": -0.0413, "forgetting": 0.0427}
    return {"tasks": tasks, "methods": dict.fromkeys(names, figures)}


def study(tasks: tuple[str, ...] = TASKS, names: tuple[str, ...] = NAMES, seeds: int = 3) -> dict[str, object]:
    """A study of made-up figures, with every key."""
    shared = {"backbone": "efficientnet-lite0", "size": 96, "chosen_on": 400, "epochs": 8, "batch": 16}
    integer = [name for name in names if METHODS[name].arithmetic == "int8"]
    return {
        "conditions": [{**shared, "dataset": task, "train_images": 1968 if task == "elpv" else 2000} for task in tasks],
        "methods": {
            name: {"title": METHODS[name].title, "arithmetic": METHODS[name].arithmetic, "trains": METHODS[name].trains}
            for name in names
        },
        "accuracy": {task: {name: cell(number, name, seeds) for name in names} for number, task in enumerate(tasks)},
        "means": {name: asdict(Summary.of(accuracies(1, name, seeds))) for name in names},
        "differences": differences(tasks, names, seeds),
        "memory": {
            name: {
                "published": 22_336_408,
                "system": 4_866_048 if name in integer else None,
                "mram": 8_471_964 if name in integer else None,
                "task": 391_802 if name in integer else None,
            }
            for name in names
        },
        "continual": {
            "task-incremental": scenario(list(tasks), tuple(integer)),
            "class-incremental": scenario([str(label) for label in range(10)], tuple(integer)),
        },
        "labels": {
            task: [
                {
                    "images_a_class": count,
                    "images": 10 * count,
                    "methods": {
                        name: asdict(Summary.of([v - 0.1 / count for v in accuracies(number, name, seeds)]))
                        for name in names
                    },
                }
                for count in (10, 50)
            ]
            for number, task in enumerate(tasks[:2])
        },
        "saturation": {
            task: {name: {"sum": {"tensor": "block3.sum", "share": 0.00042}} for name in integer} for task in tasks
        },
        "licences": {"efficientnet-lite0": "Apache-2.0", "elpv": "CC-BY-NC-SA-4.0 (no commercial use)"},
        "command": "respin learn --tasks cifar10 --report",
    }


def without_pictures(given: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in given.items() if key not in ("memory", "continual", "means", "labels")} | {
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
    write_report(tmp_path / "new" / "report.html", given)
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
        "187,000", "86.17", "\u22124.13", "4.27", "0.39", "0.042 %", "CC-BY-NC-SA", "Assumptions:",
        "respin learn --tasks", "torch",
    ):  # fmt: skip
        assert word in shown.text, word
    pictures = ("Loss and share", "Memory of a", "Writes and", "task-incremental", "class-incremental")
    for picture in pictures:
        assert sum(picture in label for label in shown.labels) == 1


def test_the_same_study_is_the_same_page(tmp_path):
    for name in ("one.html", "two.html"):
        write_report(tmp_path / name, study(TASKS[:1], NAMES[:2], seeds=2) | {"memory": {}, "continual": {}})
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
    gone = {"differences": "Differences", "memory": "Memory", "continual": "One task", "accuracy": "Test"}.get(key)
    assert gone is None or not any(heading.startswith(gone) for heading in shown.headings)


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
        beside=((1, 3),),
        reads_image=False,
    )
    memory = measure_memory(backbone, list(METHODS), size=32, batch=4, classes=5)
    assert list(memory) == list(METHODS)
    for name, method in METHODS.items():
        integer = method.arithmetic == "int8"
        assert {key: figure is not None for key, figure in memory[name].items()} == {
            "published": True, "system": integer, "mram": integer, "task": integer,
        }  # fmt: skip
    assert memory["rep-net"]["published"] == memory["rep-net-float"]["published"] > memory["head"]["published"]
    assert memory["head"]["mram"] < memory["rep-net"]["mram"]
    assert memory["head"]["system"] < memory["rep-net"]["published"]


def tables(tmp_path, given: dict[str, object]) -> dict[str, list[list[str]]]:
    """The tables of the Markdown, by the line above them."""
    write_markdown(tmp_path / "results.md", given)
    found: dict[str, list[list[str]]] = {}
    title = ""
    for line in (tmp_path / "results.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            found.setdefault(title, []).append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif line:
            title = line
    return found


def test_markdown_says_what_the_page_says(tmp_path) -> None:
    given = study(TASKS[:3])
    found = tables(tmp_path, given)
    (accuracy,) = [rows for title, rows in found.items() if title.startswith("Test accuracy, %, ±")]
    assert accuracy[0] == ["", "cifar10", "fashion_mnist", "elpv", "mean"]
    first = given["accuracy"]["cifar10"]["rep-net"]  # type: ignore[index]
    assert accuracy[2][:2] == ["Rep-Net, INT8", f"{first['mean']:.2f} ± {first['deviation']:.2f}"]
    assert len(accuracy) == 2 + len(NAMES)
    against = found["Rep-Net, INT8 less Rep-Net, float32, points, one-sided 95 % bounds:"]
    assert [row[0] for row in against[2:]] == ["cifar10", "fashion_mnist", "elpv", "mean of 3 tasks"]
    assert {row[5] for row in against[2:]} <= {"met", "not met"}
    labels = found["Test accuracy, %, by training images a class:"]
    assert labels[0] == ["task", "", "10", "50"]
    assert len(labels) == 2 + 2 * len(NAMES)
    assert ["Rep-Net, INT8", "22.34", "4.87", "8.47", "0.39"] in found["Memory of a training step, MB:"]
    (worn,) = [rows for title, rows in found.items() if title.startswith("Writes")]
    assert worn[2] == ["Rep-Net, INT8", "2,600,001", "32,000,000", "5,000,000", "612", "187,000"]
    (saturated,) = [rows for title, rows in found.items() if title.startswith("Largest share")]
    assert saturated[2][:3] == ["cifar10", "Rep-Net, INT8", "0.042"]
    assert sum(title.startswith("Class-incremental") for title in found) == 1


def test_markdown_of_a_study_with_little_in_it(tmp_path) -> None:
    assert tables(tmp_path, {"accuracy": {}, "command": "respin learn"}) == {}
    assert "respin learn" in (tmp_path / "results.md").read_text(encoding="utf-8")
