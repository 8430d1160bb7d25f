# SPDX-License-Identifier: Apache-2.0
"""``respin inspect``: what a user's network becomes, layer by layer, or what of it is not supported."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

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
)

Model = Annotated[str, typer.Argument(help="NAME.onnx, or MODULE.py:factory.", show_default=False)]
ImageShape = Annotated[
    str | None,
    typer.Option("--shape", help="C,H,W of an image, where the factory returns a module alone.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the factory, and of noise where there are no images.")]


def inspect(
    model: Model,
    shape: ImageShape = None,
    preset: Preset = None,
    config: ConfigFile = None,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """List the integer layers of a network: a PyTorch module or a quantised ONNX file.

    A factory is a function of no arguments that returns a torch.nn.Module, or a module and float images (N, C, H, W)
    that it is calibrated on. Without images, ranges come from noise: the layers are right, the scales are not.
    """
    require("learn", "torch", "onnx")
    from respin.firmware_model.frontend.listing import list_layers
    from respin.firmware_model.frontend.refusal import ModelError, RefusedError
    from respin.firmware_model.frontend.source import load_network

    chosen = configuration(preset, config)
    try:
        network = load_network(model, shape=None if shape is None else _shape(shape), seed=seed)
    except RefusedError as error:
        if json:
            print_json({"model": model, "refusals": [asdict(refusal) for refusal in error.refusals]})
        for refusal in error.refusals:
            err.print(f"respin: {refusal}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None
    except (ModelError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    layers = list_layers(network, chosen)
    totals = {name: sum(getattr(layer, name) for layer in layers) for name in ("macs", "weights", "rows")}
    if json:
        found: dict[str, Any] = {"model": model, "network": network.name, "preset": chosen.name}
        found |= {"input": {"shape": network.input_shape, **asdict(network.formats["input"])}, "output": network.output}
        found |= {"totals": totals | {"rows_there_are": chosen.total_rows}, "layers": [asdict(item) for item in layers]}
        print_json(found)
        return
    print_rows(
        [
            {
                "layer": item.name,
                "kind": item.kind,
                "reads": ", ".join(dict.fromkeys(item.reads)),
                "shape": _sizes(item.shape),
                "kernel": "" if item.kernel is None else _sizes(item.kernel),
                "stride": item.stride,
                "groups": item.groups,
                "quantiser": item.quantiser,
                "MACs": item.macs,
                "weights": item.weights,
                "rows": item.rows,
            }
            for item in layers
        ],
        title=f"{network.name}, {_sizes(network.input_shape)}",
    )
    fits = "fits" if totals["rows"] <= chosen.total_rows else "does not fit"
    out.print(
        f"{totals['macs']:,} MACs, {totals['weights']:,} weights, {totals['rows']:,} MRAM rows: {fits} the "
        f"{chosen.total_rows:,} of {chosen.name}",
        highlight=False,
        soft_wrap=True,
    )


def _sizes(sides: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in sides)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in text.split(","))
    except ValueError:
        fail(f"--shape must be numbers C,H,W, not {text!r}", BAD_INPUT)
