# SPDX-License-Identifier: Apache-2.0
"""A user's network by where it is: a pretrained backbone's name, ``MODULE.py:factory``, or an ONNX file."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from respin.firmware_model.frontend.backbone import to_backbone, to_graph
from respin.firmware_model.frontend.float_graph import FloatGraph
from respin.firmware_model.frontend.quantise import quantise
from respin.firmware_model.frontend.refusal import ModelError
from respin.firmware_model.frontend.torch_import import import_module, require_input_shape
from respin.golden.backbones import BACKBONES, Backbone, InputFormat, load_backbone
from respin.golden.backbones.recipe import NO_MODULES, Recipe
from respin.golden.builder import Rules, build_network
from respin.golden.float_network import RUN_AT_ONCE
from respin.golden.inference import InferenceNetwork, Shape, TensorFormat
from respin.golden.network import IntegerNetwork

NOISE_IMAGES = 16
"""Images of noise that a network is calibrated on for want of others."""
IMAGE_SIDE = 96
"""Side of a pretrained backbone's image unless another one is given."""
PIXELS = ((0.0,), (255.0,))
"""Mean and deviation of a module's pixels unless others are given: its input is 0 to 1."""
DEVIATIONS = 1e-3, 1e6
"""The least and the most that a deviation may be; a mean may be as much."""
CLOSE = 0.5
"""Logits that are less than this apart are close."""
Load = Callable[[tuple[int, int]], Tensor]
"""Returns images (N, C, H, W), uint8, of a height and width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Of how many ``images`` the first class is the ``same`` in float and in integers, and of how many the float
    network's first two logits are ``close``, less than 0.5 apart."""

    images: int
    same: int
    close: int


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Source:
    """A network and the images that it is calibrated on.

    Parameters
    ----------
    model:
        The name of a pretrained backbone, an ``.onnx`` file, or ``MODULE.py:factory``: a function of no arguments that
        returns a module, or a module and float images (N, C, H, W) to calibrate on.
    shape:
        (C, H, W) of an image, or (C,): needed of a module that comes without images.
    seed:
        Of noise where there are no images, and of whatever the factory and a new network draw.
    images:
        What loads images to calibrate on, uint8; they take the place of a factory's own.
    pixels:
        Mean and deviation of a module's pixels, one for each channel or one for all: its input is
        ``(pixel - mean) / deviation``.
    """

    model: str
    shape: Sequence[int] | None = None
    seed: int = 1
    images: Load | None = None
    pixels: tuple[tuple[float, ...], tuple[float, ...]] = PIXELS

    def inference_network(self) -> tuple[InferenceNetwork, InputFormat | None]:
        """Return the integer network, and how pixels become its input where it was calibrated on pixels.

        Raises
        ------
        ModelError
            In one line, if it cannot be read.
        RefusedError
            With every node that is not supported.
        """
        if self.model.endswith(".onnx"):
            if self.images is not None:
                raise ModelError(f"{self.model} is quantised already: images calibrate modules and backbones")
            if self.shape is not None or self.pixels != PIXELS:
                raise ModelError(f"{self.model} says what its input is: shape, mean and deviation are for modules")
            # ONNX is read only where a file is: modules need no package for it.
            from respin.firmware_model.frontend.onnx_import import load_onnx

            return load_onnx(Path(self.model)), None
        graph, form, own = self.float_network()
        if own is not None:
            return quantise(graph, own), None
        if form is None:
            noise = torch.randn((NOISE_IMAGES, *graph.input_shape), generator=self._generator())
            return quantise(graph, noise), None
        pixels = self._pixels(graph.input_shape)
        integers = TensorFormat(scale=form.scale, signed=form.signed)
        return quantise(graph, form.to_float(pixels), input_format=integers), form

    def float_network(self) -> tuple[FloatGraph, InputFormat | None, Tensor | None]:
        """Return the float network of a module or a backbone, how pixels become its input if it is given pixels, and
        the images that it came with, if they are to be used."""
        if self.model in BACKBONES:
            backbone = load_backbone(self.model)
            return to_graph(backbone, self._image_shape(backbone.stem.inputs)[1:]), backbone.input, None
        graph, images = self._module()
        if self.images is None:
            return graph, None, images
        return graph, self._input_format(graph.input_shape[0]), None

    def agreement(self, network: InferenceNetwork, images: Load) -> Agreement:
        """Return how often the first class of ``network``, made of this source, is the float network's, on ``images``.

        Raises ModelError of an ONNX file, whose float network nobody knows.
        """
        if self.model.endswith(".onnx"):
            raise ModelError(f"{self.model} is quantised already: there is no float network to agree with")
        graph, form, _ = self.float_network()
        form = form or self._input_format(graph.input_shape[0])
        same = close = 0
        pixels = images(graph.input_shape[1:])
        for part in torch.split(pixels, RUN_AT_ONCE):
            x = form.to_float(part)
            with torch.no_grad():
                expected = graph.run(x).flatten(1)
            top = expected.topk(2).values
            same += int((network.run_real(x).flatten(1).argmax(1) == expected.argmax(1)).sum())
            close += int((top[:, 0] - top[:, 1] < CLOSE).sum())
        return Agreement(images=len(pixels), same=same, close=close)

    def learning_network(
        self, classes: int, *, batch: int, recipe: Recipe = NO_MODULES
    ) -> tuple[IntegerNetwork, Shape, InputFormat]:
        """Return the network with a new head of ``classes`` and the modules of ``recipe``, which learn, the shape of
        an image, and how pixels become the input.

        Raises
        ------
        ModelError
            In one line, if it cannot be read, or is an ONNX file.
        RefusedError
            Naming a node for which a backbone has no place.
        RecipeError
            If the recipe does not fit.
        """
        backbone, shape = self.backbone(recipe)
        rules = Rules(modules=bool(recipe.attachments))
        network = build_network(backbone, self._pixels(shape), classes, seed=self.seed, batch=batch, rules=rules)
        return network, shape, backbone.input

    def backbone(self, recipe: Recipe) -> tuple[Backbone, Shape]:
        """Return the network as a backbone with the modules of ``recipe``, and the shape of an image."""
        if self.model.endswith(".onnx"):
            raise ModelError(f"{self.model} is quantised already: what is to learn must be a module or a backbone")
        if self.model in BACKBONES:
            backbone = replace(load_backbone(self.model), recipe=recipe)
            return backbone, self._image_shape(backbone.stem.inputs)
        graph, _ = self._module()
        return to_backbone(graph, self._input_format(graph.input_shape[0]), recipe), graph.input_shape

    def _module(self) -> tuple[FloatGraph, Tensor | None]:
        """The float graph of a factory's module, and the images that the factory returns."""
        path, _, factory = self.model.rpartition(":")
        if not path.endswith(".py") or not factory:
            known = f"NAME.onnx, MODULE.py:factory or one of {', '.join(BACKBONES)}"
            raise ModelError(f"a model must be {known}, not {self.model!r}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module, images = _made(Path(path), factory)
        shape: Sequence[int]
        if images is not None:
            flat = self.shape is not None and len(self.shape) == 1
            shape = images.shape[1:2] if flat else images.shape[1:]
            if self.shape is not None and tuple(self.shape) != tuple(shape):
                raise ModelError(f"shape must be that of the images of {factory}, {tuple(shape)!r}, not {self.shape!r}")
        elif self.shape is None:
            raise ModelError(f"{factory} returns no images: say the shape of one (C,H,W)")
        else:
            require_input_shape(self.shape)
            shape = self.shape
        return import_module(module.eval(), shape, name=factory), images

    def _image_shape(self, channels: int) -> Shape:
        """The shape that is given, for a network of so many channels."""
        shape = (channels, IMAGE_SIDE, IMAGE_SIDE) if self.shape is None else tuple(self.shape)
        require_input_shape(shape)
        if len(shape) != 3 or shape[0] != channels:
            raise ModelError(f"{self.model} takes images of {channels} channels, not {shape!r}")
        return shape

    def _input_format(self, channels: int) -> InputFormat:
        mean, deviation = (column * channels if len(column) == 1 else column for column in self.pixels)
        low, high = DEVIATIONS
        fits = len(mean) == len(deviation) == channels
        if not fits or not all(abs(m) <= high and low <= d <= high for m, d in zip(mean, deviation, strict=True)):
            raise ModelError(
                f"mean and deviation must be 1 or {channels} numbers, means at most {high:g} from 0, deviations in "
                f"{low:g}..{high:g}"
            )
        return InputFormat.reaching(mean, deviation)

    def _pixels(self, shape: Shape) -> Tensor:
        """Images to calibrate on (N, *shape), uint8: noise if there are none."""
        if self.images is None:
            return torch.randint(0, 256, (NOISE_IMAGES, *shape), generator=self._generator(), dtype=torch.uint8)
        images = self.images(shape[1:])
        if images.shape[1:] != shape:
            raise ModelError(f"images for the network must be {shape!r}, not {tuple(images.shape[1:])!r}")
        return images

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _made(path: Path, factory: str) -> tuple[nn.Module, Tensor | None]:
    """Run the factory; whatever the user's code raises becomes one line."""
    if not path.is_file():
        raise ModelError(f"{path} is no file")
    spec = importlib.util.spec_from_file_location(f"respin_model_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # As for a script: it is a module that its own classes find, and what stands beside it can be imported.
    sys.modules[spec.name] = loaded
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results, JSON among them
            spec.loader.exec_module(loaded)
            make = getattr(loaded, factory, None)
            made: Any = make() if callable(make) else None
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(f"{path}:{factory} raises {type(error).__name__}: {lines[0]}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    if not callable(make):
        raise ModelError(f"{path} has no function {factory!r}")
    module, images = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module) or not isinstance(images, Tensor | None):
        raise ModelError(
            f"{factory} must return a torch.nn.Module, or one and a tensor of images, not {type(made).__name__}"
        )
    if images is not None and (images.dim() != 4 or not images.is_floating_point()):
        kind = str(images.dtype).removeprefix("torch.")
        raise ModelError(f"the images of {factory} must be float (N, C, H, W), not {kind} {tuple(images.shape)!r}")
    return module, images
