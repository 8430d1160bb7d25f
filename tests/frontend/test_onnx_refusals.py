# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file may not ask for: every refusal names the node and what is supported; a bad file is one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_cases import make_model
from test_onnx_graphs import C, Graph, bytes_

from respin.firmware_model.frontend.onnx_import import import_onnx, load_onnx
from respin.firmware_model.frontend.refusal import ModelError, RefusedError


def conv(graph: Graph, x: str, **attributes: object) -> str:
    return graph.node("Conv", x, graph.weight(C, C, 3, 3), **({"pads": [1, 1, 1, 1]} | attributes))


def x_of(graph: Graph) -> str:
    return graph.dequantise("x", 0.05, 3)


def closed(graph: Graph, y: str) -> str:
    return graph.quantise(y, 0.2, 0)


def scale_of(value: object) -> Callable[[Graph], str]:
    return lambda g: g.node("QuantizeLinear", conv(g, x_of(g)), g.constant(value), g.constant(np.int8(0)))


def zero_of(value: object) -> Callable[[Graph], str]:
    def build(g: Graph) -> str:
        x = g.node("DequantizeLinear", "x", g.constant(np.float32(0.1)), g.constant(value))
        return closed(g, conv(g, x))

    return build


def qlinear(**changed: object) -> Callable[[Graph], str]:
    given = {
        "xs": np.float32(0.1), "x0": np.int8(0), "w": np.ones((C, C, 1, 1), np.int8), "ws": np.float32(0.1),
        "w0": np.int8(0), "ys": np.float32(1), "y0": np.int8(0), "b": np.zeros(C, np.int32),
    }  # fmt: skip

    def build(g: Graph) -> str:
        names = [g.constant(value) for value in (given | changed).values()]
        return g.node("QLinearConv", "x", *names)

    return build


