# SPDX-License-Identifier: Apache-2.0
"""A user's network by where it is: ``MODULE.py:factory`` or an ONNX file."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from respin.firmware_model.frontend.quantise import quantise
from respin.firmware_model.frontend.refusal import ModelError
from respin.firmware_model.frontend.torch_import import import_module, require_input_shape
from respin.golden.inference import InferenceNetwork

NOISE_IMAGES = 16
"""Images of noise that a module is calibrated on for want of others."""


def load_network(source: str, *, shape: Sequence[int] | None = None, seed: int = 1) -> InferenceNetwork:
    """Return the integer network of a source.

    Parameters
    ----------
    source:
        An ``.onnx`` file, or ``MODULE.py:factory``: a function of no arguments that returns a module, or a module and
        float images (N, C, H, W) to calibrate on.
    shape:
        (C, H, W) of an image, where there are no images; then ranges come from normal noise.
    seed:
        Of that noise, and of whatever the factory draws.

    Raises
    ------
    ModelError
        In one line, if it cannot be read.
    RefusedError
        With every node that is not supported.
    """
    if source.endswith(".onnx"):
        # ONNX is read only where a file is: modules need no package for it.
        from respin.firmware_model.frontend.onnx_import import load_onnx

        return load_onnx(Path(source))
    path, _, factory = source.rpartition(":")
    if not path.endswith(".py") or not factory:
        raise ModelError(f"a model must be a file NAME.onnx or MODULE.py:factory, not {source!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, images = _made(Path(path), factory)
    if images is None:
        if shape is None:
            raise ModelError(f"{factory} returns no images: say the shape of one (C,H,W)")
        require_input_shape(shape)
        images = torch.randn((NOISE_IMAGES, *shape), generator=torch.Generator().manual_seed(seed))
        images = images if images.dim() == 4 else images[:, :, None, None]
    flat = shape is not None and len(shape) == 1
    graph = import_module(module.eval(), images.shape[1:2] if flat else images.shape[1:], name=factory)
    return quantise(graph, images)


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
        spec.loader.exec_module(loaded)
        make = getattr(loaded, factory, None)
        made: Any = make() if callable(make) else None
    except Exception as error:
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
