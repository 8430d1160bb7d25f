# SPDX-License-Identifier: Apache-2.0
"""Random one-operator ONNX models with an input, what they must give, and who can run what becomes of them.

A case knows its model and its exact real values; an executor runs the integer networks: golden, or
compiled programs of them on a model of what descriptors do, or on the machine in a simulator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from run_programs import run_on_machine, run_on_model

from respin.golden.inference import InferenceNetwork

Array = NDArray[np.generic]
OPSET = 21
KINDS = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8, np.int32: TensorProto.INT32, np.float32: 1}


@dataclass(frozen=True)
class Executor:
    """Who runs integer networks, each on its input, and how many examples of a sweep it is fast enough for."""

    run: Callable[[Sequence[tuple[InferenceNetwork, Array]]], list[Array]]
    examples: int


def run_golden(jobs: Sequence[tuple[InferenceNetwork, Array]]) -> list[Array]:
    return [network.run(torch.from_numpy(x)).numpy() for network, x in jobs]


EXECUTORS = {
    "golden": Executor(run=run_golden, examples=150),
    "descriptors": Executor(run=run_on_model, examples=60),
    "machine": Executor(run=run_on_machine, examples=25),
}


@dataclass(frozen=True)
class Case:
    """A model, its input, and what a quantiser's exact values are made of.

    ``ratio`` is (O,): the sum's scale over the output's. ``sums`` are exact, bias included, (N, O, H, W).
    """

    model: onnx.ModelProto
    x: Array
    sums: Array
    ratio: tuple[Fraction, ...] = ()
    zero_point: int = 0

    def expected(self) -> Array:
        """What ONNX's reference evaluator gives."""
        (result,) = ReferenceEvaluator(self.model).run(None, {"x": self.x})
        return result

    def exact(self, index: tuple[int, ...]) -> Fraction:
        """The output's element before it is rounded and clamped."""
        return int(self.sums[index]) * self.ratio[index[1]] + self.zero_point


def make_model(
    nodes: list[onnx.NodeProto], constants: dict[str, Array], x: Array, output: type = np.int32, *, opset: int = OPSET
) -> onnx.ModelProto:
    """A model of the input x and the output y."""
    values = [
        helper.make_tensor_value_info("x", KINDS[x.dtype.type], ["N", *x.shape[1:]]),
        helper.make_tensor_value_info("y", KINDS[output], [None] * x.ndim),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "case", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def integers(draw: st.DrawFn, shape: tuple[int, ...], low: int, high: int, dtype: type) -> Array:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.integers(low, high, shape, endpoint=True).astype(dtype)


def byte(draw: st.DrawFn) -> tuple[type, int, int]:
    dtype = draw(st.sampled_from([np.int8, np.uint8]))
    return (dtype, -128, 127) if dtype is np.int8 else (dtype, 0, 255)


@dataclass(frozen=True)
class Operands:
    """Integers and their zero points; ``weight`` is (O, I / groups, kh, kw), or (K, O) of a product."""

    x: Array
    x_zero: int
    weight: Array
    weight_zero: Array
    attributes: dict[str, object]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0] if self.weight.ndim == 4 else self.weight.shape[1]

    def sums(self) -> Array:
        """Exact sums in int64."""
        x = torch.from_numpy(self.x.astype(np.int64) - self.x_zero)
        if self.weight.ndim == 2:
            return (x @ torch.from_numpy(self.weight.astype(np.int64) - self.weight_zero)).numpy()
        zero = self.weight_zero.reshape(-1, 1, 1, 1) if self.weight_zero.ndim else self.weight_zero
        weight = torch.from_numpy(self.weight.astype(np.int64) - zero)
        top, left, bottom, right = self.attributes["pads"]
        padded = torch.nn.functional.pad(x, (left, right, top, bottom))
        # Far below 2^53: exact in float64.
        sums = torch.nn.functional.conv2d(
            padded.double(), weight.double(), stride=self.attributes["strides"], groups=self.attributes["group"]
        )
        return sums.long().numpy()


