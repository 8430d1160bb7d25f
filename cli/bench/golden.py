# SPDX-License-Identifier: Apache-2.0
"""``respin bench golden``: the integer model's speed beside float PyTorch's on the same network."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.console import BAD_INPUT, Json, err, fail, require
from respin.gen.versions import package_version

if TYPE_CHECKING:
    from respin.golden.backbones import Backbone
    from respin.golden.learn.learner import Learner

TARGETS = {"inference": 0.5, "training": 0.3}
DIGITS = "digits"
BATCH = 16
CLASSES = 10
IMAGES = 64
"""Images of an inference."""
SIZE = 96

Networks = Annotated[
    list[str] | None,
    typer.Option("--network", "-n", help="digits, efficientnet-lite0, mobilenet-v2; the first two unless given."),
]


def golden(
    network: Networks = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each is measured, one after the other.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch; the integer loops have one.")] = 1,
    json: Json = False,
) -> None:
    """Time inference and training steps of the golden model, side by side with float PyTorch.

    Both run the same backbone with Rep-Net modules and a head, at 96 x 96 pixels (digits: 8 x 8), in steps of 16. The
    best of several rounds counts, taken in turns, so that a busy machine slows both.
    """
    require("learn", "torch", "numba", "scikit-learn")
    from respin.golden.backbones import BACKBONES, load_backbone
    from respin.golden.data import SourceError

    names = network or [DIGITS, "efficientnet-lite0"]
    for name in names:
        if name not in (DIGITS, *BACKBONES):
            fail(f"--network must be of {', '.join((DIGITS, *BACKBONES))}, not {name!r}", BAD_INPUT)
    import torch

    torch.set_num_threads(threads)
    rows = []
    for name in names:
        err.print(f"{name} ...", highlight=False)
        try:
            backbone = _digits() if name == DIGITS else load_backbone(name, lambda line: err.print(line))
        except SourceError as error:
            fail(str(error))
        rows += _measure(name, backbone, rounds, size=8 if name == DIGITS else SIZE)
    tools = {name: package_version(name) or "" for name in ("torch", "numba")}
    report("golden", [], rows, json=json, title=f"golden model, {threads} thread(s)", tools=tools)


def _digits() -> "Backbone":
    from respin.golden.digits import load_task, pretrain
    from respin.golden.digits_network import describe

    return describe(pretrain(load_task(0), seed=1))


def _measure(name: str, backbone: "Backbone", rounds: int, *, size: int) -> list[dict[str, Any]]:
    import torch

    from respin.golden.builder import build_network
    from respin.golden.float_network import FloatNetwork
    from respin.golden.learn.learner import FloatLearner, IntegerLearner
    from respin.golden.schedule import Schedule

    channels = backbone.stem.inputs
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (IMAGES, channels, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    network = build_network(backbone, images, CLASSES, seed=1, batch=BATCH)
    integer = IntegerLearner(network, backbone.input, Schedule(steps=1000, first=-4.0, last=-8.0), seed=1)
    real = FloatLearner(FloatNetwork(backbone, CLASSES, backbone.rep_modules), rate=1e-3, steps=1000)
    part = images[:BATCH], labels[:BATCH]
    # Until every scale is valid, a part of the errors is left out.
    for _ in range(len(network.edges) + 8):
        integer.step(*part)

    rows = []
    modes: dict[str, tuple[int, Callable[[Learner], object]]] = {
        "inference": (IMAGES, lambda learner: learner.predict(images)),
        "training": (BATCH, lambda learner: learner.step(*part)),
    }
    for mode, (count, run) in modes.items():
        ours, floats = _in_turns([partial(run, integer), partial(run, real)], rounds)
        rows.append(
            {
                "network": name,
                "mode": mode,
                "images_per_second": round(count / ours, 1),
                "float_images_per_second": round(count / floats, 1),
                "ratio": round(floats / ours, 2),
                "target_ratio": TARGETS[mode],
            }
        )
    return rows


def _in_turns(jobs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the least time of each job, seconds; the first round, which compiles and fills caches, does not count."""
    best = [float("inf")] * len(jobs)
    for number in range(rounds + 1):
        for place, job in enumerate(jobs):
            began = time.perf_counter()
            job()
            if number:
                best[place] = min(best[place], time.perf_counter() - began)
    return best
