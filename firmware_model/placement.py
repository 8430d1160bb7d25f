# SPDX-License-Identifier: Apache-2.0
"""Where an integer network's tensors, images and quantiser tables lie on an accelerator."""

from collections.abc import Hashable, Mapping

import numpy as np
import torch

from respin.firmware_model import layout
from respin.firmware_model.jobs import Geometry, error_phases
from respin.firmware_model.layout import IntArray, StoreTensor
from respin.firmware_model.storage import RowPlan, StorePlan, TablePlan
from respin.golden.inference import RawSums
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    IntegerNetwork,
    Layer,
    Merge,
    Parameters,
    sources,
)
from respin.golden.ops import QuantiserTable
from respin.rtl.config import AcceleratorConfig

LABELS = "labels"
Shape = tuple[int, int, int, int]


def geometry(layer: Convolution) -> Geometry:
    """Kernel, stride and padding of a convolution as the window takes them."""
    padding = layer.padding
    top, left = (padding, padding) if isinstance(padding, int) else (padding[0], padding[2])
    return Geometry(kh=layer.weight.shape[2], kw=layer.weight.shape[3], stride=layer.stride, pad_y=top, pad_x=left)


def is_depthwise(layer: Convolution | RawSums) -> bool:
    """Whether a convolution has one input for each output channel."""
    return layer.groups > 1 and layer.weight.shape[1] == 1


def inputs(layer: Layer) -> list[str]:
    """Names of the tensors that a layer reads."""
    return [operand.x for operand in layer.operands] if isinstance(layer, Merge) else [layer.x]


def forward_rows(layer: Convolution | RawSums, weight: IntArray, slices: int) -> IntArray:
    """Rows of the image that a convolution's forward pass reads on ``slices`` slices, for its weights ``weight``."""
    if is_depthwise(layer):
        return layout.depthwise_rows(weight)
    return layout.weight_rows(layout.dense_weights(weight, layer.groups), slices)


def table_entries(table: QuantiserTable) -> list[int]:
    """A quantiser's constants as entries of the vector path's table."""
    columns = (table.bias, table.mult, table.shift, table.lo, table.hi)
    return [
        layout.table_entry(bias=bias, mult=mult, shift=shift, lo=lo, hi=hi)
        for bias, mult, shift, lo, hi in zip(*(column.tolist() for column in columns), strict=True)
    ]


