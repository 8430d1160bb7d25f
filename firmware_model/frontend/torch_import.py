# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch module, through ``torch.export``, to a float graph; what is not supported is refused by its node."""

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from respin.firmware_model.frontend.float_graph import (
    Clamp,
    FloatAffine,
    FloatConvolution,
    FloatGraph,
    FloatNode,
    FloatPool,
    FloatResize,
    FloatSum,
)
from respin.firmware_model.frontend.fuse import fuse
from respin.firmware_model.frontend.refusal import ModelError, Refusal, RefusedError, bounds_of, refused
from respin.golden.backbones.description import Sides, fold_norm
from respin.golden.inference import Shape
from respin.golden.network import INPUT
from respin.golden.ops.convolution import MAX_KERNEL

SUPPORTED = (
    "conv2d, batch_norm, linear, relu, relu6, hardtanh, clamp, add, avg_pool2d, adaptive_avg_pool2d, "
    "mean over the map, flatten, view, reshape, constant pad, nearest upsample, dropout in eval mode"
)
TRAINING_NORM = ("a batch norm in training mode", "eval mode: call eval() first")
TRAINING_DROPOUT = ("dropout in training mode", "eval mode: call eval() first")
FOUR = 4
"""Dimensions of a map's tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Map:
    """A tensor of the module: the graph's tensor, padding that waits for its convolution, and whether it is (N, C)."""

    name: str
    shape: Shape
    pad: Sides = (0, 0, 0, 0)
    flat: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        """Its dimensions but for the batch."""
        channels, height, width = self.shape
        return (channels * height * width,) if self.flat else self.shape


class _Refused:
    """What a refused node makes: whatever reads it is not refused again."""


_Value = _Map | _Refused | Tensor | int | float | bool | str | None | list[Any] | tuple[Any, ...]


def require_input_shape(shape: Sequence[int]) -> None:
    """Raise ModelError unless ``shape`` is an image's or a vector's."""
    if len(shape) not in (1, FOUR - 1) or any(not isinstance(size, int) or size < 1 for size in shape):
        raise ModelError(f"shape must be (C, H, W) or (C,), each at least 1, not {tuple(shape)!r}")


