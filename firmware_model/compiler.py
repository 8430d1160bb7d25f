# SPDX-License-Identifier: Apache-2.0
"""Compiles a network to a program image: what a host puts into external memory once, and starts from then on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.emitter import ENTRY_BYTES, WORD_BYTES, Addresses, Emitter
from respin.firmware_model.hazards import refuse_hazards
from respin.firmware_model.image import Area, ProgramImage, Tensor
from respin.firmware_model.job_parts import Randomness
from respin.firmware_model.operations import LABELS, raw_sums
from respin.firmware_model.placement import SCALING, Placement
from respin.firmware_model.program import Program
from respin.firmware_model.scaling import Scaling
from respin.firmware_model.schedule import Schedule
from respin.firmware_model.storage import CapacityError
from respin.golden.network import INPUT, Parameters
from respin.rtl.config import BLOCK, ROW_WEIGHTS
from respin.rtl.mram.regions import Region
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, Opcode

PROVISION, INFER, TRAIN, SAVE = "provision", "infer", "train", "save"
"""Names of the programs of an image."""
INPUT_AREA, LABELS_AREA, LOGITS_AREA, ROWS_AREA, TABLE_AREA = "input", "labels", "logits", "rows", "table"
"""Names of its data."""
BIAS_AREA = "bias"
"""Of a network whose output is int32 sums: what the host adds to each channel of them."""


def require_whole_reads(descriptors: Iterable[Descriptor], regions: Iterable[Region]) -> None:
    """Raise ValueError if a job reads rows that do not lie in the first slot of one region: the machine moves all rows
    of a job to the slot in use, or none, by where the first one lies."""
    slots = [(region.start, region.start + region.slot_rows) for region in regions]
    for number, descriptor in enumerate(descriptors):
        read = descriptor.body.get("read") if descriptor.opcode is Opcode.JOB else None
        if read is None or not read["count"] * read["repeats"]:
            continue
        first, end = read["base"], read["base"] + read["count"] * read["repeats"]
        if not any(header < first and end <= last for header, last in slots):
            raise ValueError(
                f"descriptor {number} reads rows {first} to {end - 1}, which must lie in one region: of "
                + ", ".join(f"{header + 1} to {last - 1}" for header, last in slots)
            )


@dataclass(slots=True)
class _Layout:
    """Hands out external memory, and keeps what goes there."""

    base: int
    areas: dict[str, Area] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        """The next multiple of 256."""
        padding: int = -len(self.content) % DESCRIPTOR_BYTES
        return self.base + len(self.content) + padding

    def add(self, name: str, content: bytes) -> int:
        """Put ``content`` at the next multiple of 256; returns its address."""
        address = self.end
        self.content += bytes(address - self.base - len(self.content))
        self.areas[name] = Area(address=address, size=len(content))
        self.content += content
        return address


@dataclass(frozen=True, slots=True)
class Compiler:
    """Makes the programs of a placed network.

    A training step is one program, the same in every step: which edges run, and with what shifts, the sequencer finds
    out itself.

    Parameters
    ----------
    placement:
        The network and where its parts lie; made for training, it gives a training program too.
    base:
        Address of the image in external memory, a multiple of 4096.

    Raises
    ------
    ValueError
        If ``base`` is no such address.
    CapacityError
        If a tensor id has no entry in the machine's tables.
    """

    placement: Placement
    base: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.base < 1 << 32 or self.base % 4096:
            raise ValueError(f"base must be a multiple of 4096 in 0..{(1 << 32) - 1}, not {self.base!r}")
        ids = self.placement.config.tensor_ids
        for name, number in self._tensor_ids().items():
            if number >= ids:
                raise CapacityError(f"tensor {name} has id {number}, the tables end at {ids}: raise tensor_ids")

    def compile(
        self, parameters: Mapping[str, Parameters], *, scaling: Mapping[int, Scaling] | None = None
    ) -> ProgramImage:
        """Return the image.

        Parameters
        ----------
        parameters:
            Of the trained layers, by name: what provisioning writes.
        scaling:
            What earlier training has measured, by tensor id; nothing unless given.
        """
        place, layout = self.placement, _Layout(self.base)
        output, sums = place.network.output, raw_sums(place.network)
        rows = self._rows(parameters, scaling or {})
        tensors = {name: INPUT_AREA if name == INPUT else name for name in place.inputs} | {output: LOGITS_AREA}
        if place.network.loss is not None:
            tensors[LABELS] = LABELS_AREA
        areas = {name: layout.add(area, bytes(WORD_BYTES * place.whole(name).words)) for name, area in tensors.items()}
        if sums is not None:
            layout.add(BIAS_AREA, sums.bias.numpy().astype("<i4").tobytes())
        layout.add(ROWS_AREA, rows.tobytes())
        addresses = Addresses(areas=areas, spilled=0, table=layout.add(TABLE_AREA, self._table()))
        # Programs are as long wherever the spilled tensors lie, which is behind them.
        lengths = [DESCRIPTOR_BYTES * (1 + len(made)) for made, _ in self._programs(layout, addresses).values()]
        start = layout.end + sum(lengths)
        for name, (made, (first, count)) in self._programs(layout, replace(addresses, spilled=start)).items():
            if place.regions:
                require_whole_reads(made, place.regions)
            refuse_hazards(made, place.config)
            layout.add(name, pack_program(place.config, made, row_first=first, row_count=count))
        return ProgramImage(
            config=place.config,
            base=self.base,
            content=bytes(layout.content),
            areas=layout.areas,
            programs=tuple(name for name in (PROVISION, INFER, TRAIN, SAVE) if name in layout.areas),
            tensors={
                area: Tensor(shape=place.whole(name).shape, signed=place.whole(name).signed)
                for name, area in ((INPUT, INPUT_AREA), (output, LOGITS_AREA))
            },
            windows=place.packing.tensors,
            scratch=WORD_BYTES * max(place.schedule.spilled_words, place.inference.spilled_words),
        )

    # Data.

    def _rows(self, parameters: Mapping[str, Parameters], scaling: Mapping[int, Scaling]) -> np.ndarray:
        """Every MRAM row in use, stretch by stretch."""
        rows = np.zeros((self.placement.rows.end, ROW_WEIGHTS), dtype=np.int8)
        for base, image in self.placement.frozen_rows(parameters, scaling):
            rows[base : base + len(image)] = image
        stretches = [rows[first : first + count] for first, count in self.placement.rows.ranges]
        return np.concatenate([*stretches, rows[:0]])

    def _table(self) -> bytes:
        """The table's entries, those of trained layers without their biases."""
        entries: dict[int, int] = {}
        for first, block in self.placement.constants().items():
            entries |= {first + at: entry for at, entry in enumerate(block)}
        count = -(-(max(entries, default=-1) + 1) // BLOCK) * BLOCK
        return b"".join(entries.get(at, 0).to_bytes(ENTRY_BYTES, "little") for at in range(count))

    def _trained_rows(self) -> tuple[int, int]:
        """First row and number of the rows from the first trained image to the last: what a training step may write."""
        images = self.placement.rows.images
        trained = {layer.name for layer in self.placement.network.trained}
        own = [images[name] for name in images if name.removesuffix(" bias").removesuffix(" transposed") in trained]
        first = min((base for base, _ in own), default=0)
        return first, max((base + rows for base, rows in own), default=0) - first

    def _tensor_ids(self) -> dict[str, int]:
        network = self.placement.network
        ids = {} if network.loss is None else {network.loss.name: network.loss.tensor}
        ids |= {edge.name: edge.tensor for edge in network.edges}
        for layer in network.trained:
            assert layer.trained is not None
            ids[f"{layer.name}.bias"] = layer.trained.bias_tensor
            if layer.trained.tensor is not None:
                ids[f"{layer.name}.weight"] = layer.trained.tensor
        return ids

    # Programs.

    def _programs(
        self, layout: _Layout, addresses: Addresses
    ) -> dict[str, tuple[list[Descriptor], tuple[int, int]]]:
        """The programs by name, each with the first row and the number of rows that it may write."""
        ranges = self.placement.rows.ranges or [(0, 0)]
        first = ranges[0][0]
        programs = {
            PROVISION: (list(self._provision(layout, addresses)), (first, sum(ranges[-1]) - first)),
            INFER: (list(self._run(self.placement.inference, addresses)), (0, 0)),
        }
        if self.placement.training:
            programs[TRAIN] = (list(self._run(self.placement.schedule, addresses)), self._trained_rows())
            saves = [self._scaling(Opcode.SAVE), Descriptor(opcode=Opcode.END)]
            programs[SAVE] = (saves, self.placement.rows.images[SCALING])
        return programs

    def _provision(self, layout: _Layout, addresses: Addresses) -> Iterator[Descriptor]:
        place, table = self.placement, layout.areas[TABLE_AREA]
        address = layout.areas[ROWS_AREA].address
        for first, count in place.rows.ranges:
            yield Descriptor(opcode=Opcode.ROWS, body={"address": address, "row": first, "count": count})
            address += WORD_BYTES * count
        if table.size and place.table_resident:
            body = {"address": table.address, "index": 0, "count": table.size // ENTRY_BYTES}
            yield Descriptor(opcode=Opcode.TABLE, body=body)
            emitter = self._emitter(place.schedule, addresses)
            for layer in place.network.trained:
                yield emitter.biases(layer.name)
        if place.training:
            yield self._scaling(Opcode.RESTORE)
        yield Descriptor(opcode=Opcode.END)

    def _scaling(self, opcode: Opcode) -> Descriptor:
        """SAVE or RESTORE."""
        row, count = self.placement.rows.images[SCALING]
        return Descriptor(opcode=opcode, body={"row": row, "count": count})

    def _run(self, schedule: Schedule, addresses: Addresses) -> Iterator[Descriptor]:
        yield from self._emitter(schedule, addresses).descriptors()
        yield Descriptor(opcode=Opcode.END)

    def _emitter(self, schedule: Schedule, addresses: Addresses) -> Emitter:
        program = Program(self.placement, Randomness())
        return Emitter(self.placement, schedule, program, addresses, self._tensor_ids())