class Placement:
    """A network placed on an accelerator, for batches of one size.

    Parameters
    ----------
    config:
        The accelerator.
    network:
        What runs.
    shape:
        (N, C, H, W) of the uint8 input.
    training:
        Whether edges and gradients are to run, so that what they need is kept.

    Raises
    ------
    CapacityError
        If something does not fit, with the figure.
    """

    def __init__(self, config: AcceleratorConfig, network: IntegerNetwork, shape: Shape, *, training: bool) -> None:
        self.config = config
        self.network = network
        self.training = training
        self._edges = network.edges if training else ()
        self._shapes: dict[str, Shape] = {}
        self._signed: dict[str, bool] = {}
        self._infer_shapes(shape)
        self.rows = RowPlan(config)
        self._phases: dict[str, list[int]] = {}
        self._place_rows()
        self._tables: dict[str, int] = {}
        self._constants: dict[int, list[int]] = {}
        self._place_tables()
        self._store = self._plan_store().place()

    def tensor(self, name: str) -> StoreTensor:
        """Where an activation or error tensor lies in the store."""
        return StoreTensor(self._store[name], self._shapes[name], self._signed[name])

    def mask(self, name: str) -> int | None:
        """Store word of the packed mask of layer ``name``; None if no edge reads it."""
        return self._store.get((name, "mask"))

    @property
    def labels(self) -> int:
        """Store word of the first image's label."""
        return self._store[LABELS]

    def image(self, name: str) -> int:
        """First row of the image of layer ``name``."""
        return self.rows.images[name][0]

    def layer_of_row(self, row: int) -> Convolution:
        """The layer in whose forward image row ``row`` lies."""
        for name, (base, rows) in self.rows.images.items():
            if base <= row < base + rows:
                return self.network.convolution(name)
        raise ValueError(f"row {row} belongs to no image")

    def bias_image(self, name: str) -> int:
        """First row of the trained biases of layer ``name``."""
        return self.rows.images[f"{name} bias"][0]

    def transposed_images(self, name: str) -> list[int]:
        """First rows of the transposed images of layer ``name``, one for each phase; none if no error passes it."""
        return self._phases.get(name, [])

    def table(self, name: str) -> int:
        """First table entry of a layer, or of the multipliers ``edge/operand`` of an edge."""
        return self._tables[name]

    def has_table(self, name: str) -> bool:
        """Whether multipliers called ``name`` differ from channel to channel."""
        return name in self._tables

    # What firmware writes once.

    def frozen_rows(self, parameters: Mapping[str, Parameters]) -> list[tuple[int, IntArray]]:
        """Rows of every image, (first row, rows): frozen weights, and ``parameters`` of the trained layers."""
        written = []
        for layer in self.network.layers:
            if not isinstance(layer, Convolution):
                continue
            learned = parameters.get(layer.name)
            weight = (layer.weight if learned is None else learned.weight).numpy()
            written.append((self.image(layer.name), self.forward_rows(layer, weight)))
            if learned is not None:
                written.append((self.bias_image(layer.name), layout.vector_rows(learned.bias.numpy())))
            if layer.name in self._phases:
                images = self.transposed_rows(layer, weight)
                written += list(zip(self._phases[layer.name], images, strict=True))
        return written

    def constants(self) -> dict[int, list[int]]:
        """Entries of the table by their first index: layers' quantisers, then edges' multipliers."""
        return self._constants

    def trained_entries(self, name: str, bias: torch.Tensor) -> list[int]:
        """Entries of trained layer ``name`` with its learned ``bias`` (O,), int8."""
        layer = self.network.convolution(name)
        assert layer.trained is not None
        table = layer.table
        return table_entries(table.with_bias(table.bias + (bias.to(torch.int64) << layer.trained.bias_shift)))

    # What firmware reads back.

    def learned_weight(self, name: str, rows: IntArray) -> torch.Tensor:
        """The weights (O, I / groups, kh, kw) that the rows of trained layer ``name`` hold."""
        layer = self.network.convolution(name)
        o, i, kh, kw = layer.weight.shape
        dense = layout.rows_weights(rows, (o, i * layer.groups, kh, kw), self.config.slices)
        return torch.from_numpy(layout.grouped_weights(dense, layer.groups).astype(np.int8))

    def learned_bias(self, name: str, rows: IntArray) -> torch.Tensor:
        """The biases (O,) that the bias rows of trained layer ``name`` hold."""
        outputs = self.network.convolution(name).weight.shape[0]
        return torch.from_numpy(rows.reshape(-1)[:outputs].astype(np.int8))

    # How it is placed.

    def _infer_shapes(self, shape: Shape) -> None:
        """Shape and sign of every tensor, from a run on zeros and from what each edge passes through."""
        network = self.network
        zeros = torch.zeros(shape, dtype=torch.uint8)
        for name, tensor in network.forward(zeros, network.initial_parameters()).tensors.items():
            n, c, h, w = tensor.shape
            self._shapes[name] = (n, c, h, w)
            self._signed[name] = tensor.dtype == torch.int8
        self._shapes[network.loss.name] = self._shapes[network.loss.logits]
        self._signed[network.loss.name] = True
        for edge in network.edges:
            layer = network.layer(edge.through) if isinstance(edge, Edge) and edge.through is not None else None
            origin = sources(edge)[0] if layer is None else inputs(layer)[0]
            self._shapes[edge.name] = self._shapes[origin]
            self._signed[edge.name] = True

    def forward_rows(self, layer: Convolution, weight: IntArray) -> IntArray:
        """Rows of the image that a convolution's forward pass reads, with ``weight`` as its weights."""
        return forward_rows(layer, weight, self.config.slices)

    def transposed_rows(self, layer: Convolution, weight: IntArray) -> list[IntArray]:
        """Rows of the images that carry errors back, one for each phase of the stride."""
        if is_depthwise(layer):
            return [layout.depthwise_rows(weight[:, :, ::-1, ::-1])]
        dense = layout.dense_weights(weight, layer.groups)
        _, _, h, w = self._shapes[layer.x]
        return [
            layout.weight_rows(
                dense[:, :, list(phase.taps_y)][:, :, :, list(phase.taps_x)].transpose(1, 0, 2, 3), self.config.slices
            )
            for phase in error_phases(geometry(layer), h, w)
        ]

    def _place_rows(self) -> None:
        for layer in self.network.layers:
            if isinstance(layer, Convolution):
                self.rows.add(layer.name, len(self.forward_rows(layer, layer.weight.numpy())))
                if layer.trained is not None:
                    self.rows.add_vector(f"{layer.name} bias", layer.weight.shape[0])
        for edge in self._edges:
            passed = self.network.layer(edge.through) if isinstance(edge, Edge) and edge.through is not None else None
            if isinstance(passed, Convolution) and passed.name not in self._phases:
                images = self.transposed_rows(passed, passed.weight.numpy())
                base = self.rows.add(f"{passed.name} transposed", sum(len(image) for image in images))
                starts = np.cumsum([0, *(len(image) for image in images[:-1])])
                self._phases[passed.name] = [int(base + start) for start in starts]

    def _place_tables(self) -> None:
        plan = TablePlan(self.config)
        for layer in self.network.layers:
            if isinstance(layer, Convolution | AveragePool):
                self._tables[layer.name] = plan.add(layer.table.channels)
                self._constants[self._tables[layer.name]] = table_entries(layer.table)
        for edge in self._edges:
            operands = edge.operands if isinstance(edge, FanInEdge) else [(edge.error, edge.mult)]
            for source, mult in operands:
                if isinstance(mult, torch.Tensor):
                    name = f"{edge.name}/{source}"
                    self._tables[name] = plan.add(len(mult))
                    self._constants[self._tables[name]] = [
                        layout.table_entry(bias=0, mult=value, shift=0, lo=0, hi=0) for value in mult.tolist()
                    ]

    def _words(self, name: str) -> int:
        return StoreTensor(0, self._shapes[name], False).words

    def _mask_words(self, name: str) -> int:
        shape = self._shapes[name]
        return layout.blocks(shape[1]) * layout.mask_words(StoreTensor(0, shape, False))

    def _plan_store(self) -> StorePlan:
        """Walk the operations in their order and note which buffers each of them touches."""
        plan = StorePlan(self.config)
        masked = {edge.mask for edge in self._edges if edge.mask is not None}

        def touch(time: int, names: list[str], mask: str | None = None) -> None:
            for name in names:
                plan.touch(name, self._words(name), time)
            if mask is not None:
                key: Hashable = (mask, "mask")
                plan.touch(key, self._mask_words(mask), time)

        touch(0, [INPUT])
        time = 1
        for layer in self.network.layers:
            touch(time, [*inputs(layer), layer.name], layer.name if layer.name in masked else None)
            time += 1
        loss = self.network.loss
        touch(time, [loss.logits])
        if not self.training:
            return plan
        for moment in (0, time):
            plan.touch(LABELS, self._shapes[loss.name][0], moment)
        touch(time, [loss.name])
        for edge in self._edges:
            time += 1
            touch(time, [*sources(edge), edge.name], edge.mask)
        for gradient in self.network.gradients:
            time += 1
            touch(time, [self.network.convolution(gradient.layer).x, gradient.error])
        return plan
