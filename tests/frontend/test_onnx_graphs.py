# SPDX-License-Identifier: Apache-2.0
"""Graphs between quantisers against ONNX's reference evaluator: sums, pools, resizes, activations, whole networks."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_cases import EXECUTORS, Array, Executor, make_model

from respin.firmware_model.frontend.onnx_import import import_onnx, load_onnx
from respin.golden.inference import InferenceNetwork
from respin.golden.network import AveragePool, Convolution, Merge, Upsample

SEED = int(os.environ.get("RESPIN_SEED", "1"))
N, C, H, W = 2, 6, 8, 6


class Graph:
    """Nodes between quantisers, as an exporter writes them."""

    def __init__(self, x: Array, seed: int = SEED) -> None:
        self.x = x
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [f"{name}.y"], name=name, **attributes))
        return f"{name}.y"

    def constant(self, value: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def quantise(self, x: str, scale: float, zero: int, dtype: type = np.int8) -> str:
        return self.node("QuantizeLinear", x, self.constant(np.float32(scale)), self.constant(dtype(zero)))

    def dequantise(self, x: str, scale: float, zero: int, dtype: type = np.int8) -> str:
        return self.node("DequantizeLinear", x, self.constant(np.float32(scale)), self.constant(dtype(zero)))

    def both(self, x: str, scale: float, zero: int, dtype: type = np.int8) -> str:
        return self.dequantise(self.quantise(x, scale, zero, dtype), scale, zero, dtype)

    def weight(self, *shape: int, axis: int = 0, scale: float = 0.01) -> str:
        levels = self.generator.integers(-127, 128, shape).astype(np.int8)
        scales = (scale * self.generator.uniform(0.5, 1, shape[axis])).astype(np.float32)
        zero = np.zeros(shape[axis], np.int8)
        names = (self.constant(value) for value in (levels, scales, zero))
        return self.node("DequantizeLinear", *names, axis=axis)

    def model(self, output: str, kind: type) -> onnx.ModelProto:
        for node in self.nodes:
            node.output[:] = ["y" if name == output else name for name in node.output]
            node.input[:] = ["y" if name == output else name for name in node.input]
        return make_model(self.nodes, self.constants, self.x, kind)


def bytes_(shape: tuple[int, ...] = (N, C, H, W), dtype: type = np.int8, seed: int = SEED) -> Array:
    bounds = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(bounds.min, bounds.max, shape, endpoint=True).astype(dtype)


@pytest.fixture(params=["golden", "descriptors"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


def held(executor: Executor, model: onnx.ModelProto, x: Array, *, share: float = 0.02) -> InferenceNetwork:
    """Hold the imported network against the reference: a step apart at most, in at most ``share`` of the elements."""
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    network = import_onnx(model)
    result = executor.run([(network, x)])[0].reshape(expected.shape)
    difference = result.astype(np.int64) - expected.astype(np.int64)
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= share * difference.size
    # The test sees more than the clamps' ends.
    assert len(np.unique(expected)) > 20
    return network


@pytest.mark.parametrize("zeros", [(0, 0, 0), (-128, 7, -20), (100, -50, 25), (-9, -9, -9)])
@pytest.mark.parametrize("relu", [False, True])
def test_a_sum_with_zero_points(executor: Executor, zeros: tuple[int, int, int], relu: bool) -> None:
    graph = Graph(bytes_())
    a = graph.dequantise("x", 0.05, zeros[0])
    b = graph.both(graph.node("Conv", a, graph.weight(C, C, 1, 1)), 0.11, zeros[1])
    y = graph.node("Add", a, b)
    y = graph.quantise(graph.node("Relu", y) if relu else y, 0.13, zeros[2])
    network = held(executor, graph.model(y, np.int8), graph.x)
    assert [type(layer) for layer in network.layers] == [Convolution, Merge]


def test_a_sum_of_powers_of_two_is_exact_but_for_ties(executor: Executor) -> None:
    graph = Graph(bytes_())
    a = graph.dequantise("x", 0.25, -3)
    b = graph.both(a, 0.5, 11)
    y = graph.quantise(graph.node("Add", a, b), 1.0, -77)
    model = graph.model(y, np.int8)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": graph.x})
    result = executor.run([(import_onnx(model), graph.x)])[0]
    first = np.floor((graph.x.astype(np.int64) + 3) * 0.5 + 0.5) + 11
    both = np.clip(first, -128, 127)
    exact = (graph.x + 3.0) * 0.25 + (both - 11) * 0.5 - 77
    np.testing.assert_array_equal(result, np.clip(np.floor(exact + 0.5), -128, 127))
    assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("dtype", "zeros"), [(np.int8, (-128, -100)), (np.uint8, (128, 31)), (np.uint8, (0, 0))])
def test_pools(executor: Executor, dtype: type, zeros: tuple[int, int]) -> None:
    graph = Graph(bytes_(dtype=dtype))
    x = graph.dequantise("x", 0.05, zeros[0], dtype)
    y = graph.node("AveragePool", x, kernel_shape=[2, 3], strides=[2, 3])
    y = graph.quantise(y, 0.04, zeros[1], dtype)
    model = graph.model(y, dtype)
    # A unit of the sum is worth a fifth of a step, and the output's zero point is rounded to whole units.
    network = held(executor, model, graph.x, share=0.2)
    assert [type(layer) for layer in network.layers] == [AveragePool]
    (expected,) = ReferenceEvaluator(model).run(None, {"x": graph.x})
    result = executor.run([(network, graph.x)])[0]
    ratio = 0.05 / 0.04 / 6
    windows = graph.x.astype(np.int64).reshape(N, C, H // 2, 2, W // 3, 3).sum((3, 5))
    exact = (windows - 6 * zeros[0]) * ratio + zeros[1]
    units = zeros[1] / ratio
    moved = abs(np.rint(units) - units) * ratio
    from_half = np.abs(exact - np.floor(exact) - 0.5)
    assert (from_half[result != expected] <= moved + 1e-2).all()


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "ReduceMean"])
def test_global_pool_flatten_and_gemm(executor: Executor, kind: str) -> None:
    graph = Graph(bytes_((4, 12, 5, 4), np.uint8))
    x = graph.dequantise("x", 0.02, 128, np.uint8)
    pooled = (
        graph.node(kind, x) if kind == "GlobalAveragePool" else graph.node(kind, x, graph.constant(np.int64([2, 3])))
    )
    y = graph.both(pooled, 0.005, 100, np.uint8)
    y = graph.node("Flatten", y)
    bias = graph.constant(np.float32(np.linspace(-0.2, 0.2, 9)))
    y = graph.quantise(graph.node("Gemm", y, graph.weight(9, 12), bias, transB=1), 0.05, -5)
    network = held(executor, graph.model(y, np.int8), graph.x)
    assert network.layers[-1].weight.shape == (9, 12, 1, 1)


@pytest.mark.parametrize(
    ("form", "attributes"),
    [
        ("scales", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("scales", {}),
        ("sizes", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ],
)
def test_nearest_resize_is_exact(executor: Executor, form: str, attributes: dict[str, str]) -> None:
    graph = Graph(bytes_())
    x = graph.dequantise("x", 0.05, 3)
    if form == "scales":
        y = graph.node("Resize", x, "", graph.constant(np.float32([1, 1, 2, 3])), mode="nearest", **attributes)
    else:
        sizes = graph.constant(np.int64([N, C, 12, 9]))
        y = graph.node("Resize", x, "", "", sizes, mode="nearest", **attributes)
    network = held(executor, graph.model(graph.quantise(y, 0.05, 3), np.int8), graph.x, share=0)
    assert [type(layer) for layer in network.layers] == [Upsample]


def test_clip_ends_in_the_outputs_units(executor: Executor) -> None:
    graph = Graph(bytes_())
    y = graph.node("Conv", graph.dequantise("x", 0.05, 9), graph.weight(C, 1, 3, 3), group=C, pads=[1, 0, 2, 1])
    y = graph.node("Clip", y, graph.constant(np.float32(-1)), graph.constant(np.float32(6)))
    network = held(executor, graph.model(graph.quantise(y, 0.05, -30), np.int8), graph.x)
    table = network.layers[0].table
    assert (set(table.lo.tolist()), set(table.hi.tolist())) == ({-50}, {90})
    assert network.layers[0].pad_value == 9


def test_relu_of_int8_becomes_unsigned_where_nothing_is_below_zero(executor: Executor) -> None:
    graph = Graph(bytes_())
    y = graph.node("Relu", graph.node("Conv", graph.dequantise("x", 0.05, 0), graph.weight(C, C, 1, 1)))
    y = graph.both(y, 0.06, 0)
    y = graph.quantise(graph.node("Conv", y, graph.weight(4, C, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]), 0.3, 2)
    network = held(executor, graph.model(y, np.int8), graph.x)
    assert not network.formats[network.layers[0].name].signed


def test_a_network_with_a_float_input_and_float_sums() -> None:
    images = np.random.default_rng(SEED).normal(0, 1, (3, 3, 9, 8)).astype(np.float32)
    graph = Graph(images)
    x = graph.both("x", 0.03, 0)
    y = graph.node("Clip", graph.node("Conv", x, graph.weight(8, 3, 3, 3), strides=[2, 2]), "", graph.constant(
        np.float32(6)))  # fmt: skip
    y = graph.both(graph.node("Relu", y), 6 / 255, 0, np.uint8)
    z = graph.both(graph.node("Conv", y, graph.weight(8, 4, 3, 3), group=2, pads=[1, 1, 1, 1]), 0.05, 4)
    y = graph.both(graph.node("Add", y, z), 0.07, -10)
    y = graph.both(graph.node("GlobalAveragePool", y), 0.03, -60)
    y = graph.node("MatMul", graph.node("Reshape", y, graph.constant(np.int64([0, -1]))), graph.weight(8, 5, axis=1))
    y = graph.node("Add", y, graph.constant(np.float32(np.arange(5) / 10)))
    model = graph.model(y, np.float32)
    model.graph.output[0].type.tensor_type.shape.dim.pop()
    model.graph.output[0].type.tensor_type.shape.dim.pop()
    (expected,) = ReferenceEvaluator(model).run(None, {"x": images})
    network = import_onnx(model)
    assert network.sums is not None
    assert network.output.startswith("MatMul")
    result = network.run_real(torch.from_numpy(images)).numpy()[:, :, 0, 0]
    # A step of the pooled features is 0.03, a weight at most 1.27: what a few steps make.
    assert np.abs(result - expected).max() < 0.15
    assert np.linalg.norm(result - expected) < 0.02 * np.linalg.norm(expected)


def test_weights_quantised_in_the_graph_are_constants(executor: Executor) -> None:
    graph = Graph(bytes_())
    weight = graph.constant(graph.generator.normal(0, 0.3, (4, C, 2, 2)).astype(np.float32))
    weight = graph.both(weight, 0.01, 0)
    y = graph.quantise(graph.node("Conv", graph.dequantise("x", 0.05, 1), weight), 0.2, 0)
    held(executor, graph.model(y, np.int8), graph.x)


def test_a_channel_that_hardly_counts_keeps_its_zero_point(executor: Executor) -> None:
    graph = Graph(bytes_())
    levels = graph.constant(graph.generator.integers(-127, 128, (C, C, 1, 1)).astype(np.int8))
    scales = graph.constant(np.float32([0.01] * (C - 1) + [1e-12]))
    weight = graph.node("DequantizeLinear", levels, scales, axis=0)
    y = graph.quantise(graph.node("Conv", graph.dequantise("x", 0.05, 1), weight), 0.2, 100)
    network = held(executor, graph.model(y, np.int8), graph.x)
    assert set(executor.run([(network, graph.x)])[0][:, -1].flatten().tolist()) == {100}


def test_a_file(tmp_path: Path) -> None:
    graph = Graph(bytes_())
    y = graph.quantise(graph.node("Conv", graph.dequantise("x", 0.05, 9), graph.weight(4, C, 3, 3)), 0.2, 0)
    model = graph.model(y, np.int8)
    onnx.save(model, tmp_path / "small.onnx")
    network = load_onnx(tmp_path / "small.onnx")
    assert network.name == "small"
    assert network.shapes()[network.output] == (4, H - 2, W - 2)
    np.testing.assert_array_equal(
        EXECUTORS["golden"].run([(network, graph.x)])[0], EXECUTORS["golden"].run([(import_onnx(model), graph.x)])[0]
    )