def import_module(module: nn.Module, shape: Sequence[int], *, name: str = "") -> FloatGraph:
    """Return ``module``, in eval mode, as a graph.

    Parameters
    ----------
    module:
        Takes a float tensor (N, C, H, W) or (N, C) and returns one tensor.
    shape:
        Of an input without its batch: (C, H, W) or (C,).
    name:
        What to call it; its class's name unless given.

    Raises
    ------
    ModelError
        If ``torch.export`` cannot trace it.
    RefusedError
        With every node that is not supported.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    require_input_shape(shape)
    dtypes = {parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()}
    try:
        example = torch.zeros((1, *shape), dtype=dtypes.pop() if len(dtypes) == 1 else None)
        with torch.no_grad(), warnings.catch_warnings():
            # Of PyTorch's own making.
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.export.export(module, (example,))
    except Exception as error:
        # Whatever the module or the tracer raises: the first line says what.
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(f"torch.export cannot trace it: {type(error).__name__}: {lines[0]}") from error
    return import_program(program, name=name or type(module).__name__)


def import_program(program: ExportedProgram, *, name: str) -> FloatGraph:
    """Return an exported program of one input and one output as a graph; raises as :func:`import_module` does."""
    # No decompositions: operators stay the user's, only what works in place becomes a function.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        functional = program.run_decompositions({})
    return _Importer(functional, name).graph()


class _Importer:
    """Lowers the nodes of a program in order."""

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.program = program
        self.name = name
        self.values: dict[Node, _Value] = {}
        self.nodes: list[FloatNode] = []
        self.refusals: list[Refusal] = []
        self.taken: set[str] = {INPUT}
        self.input_shape: Shape = (0, 0, 0)

    def graph(self) -> FloatGraph:
        """Lower everything and return what came of it."""
        output = ""
        for node in self.program.graph.nodes:
            if node.op == "output":
                output = self._output(node)
                continue
            try:
                self.values[node] = self._value(node)
            except RefusedError as error:
                self.refusals += error.refusals
                self.values[node] = _Refused()
        if self.refusals:
            raise RefusedError(self.refusals)
        graph = FloatGraph(name=self.name, input_shape=self.input_shape, nodes=tuple(self.nodes), output=output)
        return fuse(graph)

    # What the graph's inputs, constants and output are.

    def _value(self, node: Node) -> _Value:
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op != "call_function":
            raise refused(self.label(node), f"{node.op} {node.target}", "calls of operators")
        arguments, keywords = self._resolve(node.args), self._resolve(dict(node.kwargs))
        if _refused(arguments) or _refused(keywords):
            return _Refused()
        if node.target is operator.getitem:
            return self._item(node, arguments)
        if not _maps(arguments) and not _maps(keywords):
            return self._constant(node, arguments, keywords)
        self._static(node)
        operation = _operation(node)
        lower = _LOWERINGS.get(operation)
        if lower is None:
            raise refused(self.label(node), f"operator {operation}", SUPPORTED)
        call = _Call(importer=self, node=node, label=self.label(node), arguments=_bound(node, arguments, keywords))
        with bounds_of(call.label):
            return lower(call)

    def _placeholder(self, node: Node) -> _Value:
        signature = self.program.graph_signature
        if node.name in signature.user_inputs:
            if len(signature.user_inputs) > 1:
                raise refused(node.name, f"{len(signature.user_inputs)} inputs", "one")
            self._static(node)
            value = node.meta["val"]
            if value.dim() not in (2, FOUR):
                raise refused(node.name, f"an input of {value.dim()} dimensions", "(N, C, H, W) or (N, C)")
            flat = value.dim() == 2
            dims = tuple(value.shape[1:])
            self.input_shape = (dims[0], 1, 1) if flat else (dims[0], dims[1], dims[2])
            return _Map(name=INPUT, shape=self.input_shape, flat=flat)
        for table in (signature.inputs_to_parameters, signature.inputs_to_buffers):
            if node.name in table:
                target = table[node.name]
                found = self.program.state_dict.get(target, self.program.constants.get(target))
                if isinstance(found, Tensor):
                    return found.detach()
        if node.name in signature.inputs_to_lifted_tensor_constants:
            constant = self.program.constants[signature.inputs_to_lifted_tensor_constants[node.name]]
            if isinstance(constant, Tensor):
                return constant.detach()
        raise refused(node.name, "an input that is neither an image nor a weight", "tensors")

    def _static(self, node: Node) -> None:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and any(not isinstance(size, int) for size in value.shape):
            sizes = ", ".join(str(size) for size in value.shape)
            raise refused(self.label(node), f"a dynamic shape ({sizes})", "shapes known when the module is exported")

    def _constant(self, node: Node, arguments: Any, keywords: Any) -> _Value:
        """Compute what depends on no image: weights that are scaled, say."""
        if not callable(node.target):
            raise refused(self.label(node), f"{node.target}", SUPPORTED)
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise refused(self.label(node), f"operator {_operation(node)}, which draws at random", SUPPORTED)
        with torch.no_grad():
            value: _Value = node.target(*arguments, **keywords)
        return value

    def _item(self, node: Node, arguments: Any) -> _Value:
        source, index = arguments
        if isinstance(source, _Map):
            # Of the norm that is no longer a composite; its other results are statistics.
            if index != 0:
                raise refused(self.label(node), f"result {index} of {node.args[0]}", "the first")
            return source
        value: _Value = source[index]
        return value

    def _output(self, node: Node) -> str:
        signature = self.program.graph_signature
        (made,) = node.args
        assert isinstance(made, list | tuple)
        if len(made) != 1 or len(signature.user_outputs) != 1:
            self.refusals.append(
                Refusal(node="output", found=f"{len(made)} outputs or buffers that change", supported="one output")
            )
            return ""
        value = self.values[made[0]] if isinstance(made[0], Node) else None
        if isinstance(value, _Map) and value.name != INPUT and not any(value.pad):
            return value.name
        if not isinstance(value, _Refused):
            self.refusals.append(
                Refusal(node="output", found="an output that no layer makes", supported="what a layer makes")
            )
        return ""

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self.values[value]
        if isinstance(value, list | tuple):
            return [self._resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self._resolve(item) for key, item in value.items()}
        return value

    # Names.

    def label(self, node: Node) -> str:
        """What a node is called: the module whose weights it reads or that is nothing else, or its own name in one."""
        parameters = self.program.graph_signature.inputs_to_parameters
        for argument in node.all_input_nodes:
            module, _, part = parameters.get(argument.name, "").rpartition(".")
            if module and part in ("weight", "bias"):
                return str(module)
        stack = node.meta.get("nn_module_stack")
        path, kind = list(stack.values())[-1] if stack else ("", "")
        if not path:
            return str(node.name)
        return str(path) if _is_torch_module(kind) else f"{path}.{node.name}"

    def new_name(self, label: str, node: Node) -> str:
        """Return a name that no tensor has: the label, the node's, or a numbered one."""
        for name in (label, node.name, f"{label}.{node.name}"):
            if name not in self.taken:
                self.taken.add(name)
                return name
        raise AssertionError(f"{label} and {node.name} are taken")