def draw_operands(draw: st.DrawFn, *, product: bool) -> Operands:
    """Shapes, pads, strides, groups, types and zero points."""
    dtype, low, high = byte(draw)
    weight_dtype, weight_low, _ = byte(draw)
    outputs, groups = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 2, 3]))
    inputs, depthwise = draw(st.integers(1, 5)), not product and draw(st.booleans())
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    size = (draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    if product:
        shape, weight_shape, attributes = (draw(st.integers(1, 4)), inputs * 7), (inputs * 7, outputs), {}
    else:
        groups = inputs if depthwise else groups
        channels = inputs if depthwise else inputs * groups
        shape = (draw(st.integers(1, 2)), channels, *size)
        weight_shape = (outputs * groups, channels // groups, *kernel)
        attributes = {
            "pads": [draw(st.integers(0, 2)) for _ in range(4)],
            "strides": [draw(st.integers(1, 3))] * 2,
            "group": groups,
        }
    count = weight_shape[1] if product else weight_shape[0]
    # Weights that are int8 without their zero points.
    if weight_dtype is np.int8:
        zero, span = np.zeros((), np.int64), (-128, 127)
    else:
        many = draw(st.booleans())
        zero = integers(draw, (count,) if many else (), 100, 150, np.int64)
        span = (150 - 128, 100 + 127)
    assert weight_low <= span[0]
    weight = integers(draw, weight_shape, *span, weight_dtype)
    x_zero = draw(st.integers(low, high))
    return Operands(integers(draw, shape, low, high, dtype), x_zero, weight, zero, attributes)


@st.composite
def integer_cases(draw: st.DrawFn) -> Case:
    """ConvInteger and MatMulInteger."""
    product = draw(st.booleans())
    given = draw_operands(draw, product=product)
    constants = {"w": given.weight}
    names = ["x", "w"]
    if given.x_zero or draw(st.booleans()):
        names.append("x0")
        constants["x0"] = given.x.dtype.type(given.x_zero)
    if given.weight_zero.any():
        names += ["w0"] if len(names) == 3 else ["", "w0"]
        constants["w0"] = given.weight_zero.astype(given.weight.dtype)
    operator = "MatMulInteger" if product else "ConvInteger"
    node = helper.make_node(operator, names, ["y"], name="node", **given.attributes)
    return Case(model=make_model([node], constants, given.x), x=given.x, sums=given.sums())


@st.composite
def scales(draw: st.DrawFn, *, exact: bool) -> np.float32:
    if exact:
        return np.float32(2.0 ** draw(st.integers(-8, -1)))
    return np.float32(draw(st.floats(1e-3, 0.5)))


@st.composite
def quantised_cases(draw: st.DrawFn, *, exact: bool, qdq: bool) -> Case:
    """QLinearConv and QLinearMatMul, or the same as Conv and MatMul between quantisers."""
    product = draw(st.booleans())
    given = draw_operands(draw, product=product)
    out_dtype, out_low, out_high = byte(draw)
    zero_point = draw(st.integers(out_low, out_high))
    x_scale = draw(scales(exact=exact))
    # The reference's QLinearMatMul takes one scale.
    many = draw(st.booleans()) and not (product and not qdq)
    w_scale = np.array([draw(scales(exact=exact)) for _ in range(given.outputs if many else 1)], np.float32)
    w_scale = w_scale if many else w_scale.reshape(())
    sums = given.sums()
    bias = None
    if not product and draw(st.booleans()):
        bias = integers(draw, (given.outputs,), -3000, 3000, np.int32)
        sums = sums + bias.reshape(1, -1, 1, 1)
    # The output's scale is such that its integers are in use, and no unit of a sum is worth more than one of them.
    reach = int(np.abs(sums).max()) // draw(st.sampled_from([60, 100, 300])) + 1
    largest = x_scale * w_scale.max()
    y_scale = np.float32(largest * np.float32(1 << (reach - 1).bit_length() if exact else reach))
    units = [
        Fraction(float(x_scale)) * Fraction(float(side)) / Fraction(float(y_scale)) for side in w_scale.reshape(-1)
    ]
    ratio = tuple(units * (1 if many else given.outputs))
    constants = {"w": given.weight, "ws": w_scale, "xs": x_scale, "ys": y_scale, "y0": out_dtype(zero_point)}
    constants["x0"] = given.x.dtype.type(given.x_zero)
    shape = w_scale.shape if given.weight_zero.ndim == 0 else given.weight_zero.shape
    zero = np.broadcast_to(given.weight_zero, shape) if qdq else given.weight_zero
    constants["w0"] = zero.astype(given.weight.dtype)
    if qdq:
        if constants["w0"].ndim and not constants["ws"].ndim:
            constants["ws"] = np.broadcast_to(w_scale, constants["w0"].shape).copy()
        nodes = _qdq_nodes(given, constants, bias, product=product)
    else:
        names = ["x", "xs", "x0", "w", "ws", "w0", "ys", "y0"]
        if bias is not None:
            constants["b"] = bias
            names.append("b")
        operator = "QLinearMatMul" if product else "QLinearConv"
        nodes = [helper.make_node(operator, names, ["y"], name="node", **given.attributes)]
    model = make_model(nodes, constants, given.x, out_dtype)
    return Case(model=model, x=given.x, sums=sums, ratio=ratio, zero_point=zero_point)


def _qdq_nodes(
    given: Operands, constants: dict[str, Array], bias: Array | None, *, product: bool
) -> list[onnx.NodeProto]:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "x0"], ["xr"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "w0"], ["wr"], axis=1 if product else 0),
    ]
    names = ["xr", "wr"]
    if bias is not None:
        constants["b"] = bias
        constants["bs"] = (constants["xs"] * constants["ws"]).astype(np.float32)
        nodes.append(helper.make_node("DequantizeLinear", ["b", "bs"], ["br"], axis=0))
        names.append("br")
    nodes.append(helper.make_node("MatMul" if product else "Conv", names, ["yr"], name="node", **given.attributes))
    return [*nodes, helper.make_node("QuantizeLinear", ["yr", "ys", "y0"], ["y"])]
