# SPDX-License-Identifier: Apache-2.0
"""What onnxruntime's quantiser writes: its own operators against the same in QDQ form, constants behind other nodes."""

import os

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_cases import make_model

from respin.firmware_model.frontend.onnx_import import OPSETS, import_onnx
from respin.firmware_model.frontend.refusal import ModelError, RefusedError

SEED = int(os.environ.get("RESPIN_SEED", "1"))
Array = NDArray[np.generic]
DOMAIN = "com.microsoft"


def bytes_(shape: tuple[int, ...], dtype: type = np.uint8) -> Array:
    info = np.iinfo(dtype)
    return np.random.default_rng(SEED).integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def contrib(model: onnx.ModelProto) -> onnx.ModelProto:
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return model


def both(
    own: list[onnx.NodeProto], qdq: list[onnx.NodeProto], constants: dict[str, Array], x: Array
) -> tuple[Array, Array]:
    """What becomes of the operator on ``x``, which must be what becomes of its QDQ form; and the reference's result."""
    import torch

    dtype = x.dtype.type
    reference = make_model(qdq, constants, x, dtype)
    networks = import_onnx(contrib(make_model(own, constants, x, dtype))), import_onnx(reference)
    made, same = (network.run(torch.from_numpy(x)).numpy() for network in networks)
    np.testing.assert_array_equal(made, same)
    return made, ReferenceEvaluator(reference).run(None, {"x": x})[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_qlinear_add(dtype: type) -> None:
    x = bytes_((2, 3, 5, 4), dtype)
    zero = {np.uint8: (120, 90, 131), np.int8: (3, -20, 7)}[dtype]
    constants = {"w": bytes_((3, 3, 1, 1), np.int8), "one": np.float32(0.02), "zero": np.int8(0)}
    for name, scale, point in zip("abc", (0.0513, 0.0217, 0.0631), zero, strict=True):
        constants |= {f"{name}s": np.float32(scale), f"{name}0": dtype(point)}
    first = helper.make_node("QLinearConv", ["x", "as", "a0", "w", "one", "zero", "bs", "b0"], ["b"], name="conv")
    own = helper.make_node("QLinearAdd", ["x", "as", "a0", "b", "bs", "b0", "cs", "c0"], ["y"], domain=DOMAIN, name="s")
    qdq = [
        helper.make_node("DequantizeLinear", ["x", "as", "a0"], ["xr"]),
        helper.make_node("DequantizeLinear", ["b", "bs", "b0"], ["br"]),
        helper.make_node("Add", ["xr", "br"], ["yr"], name="s"),
        helper.make_node("QuantizeLinear", ["yr", "cs", "c0"], ["y"]),
    ]
    made, expected = both([first, own], [first, *qdq], constants, x)
    assert np.abs(made.astype(int) - expected).max() <= 2  # the convolution's step, and the sum's
    assert (made == expected).mean() > 0.97


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_qlinear_global_average_pool(dtype: type) -> None:
    x = bytes_((2, 5, 7, 6), dtype)
    constants = {"xs": np.float32(0.05), "x0": dtype(17), "ys": np.float32(0.01), "y0": dtype(101)}
    own = helper.make_node("QLinearGlobalAveragePool", ["x", "xs", "x0", "ys", "y0"], ["y"], domain=DOMAIN, name="p")
    qdq = [
        helper.make_node("DequantizeLinear", ["x", "xs", "x0"], ["xr"]),
        helper.make_node("GlobalAveragePool", ["xr"], ["yr"], name="p"),
        helper.make_node("QuantizeLinear", ["yr", "ys", "y0"], ["y"]),
    ]
    made, expected = both([own], qdq, constants, x)
    assert np.abs(made.astype(int) - expected).max() <= 1
    last = helper.make_node(
        "QLinearGlobalAveragePool", ["x", "xs", "x0", "ys", "y0"], ["y"], domain=DOMAIN, name="p", channels_last=1
    )
    with pytest.raises(RefusedError, match="p: channels_last; supported: maps"):
        import_onnx(contrib(make_model([last], constants, x, dtype)))


def test_sums_of_other_shapes_are_refused() -> None:
    x = bytes_((1, 3, 4, 4))
    constants = {"s": np.float32(1), "z": np.uint8(0)}
    pool = helper.make_node("QLinearGlobalAveragePool", ["x", "s", "z", "s", "z"], ["b"], domain=DOMAIN)
    node = helper.make_node("QLinearAdd", ["x", "s", "z", "b", "s", "z", "s", "z"], ["y"], domain=DOMAIN, name="sum")
    with pytest.raises(RefusedError, match="sum: operands of"):
        import_onnx(contrib(make_model([pool, node], constants, x, np.uint8)))


def test_constants_behind_other_nodes() -> None:
    import torch

    x, weight = bytes_((2, 3, 5, 5)), bytes_((4, 3, 3, 3), np.int8)
    plain = make_model([helper.make_node("ConvInteger", ["x", "w"], ["y"], name="conv")], {"w": weight}, x)
    constants = {
        "flat": weight.reshape(4, 27).T.astype(np.int32), "shape": np.array([4, 3, -1, 3], np.int64),
        "axes": np.array([0], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Identity", ["flat"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["b", "axes"], ["c"]),
        helper.make_node("Squeeze", ["c", "axes"], ["d"]),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.INT8),
        helper.make_node("Reshape", ["e", "shape"], ["w"]),
        helper.make_node("ConvInteger", ["x", "w"], ["y"], name="conv"),
    ]
    made, expected = import_onnx(make_model(nodes, constants, x)), import_onnx(plain)
    assert torch.equal(made.run(torch.from_numpy(x)), expected.run(torch.from_numpy(x)))
    constants["shape"] = np.array([5, -1], np.int64)
    with pytest.raises(RefusedError, match="Reshape of w: "):
        import_onnx(make_model(nodes, constants, x))


@pytest.mark.parametrize("opset", range(OPSETS[0] - 1, OPSETS[1] + 2))
def test_opsets(opset: int) -> None:
    x = bytes_((1, 3, 4, 4))
    constants = {"s": np.float32(0.1), "z": np.uint8(3), "w": bytes_((2, 3, 1, 1), np.int8), "w0": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "s", "w0"], ["b"]),
        helper.make_node("Conv", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "s", "z"], ["y"]),
    ]
    model = make_model(nodes, constants, x, np.uint8, opset=opset)
    if OPSETS[0] <= opset <= OPSETS[1]:
        assert import_onnx(model).output == "Conv of c"
    else:
        with pytest.raises(ModelError, match=f"opset must be in 13..25, not {opset}: onnx.version_converter"):
            import_onnx(model)