def _is_torch_module(kind: Any) -> bool:
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return name.startswith("torch.nn.")


def _operation(node: Node) -> str:
    """Return ``conv2d`` of ``aten.conv2d.default``, ``mean.dim`` of ``aten.mean.dim``."""
    name = str(node.target)
    if name.startswith("aten."):
        name = name.removeprefix("aten.").removesuffix(".default")
    return name


def _bound(node: Node, arguments: Any, keywords: Any) -> dict[str, Any]:
    """Return a call's arguments by the names of the operator's schema, defaults included."""
    schema = getattr(node.target, "_schema", None)
    assert schema is not None, node
    bound: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(arguments):
            bound[argument.name] = arguments[position]
        elif argument.name in keywords:
            bound[argument.name] = keywords[argument.name]
        else:
            bound[argument.name] = argument.default_value if argument.has_default_value() else None
    return bound


def _contains(value: Any, kind: type) -> bool:
    if isinstance(value, list | tuple):
        return any(_contains(item, kind) for item in value)
    if isinstance(value, dict):
        return any(_contains(item, kind) for item in value.values())
    return isinstance(value, kind)


def _maps(value: Any) -> bool:
    return _contains(value, _Map)


def _refused(value: Any) -> bool:
    return _contains(value, _Refused)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """A node with its arguments, and how it becomes nodes of the graph."""

    importer: _Importer
    node: Node
    label: str
    arguments: dict[str, Any]

    def map(self, argument: str, *, padded: bool = False) -> _Map:
        """Return an argument that must depend on the image."""
        value = self.arguments[argument]
        if not isinstance(value, _Map):
            raise refused(self.label, f"a constant {argument}", "one that depends on the image")
        if any(value.pad) and not padded:
            raise refused(
                self.label, "a pad before something that is no convolution", "pads that convolutions alone read"
            )
        return value

    def constant(self, argument: str) -> Tensor | None:
        """Return an argument that must be a constant tensor or None."""
        value = self.arguments[argument]
        if isinstance(value, _Map):
            raise refused(self.label, f"a {argument} that depends on the image", f"a constant {argument}")
        if value is not None and not isinstance(value, Tensor):
            raise refused(self.label, f"a {argument} of type {type(value).__name__}", "tensors")
        if value is not None and not value.is_floating_point():
            raise refused(self.label, f"a {argument} of {str(value.dtype).removeprefix('torch.')}", "floating point")
        if value is not None and not bool(torch.isfinite(value).all()):
            raise refused(self.label, f"a {argument} that is not finite", "finite numbers")
        return value

    def weight(self) -> Tensor:
        """Return the constant weight."""
        value = self.constant("weight")
        if value is None:
            raise refused(self.label, "no weight", "a constant weight")
        return value

    def new_name(self) -> str:
        """Return a name for what the node makes."""
        return self.importer.new_name(self.label, self.node)

    def add(self, node: FloatNode, *, flat: bool, inputs: Sequence[_Map]) -> _Map:
        """Append a node; returns what it makes."""
        shape = node.shape(*(x.shape for x in inputs))
        self.importer.nodes.append(node)
        return _Map(name=node.name, shape=shape, flat=flat)


