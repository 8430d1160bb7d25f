# SPDX-License-Identifier: Apache-2.0
"""``respin compile``: a user's network as a program file for the machine, with Rep-Net modules or without."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from respin.cli.console import (
    BAD_INPUT,
    ConfigFile,
    Json,
    Preset,
    configuration,
    err,
    fail,
    out,
    print_json,
    print_rows,
    require,
    seed_option,
)
from respin.cli.output import require_file, whole
from respin.cli.sources import TASK_IMAGES, calibration, image_shape, numbers, say
from respin.rtl.config import MAX_BATCH

if TYPE_CHECKING:
    from respin.firmware_model.frontend.source import Source
    from respin.firmware_model.image import ProgramImage
    from respin.firmware_model.operations import Network
    from respin.firmware_model.operations import Shape as BatchShape
    from respin.firmware_model.placement import Placement
    from respin.firmware_model.scaling import Scaling
    from respin.firmware_model.summary import Summary
    from respin.golden.backbones import InputFormat
    from respin.golden.data import Dataset
    from respin.golden.network import IntegerNetwork
    from respin.rtl.config import AcceleratorConfig

INFERRED, TRAINED = 1, 16
"""Images in a batch, unless given."""
MOST_BANKS = 64
"""The most that a configuration may have."""
MOST_SETTLING = 100
"""Steps of ``--settle``; scales fit after a few."""
SETTLING_RATE = -8
"""Binary logarithm of their learning rate: what these steps move is not kept, so they move little."""


def compile_network(
    model: Annotated[
        str,
        typer.Argument(help="MODULE.py:factory, NAME.onnx, or a pretrained backbone's name.", show_default=False),
    ],
    shape: Annotated[str | None, typer.Option(help="C,H,W of an image.", show_default=False)] = None,
    images: Annotated[
        str | None, typer.Option(help="Calibrate on these: a folder of images, or a data set's name.")
    ] = None,
    mean: Annotated[str, typer.Option(help="A module's input is (pixel - mean) / deviation.")] = "0",
    deviation: Annotated[str, typer.Option(help="Both for each channel, with commas, or for all.")] = "255",
    recipe: Annotated[
        str | None, typer.Option(help="Rep-Net modules beside the network: a recipe's name or file.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="A new head that learns so many classes.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The same, of the classes of a data set or a folder; calibrates on its images.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_BATCH, help=f"Images in a batch: {INFERRED}, or {TRAINED} of a network that learns."
        ),
    ] = None,
    settle: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_SETTLING, show_default=False,
            help="Begin with the scales that so many training steps measure on the pictures of --labels, so that all"
            " layers learn from the first step on; otherwise they begin an edge a step.",
        ),
    ] = 0,
    preset: Preset = None,
    config: ConfigFile = None,
    listing: Annotated[bool, typer.Option("--listing", help="Print the programs, a line for each descriptor.")] = False,
    seed: Annotated[int, seed_option("Of a new network's weights, the factory, and noise.")] = 1,
    program: Annotated[Path, typer.Option("--out", "-o", help="The program file.")] = Path("build") / "network.program",
    json: Json = False,
) -> None:
    """Compile a network to a program file.

    Without --classes or --labels the programs provision the machine and infer. With one of them, the last dense layer
    is replaced by a new head, which learns together with the modules of --recipe: there is a training program too.
    """
    require("learn", "torch", "onnx", "pillow")
    from respin.firmware_model.compiler import Compiler
    from respin.firmware_model.summary import summarise
    from respin.golden.backbones.recipe import NO_MODULES, load_recipe
    from respin.golden.data import load_dataset
    from respin.golden.network import initial_parameters

    if classes is not None and labels is not None:
        fail("--classes and --labels exclude each other: the data set says how many classes there are", BAD_INPUT)
    learns = classes is not None or labels is not None
    if recipe is not None and not learns:
        fail("--recipe needs --classes or --labels: modules learn together with a head", BAD_INPUT)
    if settle and labels is None:
        fail("--settle needs --labels: scales are measured in training", BAD_INPUT)
    chosen = configuration(preset, config)
    require_file(program)
    with _refusals():
        dataset = None if labels is None else load_dataset(labels, say)
        if dataset is not None:
            classes = len(dataset.classes)
        source = _source(model, shape, images, dataset, (mean, deviation), seed)
        size = batch or (TRAINED if learns else INFERRED)
        network: Network
        scaling: Mapping[int, Scaling] = {}
        if classes is None:
            network, form = source.inference_network()
            sides = network.input_shape
        else:
            modules = NO_MODULES if recipe is None else load_recipe(recipe)
            network, sides, form = source.learning_network(classes, batch=size, recipe=modules)
        placement = _placed(chosen, network, (size, *sides), training=learns)
        if settle and dataset is not None:
            scaling = _settled(network, form, dataset, (size, *sides), steps=settle, seed=seed)
        image = Compiler(placement).compile(initial_parameters(network.layers), scaling=scaling)
        image = replace(image, input_format=form, classes=() if dataset is None else dataset.classes)
    with whole(program) as beside:
        image.save(beside)
    summary = summarise(placement, image)
    if json:
        found = {"program": str(program), "model": model, "preset": chosen.name, "shape": sides}
        lines = {"listing": {name: image.listing(name) for name in image.programs}} if listing else {}
        print_json(found | asdict(summary) | lines)
        return
    if listing:
        _print_listing(image)
    _print_summary(summary, title=f"{program}: {model}, batches of {size}", machine=chosen.name)


def _print_listing(image: "ProgramImage") -> None:
    for name in image.programs:
        out.print(f"{name}:", markup=False, highlight=False)
        for line in image.listing(name):
            out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _print_summary(summary: "Summary", *, title: str, machine: str) -> None:
    """Print what the programs do, and what they take of the machine."""
    programs = [
        {"program": name, "descriptors": count, "multiply-accumulates": summary.macs.get(name)}
        for name, count in summary.descriptors.items()
    ]
    print_rows(programs, title=title)
    print_rows(_figures(summary), title=f"what they take of {machine}")
    for layer, channels in summary.packed.items():
        line = f"{layer} reads packed windows of {channels} channels, which the host lays out"
        out.print(line, markup=False, highlight=False)


@contextmanager
def _refusals() -> Iterator[None]:
    """End with a line for each thing that cannot be compiled."""
    from respin.firmware_model.frontend.refusal import RefusedError
    from respin.golden.data import SourceError

    try:
        yield
    except RefusedError as error:
        for refusal in error.refusals:
            err.print(f"respin: {refusal}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None
    except (SourceError, ValueError) as error:
        fail(str(error), BAD_INPUT)


def _source(
    model: str, shape: str | None, images: str | None, dataset: "Dataset | None", pixels: tuple[str, str], seed: int
) -> "Source":
    """The network's source, calibrated on ``images``, or else on pictures that it is to learn."""
    import torch

    from respin.firmware_model.frontend.source import Source
    from respin.golden.data.task import balanced

    load = calibration(images)
    if dataset is not None and load is None:
        train = dataset.train
        count = min(TASK_IMAGES, len(train))
        chosen = train.take(balanced(train.labels, count, torch.Generator().manual_seed(seed)))

        def load(size: tuple[int, int]) -> torch.Tensor:
            return chosen.resized(size).images

    mean, deviation = (numbers(f"--{name}", text) for name, text in zip(("mean", "deviation"), pixels, strict=True))
    return Source(model=model, shape=image_shape(shape), seed=seed, images=load, pixels=(mean, deviation))


