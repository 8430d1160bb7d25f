# SPDX-License-Identifier: Apache-2.0
"""Descriptors of operations: what is brought in, the jobs, what is taken out, tile by tile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.fences import Fences, Space, Span, Step
from respin.firmware_model.jobs import Part
from respin.firmware_model.layout import StoreTensor
from respin.firmware_model.operations import LABELS, Operation
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import Program, Setting, edge_fraction
from respin.firmware_model.schedule import Buffer, Chain, Mask, Piece, Tile, Tiling
from respin.golden.network import Edge, FanInEdge, Gradient, sources
from respin.rtl.config import BLOCK
from respin.rtl.sequencer.descriptor import Opcode

WORD_BYTES = 32
ENTRY_BYTES = 16
_LONGEST = 1 << 15
"""Words of a row of a transfer, which counts them with 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where things lie in external memory, in bytes: the tensors that have areas of their own, what is spilled, and the
    table."""

    areas: Mapping[str, int]
    spilled: int
    table: int


@dataclass(slots=True)
class _Stage:
    """A tile's descriptors."""

    loads: list[Step] = field(default_factory=list)
    jobs: list[Step] = field(default_factory=list)
    stores: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where a piece of a buffer lies in the store, and the words from one channel block to the next."""

    base: int
    stride: int
    piece: Piece

    def span(self, blocks: int) -> Span:
        """The words from its first to its last."""
        return Span(Space.STORE, self.base, self.base + (blocks - 1) * self.stride + self.piece.words)


def _written(operation: Operation) -> list[Buffer]:
    """The buffers that an operation writes; an edge reads its mask."""
    written: list[Buffer] = [] if operation.result is None else [operation.result]
    if operation.mask is not None and operation.mask == operation.result:
        written.append(Mask(operation.mask))
    return written


class Emitter:
    """Makes the descriptors of one program, chain by chain.

    Parameters
    ----------
    placement:
        The network and where its parts lie.
    program:
        Its jobs.
    addresses:
        Of external memory.
    ids:
        Tensor ids of the errors by name.
    """

    def __init__(
        self, placement: Placement, program: Program, addresses: Addresses, ids: Mapping[str, int]
    ) -> None:
        self._place, self._program, self._addresses, self._ids = placement, program, addresses, ids
        self._schedule = placement.schedule
        self._fences = Fences()
        self._brought: set[str] = set()
        self._place_tables(())

    def chain(self, chain: Chain) -> Iterator[Descriptor]:
        """Yield the descriptors of operations that run together."""
        self._place_tables(chain)
        steps = list(self._ordered(chain))
        if isinstance(chain[-1].item, Edge | FanInEdge):
            jobs = [number for number, step in enumerate(steps) if step.descriptor.opcode is Opcode.JOB]
            for number, flag in ((jobs[0], "first"), (jobs[-1], "last")):
                descriptor = steps[number].descriptor
                steps[number] = replace(
                    steps[number], descriptor=replace(descriptor, flags=descriptor.flags | {flag})
                )
        for step in steps:
            yield self._fences.follow(step)

    def biases(self, name: str, *, sources: Sequence[int] = ()) -> Descriptor:
        """A trained layer's biases into the table, where its quantiser adds them, if errors came to ``sources``."""
        channels = self._place.table_channels(name)
        return replace(self._biases(name, 0, channels, self._place.table(name)), sources=tuple(sources))

    # Tiles.

    def _ordered(self, chain: Chain) -> Iterator[Step]:
        """The descriptors of all tiles. With two slots the next tile comes in, and the one before it goes out, while a
        tile's jobs run."""
        tiling = self._schedule.tiling(chain)
        stages = [
            self._stage(chain, tile, self._workspace(tiling, number % tiling.slots))
            for number, tile in enumerate(tiling.tiles)
        ]
        if tiling.slots == 1:
            for stage in stages:
                yield from (*stage.loads, *stage.jobs, *stage.stores)
            return
        nothing = _Stage()
        yield from stages[0].loads
        for before, stage, after in zip([nothing, *stages], stages, [*stages[1:], nothing], strict=False):
            yield from (*after.loads, *before.stores, *stage.jobs)
        yield from stages[-1].stores

    def _workspace(self, tiling: Tiling, slot: int) -> dict[Buffer, int]:
        """First words of the buffers that a tile has in the workspace: those that all slots share, then its own."""
        base, _ = self._schedule.workspace
        places: dict[Buffer, int] = {}
        for sizes, start in (
            (tiling.inner, base),
            (tiling.outer, base + sum(tiling.inner.values()) + slot * sum(tiling.outer.values())),
        ):
            for buffer, words in sizes.items():
                places[buffer] = start
                start += words
        return places

    def _stage(self, chain: Chain, tile: Tile, workspace: Mapping[Buffer, int]) -> _Stage:
        stage, schedule = _Stage(), self._schedule
        made, pieces = schedule.pieces(chain, tile)
        between = {operation.result for operation in chain[:-1]}
        written = {buffer for operation in chain for buffer in _written(operation)}
        spots: dict[Buffer, _Spot] = {}
        for buffer, piece in pieces.items():
            base = schedule.base(buffer)
            if base is not None:
                spots[buffer] = _Spot(base=base + piece.first, stride=schedule.stride(buffer), piece=piece)
                stage.loads += self._bring(buffer, base)
                continue
            spots[buffer] = _Spot(base=workspace[buffer], stride=piece.words, piece=piece)
            if buffer not in between:
                moved, opcode = (stage.stores, Opcode.STORE) if buffer in written else (stage.loads, Opcode.LOAD)
                moved += self._moves(opcode, piece, workspace[buffer])
        for operation in chain:
            stage.jobs += self._runs(operation, made[operation.over], spots)
        output = self._place.network.output
        if chain[-1].result == output and schedule.base(output) is not None:
            stage.stores += self._take(output)
        return stage

    def _runs(self, operation: Operation, tile: Tile, spots: Mapping[Buffer, _Spot]) -> Iterator[Step]:
        """Table entries and jobs of a tile, for as many channels at a time as the table has room for."""
        place, schedule = self._place, self._schedule
        name = operation.over
        shape = place.whole(name).shape
        operands = {
            operand.name: self._view(operand.name, schedule.reached(operation, operand, tile), spots)
            for operand in operation.operands
        }
        out, _ = self._view(name, tile, spots)
        mask = None if operation.mask is None else spots[Mask(operation.mask)]
        touched: list[Buffer] = [*operands, *_written(operation)]
        if mask is not None:
            touched.append(mask.piece.buffer)
        written = _written(operation)
        spans = {buffer: spots[buffer].span(schedule.blocks(buffer)) for buffer in touched}
        reads = tuple(span for buffer, span in spans.items() if buffer not in written)
        writes = tuple(span for buffer, span in spans.items() if buffer in written)
        for channels in self._channels(operation, shape[1]):
            tables, steps = self._tables(operation, channels)
            yield from steps
            constants = tuple(Span(Space.TABLE, at, at + channels[1] - channels[0]) for at in tables.values())
            setting = Setting(
                part=Part(shape=shape, image=tile.image, row=tile.row, channels=channels),
                out=out,
                operands=operands,
                mask=None if mask is None else (mask.base, mask.stride),
                tables=tables,
            )
            for job in self._program.jobs(operation, setting):
                yield Step(descriptor=self._descriptor(operation, job), reads=(*reads, *constants), writes=writes)

    def _view(self, name: str, needed: Tile, spots: Mapping[Buffer, _Spot]) -> tuple[StoreTensor, int]:
        """A part of a tensor where it lies, and its first row."""
        spot, whole = spots[name], self._place.whole(name)
        there = spot.piece.tile
        assert there is not None
        _, c, _, w = whole.shape
        base = spot.base + (needed.row - there.row) * w
        return StoreTensor(base, (needed.images, c, needed.rows, w), whole.signed, spot.stride), needed.row

    def _descriptor(self, operation: Operation, job: dict[str, object]) -> Descriptor:
        item = operation.item
        if isinstance(item, Gradient):
            trained = self._place.network.convolution(item.layer).trained
            assert trained is not None
            flags = ["last"] if job["settle"] else []
            return Descriptor.of_job(
                job, flags=flags, sources=[self._ids[item.error]], rate_shift=trained.rate_shift
            )
        if isinstance(item, Edge | FanInEdge):
            flags = ["edge", "fan_in"] if isinstance(item, FanInEdge) else ["edge"]
            incoming = [self._ids[name] for name in sources(item)]
            return Descriptor.of_job(job, flags=flags, sources=incoming, fraction=edge_fraction(item))
        return Descriptor.of_job(job)

    # The table.

    def _place_tables(self, chain: Chain) -> None:
        """Give the constants of a chain places in the table, if there is room for all of them."""
        self._in_table: set[tuple[str, int]] = set()
        names = [name for operation in chain for name in operation.tables]
        sizes = [-(-self._place.table_channels(name) // BLOCK) * BLOCK for name in names]
        self._table_places = dict(zip(names, accumulate(sizes, initial=0), strict=False))
        if sum(sizes) > self._place.config.table_channels:
            self._table_places = {}

    def _channels(self, operation: Operation, channels: int) -> list[tuple[int, int]]:
        """The ranges of channels for which an operation's constants fit the table together."""
        room = channels
        if operation.tables and not self._place.table_resident and not self._table_places:
            room = self._place.config.table_channels // len(operation.tables) // BLOCK * BLOCK
        return [(first, min(first + room, channels)) for first in range(0, channels, room)]

    def _tables(self, operation: Operation, channels: tuple[int, int]) -> tuple[dict[str, int], list[Step]]:
        """First table entries of an operation's constants for a range of channels, and what brings them there."""
        place, (first, end) = self._place, channels
        if place.table_resident:
            return {name: place.table(name) + first for name in operation.tables}, []
        wanted = {(name, first) for name in operation.tables}
        if self._table_places:
            tables = {name: self._table_places[name] for name in operation.tables}
        else:
            room = -(-(end - first) // BLOCK) * BLOCK
            tables = {name: number * room for number, name in enumerate(operation.tables)}
            if not wanted <= self._in_table:
                self._in_table.clear()
        if wanted <= self._in_table:
            return tables, []
        self._in_table |= wanted
        trained = {layer.name for layer in place.network.trained}
        steps = []
        for name, index in tables.items():
            make = self._biases if name in trained else self._entries
            filled = Span(Space.TABLE, index, index + end - first)
            steps.append(Step(descriptor=make(name, first, end - first, index), writes=(filled,)))
        return tables, steps

    def _entries(self, name: str, first: int, count: int, index: int) -> Descriptor:
        address = self._addresses.table + ENTRY_BYTES * (self._place.table(name) + first)
        return Descriptor(opcode=Opcode.TABLE, body={"address": address, "index": index, "count": count})

    def _biases(self, name: str, first: int, count: int, index: int) -> Descriptor:
        trained = self._place.network.convolution(name).trained
        assert trained is not None
        body = {
            **self._entries(name, first, count, index).body,
            "row": self._place.bias_image(name) + first // BLOCK,
            "shift": trained.bias_shift,
        }
        return Descriptor(opcode=Opcode.BIASES, body=body)

    # Transfers.

    def _bring(self, buffer: Buffer, base: int) -> Iterator[Step]:
        """What comes from outside into the store as a whole, before it is first read."""
        if isinstance(buffer, str) and buffer in (*self._place.inputs, LABELS) and buffer not in self._brought:
            self._brought.add(buffer)
            yield from self._run(Opcode.LOAD, self._addresses.areas[buffer], base, self._place.whole(buffer).words)

    def _take(self, name: str) -> Iterator[Step]:
        tensor = self._place.tensor(name)
        yield from self._run(Opcode.STORE, self._addresses.areas[name], tensor.base, tensor.words)

    def _moves(self, opcode: Opcode, piece: Piece, base: int) -> Iterator[Step]:
        """Move a piece of a spilled buffer, whose channel blocks lie one after the other in the workspace."""
        schedule = self._schedule
        blocks, stride = schedule.blocks(piece.buffer), schedule.stride(piece.buffer)
        address = self._address(piece.buffer) + WORD_BYTES * piece.first
        if stride == piece.words or blocks == 1:
            yield from self._run(opcode, address, base, blocks * piece.words)
        elif piece.words <= _LONGEST:
            yield _transfer(opcode, address, WORD_BYTES * stride, base, piece.words, piece.words, blocks)
        else:
            for block in range(blocks):
                start = address + WORD_BYTES * block * stride
                yield from self._run(opcode, start, base + block * piece.words, piece.words)

    def _address(self, buffer: Buffer) -> int:
        if isinstance(buffer, str) and buffer in self._addresses.areas:
            return self._addresses.areas[buffer]
        return self._addresses.spilled + WORD_BYTES * self._schedule.offset(buffer)

    @staticmethod
    def _run(opcode: Opcode, address: int, base: int, words: int) -> Iterator[Step]:
        """Move words that lie together, in rows that the field counts and one that is shorter."""
        rows, rest = divmod(words, _LONGEST)
        if rows:
            yield _transfer(opcode, address, WORD_BYTES * _LONGEST, base, _LONGEST, _LONGEST, rows)
        if rest:
            done = words - rest
            yield _transfer(opcode, address + WORD_BYTES * done, WORD_BYTES * rest, base + done, rest, rest, 1)


def _transfer(
    opcode: Opcode, address: int, pitch: int, base: int, base_pitch: int, words: int, rows: int
) -> Step:
    body = {
        "address": address, "pitch": pitch, "base": base, "base_pitch": base_pitch, "words": words, "rows": rows,
    }  # fmt: skip
    first, last = address // WORD_BYTES, rows - 1
    outside = Span(Space.EXTERNAL, first, first + last * (pitch // WORD_BYTES) + words)
    inside = Span(Space.STORE, base, base + last * base_pitch + words)
    source, target = (outside, inside) if opcode is Opcode.LOAD else (inside, outside)
    return Step(descriptor=Descriptor(opcode=opcode, body=body), reads=(source,), writes=(target,))