def _pair(call: _Call, what: str, value: Any) -> tuple[int, int]:
    """Return a size of one or two numbers as (height, width)."""
    sides = [value] if isinstance(value, int) else list(value)
    if any(not isinstance(side, int) for side in sides):
        raise refused(call.label, f"a {what} that depends on the image", f"a constant {what}")
    return (sides[0], sides[0]) if len(sides) == 1 else (sides[0], sides[1])


def _convolution(call: _Call) -> _Value:
    x, weight, bias = call.map("input", padded=True), call.weight(), call.constant("bias")
    if x.flat:
        raise refused(call.label, "a convolution of a flattened map", "maps (N, C, H, W)")
    height, width = _pair(call, "stride", call.arguments["stride"])
    if height != width:
        raise refused(call.label, f"stride {height, width!r}", "the same stride down and across")
    dilation = _pair(call, "dilation", call.arguments["dilation"])
    if dilation != (1, 1):
        raise refused(call.label, f"dilation {dilation!r}", "dilation 1")
    own = _sides(call, weight)
    top, bottom, left, right = (a + b for a, b in zip(own, x.pad, strict=True))
    node = FloatConvolution(
        name=call.new_name(),
        x=x.name,
        weight=weight,
        bias=weight.new_zeros(weight.shape[0]) if bias is None else bias,
        stride=height,
        padding=(top, bottom, left, right),
        groups=call.arguments["groups"],
    )
    return call.add(node, flat=False, inputs=[x])


