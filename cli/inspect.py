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
    seed_option,
)
from respin.cli.sources import calibration, compared, image_shape

Model = Annotated[
    str,
    typer.Argument(help="MODULE.py:factory, NAME.onnx, or a pretrained backbone's name.", show_default=False),
]
ImageShape = Annotated[
    str | None,
    typer.Option("--shape", help="C,H,W of an image, where the factory returns a module alone.", show_default=False),
]
Images = Annotated[
    str | None,
    typer.Option("--images", help="Calibrate on these: a folder of images, or a data set's name.", show_default=False),
]
Compared = Annotated[
    str | None,
    typer.Option(
        "--agreement",
        help="Count how often integers and float give the same first class: a folder, or a data set's test images.",
        show_default=False,
    ),
]
Seed = Annotated[int, seed_option("Seed of the factory, and of noise where there are no images.")]


def inspect(
    model: Model,
    shape: ImageShape = None,
    preset: Preset = None,
    config: ConfigFile = None,
    images: Images = None,
    agreement: Compared = None,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """List the integer layers of a network: a PyTorch module, a pretrained backbone or a quantised ONNX file.

    A factory is a function of no arguments that returns a torch.nn.Module, or a module and float images (N, C, H, W)
    that it is calibrated on. Without images, ranges come from noise: the layers are right, the scales are not.
    """
    require("learn", "torch", "onnx", "pillow")
    from respin.firmware_model.frontend.listing import list_layers
    from respin.firmware_model.frontend.refusal import RefusedError
    from respin.firmware_model.frontend.source import Source
    from respin.golden.data import SourceError

    chosen = configuration(preset, config)
    try:
        source = Source(model=model, shape=image_shape(shape), seed=seed, images=calibration(images))
        network, _ = source.inference_network()
        agreed = None if agreement is None else source.agreement(network, compared(agreement))
    except RefusedError as error:
        if json:
            print_json({"model": model, "refusals": [asdict(refusal) for refusal in error.refusals]})
        for refusal in error.refusals:
            err.print(f"respin: {refusal}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None
    except (SourceError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    layers = list_layers(network, chosen)
    totals = {name: sum(getattr(layer, name) for layer in layers) for name in ("macs", "weights", "rows")}
    if json:
        found: dict[str, Any] = {"model": model, "network": network.name, "preset": chosen.name}
        found |= {"input": {"shape": network.input_shape, **asdict(network.formats["input"])}, "output": network.output}
        totals |= {"rows_there_are": chosen.usable_rows}
        found |= {"totals": totals, "layers": [asdict(item) for item in layers]}
        print_json(found | ({} if agreed is None else {"agreement": asdict(agreed)}))
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
    fits = "fits" if totals["rows"] <= chosen.usable_rows else "does not fit"
    out.print(
        f"{totals['macs']:,} MACs, {totals['weights']:,} weights, {totals['rows']:,} MRAM rows: {fits} the "
        f"{chosen.usable_rows:,} of {chosen.name}",
        highlight=False,
        soft_wrap=True,
    )
    if agreed is not None:
        share = 100 * agreed.same / agreed.images
        out.print(
            f"the first class of {agreed.same:,} of {agreed.images:,} images, {share:.1f} %, is the float network's; "
            f"of {agreed.close:,} its first two logits are less than 0.5 apart",
            highlight=False,
            soft_wrap=True,
        )


def _sizes(sides: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in sides)
