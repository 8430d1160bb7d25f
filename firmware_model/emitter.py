# SPDX-License-Identifier: Apache-2.0
"""Descriptors of operations: what is brought in, the jobs, what is taken out, tile by tile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.fences import Fences, Space, Span, Step
from respin.firmware_model.job_parts import Part, Requantise, Source
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor, blocks
from respin.firmware_model.operations import Operation, runs_depthwise
from respin.firmware_model.pipeline import Stage, pipelined, side_by_side
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import Program, Setting, edge_fraction
from respin.firmware_model.schedule import Buffer, Mask, Piece, Schedule, Tile, written
from respin.firmware_model.storage import CapacityError
from respin.golden.network import Convolution, Edge, FanInEdge, Gradient, Layer, sources
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where a piece of a buffer lies in the store, and the words from one channel block to the next."""

    base: int
    stride: int
    piece: Piece

    @property
    def span(self) -> Span:
        """The words from its first to its last."""
        piece = self.piece
        return Span.of_rows(Space.STORE, self.base, words=piece.words, pitch=self.stride, rows=piece.blocks)


@dataclass(frozen=True, slots=True)
class _Entries:
    """Entries ``first`` .. ``end - 1`` of the table, filled as the ``turn``-th."""

    first: int
    end: int
    turn: int


