# SPDX-License-Identifier: Apache-2.0
"""The integer operators of docs/arithmetic.md as exact PyTorch references on int8, uint8 and int32 tensors."""

from respin.golden.ops.bounds import (
    prove_bias_gradient,
    prove_convolution,
    prove_error,
    prove_trained_convolution,
    prove_weight_gradient,
)
from respin.golden.ops.convolution import (
    Padding,
    bias_gradient,
    conv2d,
    conv2d_error,
    conv2d_weight_gradient,
    dense,
    output_size,
    padding_sides,
)
from respin.golden.ops.errors import (
    DelayedScale,
    EdgeResult,
    FanInOperand,
    error_edge,
    fan_in,
    fan_in_reference,
)
from respin.golden.ops.loss import LossParameters, softmax, softmax_cross_entropy
from respin.golden.ops.pooling import avg_pool, pool_error, upsample_error, upsample_nearest
from respin.golden.ops.requantise import MergeOperand, QuantiserTable, activation_mask, merge_add, requantise
from respin.golden.ops.update import GradientStatistics, StepScale, ternary_update

__all__ = [
    "DelayedScale",
    "EdgeResult",
    "FanInOperand",
    "GradientStatistics",
    "LossParameters",
    "MergeOperand",
    "Padding",
    "QuantiserTable",
    "StepScale",
    "activation_mask",
    "avg_pool",
    "bias_gradient",
    "conv2d",
    "conv2d_error",
    "conv2d_weight_gradient",
    "dense",
    "error_edge",
    "fan_in",
    "fan_in_reference",
    "merge_add",
    "output_size",
    "padding_sides",
    "pool_error",
    "prove_bias_gradient",
    "prove_convolution",
    "prove_error",
    "prove_trained_convolution",
    "prove_weight_gradient",
    "requantise",
    "softmax",
    "softmax_cross_entropy",
    "ternary_update",
    "upsample_error",
    "upsample_nearest",
]
