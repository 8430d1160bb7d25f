# SPDX-License-Identifier: Apache-2.0
r"""The demonstration's integer network: the digits backbone frozen as INT8, a Rep-Net module and a head that train.

::

    input -> stem -> depthwise -> pointwise --(+)-> reduce -> residual -(+)-> expand -> features -> logits
               \                               |         \_______________/
                rep.pool -> rep.first -> rep.last -> rep.up

Errors pass back from the logits to the module's first convolution.
"""

from dataclasses import replace

from torch import Tensor, nn

from respin.golden import builder
from respin.golden.backbones import Backbone, BackboneLayer, Block, InputFormat, fold_norm
from respin.golden.backbones.description import Activation
from respin.golden.backbones.recipe import Attachment, Recipe
from respin.golden.builder import Rules
from respin.golden.digits import CLASSES, LEVELS, STEP, pack_windows
from respin.golden.digits import Backbone as DigitsBackbone
from respin.golden.network import IntegerNetwork
from respin.golden.schedule import Schedule

BATCH = 16
SCHEDULE = Schedule(steps=80, first=0.0, last=-3.0)
"""Chosen on a part of the training images. Dozens of steps do here what thousands do elsewhere, so they are larger."""
RULES = Rules(feature_gain=8.0)
"""A feature is worth more to the head for the same reason."""


def describe(backbone: DigitsBackbone) -> Backbone:
    """Return the pretrained backbone as plain layers, on images whose windows are packed (`pack_windows`)."""

    def layer(name: str, activation: Activation = "relu") -> BackboneLayer:
        convolution, norm = getattr(backbone, name), backbone.norms[name]
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise TypeError(f"the norm of {name} must be a BatchNorm2d that tracks its statistics")
        weight, bias = fold_norm(
            convolution.weight.detach(),
            scale=norm.weight.detach(),
            shift=norm.bias.detach(),
            mean=norm.running_mean,
            variance=norm.running_var,
            epsilon=norm.eps,
        )
        top, left = convolution.padding
        return BackboneLayer(
            name=name,
            weight=weight,
            bias=bias,
            stride=convolution.stride[0],
            padding=(top, top, left, left),
            groups=convolution.groups,
            activation=activation,
        )

    stem = layer("stem")
    return Backbone(
        name="digits",
        licence="Apache-2.0",
        # Its windows are packed, so that it is a 1 x 1 convolution over them.
        stem=replace(stem, weight=stem.weight.flatten(1)[:, :, None, None], padding=(0, 0, 0, 0)),
        blocks=(
            Block(name="start", layers=(layer("depthwise"), layer("pointwise", "linear"))),
            Block(name="down", layers=(layer("reduce"),)),
            Block(name="skip", layers=(layer("residual", "linear"),), residual=True),
        ),
        last=layer("expand"),
        input=InputFormat(mean=(0.0,), deviation=(LEVELS * STEP,), scale=1 / (LEVELS * STEP), signed=False),
        recipe=Recipe(attachments=(Attachment(block="start", kernel=3),)),
    )


def build_network(backbone: DigitsBackbone, calibration: Tensor, task_images: Tensor, *, seed: int) -> IntegerNetwork:
    """Quantise ``backbone`` and put a Rep-Net module and a head beside it.

    Parameters
    ----------
    backbone:
        Pretrained, in evaluation mode.
    calibration:
        Images (N, 1, 8, 8), uint8, of the classes it knows: they set the scales of the frozen layers.
    task_images:
        Training images of the new classes, uint8: they set the scale of the module's first convolution and the means
        and deviations of the features.
    seed:
        Of the first convolution's weights.
    """
    return builder.build_network(
        describe(backbone),
        pack_windows(task_images),
        CLASSES,
        seed=seed,
        batch=BATCH,
        rules=RULES,
        range_images=pack_windows(calibration),
    )


def head_only(network: IntegerNetwork) -> IntegerNetwork:
    """Return the same network with the head as the only layer that learns."""
    head = tuple(gradient for gradient in network.gradients if gradient.layer == network.loss.logits)
    return replace(network, edges=(), gradients=head)
