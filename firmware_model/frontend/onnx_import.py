# SPDX-License-Identifier: Apache-2.0
"""From a quantised ONNX file to integer layers; what is not supported is refused by its node."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from respin.firmware_model.frontend.onnx_graph import Call, OnnxGraph
from respin.firmware_model.frontend.onnx_operators import OPERATORS, SUPPORTED
from respin.firmware_model.frontend.onnx_values import (
    BYTES,
    Array,
    FloatInput,
    Integers,
    Real,
    Refused,
    Sums,
    Unquantised,
    Value,
)
from respin.firmware_model.frontend.refusal import ModelError, Refusal, RefusedError, bounds_of, refused
from respin.golden.inference import InferenceNetwork, Shape
from respin.golden.network import INPUT

OPSETS = (13, 25)
"""The first in which a quantiser may have a scale for each channel, and all axes and ends are inputs; and the last one
whose operators were read."""
FOLDED = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that are carried out where all they read is constant."""
FOUR = 4
"""Dimensions of a map's tensor."""


def load_onnx(path: Path) -> InferenceNetwork:
    """Return the network of the file at ``path``; raises as :func:`import_onnx`, and ModelError if it is no model."""
    try:
        model = onnx.load(str(path))
    except Exception as error:
        # Whatever the parser of the file, or of weights beside it, raises.
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise ModelError(f"{path} cannot be read as ONNX: {reason.splitlines()[0]}") from error
    try:
        return import_onnx(model, name=path.stem)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def import_onnx(model: onnx.ModelProto, *, name: str = "") -> InferenceNetwork:
    """Return the integer network of a quantised model.

    Parameters
    ----------
    model:
        In QDQ form (QuantizeLinear and DequantizeLinear around float operators) or in QOperator form (QLinearConv,
        QLinearMatMul, ConvInteger, MatMulInteger). One input, one output; shapes fixed but for the batch.
    name:
        What to call it; the graph's name unless given.

    Raises
    ------
    ModelError
        If it is no valid model, or not of opset 13 to 25.
    RefusedError
        With every node that is not supported.
    """
    if not model.graph.node:
        raise ModelError("the file holds no graph")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    first, last = OPSETS
    if not first <= opset <= last:
        raise ModelError(f"opset must be in {first}..{last}, not {opset}: onnx.version_converter brings it there")
    try:
        network = _Importer(model, name or model.graph.name, opset).network()
    except RefusedError:
        raise
    except Exception:
        _check(model)  # an attribute that is missing, say, or of another type
        raise
    _check(model)
    return network


def _check(model: onnx.ModelProto) -> None:
    """Raise ModelError if the model is not as the standard wants it."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"the model is not valid: {str(error).strip().splitlines()[0]}") from error


class _Importer:
    """Reads the nodes of a graph in order."""

    def __init__(self, model: onnx.ModelProto, name: str, opset: int) -> None:
        self.model = model.graph
        self.opset = opset
        self.graph = OnnxGraph()
        self.name = name
        self.refusals: list[Refusal] = []
        self.input_shape: Shape = (0, 0, 0)

    def network(self) -> InferenceNetwork:
        """Read everything and return what came of it."""
        for tensor in self.model.initializer:
            with bounds_of(tensor.name):
                self.graph.values[tensor.name] = numpy_helper.to_array(tensor)
        self._input()
        for node in self.model.node:
            try:
                made = self._node(node)
            except RefusedError as error:
                self.refusals += error.refusals
                made = Refused()
            for output in node.output:
                self.graph.values[output] = made
        output = "" if self.refusals else self._output()
        if self.refusals:
            raise RefusedError(self.refusals)
        return InferenceNetwork(
            name=self.name,
            input_shape=self.input_shape,
            layers=tuple(self.graph.layers),
            formats=self.graph.formats,
            output=output,
            sums=self.graph.sums,
        )

    def _input(self) -> None:
        inputs = [value for value in self.model.input if value.name not in self.graph.values]
        if len(inputs) != 1:
            raise refused(self.model.name or "graph", f"{len(inputs)} inputs", "one")
        (value,) = inputs
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT)
        dims = [side.dim_value if side.HasField("dim_value") else 0 for side in value.type.tensor_type.shape.dim]
        if len(dims) not in (2, FOUR):
            raise refused(value.name, f"an input of {len(dims)} dimensions", "(N, C, H, W) or (N, C)")
        if any(side < 1 for side in dims[1:]):
            raise refused(value.name, "a dynamic shape", "fixed sizes of everything but the batch")
        self.input_shape = (dims[1], dims[2], dims[3]) if len(dims) == FOUR else (dims[1], 1, 1)
        if kind not in (*BYTES, np.dtype(np.float32)):
            raise refused(value.name, f"an input of {kind}", "float32, int8 and uint8")
        flat = len(dims) == 2
        if kind == np.float32:
            self.graph.values[value.name] = FloatInput(name=value.name, shape=self.input_shape, flat=flat)
        else:
            signed = kind == np.int8
            self.graph.values[value.name] = Integers(
                name=INPUT, shape=self.input_shape, dtype=kind, signed=signed, flat=flat
            )

    def _node(self, node: onnx.NodeProto) -> Value:
        label = node.name or f"{node.op_type} of {node.output[0] if node.output else '?'}"
        read = []
        for name in node.input:
            if name and name not in self.graph.values:
                raise refused(label, f"reads {name}, which nothing before it makes", "nodes in order")
            read.append(self.graph.values[name] if name else None)
        if any(isinstance(value, Refused) for value in read):
            return Refused()
        operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if operator in FOLDED and all(isinstance(value, np.ndarray) for value in read):
            return self._folded(node, label)
        lower = OPERATORS.get(operator)
        if lower is None:
            raise refused(label, f"operator {operator}", SUPPORTED)
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        with bounds_of(label):
            return lower(Call(graph=self.graph, node=node, label=label, attributes=attributes))

    def _folded(self, node: onnx.NodeProto, label: str) -> Value:
        """Carry out a node of constants."""
        given = {name: self.graph.values[name] for name in node.input}
        values = [onnx.helper.make_empty_tensor_value_info(name) for name in (*given, *node.output)]
        graph = onnx.helper.make_graph([node], label, values[: len(given)], values[len(given) :])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self.opset)])
        try:
            (made,) = ReferenceEvaluator(model).run(None, given)
        except Exception as error:  # whatever the evaluator raises at shapes or types that are wrong
            raise refused(label, str(error).strip().splitlines()[0], "constants that the operator takes") from error
        constant: Array = np.asarray(made)
        return constant

    def _output(self) -> str:
        outputs = [value.name for value in self.model.output]
        value = self.graph.values.get(outputs[0]) if len(outputs) == 1 else None
        found = f"{len(outputs)} outputs" if len(outputs) != 1 else "an output that no layer makes"
        with bounds_of("output"):
            match value:
                case Integers() if value.name != INPUT:
                    return value.name
                case Real() if value.x.name != INPUT and value.clamp.open:
                    return value.x.name
                case Sums():
                    self.graph.sums = value.linear.raw(self.graph.new_name(value.label), scale=None)
                    return self.graph.sums.name
                case Unquantised(linear=linear, clamp=clamp) if linear is not None and clamp.open:
                    self.graph.sums = linear.raw(self.graph.new_name(value.label), scale=linear.sum_scale)
                    return self.graph.sums.name
                case Unquantised():
                    found = f"an output that {value.label} does not quantise"
                case _:
                    pass
        supported = "one, that a layer makes: integers, what these are worth, or a convolution's sums"
        self.refusals.append(Refusal(node="output", found=found, supported=supported))
        return ""