REFUSED: dict[str, tuple[Callable[[Graph], str], str]] = {
    "dilation": (
        lambda g: closed(g, conv(g, x_of(g), dilations=[2, 2])),
        "Conv2: dilation [2, 2]; supported: dil",
    ),
    "transposed": (
        lambda g: closed(g, g.node("ConvTranspose", x_of(g), g.weight(C, C, 2, 2))),
        "ConvTranspose2: operator ConvTranspose; supported: QuantizeLinear, DequantizeLinear, QLinearConv",
    ),
    "activation": (lambda g: closed(g, g.node("Sigmoid", conv(g, x_of(g)))), "Sigmoid3: operator Sigmoid"),
    "another domain": (
        lambda g: g.node("QLinearMul", "x", domain="com.microsoft"),
        "QLinearMul0: operator com.microsoft.QLinearMul",
    ),
    "weights from the image": (
        lambda g: closed(g, g.node("Conv", x_of(g), x_of(g))),
        "Conv2: a weight that is no constant",
    ),
    "float weights": (
        lambda g: closed(g, g.node("Conv", x_of(g), g.constant(np.ones((C, C, 1, 1), np.float32)))),
        "Conv1: a weight of float32; supported: weights that DequantizeLinear makes",
    ),
    "int16 weights": (qlinear(w=np.ones((C, C, 1, 1), np.int16), w0=np.int16(0)), "QLinearConv0: a weight of int16"),
    "wide weights": (
        qlinear(w=np.full((C, C, 1, 1), 200, np.uint8), w0=np.uint8(1)),
        "QLinearConv0: weights of 199..199 less their zero point",
    ),
    "uint8 zero point of an int8 tensor": (
        zero_of(np.uint8(3)),
        "DequantizeLinear0: a zero point of uint8 for a tensor of int8",
    ),
    "int16 output": (qlinear(y0=np.int16(0)), "QLinearConv0: a y zero point of int16; supported: int8 and uint8"),
    "zero scale": (scale_of(np.float32(0)), "QuantizeLinear3: a scale of 0.0; supported: scales above 0"),
    "negative scale": (scale_of(np.float32(-1)), "QuantizeLinear3: a scale of -1.0"),
    "infinite scale": (scale_of(np.float32(np.inf)), "QuantizeLinear3: a scale that is not finite"),
    "scales of an activation": (
        scale_of(np.ones(C, np.float32)),
        "QuantizeLinear3: a scale for each channel",
    ),
    "zero weight scale": (qlinear(ws=np.zeros(C, np.float32)), "QLinearConv0: a weight scale of 0.0"),
    "too few weight scales": (qlinear(ws=np.ones(3, np.float32)), "QLinearConv0: weight scales of shape (3,)"),
    "integer scale": (qlinear(xs=np.int32(1)), "QLinearConv0: a x scale of int32"),
    "missing scale": (
        lambda g: closed(g, conv(g, g.node("DequantizeLinear", "x"))),
        "DequantizeLinear0: no scale; supported: a scale in every DequantizeLinear",
    ),
    "scale that is computed": (
        lambda g: closed(g, conv(g, g.node("DequantizeLinear", "x", x_of(g)))),
        "DequantizeLinear1: a scale that is no constant",
    ),
    "short bias": (qlinear(b=np.zeros(2, np.int32)), "QLinearConv0: a bias of int32 (2,)"),
    "no quantiser between": (
        lambda g: closed(g, conv(g, conv(g, x_of(g)))),
        "Conv4: an input of Conv2 before it is quantised; supported: QuantizeLinear, DequantizeLinear between",
    ),
    "oblong stride": (lambda g: closed(g, conv(g, x_of(g), strides=[1, 2])), "Conv2: strides [1, 2]"),
    "overlapping pool": (
        lambda g: closed(g, g.node("AveragePool", x_of(g), kernel_shape=[3, 3], strides=[2, 2])),
        "AveragePool1: windows of (3, 3) every (2, 2)",
    ),
    "linear resize": (
        lambda g: closed(g, g.node("Resize", x_of(g), "", g.constant(np.float32([1, 1, 2, 2])), mode="linear")),
        "Resize1: mode 'linear'",
    ),
    "another rounding": (
        lambda g: closed(
            g,
            g.node(
                "Resize",
                x_of(g),
                "",
                g.constant(np.float32([1, 1, 2, 2])),
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="ceil",
            ),
        ),
        "Resize1: a resize from 8 to 16 that reads other elements",
    ),
    "clamp without zero": (
        lambda g: closed(g, g.node("Clip", conv(g, x_of(g)), g.constant(np.float32(1)), g.constant(np.float32(2)))),
        "Clip3: a clamp between 1.0 and 2.0",
    ),
    "sum of unlike shapes": (
        lambda g: closed(g, g.node("Add", x_of(g), g.both(conv(g, x_of(g), strides=[2, 2]), 0.2, 0))),
        "operands of (6, 8, 6) and (6, 4, 3)",
    ),
    "reshape": (
        lambda g: closed(g, conv(g, g.node("Reshape", x_of(g), g.constant(np.int64([0, C, 6, 8]))))),
        "Reshape1: a reshape of [1, 6, 8, 6] to [1, 6, 6, 8]",
    ),
    "overflow": (
        qlinear(b=np.full(C, 2**31 - 1, np.int32)),
        "QLinearConv0: a convolution's sum could reach",
    ),
    "sums that something reads": (
        lambda g: closed(g, g.node("Relu", g.node("ConvInteger", "x", g.constant(np.ones((C, C, 1, 1), np.int8))))),
        "Relu1: an activation of what is not quantised",
    ),
    "output's zero point does not fit": (
        lambda g: g.quantise(g.node("Add", g.dequantise("x", 1.0, -128), g.both(x_of(g), 1.0, -128)), 1.5, 127),
        "zero points must be in -128..255 once the sum's is part of them",
    ),
    "sum's unit above the output's": (
        qlinear(xs=np.float32(3), ws=np.float32(1), ys=np.float32(0.9), y0=np.int8(5)),
        "QLinearConv0: a unit of the sum must be worth at most 1 of the output where its zero point is 5",
    ),
    "output not quantised": (
        lambda g: g.node("Add", x_of(g), g.both(conv(g, x_of(g)), 0.2, 0)),
        "output: an output that Add",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_node(kind: str) -> None:
    build, message = REFUSED[kind]
    graph = Graph(bytes_())
    with pytest.raises(RefusedError) as caught:
        import_onnx(graph.model(build(graph), np.int8))
    assert message in str(caught.value)
    assert "; supported: " in str(caught.value)


def test_every_node_is_refused_at_once() -> None:
    graph = Graph(bytes_())
    a = graph.both(conv(graph, x_of(graph), dilations=[2, 2]), 0.2, 0)
    b = graph.both(graph.node("Tanh", x_of(graph)), 0.2, 0)
    with pytest.raises(RefusedError, match=r"\(and 1 more\)") as caught:
        import_onnx(graph.model(closed(graph, graph.node("Add", a, b)), np.int8))
    assert [refusal.node for refusal in caught.value.refusals] == ["Conv2", "Tanh6"]


def small() -> onnx.ModelProto:
    graph = Graph(bytes_())
    return graph.model(closed(graph, conv(graph, x_of(graph))), np.int8)


def test_a_node_without_a_name_is_called_by_its_output() -> None:
    model = small()
    model.graph.node[2].name = ""
    model.graph.node[2].attribute.append(helper.make_attribute("dilations", [3, 3]))
    with pytest.raises(RefusedError, match="Conv of Conv2.y: dilation"):
        import_onnx(model)


def test_dynamic_shapes_are_refused() -> None:
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(RefusedError, match="x: a dynamic shape; supported: fixed sizes of everything but the batch"):
        import_onnx(model)


def test_inputs_of_other_kinds_are_refused() -> None:
    model = small()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    with pytest.raises(RefusedError, match="x: an input of int32; supported: float32, int8 and uint8"):
        import_onnx(model)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.INT8, ["N", 3, 4, 4]))
    with pytest.raises(RefusedError, match="case: 2 inputs; supported: one"):
        import_onnx(model)


def test_old_opsets_are_refused() -> None:
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"])
    model = make_model([node], {"w": np.ones((C, C, 1, 1), np.int8)}, bytes_(), opset=12)
    with pytest.raises(ModelError, match="opset must be in 13..25, not 12"):
        import_onnx(model)


def test_nodes_out_of_order_are_refused() -> None:
    model = small()
    first = model.graph.node.pop(0)
    model.graph.node.append(first)
    with pytest.raises(RefusedError, match="reads DequantizeLinear0.y, which nothing before it makes"):
        import_onnx(model)


def test_a_model_that_the_checker_refuses_is_refused() -> None:
    model = small()
    model.graph.node[2].attribute.append(helper.make_attribute("colour", 3))
    with pytest.raises(ModelError, match="the model is not valid: Unrecognized attribute: colour"):
        import_onnx(model)


@pytest.mark.parametrize("content", [b"", b"\x00\x01nothing of the kind", b"\x08"])
def test_broken_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="nothing.onnx cannot be read as ONNX: "):
        load_onnx(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("cut", range(0, 400, 37))
def test_cut_files_end_in_one_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(small().SerializeToString()[: -cut - 1])
    with pytest.raises((ModelError, RefusedError)):
        load_onnx(path)
