# SPDX-License-Identifier: Apache-2.0
"""Pretrained backbones: their layers with the norms folded in, and where Rep-Net modules stand beside them."""

from collections.abc import Callable

from respin.golden.backbones.description import Backbone, BackboneLayer, Block, InputFormat, fold_norm
from respin.golden.backbones.inverted_residual import efficientnet_lite0, mobilenet_v2
from respin.golden.data.sources import Report, SourceError

BACKBONES: dict[str, Callable[[Report], Backbone]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "mobilenet-v2": mobilenet_v2,
}

__all__ = ["BACKBONES", "Backbone", "BackboneLayer", "Block", "InputFormat", "fold_norm", "load_backbone"]


def load_backbone(name: str, report: Report = lambda _line: None) -> Backbone:
    """Return the backbone ``name`` with its pretrained weights; SourceError names the ones there are."""
    if name not in BACKBONES:
        raise SourceError(f"a backbone must be one of {', '.join(BACKBONES)}, not {name!r}")
    return BACKBONES[name](report)