@dataclass(slots=True)
class _TableContent:
    """What lies in a table whose entries are replaced, the oldest first.

    Parameters
    ----------
    entries:
        How many it has.
    """

    entries: int
    _turn: int = 0
    _places: dict[tuple[str, int], _Entries] = field(default_factory=dict)

    def place(self, wanted: Sequence[tuple[str, int]], count: int) -> list[tuple[int, bool]]:
        """Return for each of some constants (name, first channel) the first of its ``count`` entries, and whether they
        have to be brought there: all of them if one has, so that none replaces another."""
        known = [self._places.get(constants) for constants in wanted]
        if all(place is not None and place.end - place.first == count for place in known):
            return [(place.first, False) for place in known if place is not None]
        room = -(-count // BLOCK) * BLOCK
        placed = []
        for constants in wanted:
            first, self._turn = self._oldest(room), self._turn + 1
            self._places = {name: place for name, place in self._places.items() if not _meet(place, first, room)}
            self._places[constants] = _Entries(first, first + count, self._turn)
            placed.append((first, True))
        return placed

    def _oldest(self, room: int) -> int:
        """The first of ``room`` entries of which the newest was filled before that of any others: at an end of the
        table, or next to what is there."""
        places = self._places.values()
        edges = [-(-place.end // BLOCK) * BLOCK for place in places] + [place.first - room for place in places]
        firsts = {first for first in (0, self.entries - room, *edges) if 0 <= first <= self.entries - room}
        newest = {
            first: max((place.turn for place in places if _meet(place, first, room)), default=0) for first in firsts
        }
        return min(firsts, key=lambda first: (newest[first], first not in (0, self.entries - room), first))


def _meet(place: _Entries, first: int, room: int) -> bool:
    return place.first < first + room and first < place.end


class Emitter:
    """Makes the descriptors of one program.

    Parameters
    ----------
    placement:
        The network and where its parts lie.
    schedule:
        Of the program: one of the placement's.
    program:
        Its jobs.
    addresses:
        Of external memory.
    ids:
        Tensor ids of the errors by name.
    """

    def __init__(
        self,
        placement: Placement,
        schedule: Schedule,
        program: Program,
        addresses: Addresses,
        ids: Mapping[str, int],
    ) -> None:
        self._place, self._schedule, self._program = placement, schedule, program
        self._addresses, self._ids = addresses, ids
        self._in_table = _TableContent(placement.config.table_channels)
        self._two_slots = placement.config.job_slots == 2
        self._made = 0
        self.order: list[int | None] = []
        """Of each JOB descriptor so far the number of its job among those that the program made; of copies None."""

    def descriptors(self) -> Iterator[Descriptor]:
        """Yield the descriptors, but for the last one, END."""
        fences = Fences(two_slots=self._two_slots)
        stages = [stage for number in range(len(self._schedule.chains)) for stage in self._chain(number)]
        if self._two_slots:
            stages = side_by_side(stages, self._place.config)
        for step in pipelined(stages, two_slots=self._two_slots):
            if _is_job(step):
                self.order.append(step.number)
            yield fences.follow(step)

    def biases(self, name: str, *, sources: Sequence[int] = ()) -> Descriptor:
        """A trained layer's biases into the table, where its quantiser adds them, if errors came to ``sources``."""
        channels = self._place.table_channels(name)
        return replace(self._biases(name, 0, channels, self._place.table(name)), sources=tuple(sources))

    # Tiles.

    def _chain(self, number: int) -> list[Stage]:
        """The stages of all tiles of a chain."""
        schedule, chain = self._schedule, self._schedule.chains[number]
        tiling = schedule.tiling(number)
        stages = [Stage(loads=[step for buffer in schedule.comes(number) for step in self._brings(number, buffer)])]
        before: dict[Buffer, _Spot] = {}
        for count in range(len(tiling.tiles)):
            spots, loads, stores = self._spots(number, count)
            copies, made = self._copies(number, count, spots, before), self._tile(number, count, spots)
            made[0].loads += loads
            made[-1].stores += stores
            stages += copies + made
            before = spots
        item = chain[-1].item
        if isinstance(item, Edge | FanInEdge):
            jobs = [(stage, at) for stage in stages for at in range(len(stage.jobs)) if _is_job(stage.jobs[at])]
            for (stage, at), flag in ((jobs[0], "first"), (jobs[-1], "last")):
                step = stage.jobs[at]
                flagged = replace(step.descriptor, flags=step.descriptor.flags | {flag})
                stage.jobs[at] = replace(step, descriptor=flagged)
        if isinstance(item, Gradient) and self._place.table_resident:
            stages[-1].jobs.append(Step(descriptor=self.biases(item.layer, sources=(self._ids[item.error],))))
        return stages

    def _spots(self, number: int, count: int) -> tuple[dict[Buffer, _Spot], list[Step], list[Step]]:
        """Where a tile's buffers lie, what has to come in for it and what goes out."""
        schedule, chain, tiling = self._schedule, self._schedule.chains[number], self._schedule.tiling(number)
        _, pieces = schedule.pieces(chain, tiling.tiles[count])
        workspace = tiling.places(count)
        there = tiling.shared if count else ()  # what all tiles read came in with the first one
        results = written(chain)
        spots: dict[Buffer, _Spot] = {}
        loads: list[Step] = []
        stores: list[Step] = []
        for buffer, piece in pieces.items():
            base = schedule.held(number, buffer)
            if base is not None:
                stride = schedule.stride(buffer)
                first = base + piece.first_block * stride + piece.first
                spots[buffer] = _Spot(base=first, stride=stride, piece=piece)
            else:
                spots[buffer] = _Spot(base=workspace[buffer].start, stride=piece.words, piece=piece)
            if buffer in results and schedule.leaves(buffer):
                stores += self._moves(Opcode.STORE, spots[buffer])
            elif base is None and buffer not in (*results, *there):
                loads += self._moves(Opcode.LOAD, spots[buffer])
        return spots, loads, stores

    def _copies(
        self, number: int, count: int, spots: Mapping[Buffer, _Spot], before: Mapping[Buffer, _Spot]
    ) -> list[Stage]:
        """What copies the first rows of a tile that the tile before it has made, from where that one has them."""
        kept = self._schedule.making(number, count).kept
        if kept is None:
            return []
        name, rows = kept
        return [self._copy(self._view(name, rows, before)[0], self._view(name, rows, spots)[0])]

    def _tile(self, number: int, count: int, spots: Mapping[Buffer, _Spot]) -> list[Stage]:
        """The stages of a tile: one for each operation, and for each range of channels that it is made in."""
        making = self._schedule.making(number, count)
        stages: list[Stage] = []
        for operation in self._schedule.chains[number]:
            fresh = making.fresh[operation.over]
            if fresh is not None:
                stages += self._runs(operation, fresh, spots)
        return stages

    def _copy(self, source: StoreTensor, target: StoreTensor) -> Stage:
        """A job that copies words within the store."""
        limits = Requantise() if target.signed else Requantise(lo=0, hi=255)
        job = JobBuilder(self._place.config).gather(target, [Source(tensor=source)], finish=limits)
        step = Step(descriptor=Descriptor.of_job(job), reads=(_span(source, None),), writes=(_span(target, None),))
        return Stage(jobs=[step])

    def _runs(self, operation: Operation, tile: Tile, spots: Mapping[Buffer, _Spot]) -> Iterator[Stage]:
        """Table entries and jobs of a tile, for as many channels at a time as the table has room for."""
        shape = self._place.whole(operation.over).shape
        for channels in self._channels(operation, shape[1]):
            stage = Stage()
            tables = self._tables(operation, channels, stage)
            for part in self._parts(operation, tile):
                self._jobs(operation, part, channels, tables, spots, stage)
                yield stage
                stage = Stage()

    def _jobs(
        self,
        operation: Operation,
        tile: Tile,
        channels: tuple[int, int],
        tables: Mapping[str, int],
        spots: Mapping[Buffer, _Spot],
        stage: Stage,
    ) -> None:
        """Add the jobs of a tile, or a part of it, for some channels to a stage."""
        schedule, name = self._schedule, operation.over
        operands = {
            operand.name: self._view(operand.name, schedule.reached(operation, operand, tile), spots)
            for operand in operation.operands
        }
        out, _ = self._view(name, tile, spots)
        mask = None if operation.mask is None else spots[Mask(operation.mask)]
        reads, writes = self._touched(operation, tile, channels, spots)
        constants = tuple(Span(Space.TABLE, at, at + channels[1] - channels[0]) for at in tables.values())
        setting = Setting(
            part=Part(shape=self._place.whole(name).shape, image=tile.image, row=tile.row, channels=channels),
            out=out,
            operands=operands,
            mask=None if mask is None else (mask.base, mask.stride),
            tables=tables,
            blocks=tile.blocks,
        )
        for job in self._program.jobs(operation, setting):
            step = Step(
                descriptor=self._descriptor(operation, job),
                reads=(*reads, *constants),
                writes=writes,
                number=self._made,
            )
            stage.jobs.append(step)
            self._made += 1

    def _parts(self, operation: Operation, tile: Tile) -> list[Tile]:
        """The parts of a tile whose jobs may run beside each other's: with two slots the images of a layer."""
        apart = self._two_slots and isinstance(operation.item, Layer) and operation.mask is None
        if not apart or tile.images == 1:
            return [tile]
        return [replace(tile, image=tile.image + image, images=1) for image in range(tile.images)]

    def _touched(
        self, operation: Operation, tile: Tile, channels: tuple[int, int], spots: Mapping[Buffer, _Spot]
    ) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """What jobs of a part of an operation read of the store and what they write."""
        results, mask = written((operation,)), None if operation.mask is None else Mask(operation.mask)
        touched: set[Buffer] = {*(operand.name for operand in operation.operands), *results}
        spans: dict[Buffer, Span] = {buffer: spots[buffer].span for buffer in touched}
        if mask is not None:
            spans[mask] = spots[mask].span
        if isinstance(operation.item, Layer) and operation.result is not None:
            # A channel of these is made of the same channel of what they read.
            channelwise = not isinstance(operation.item, Convolution) or runs_depthwise(operation.item)
            for operand in operation.operands:
                view, _ = self._view(operand.name, self._schedule.reached(operation, operand, tile), spots)
                spans[operand.name] = _span(view, channels if channelwise else None)
            view, _ = self._view(operation.result, tile, spots)
            spans[operation.result] = _span(view, channels)
        reads = tuple(span for buffer, span in spans.items() if buffer not in results)
        writes = tuple(span for buffer, span in spans.items() if buffer in results)
        return reads, writes

    def _view(self, name: str, needed: Tile, spots: Mapping[Buffer, _Spot]) -> tuple[StoreTensor, int]:
        """A part of a tensor where it lies, and its first row."""
        spot, whole = spots[name], self._place.whole(name)
        there = spot.piece.tile
        assert there is not None
        _, c, _, w = whole.shape
        base = spot.base + ((needed.image - there.image) * whole.shape[2] + needed.row - there.row) * w
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

    def _channels(self, operation: Operation, channels: int) -> list[tuple[int, int]]:
        """The ranges of channels for which an operation's constants fit half of the table: the other half is what the
        one before it uses."""
        room, config, tables = channels, self._place.config, len(operation.tables)
        if tables and not self._place.table_resident:
            if tables * BLOCK > config.table_channels:
                raise CapacityError(
                    f"{operation.name} needs {tables * BLOCK} table entries at once, {config.name} has "
                    f"{config.table_channels}: raise table_channels"
                )
            most = max(config.table_channels // 2 // tables // BLOCK, 1)
            ranges = -(-blocks(channels) // most)
            room = -(-blocks(channels) // ranges) * BLOCK
        return [(first, min(first + room, channels)) for first in range(0, channels, room)]

    def _tables(self, operation: Operation, channels: tuple[int, int], stage: Stage) -> dict[str, int]:
        """First table entries of an operation's constants for a range of channels; what brings them there becomes part
        of its stage."""
        place, (first, end) = self._place, channels
        if place.table_resident:
            return {name: place.table(name) + first for name in operation.tables}
        trained = {layer.name for layer in place.network.trained}
        places = self._in_table.place([(name, first) for name in operation.tables], end - first)
        for name, (index, new) in zip(operation.tables, places, strict=True):
            if new:
                make = self._biases if name in trained else self._entries
                filled = Span(Space.TABLE, index, index + end - first)
                # Biases are added between jobs: they take rows of MRAM.
                steps = stage.jobs if name in trained else stage.loads
                steps.append(Step(descriptor=make(name, first, end - first, index), writes=(filled,)))
        return {name: index for name, (index, _) in zip(operation.tables, places, strict=True)}

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

    def _brings(self, number: int, buffer: Buffer) -> Iterator[Step]:
        """Bring a whole buffer to where it stays."""
        base, schedule = self._schedule.held(number, buffer), self._schedule
        assert base is not None
        words = schedule.blocks(buffer) * schedule.stride(buffer)
        yield from self._run(Opcode.LOAD, self._address(buffer), base, words)

    def _moves(self, opcode: Opcode, spot: _Spot) -> Iterator[Step]:
        """Move a piece of a buffer to external memory or back."""
        schedule, piece = self._schedule, spot.piece
        stride = schedule.stride(piece.buffer)
        address = self._address(piece.buffer) + WORD_BYTES * (piece.first_block * stride + piece.first)
        if stride == piece.words == spot.stride or piece.blocks == 1:
            yield from self._run(opcode, address, spot.base, piece.blocks * piece.words)
        elif piece.words <= _LONGEST:
            yield _transfer(opcode, address, WORD_BYTES * stride, spot.base, spot.stride, piece.words, piece.blocks)
        else:
            for block in range(piece.blocks):
                start = address + WORD_BYTES * block * stride
                yield from self._run(opcode, start, spot.base + block * spot.stride, piece.words)

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


def _span(tensor: StoreTensor, channels: tuple[int, int] | None) -> Span:
    """The words of a tensor in the store, or those of some of its channels."""
    first, end = (0, tensor.shape[1]) if channels is None else channels
    base, rows = tensor.block_base(first // BLOCK), blocks(end) - first // BLOCK
    return Span.of_rows(Space.STORE, base, words=tensor.pixels, pitch=tensor.block_stride, rows=rows)


def _is_job(step: Step) -> bool:
    return step.descriptor.opcode is Opcode.JOB


def _transfer(
    opcode: Opcode, address: int, pitch: int, base: int, base_pitch: int, words: int, rows: int
) -> Step:
    body = {
        "address": address, "pitch": pitch, "base": base, "base_pitch": base_pitch, "words": words, "rows": rows,
    }  # fmt: skip
    first, outer_pitch = address // WORD_BYTES, pitch // WORD_BYTES
    outside = Span.of_rows(Space.EXTERNAL, first, words=words, pitch=outer_pitch, rows=rows)
    inside = Span.of_rows(Space.STORE, base, words=words, pitch=base_pitch, rows=rows)
    source, target = (outside, inside) if opcode is Opcode.LOAD else (inside, outside)
    return Step(descriptor=Descriptor(opcode=opcode, body=body), reads=(source,), writes=(target,))
