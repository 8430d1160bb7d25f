# SPDX-License-Identifier: Apache-2.0
"""The layers that come of a quantised ONNX graph, and a node with what it reads."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from respin.firmware_model.frontend.onnx_values import Array, Integers, Quantised, Real, Sums, Unquantised, Value
from respin.firmware_model.frontend.refusal import refused
from respin.firmware_model.frontend.zero_points import clamp_ends, merge
from respin.golden.inference import RawSums, Shape, TensorFormat
from respin.golden.network import INPUT, AveragePool, Convolution, Layer, Merge


class OnnxGraph:
    """Layers and formats as they are made, and the value of every tensor of the graph."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.layers: list[Layer] = []
        self.formats: dict[str, TensorFormat] = {}
        self.sums: RawSums | None = None
        self.taken: set[str] = {INPUT}

    def read_as(self, x: Integers, form: TensorFormat) -> None:
        """Note what the input's integers are worth: the first that reads them says it."""
        if x.name == INPUT:
            self.formats.setdefault(INPUT, form)

    def new_name(self, label: str) -> str:
        """Return a name that no tensor has: the label, or the label with a number."""
        name, number = label, 1
        while name in self.taken:
            number += 1
            name = f"{label}.{number}"
        self.taken.add(name)
        return name

    def add(self, layer: Layer, form: TensorFormat, shape: Shape, *, flat: bool) -> Integers:
        """Append a layer; returns what it makes."""
        # A clamp at the zero point or above leaves int8 values that are unsigned ones as well.
        signed = form.signed
        if isinstance(layer, Convolution | AveragePool):
            signed = layer.table.signed
        elif isinstance(layer, Merge):
            signed = layer.lo < 0
        self.layers.append(layer)
        self.formats[layer.name] = form if signed == form.signed else replace(form, signed=signed)
        dtype = np.dtype(np.int8 if form.signed else np.uint8)
        return Integers(name=layer.name, shape=shape, dtype=dtype, signed=signed, flat=flat)

    def finished(self, value: Unquantised, form: TensorFormat) -> Integers:
        """Append the layer that waited for ``form``."""
        layer = value.make(self.new_name(value.label), form, clamp_ends(value.clamp, form))
        return self.add(layer, form, value.shape, flat=value.flat)

    def requantised(self, label: str, value: Real, form: TensorFormat) -> Integers:
        """Return integers of ``form``: the same ones if they are that already, else what a merge of one makes."""
        ends = clamp_ends(value.clamp, form)
        if nominal(value) == form and ends == (form.low, form.high):
            return value.x
        layer = merge(self.new_name(label), [(value.x.name, value.form)], form, ends=ends)
        return self.add(layer, form, value.shape, flat=value.flat)

    def clamped(self, label: str, value: Real) -> Real:
        """Return what a clamp of ``value`` makes, in the same format."""
        x = self.requantised(label, value, nominal(value))
        return Real(x=x, form=replace(value.form, signed=x.signed))


def nominal(value: Real) -> TensorFormat:
    """Return the format that the model gives: signed where its type is."""
    return replace(value.form, signed=value.x.dtype == np.int8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A node with what it reads."""

    graph: OnnxGraph
    node: onnx.NodeProto
    label: str
    attributes: dict[str, Any]

    def __contains__(self, index: int) -> bool:
        return len(self.node.input) > index and bool(self.node.input[index])

    def value(self, index: int, what: str) -> Value:
        """Return input ``index``."""
        if index not in self:
            raise refused(self.label, f"no {what}", f"a {what} in every {self.node.op_type}")
        return self.graph.values[self.node.input[index]]

    def constant(self, index: int, what: str) -> Array:
        """Return input ``index``, which must be a constant array."""
        value = self.value(index, what)
        if not isinstance(value, np.ndarray):
            raise refused(self.label, f"a {what} that is no constant", f"a constant {what}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise refused(self.label, f"a {what} that is not finite", "finite numbers")
        return value

    def scale(self, index: int, what: str) -> Array:
        """Return the scale at ``index``, float64: () or (C,)."""
        value = self.constant(index, what)
        if value.dtype.kind != "f":
            raise refused(self.label, f"a {what} of {value.dtype}", "floating point")
        if not (value > 0).all():
            raise refused(self.label, f"a {what} of {float(value.min())!r}", "scales above 0")
        return _short(value).astype(np.float64)

    def zero_point(self, index: int, what: str, dtype: np.dtype[Any]) -> Array:
        """Return the zero point at ``index``, int64: () or (C,), 0 if there is none."""
        if index not in self:
            return np.zeros((), dtype=np.int64)
        value = self.constant(index, what)
        if value.dtype != dtype:
            raise refused(self.label, f"a {what} of {value.dtype} for a tensor of {dtype}", "the tensor's own type")
        return _short(value).astype(np.int64)

    def form(self, scale: Array, zero_point: Array, *, signed: bool) -> TensorFormat:
        """Return the format of an activation."""
        if scale.ndim or zero_point.ndim:
            raise refused(self.label, "a scale for each channel of an activation", "one for the tensor")
        return TensorFormat(scale=float(scale), zero_point=int(zero_point), signed=signed)

    def integers(self, index: int, what: str) -> Integers:
        """Return input ``index``, which must be integers that depend on the image."""
        value = self.value(index, what)
        if not isinstance(value, Integers):
            kind = "int32 sums" if isinstance(value, Sums) else "real numbers"
            kind = "a constant" if isinstance(value, np.ndarray | Quantised) else kind
            raise refused(self.label, f"{kind} as {what}", "int8 and uint8 tensors that depend on the image")
        return value

    def real(self, index: int, what: str) -> Real:
        """Return input ``index``, which must be what integers are worth; a clamp on the way becomes a layer."""
        value = self.value(index, what)
        if isinstance(value, Unquantised):
            raise refused(
                self.label,
                f"{what} of {value.label} before it is quantised",
                "QuantizeLinear, DequantizeLinear between",
            )
        if not isinstance(value, Real):
            raise refused(self.label, f"{what} that is not quantised", "what DequantizeLinear makes")
        return value if value.clamp.open else self.graph.clamped(self.label, value)


def _short(value: Array) -> Array:
    """Return (1,) as ()."""
    return value.reshape(()) if value.size == 1 else value
