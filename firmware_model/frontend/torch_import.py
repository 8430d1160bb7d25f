# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch module, through ``torch.export``, to a float graph; what is not supported is refused by its node."""

import io
import logging
import operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from respin.firmware_model.frontend.float_graph import FloatGraph, FloatNode
from respin.firmware_model.frontend.fuse import fuse
from respin.firmware_model.frontend.refusal import ModelError, Refusal, RefusedError, bounds_of, refused
from respin.firmware_model.frontend.torch_operators import LOWERINGS, SUPPORTED
from respin.firmware_model.frontend.torch_values import FOUR, Call, Map, Refused, Value, has_map, has_refused
from respin.golden.inference import Shape
from respin.golden.network import INPUT


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
        with torch.no_grad(), _quiet():
            program = torch.export.export(module, (example,))
    except Exception as error:
        # Whatever the module or the tracer raises: the first line says what.
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(f"torch.export cannot trace it: {type(error).__name__}: {lines[0]}") from error
    return import_program(program, name=name or type(module).__name__)


def import_program(program: ExportedProgram, *, name: str) -> FloatGraph:
    """Return an exported program of one input and one output as a graph; raises as :func:`import_module` does."""
    # No decompositions: operators stay the user's, only what works in place becomes a function.
    with _quiet():
        functional = program.run_decompositions({})
    return _Importer(functional, name).graph()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the terminal what is said while a module is traced.

    That is warnings of PyTorch's own making, pages of code where it fails, and what the module prints.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.disable(disabled)


class _Importer:
    """Lowers the nodes of a program in order."""

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.program = program
        self.name = name
        self.values: dict[Node, Value] = {}
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
                self.values[node] = Refused()
        if self.refusals:
            raise RefusedError(self.refusals)
        graph = FloatGraph(name=self.name, input_shape=self.input_shape, nodes=tuple(self.nodes), output=output)
        return fuse(graph)

    # What the graph's inputs, constants and output are.

    def _value(self, node: Node) -> Value:
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op != "call_function":
            raise refused(self.label(node), f"{node.op} {node.target}", "calls of operators")
        arguments, keywords = self._resolve(node.args), self._resolve(dict(node.kwargs))
        if has_refused(arguments) or has_refused(keywords):
            return Refused()
        if node.target is operator.getitem:
            return self._item(node, arguments)
        if not has_map(arguments) and not has_map(keywords):
            return self._constant(node, arguments, keywords)
        self._static(node)
        operation = _operation(node)
        lower = LOWERINGS.get(operation)
        if lower is None:
            raise refused(self.label(node), f"operator {operation}", SUPPORTED)
        call = Call(graph=self, node=node, label=self.label(node), arguments=_bound(node, arguments, keywords))
        with bounds_of(call.label):
            return lower(call)

    def _placeholder(self, node: Node) -> Value:
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
            return Map(name=INPUT, shape=self.input_shape, flat=flat)
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

    def _constant(self, node: Node, arguments: Any, keywords: Any) -> Value:
        """Compute what depends on no image: weights that are scaled, say."""
        if not callable(node.target):
            raise refused(self.label(node), f"{node.target}", SUPPORTED)
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise refused(self.label(node), f"operator {_operation(node)}, which draws at random", SUPPORTED)
        with torch.no_grad():
            value: Value = node.target(*arguments, **keywords)
        return value

    def _item(self, node: Node, arguments: Any) -> Value:
        source, index = arguments
        if isinstance(source, Map):
            # Of the norm that is no longer a composite; its other results are statistics.
            if index != 0:
                raise refused(self.label(node), f"result {index} of {node.args[0]}", "the first")
            return source
        value: Value = source[index]
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
        if isinstance(value, Map) and value.name != INPUT and not any(value.pad):
            return value.name
        if not isinstance(value, Refused):
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
