# SPDX-License-Identifier: Apache-2.0
"""Where an integer network's tensors, images and quantiser tables lie on an accelerator."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from respin.firmware_model import layout
from respin.firmware_model.geometry import error_phases
from respin.firmware_model.job_parts import SUM_BYTES
from respin.firmware_model.layout import IntArray, StoreTensor
from respin.firmware_model.operations import (
    LABELS,
    Network,
    Shape,
    geometry,
    operations,
    raw_sums,
    runs_depthwise,
    table_name,
)
from respin.firmware_model.packing import choose_packing
from respin.firmware_model.scaling import Scaling, rows_of_scaling
from respin.firmware_model.schedule import Mask, Schedule
from respin.firmware_model.storage import CapacityError, RowPlan, TablePlan
from respin.golden.inference import RawSums
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Loss,
    Parameters,
    initial_parameters,
    reads,
    run_layers,
    sources,
)
from respin.golden.ops import QuantiserTable
from respin.rtl.config import AcceleratorConfig
from respin.rtl.mram.regions import FIRST_REGION_ROW, Region, RegionKind
from respin.rtl.sequencer.scaling import scaling_rows

SCALING = "scaling"
"""What :attr:`Placement.rows` calls the rows of what training has measured."""


def forward_rows(layer: Convolution | RawSums, weight: IntArray, slices: int) -> IntArray:
    """Rows of the image that a convolution's forward pass reads on ``slices`` slices, for its weights ``weight``."""
    if runs_depthwise(layer):
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
        (N, C, H, W) of the input.
    training:
        Whether edges and gradients are to run, so that what they need is kept.
    task:
        Number of the task in the region table: rows then lie in two regions (:attr:`regions`). Without it they lie from
        row 0 on, in a memory that has no regions.

    Raises
    ------
    CapacityError
        If the rows do not fit the memory, or the operands of an operation the store, with the figure.
    """

    def __init__(
        self, config: AcceleratorConfig, network: Network, shape: Shape, *, training: bool, task: int | None = None
    ) -> None:
        self.config = config
        self.network = network
        self.training = training
        self._edges = network.edges if training else ()
        self._shapes: dict[str, Shape] = {}
        self._signed: dict[str, bool] = {}
        self._infer_shapes(shape)
        self.packing = choose_packing(network, self._shapes, training=training, store_words=config.store_words)
        """Which convolutions read packed windows."""
        self._infer_windows()
        self.rows = RowPlan(config)
        self._phases: dict[str, list[int]] = {}
        self.regions: tuple[Region, ...] = ()
        """The backbone, and the region with two slots of what is trained; none without ``task``."""
        if task is None:
            self._place_rows()
        else:
            self._place_regions(task)
        self._tables: dict[str, int] = {}
        self._constants: dict[int, list[int]] = {}
        self._place_tables()
        self.operations = tuple(operations(network, self._shapes, self.packing, training=training))
        read = {operand.name for operation in self.operations for operand in operation.operands}
        self.inputs = tuple(name for name in (INPUT, *self.packing.tensors) if name in read)
        """The tensors that a host makes of a batch: the batch itself where a layer reads it, and packed windows."""
        outside = (*self.inputs, LABELS, network.output)
        self.schedule = Schedule(config, self.operations, self._shapes, outside=outside)
        forward = operations(network, self._shapes, self.packing, training=False)
        self.inference = Schedule(config, tuple(forward), self._shapes, outside=outside) if training else self.schedule
        """How inference alone runs: no masks, and nothing is kept for later."""

    @property
    def table_resident(self) -> bool:
        """Whether the table holds the constants of the whole network at once."""
        return self.table_entries <= self.config.table_channels

    def require_resident(self) -> None:
        """Raise CapacityError, with the figure, unless store and table hold the whole network at once: only a compiled
        program brings in what does not fit."""
        config, needed = self.config, self.schedule.needed
        if not self.schedule.resident:
            raise CapacityError(
                f"the network needs {needed} words of the store, {config.name} has {config.store_words}: "
                "raise store_words, or take a smaller batch"
            )
        if not self.table_resident:
            raise CapacityError(
                f"the network needs {self.table_entries} table entries, {config.name} has {config.table_channels}: "
                "raise table_channels"
            )

    @property
    def batch(self) -> int:
        """Images in a batch."""
        return self._shapes[INPUT][0]

    @property
    def loss(self) -> Loss:
        """The network's loss; ValueError if it only runs."""
        if self.network.loss is None:
            raise ValueError("the network has no loss: it only runs")
        return self.network.loss

    def whole(self, name: str) -> StoreTensor:
        """An activation or error tensor as if it lay at word 0."""
        return StoreTensor(0, self._shapes[name], self._signed[name])

    def tensor(self, name: str) -> StoreTensor:
        """Where an activation or error tensor lies in the store; raises CapacityError if it is spilled."""
        base = self.schedule.base(name)
        if base is None:
            self.require_resident()
            raise ValueError(f"nothing reads or makes {name}")
        return replace(self.whole(name), base=base)

    def input(self, name: str, x: IntArray) -> IntArray:
        """What the host makes of a batch ``x`` (N, C, H, W) for one of :attr:`inputs`."""
        windows = self.packing.tensors.get(name)
        return x if windows is None else windows.pack(x)

    def mask(self, name: str) -> int | None:
        """Store word of the packed mask of layer ``name``; None if no edge reads it."""
        return self.schedule.base(Mask(name))

    @property
    def labels(self) -> int:
        """Store word of the first image's label."""
        return self.tensor(LABELS).base

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
        """First entry of a layer, or of an edge's multipliers (:func:`~respin.firmware_model.operations.table_name`),
        among those of the whole network."""
        return self._tables[name]

    def table_channels(self, name: str) -> int:
        """How many entries those are."""
        return len(self._constants[self._tables[name]])

    # What firmware writes once.

    def frozen_rows(
        self, parameters: Mapping[str, Parameters], scaling: Mapping[int, Scaling] | None = None
    ) -> list[tuple[int, IntArray]]:
        """Rows of every image, (first row, rows): frozen weights, ``parameters`` of the trained layers, and what was
        measured of tensor ids."""
        written: list[tuple[int, IntArray]] = []
        sums = raw_sums(self.network)
        if sums is not None:
            written.append((self.image(sums.name), self.forward_rows(sums, sums.weight.numpy())))
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
        if SCALING in self.rows.images:
            written.append((self.image(SCALING), rows_of_scaling(self.config, scaling or {})))
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
        o, i, kh, kw = self.packing.weight(layer, layer.weight.numpy()).shape
        dense = layout.rows_weights(rows, (o, i * layer.groups, kh, kw), self.config.slices)
        weight = layout.grouped_weights(dense, layer.groups).reshape(layer.weight.shape)
        return torch.from_numpy(weight.astype(np.int8))

    def learned_bias(self, name: str, rows: IntArray) -> torch.Tensor:
        """The biases (O,) that the bias rows of trained layer ``name`` hold."""
        outputs = self.network.convolution(name).weight.shape[0]
        return torch.from_numpy(rows.reshape(-1)[:outputs].astype(np.int8))

    # How it is placed.

    def _infer_shapes(self, shape: Shape) -> None:
        """Shape and sign of every tensor, from a run on zeros and from what each edge passes through."""
        network = self.network
        zeros = torch.zeros(shape, dtype=network.input_dtype)
        tensors = run_layers(
            network.layers, {INPUT: zeros}, initial_parameters(network.layers), masks=False
        ).tensors
        sums = raw_sums(network)
        if sums is not None:
            # Each byte of the sums is a tensor: those of all images, one byte after the other.
            tensors[sums.name] = sums.run(tensors[sums.x]).to(torch.uint8).repeat(SUM_BYTES, 1, 1, 1)
        for name, tensor in tensors.items():
            n, c, h, w = tensor.shape
            self._shapes[name] = (n, c, h, w)
            self._signed[name] = tensor.dtype == torch.int8
        if network.loss is not None:
            self._shapes[network.loss.name] = self._shapes[network.output]
            self._signed[network.loss.name] = True
        self._shapes[LABELS], self._signed[LABELS] = (shape[0], 1, 1, 1), False
        for edge in network.edges:
            layer = network.layer(edge.through) if isinstance(edge, Edge) and edge.through is not None else None
            origin = sources(edge)[0] if layer is None else reads(layer)[0]
            self._shapes[edge.name] = self._shapes[origin]
            self._signed[edge.name] = True

    def _infer_windows(self) -> None:
        """Shape and sign of packed windows: those of the batch whose convolutions they are for."""
        for name, windows in self.packing.tensors.items():
            zeros = np.zeros(self._shapes[INPUT], dtype=np.int8 if self._signed[INPUT] else np.uint8)
            self._shapes[name], self._signed[name] = windows.pack(zeros).shape, windows.signed(self._signed[INPUT])

    def forward_rows(self, layer: Convolution | RawSums, weight: IntArray) -> IntArray:
        """Rows of the image that a convolution's forward pass reads, with ``weight`` as its weights."""
        return forward_rows(layer, self.packing.weight(layer, weight), self.config.slices)

    def transposed_rows(self, layer: Convolution, weight: IntArray) -> list[IntArray]:
        """Rows of the images that carry errors back, one for each phase of the stride."""
        _, _, h, w = self._shapes[layer.x]
        phases = [(list(phase.taps_y), list(phase.taps_x)) for phase in error_phases(geometry(layer), h, w)]
        if runs_depthwise(layer):
            return [layout.depthwise_rows(weight[:, :, ys][:, :, :, xs]) for ys, xs in phases]
        dense = layout.dense_weights(weight, layer.groups).transpose(1, 0, 2, 3)
        return [layout.weight_rows(dense[:, :, ys][:, :, :, xs], self.config.slices) for ys, xs in phases]

    def _place_regions(self, task: int) -> None:
        """Frozen images in one region, trained ones in another."""
        self.rows.leave_header(FIRST_REGION_ROW)
        self._place_rows(trained=False)
        start = self.rows.end
        self.rows.leave_header(start)
        self._place_rows(trained=True)
        end = self.rows.end
        self.regions = (
            Region(kind=RegionKind.BACKBONE, start=FIRST_REGION_ROW, slot_rows=start - FIRST_REGION_ROW),
            Region(kind=RegionKind.TASK, start=start, slot_rows=end - start, slots=2, task=task),
        )
        if self.regions[-1].end > self.config.usable_rows:
            raise CapacityError(
                f"the regions need {self.regions[-1].end} MRAM rows, there are {self.config.usable_rows}: "
                "raise banks or mram_rows"
            )

    def _place_rows(self, trained: bool | None = None) -> None:
        """Place the images of all layers, or only of those that are ``trained`` or not."""

        def chosen(layer: Convolution) -> bool:
            return trained is None or trained is (layer.trained is not None)

        for layer in self.network.layers:
            if isinstance(layer, Convolution) and chosen(layer):
                self.rows.add(layer.name, len(self.forward_rows(layer, layer.weight.numpy())))
                if layer.trained is not None:
                    self.rows.add_vector(f"{layer.name} bias", layer.weight.shape[0])
        sums = raw_sums(self.network)
        if sums is not None and not trained:
            self.rows.add(sums.name, len(self.forward_rows(sums, sums.weight.numpy())))
        for edge in self._edges:
            passed = self.network.layer(edge.through) if isinstance(edge, Edge) and edge.through is not None else None
            if isinstance(passed, Convolution) and chosen(passed) and passed.name not in self._phases:
                images = self.transposed_rows(passed, passed.weight.numpy())
                base = self.rows.add(f"{passed.name} transposed", sum(len(image) for image in images))
                starts = np.cumsum([0, *(len(image) for image in images[:-1])])
                self._phases[passed.name] = [int(base + start) for start in starts]
        if self.training and trained is not False:
            self.rows.add(SCALING, scaling_rows(self.config))

    def _place_tables(self) -> None:
        plan = TablePlan()
        for layer in self.network.layers:
            if isinstance(layer, Convolution | AveragePool) and layer.name not in self.packing.pools:
                self._tables[layer.name] = plan.add(layer.table.channels)
                self._constants[self._tables[layer.name]] = table_entries(layer.table)
        for edge in self._edges:
            operands = edge.operands if isinstance(edge, FanInEdge) else [(edge.error, edge.mult)]
            for source, mult in operands:
                if isinstance(mult, torch.Tensor):
                    name = table_name(edge.name, source)
                    self._tables[name] = plan.add(len(mult))
                    self._constants[self._tables[name]] = [
                        layout.table_entry(bias=0, mult=value, shift=0, lo=0, hi=0) for value in mult.tolist()
                    ]
        self.table_entries = plan.used
        """Entries that the constants of the whole network take."""