def _sides(call: _Call, weight: Tensor) -> Sides:
    padding = call.arguments["padding"]
    kh, kw = weight.shape[2], weight.shape[3]
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        return ((kh - 1) // 2, kh - 1 - (kh - 1) // 2, (kw - 1) // 2, kw - 1 - (kw - 1) // 2)
    down, across = _pair(call, "padding", padding)
    return (down, down, across, across)


def _linear(call: _Call) -> _Value:
    x, weight, bias = call.map("input"), call.weight(), call.constant("bias")
    if not x.flat:
        raise refused(call.label, "a linear layer of a map", "one of a flattened map (N, C)")
    if max(x.shape[1:]) > MAX_KERNEL:
        raise refused(call.label, f"a linear layer of maps of {x.shape[1:]!r}", f"maps of at most {MAX_KERNEL} a side")
    node = FloatConvolution(
        name=call.new_name(),
        x=x.name,
        # The kernel is the map that was flattened.
        weight=weight.reshape(weight.shape[0], *x.shape),
        bias=weight.new_zeros(weight.shape[0]) if bias is None else bias,
    )
    return call.add(node, flat=True, inputs=[x])


def _norm(call: _Call) -> _Value:
    if call.arguments.get("training"):
        raise refused(call.label, *TRAINING_NORM)
    x = call.map("input")
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if mean is None or variance is None:
        raise refused(call.label, "a batch norm without running statistics", "track_running_stats=True")
    scale, shift = call.constant("weight"), call.constant("bias")
    unit = torch.ones_like(variance)
    factor, offset = fold_norm(
        unit,
        scale=unit if scale is None else scale,
        shift=torch.zeros_like(mean) if shift is None else shift,
        mean=mean,
        variance=variance,
        epsilon=call.arguments["eps"],
    )
    return _affine(call, x, factor, offset)


def _affine(call: _Call, x: _Map, scale: Tensor, shift: Tensor) -> _Map:
    node = FloatAffine(name=call.new_name(), x=x.name, scale=scale, shift=shift)
    if x.flat and x.shape[1:] != (1, 1):
        raise refused(call.label, "numbers for each element of a flattened map", "one for each channel")
    return call.add(node, flat=x.flat, inputs=[x])


def _clamp(low: float | str, high: float | str) -> Callable[[_Call], _Value]:
    """A clamp whose ends are numbers, or arguments of the call."""

    def end(call: _Call, value: float | str, otherwise: float) -> float:
        number = call.arguments[value] if isinstance(value, str) else value
        if number is None:
            return otherwise
        if isinstance(number, Tensor) and number.numel() == 1:
            number = number.item()
        if not isinstance(number, int | float):
            raise refused(call.label, f"a clamp between {type(number).__name__}s", "between numbers")
        return float(number)

    def lower(call: _Call) -> _Value:
        x = call.map("self")
        bottom, top = end(call, low, -torch.inf), end(call, high, torch.inf)
        if not bottom < top:
            raise refused(call.label, f"a clamp between {bottom!r} and {top!r}", "low below high")
        if bottom > 0 or top < 0:
            raise refused(call.label, f"a clamp between {bottom!r} and {top!r}", "clamps with 0 between their ends")
        node = FloatSum(name=call.new_name(), operands=(x.name,), clamp=Clamp.between(bottom, top))
        return call.add(node, flat=x.flat, inputs=[x])

    return lower


def _per_channel(call: _Call, argument: str, x: _Map) -> Tensor:
    """Return a constant that is the same for all pixels as (C,)."""
    value = call.arguments[argument]
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        raise refused(call.label, f"an operand of type {type(value).__name__}", "tensors and numbers")
    constant = torch.as_tensor(value)
    constant = constant.to(torch.get_default_dtype()) if not constant.is_floating_point() else constant
    if not bool(torch.isfinite(constant).all()):
        raise refused(call.label, "a constant that is not finite", "finite numbers")
    channels = x.shape[0]
    # Aligned at the right, as in broadcasting.
    rank = 1 + len(x.dims)
    if constant.dim() > rank:
        raise refused(
            call.label, f"a constant of shape {tuple(constant.shape)!r}", "one number, or one for each channel"
        )
    dims = (1,) * (rank - constant.dim()) + tuple(constant.shape)
    if dims[1] not in (1, channels) or any(size != 1 for position, size in enumerate(dims) if position != 1):
        raise refused(
            call.label, f"a constant of shape {tuple(constant.shape)!r}", "one number, or one for each channel"
        )
    return constant.reshape(-1).expand(channels).clone()


def _add(call: _Call) -> _Value:
    if call.arguments.get("alpha", 1) != 1:
        raise refused(call.label, f"alpha {call.arguments['alpha']!r}", "alpha 1")
    sides = [call.arguments["self"], call.arguments["other"]]
    if all(isinstance(side, _Map) for side in sides):
        a, b = call.map("self"), call.map("other")
        if a.flat != b.flat:
            raise refused(call.label, "a sum of a map and a flattened one", "operands of one shape")
        if a.name == b.name:
            return _affine(call, a, torch.full((a.shape[0],), 2.0), torch.zeros(a.shape[0]))
        node = FloatSum(name=call.new_name(), operands=(a.name, b.name))
        return call.add(node, flat=a.flat, inputs=[a, b])
    which, other = ("self", "other") if isinstance(sides[0], _Map) else ("other", "self")
    x = call.map(which)
    shift = _per_channel(call, other, x)
    return _affine(call, x, torch.ones_like(shift), shift)


def _subtract(call: _Call) -> _Value:
    if isinstance(call.arguments["other"], _Map):
        raise refused(call.label, "a tensor that is subtracted", "sums; a constant that is subtracted")
    if call.arguments.get("alpha", 1) != 1:
        raise refused(call.label, f"alpha {call.arguments['alpha']!r}", "alpha 1")
    x = call.map("self")
    shift = -_per_channel(call, "other", x)
    return _affine(call, x, torch.ones_like(shift), shift)


def _multiply(call: _Call) -> _Value:
    sides = [call.arguments["self"], call.arguments["other"]]
    if all(isinstance(side, _Map) for side in sides):
        raise refused(call.label, "a product of two tensors (a gate, attention)", "products with constants")
    which, other = ("self", "other") if isinstance(sides[0], _Map) else ("other", "self")
    x = call.map(which)
    scale = _per_channel(call, other, x)
    return _affine(call, x, scale, torch.zeros_like(scale))


def _divide(call: _Call) -> _Value:
    if isinstance(call.arguments["other"], _Map):
        raise refused(call.label, "a quotient by a tensor", "quotients by constants")
    x = call.map("self")
    divisor = _per_channel(call, "other", x)
    if bool((divisor == 0).any()):
        raise refused(call.label, "a division by 0", "quotients by other constants")
    return _affine(call, x, 1 / divisor, torch.zeros_like(divisor))


def _pool(call: _Call) -> _Value:
    x = call.map("self")
    if x.flat:
        raise refused(call.label, "a pool of a flattened map", "maps (N, C, H, W)")
    kernel = _pair(call, "kernel", call.arguments["kernel_size"])
    stride = _pair(call, "stride", call.arguments["stride"] or kernel)
    if stride != kernel:
        raise refused(call.label, f"windows of {kernel!r} every {stride!r}", "windows side by side")
    if _pair(call, "padding", call.arguments["padding"] or 0) != (0, 0):
        raise refused(call.label, f"padding {call.arguments['padding']!r}", "pools without padding")
    if call.arguments["divisor_override"] is not None:
        raise refused(call.label, f"divisor_override {call.arguments['divisor_override']!r}", "the mean")
    _, height, width = x.shape
    if call.arguments["ceil_mode"] and (height % kernel[0] or width % kernel[1]):
        raise refused(call.label, "ceil_mode where windows do not fill the map", "ceil_mode=False")
    return _average(call, x, kernel, flat=False)


def _average(call: _Call, x: _Map, kernel: tuple[int, int], *, flat: bool) -> _Map:
    node = FloatPool(name=call.new_name(), x=x.name, kernel=kernel)
    return call.add(node, flat=flat, inputs=[x])


def _adaptive_pool(call: _Call) -> _Value:
    x = call.map("self")
    if x.flat:
        raise refused(call.label, "a pool of a flattened map", "maps (N, C, H, W)")
    asked = call.arguments["output_size"]
    sizes = [side or whole for side, whole in zip(asked, x.shape[1:], strict=True)]
    _, height, width = x.shape
    if height % sizes[0] or width % sizes[1]:
        raise refused(
            call.label, f"an output of {tuple(sizes)!r} from a map of {height, width!r}", "sizes that divide the map's"
        )
    return _average(call, x, (height // sizes[0], width // sizes[1]), flat=False)


def _mean(call: _Call) -> _Value:
    x = call.map("self")
    axes = {axis % FOUR for axis in call.arguments["dim"] or ()}
    if x.flat or axes != {2, 3}:
        raise refused(call.label, f"a mean over dimensions {call.arguments['dim']!r}", "a mean over height and width")
    return _average(call, x, x.shape[1:], flat=not call.arguments["keepdim"])


def _reshape(call: _Call) -> _Value:
    """Whatever leaves the order of an image's numbers as it is: judged by the shape that it makes."""
    x = call.map("self")
    made = tuple(call.node.meta["val"].shape)
    if made[0] == 1 and made[1:] == x.dims:
        return x
    if made == (1, x.shape[0] * x.shape[1] * x.shape[2]):
        return replace(x, flat=True)
    if made == (1, *x.shape):
        return replace(x, flat=False)
    raise refused(call.label, f"a view of {(1, *x.dims)!r} as {made!r}", "flattening, and (N, C) as (N, C, 1, 1)")


def _pad(call: _Call) -> _Value:
    x = call.map("self", padded=True)
    mode, value = call.arguments.get("mode", "constant"), call.arguments.get("value")
    if mode != "constant" or value not in (None, 0):
        raise refused(call.label, f"a pad of mode {mode!r} with {value!r}", "constant pads with 0")
    widths = list(call.arguments["pad"])
    if x.flat or len(widths) > FOUR or any(not isinstance(width, int) or width < 0 for width in widths):
        raise refused(call.label, f"a pad by {widths!r}", "pads of 0 and more at the sides of maps")
    left, right, top, bottom = widths + [0] * (FOUR - len(widths))
    sides = (top, bottom, left, right)
    padded = tuple(a + b for a, b in zip(x.pad, sides, strict=True))
    return replace(x, pad=(padded[0], padded[1], padded[2], padded[3]))


def _resize(call: _Call) -> _Value:
    x = call.map("input" if "input" in call.arguments else "self")
    if x.flat:
        raise refused(call.label, "an upsample of a flattened map", "maps (N, C, H, W)")
    made = call.node.meta["val"].shape
    size = (int(made[2]), int(made[3]))
    # A scale that is no ratio of the sizes reads other elements.
    factors = call.arguments.get("scale_factors")
    for factor, out, source in zip(factors or (), size, x.shape[1:], strict=False):
        if any(min(int(i / factor), source - 1) != i * source // out for i in range(out)):
            raise refused(
                call.label, f"a scale of {factor!r} from {source} to {out}", "scales that are the ratio of the sizes"
            )
    return call.add(FloatResize(name=call.new_name(), x=x.name, size=size), flat=False, inputs=[x])


def _dropout(call: _Call) -> _Value:
    if call.arguments["train"] and call.arguments["p"]:
        raise refused(call.label, *TRAINING_DROPOUT)
    return call.map("input", padded=True)


def _same(call: _Call) -> _Value:
    return call.map("self" if "self" in call.arguments else "input", padded=True)


def _cast(call: _Call) -> _Value:
    if not call.node.meta["val"].is_floating_point():
        raise refused(call.label, f"a conversion to {call.node.meta['val'].dtype}", "floating point")
    return _same(call)


def _refuse(found: str, supported: str) -> Callable[[_Call], _Value]:
    """What the tracer makes of an operator in a mode that is not supported."""

    def lower(call: _Call) -> _Value:
        raise refused(call.label, found, supported)

    return lower


_LOWERINGS: dict[str, Callable[[_Call], _Value]] = {
    "conv2d": _convolution,
    "conv2d.padding": _convolution,
    "linear": _linear,
    "batch_norm": _norm,
    "_native_batch_norm_legit_no_training": _norm,
    "_native_batch_norm_legit_functional": _refuse(*TRAINING_NORM),
    "_native_batch_norm_legit.no_stats": _refuse("a batch norm without running statistics", "track_running_stats=True"),
    "relu": _clamp(0.0, torch.inf),
    "relu6": _clamp(0.0, 6.0),
    "hardtanh": _clamp("min_val", "max_val"),
    "clamp": _clamp("min", "max"),
    "clamp_min": _clamp("min", torch.inf),
    "clamp_max": _clamp(-torch.inf, "max"),
    "add.Tensor": _add,
    "sub.Tensor": _subtract,
    "mul.Tensor": _multiply,
    "div.Tensor": _divide,
    "avg_pool2d": _pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "mean.dim": _mean,
    "flatten.using_ints": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "unflatten.int": _reshape,
    "squeeze.dim": _reshape,
    "squeeze.dims": _reshape,
    "unsqueeze": _reshape,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "upsample_nearest2d.vec": _resize,
    "upsample_nearest2d": _resize,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "native_dropout": _refuse(*TRAINING_DROPOUT),
    "contiguous": _same,
    "clone": _same,
    "alias": _same,
    "detach": _same,
    "to.dtype": _cast,
    "_to_copy": _cast,
}
"""What each operator of ATen becomes."""