def _settled(
    network: "IntegerNetwork", form: "InputFormat", dataset: "Dataset", batch: "BatchShape", *, steps: int, seed: int
) -> "Mapping[int, Scaling]":
    """What so many training steps on pictures of a data set measure, by tensor id."""
    import torch

    from respin.firmware_model.scaling import scaling_of_training
    from respin.golden.trainer import settle

    train, count = dataset.train, steps * batch[0]
    drawn = torch.randint(len(train), (count,), generator=torch.Generator().manual_seed(seed))
    pictures = train.take(drawn).resized(batch[2:])
    inputs, labels = form.to_integer(pictures.images).split(batch[0]), pictures.labels.split(batch[0])
    batches = zip(inputs, labels, strict=True)
    with Progress(console=err, transient=True) as progress:
        shown = progress.track(batches, total=steps, description="scales settle")
        state = settle(network, shown, seed=seed, log2_rate=lambda _: SETTLING_RATE)
    return scaling_of_training(network, state)


def _figures(summary: "Summary") -> list[dict[str, Any]]:
    """What the programs need, and of how much."""
    spilled = f"{summary.spilled_bytes:,} bytes of tensors are kept outside" if summary.spilled_bytes else None
    reloaded = "reloaded as it is needed" if summary.table_entries > summary.table_entries_there_are else None
    rows = (
        ("MRAM rows", summary.rows, summary.rows_there_are, None),
        ("words of the store", summary.store_words, summary.store_words_there_are, spilled),
        ("table entries", summary.table_entries, summary.table_entries_there_are, reloaded),
        ("bytes of external memory", summary.memory, None, None),
    )
    return [{"what": what, "needed": needed, "there are": there, "note": note} for what, needed, there, note in rows]


def _placed(config: "AcceleratorConfig", network: "Network", shape: "BatchShape", *, training: bool) -> "Placement":
    """Place the network; where its rows do not fit, say how many it needs."""
    from respin.firmware_model.placement import Placement
    from respin.firmware_model.storage import CapacityError
    from respin.rtl.config import MAX_ROWS

    try:
        return Placement(config, network, shape, training=training)
    except CapacityError:
        roomy = replace(config, banks=MOST_BANKS, mram_rows=MAX_ROWS // MOST_BANKS)
        needed = Placement(roomy, network, shape, training=training).rows.used
        if needed <= config.usable_rows:
            raise
        there = f"{config.name} has {config.usable_rows:,}: raise banks or mram_rows"
        raise CapacityError(f"the network needs {needed:,} MRAM rows, {there}") from None
