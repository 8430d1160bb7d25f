# SPDX-License-Identifier: Apache-2.0
"""Compiles a network to a program image: what a host puts into external memory once, and starts from then on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.image import Area, ProgramImage, Tensor
from respin.firmware_model.jobs import Randomness
from respin.firmware_model.layout import StoreTensor
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import Program, Task
from respin.firmware_model.storage import CapacityError
from respin.golden.network import INPUT, Edge, FanInEdge, Parameters
from respin.rtl.config import BLOCK, ROW_WEIGHTS
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, Opcode

WORD_BYTES = 32
ENTRY_BYTES = 16
PROVISION, INFER, TRAIN = "provision", "infer", "train"
"""Names of the programs of an image."""
INPUT_AREA, LABELS_AREA, LOGITS_AREA, ROWS_AREA, TABLE_AREA = "input", "labels", "logits", "rows", "table"
"""Names of its data."""


@dataclass(slots=True)
class _Layout:
    """Hands out external memory, and keeps what goes there."""

    base: int
    areas: dict[str, Area] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    def add(self, name: str, content: bytes) -> int:
        """Put ``content`` at the next multiple of 256; returns its address."""
        self.content += bytes(-len(self.content) % DESCRIPTOR_BYTES)
        address = self.base + len(self.content)
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

    def compile(self, parameters: Mapping[str, Parameters]) -> ProgramImage:
        """Return the image; ``parameters`` of the trained layers are what provisioning writes."""
        place, layout = self.placement, _Layout(self.base)
        logits = place.tensor(place.network.loss.logits)
        rows = self._rows(parameters)
        layout.add(INPUT_AREA, bytes(WORD_BYTES * place.tensor(INPUT).words))
        layout.add(LABELS_AREA, bytes(WORD_BYTES * place.tensor(INPUT).shape[0]))
        layout.add(LOGITS_AREA, bytes(WORD_BYTES * logits.words))
        layout.add(ROWS_AREA, rows.tobytes())
        layout.add(TABLE_AREA, self._table())
        programs = {
            PROVISION: (self._provision(layout, len(rows)), (0, len(rows))),
            INFER: (self._infer(layout), (0, 0)),
        }
        if place.training:
            programs[TRAIN] = (self._train(layout), self._trained_rows())
        for name, (descriptors, (first, count)) in programs.items():
            layout.add(name, pack_program(place.config, list(descriptors), row_first=first, row_count=count))
        return ProgramImage(
            config=place.config,
            base=self.base,
            content=bytes(layout.content),
            areas=layout.areas,
            programs=tuple(programs),
            tensors={
                name: Tensor(shape=tensor.shape, signed=tensor.signed)
                for name, tensor in ((INPUT_AREA, place.tensor(INPUT)), (LOGITS_AREA, logits))
            },
        )

    # Data.

    def _rows(self, parameters: Mapping[str, Parameters]) -> np.ndarray:
        """Every MRAM row in use."""
        rows = np.zeros((self.placement.rows.used, ROW_WEIGHTS), dtype=np.int8)
        for base, image in self.placement.frozen_rows(parameters):
            rows[base : base + len(image)] = image
        return rows

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
        ids = {network.loss.name: network.loss.tensor} | {edge.name: edge.tensor for edge in network.edges}
        for layer in network.trained:
            assert layer.trained is not None
            ids[f"{layer.name}.bias"] = layer.trained.bias_tensor
            if layer.trained.tensor is not None:
                ids[f"{layer.name}.weight"] = layer.trained.tensor
        return ids

    # Programs.

    def _provision(self, layout: _Layout, rows: int) -> Iterator[Descriptor]:
        table = layout.areas[TABLE_AREA]
        if rows:
            body = {"address": layout.areas[ROWS_AREA].address, "row": 0, "count": rows}
            yield Descriptor(opcode=Opcode.ROWS, body=body)
        if table.size:
            yield Descriptor(
                opcode=Opcode.TABLE, body={"address": table.address, "index": 0, "count": table.size // ENTRY_BYTES}
            )
        for layer in self.placement.network.trained:
            yield self._biases(layout, layer.name)
        yield Descriptor(opcode=Opcode.END)

    def _infer(self, layout: _Layout) -> Iterator[Descriptor]:
        yield from self._forward(layout, self._program())
        yield Descriptor(opcode=Opcode.END)

    def _train(self, layout: _Layout) -> Iterator[Descriptor]:
        place, network, program = self.placement, self.placement.network, self._program()
        ids = self._tensor_ids()
        labels = StoreTensor(place.labels, (place.tensor(INPUT).shape[0], 1, 1, 1), False)
        yield self._transfer(Opcode.LOAD, layout.areas[LABELS_AREA], labels)
        yield from self._forward(layout, program)
        (job,) = program.loss().jobs
        yield Descriptor.of_job(job)
        edges = [self._edge(program, edge, ids) for edge in network.edges]
        after = [descriptor for made in edges for descriptor in made]
        for gradient in network.gradients:
            plan = program.gradient(gradient)
            source = (ids[plan.error],)
            for job in plan.task.jobs:
                flags = ["last"] if job["settle"] else []
                after.append(Descriptor.of_job(job, flags=flags, sources=source, rate_shift=plan.rate_shift))
            after.append(replace(self._biases(layout, gradient.layer), sources=source))
        for number, descriptor in enumerate(after):
            # Their tensors may lie where the logits did, which are on their way out.
            yield descriptor if number else descriptor.waiting()
        yield Descriptor(opcode=Opcode.END)

    def _program(self) -> Program:
        return Program(self.placement, Randomness())

    def _forward(self, layout: _Layout, program: Program) -> Iterator[Descriptor]:
        place = self.placement
        yield self._transfer(Opcode.LOAD, layout.areas[INPUT_AREA], place.tensor(INPUT))
        for number, job in enumerate(_jobs(program.forward())):
            descriptor = Descriptor.of_job(job)
            yield descriptor if number else descriptor.waiting()
        yield self._transfer(Opcode.STORE, layout.areas[LOGITS_AREA], place.tensor(place.network.loss.logits))

    @staticmethod
    def _edge(program: Program, edge: Edge | FanInEdge, ids: Mapping[str, int]) -> Sequence[Descriptor]:
        plan = program.edge(edge)
        made = []
        for number, job in enumerate(plan.task.jobs):
            flags = ["edge"]
            flags += ["first"] if number == 0 else []
            flags += ["last"] if number == len(plan.task.jobs) - 1 else []
            flags += ["fan_in"] if plan.fan_in else []
            sources = [ids[name] for name in plan.sources]
            made.append(Descriptor.of_job(job, flags=flags, sources=sources, fraction=plan.fraction))
        return made

    def _biases(self, layout: _Layout, name: str) -> Descriptor:
        """A trained layer's biases into the table, where its quantiser adds them."""
        layer = self.placement.network.convolution(name)
        assert layer.trained is not None
        index = self.placement.table(name)
        body = {
            "address": layout.areas[TABLE_AREA].address + ENTRY_BYTES * index,
            "index": index,
            "count": layer.table.channels,
            "row": self.placement.bias_image(name),
            "shift": layer.trained.bias_shift,
        }
        return Descriptor(opcode=Opcode.BIASES, body=body)

    @staticmethod
    def _transfer(opcode: Opcode, area: Area, tensor: StoreTensor) -> Descriptor:
        """Move a whole tensor, in rows of as many words as the field counts."""
        words = tensor.words
        row = next(size for size in range(min(words, (1 << 16) - 1), 0, -1) if words % size == 0)
        body = {
            "address": area.address, "pitch": WORD_BYTES * row, "base": tensor.base, "base_pitch": row, "words": row,
            "rows": words // row,
        }  # fmt: skip
        return Descriptor(opcode=opcode, body=body)


def _jobs(tasks: Iterator[Task]) -> Iterator[dict[str, object]]:
    for task in tasks:
        yield from task.jobs
