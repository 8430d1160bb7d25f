# SPDX-License-Identifier: Apache-2.0
"""Which tensors stay in the store and which live in external memory, and the tiles in which operations run then.

A network that fits the store stays there. Else tensors stay between operations that touch them where there is room
(:mod:`respin.firmware_model.residency`), and are spilled otherwise: an operation runs tile by tile, each with the rows
of its operands that it needs brought into a workspace, and its result taken out of it. A tile is the whole batch, some
whole images, or a band of rows of one. Layers of which one alone reads what the one before it makes run as a chain: a
tile passes all of them, and what lies between them, the wide map of an inverted residual block say, is never whole
anywhere. All here is arithmetic on sizes; the compiler makes descriptors of it.
"""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from respin.firmware_model.geometry import KernelRow
from respin.firmware_model.layout import blocks
from respin.firmware_model.operations import (
    GATHERED_CYCLES,
    Operand,
    Operation,
    Reach,
    Shape,
    geometry,
    runs_depthwise,
)
from respin.firmware_model.residency import Residency, Stay, Touched
from respin.firmware_model.storage import BufferPlan, CapacityError
from respin.golden.network import Convolution, Layer
from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig


@dataclass(frozen=True, slots=True)
class Mask:
    """The buffer of a layer's packed mask."""

    layer: str


Buffer = str | Mask
"""A tensor by its name, or a mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Part of an operation's result: ``images`` whole images, or ``rows`` rows of one; of a gradient what follows from
    some channel ``blocks`` (the first one, how many) of its activations."""

    image: int
    images: int
    row: int
    rows: int
    blocks: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Part of a buffer, the same for each of some channel blocks.

    Parameters
    ----------
    buffer:
        Of what.
    first, words:
        Its first word in a block, and the words of it.
    first_block, blocks:
        The blocks.
    tile:
        The same as images and rows; of a mask None.
    """

    buffer: Buffer
    first: int
    words: int
    first_block: int
    blocks: int
    tile: Tile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How a chain runs.

    Parameters
    ----------
    tiles:
        Of the result of its last operation.
    slots:
        How many of them share the workspace, so that one can be brought in and another one taken out while a third one
        runs.
    base:
        First word of its workspace.
    shared:
        Words of the workspace of each spilled buffer of which all tiles read the same part.
    inner:
        Words of the workspace of each buffer between its operations, in the largest of the tiles.
    outer:
        The same of each other spilled buffer that comes in or goes out; each slot has them.
    apart:
        Each slot has the inner buffers too: on a machine with two job slots one tile's depthwise layer then runs beside
        the dense layers of the tiles next to it.
    first_slot:
        The slot of the first tile.
    """

    tiles: tuple[Tile, ...]
    slots: int
    base: int
    shared: Mapping[Buffer, int]
    inner: Mapping[Buffer, int]
    outer: Mapping[Buffer, int]
    apart: bool = False
    first_slot: int = 0

    @property
    def words(self) -> int:
        """Words of the workspace that it takes."""
        return sum(self.common.values()) + self.slots * sum(self.own.values())

    @property
    def common(self) -> Mapping[Buffer, int]:
        """Words of the buffers of which there is one for all slots."""
        return self.shared if self.apart else {**self.shared, **self.inner}

    @property
    def own(self) -> Mapping[Buffer, int]:
        """Words of the buffers that each slot has."""
        return {**self.inner, **self.outer} if self.apart else self.outer

    def places(self, tile: int) -> dict[Buffer, range]:
        """Return the words of a tile's buffers in the workspace: those that all slots share, then its slot's own."""
        places: dict[Buffer, range] = {}
        first_own = self.base + sum(self.common.values())
        slot = (self.first_slot + tile) % self.slots
        for sizes, start in ((self.common, self.base), (self.own, first_own + slot * sum(self.own.values()))):
            for buffer, words in sizes.items():
                places[buffer] = range(start, start + words)
                start += words
        return places


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a tile of a chain makes of each tensor, and what it need not make as the tile before it did.

    Parameters
    ----------
    made:
        The part of each tensor that the tile has when it is done.
    fresh:
        The part that its jobs make; None where all is there.
    kept:
        The tensor of which rows are taken over from the tile before, and these rows; None where there are none.
    """

    made: Mapping[str, Tile]
    fresh: Mapping[str, Tile | None]
    kept: tuple[str, Tile] | None = None


_JOB_CYCLES, _TRANSFER_CYCLES = 400, 150
"""About how many cycles a job takes beyond those of its pixels, and what a transfer's descriptor takes."""

Chain = tuple[Operation, ...]
"""Operations that run together."""


def written(chain: Chain) -> set[Buffer]:
    """Return the buffers that a chain writes; an edge reads its mask."""
    found: set[Buffer] = {operation.result for operation in chain if operation.result is not None}
    return found | {
        Mask(operation.mask) for operation in chain if operation.mask and operation.mask == operation.result
    }


class Schedule:
    """Plans store and external memory for operations that run in their order.

    Parameters
    ----------
    config:
        ``store_words`` counts.
    operations:
        What runs.
    shapes:
        (N, C, H, W) of every tensor by its name.
    outside:
        Tensors that have a place of their own in external memory.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        operations: Sequence[Operation],
        shapes: Mapping[str, Shape],
        *,
        outside: Collection[str] = (),
    ) -> None:
        self._config = config
        self._shapes = shapes
        self._outside = outside
        self.chains: tuple[Chain, ...] = tuple((operation,) for operation in operations)
        """What runs together, in order."""
        plan = self._plan()
        bases = plan.place()
        self.needed = plan.end(bases)
        """Words of the store that hold all tensors for as long as they are needed."""
        self._joint = frozenset(buffer for buffer in bases if isinstance(buffer, Mask))
        self._stays: dict[Buffer, list[Stay]] = {}
        self._tilings: list[Tiling] = []
        self._offsets: dict[Buffer, int] = {}
        self.spilled_words = 0
        """Words of external memory that spilled tensors take."""
        if self.resident:
            for buffer, base in bases.items():
                times = plan.times(buffer)
                self._stays[buffer] = [Stay(begin=times[0], end=times[-1], base=base)]
            self._tilings = [
                Tiling(tiles=(self._whole(chain),), slots=1, base=0, shared={}, inner={}, outer={})
                for chain in self.chains
            ]
        else:
            self._spill()

    @property
    def resident(self) -> bool:
        """Whether every tensor stays in the store."""
        return self.needed <= self._config.store_words

    def base(self, buffer: Buffer) -> int | None:
        """Return the first word of a buffer of a resident network in the store; None if nothing touches it."""
        stays = self._stays.get(buffer)
        return stays[0].base if stays and self.resident else None

    def held(self, number: int, buffer: Buffer) -> int | None:
        """Return the first word of a buffer that is in the store as a whole while chain ``number`` runs; None if parts
        of it are in the workspace."""
        for stay in self._stays.get(buffer, ()):
            if stay.begin <= number <= stay.end:
                return stay.base
        return None

    def comes(self, number: int) -> list[Buffer]:
        """Return what is brought into the store as a whole for chain ``number``."""
        made = written(self.chains[number])
        return [
            buffer
            for buffer, stays in self._stays.items()
            if buffer not in made and any(stay.begin == number for stay in stays)
        ]

    def leaves(self, buffer: Buffer) -> bool:
        """Return whether a buffer goes to external memory when it is made."""
        return buffer in self._offsets or buffer in self._outside

    def offset(self, buffer: Buffer) -> int:
        """Return the first word of a spilled buffer in external memory."""
        return self._offsets[buffer]

    def tiling(self, number: int) -> Tiling:
        """Return how chain ``number`` runs."""
        return self._tilings[number]

    def stride(self, buffer: Buffer) -> int:
        """Return the words from one channel block of a whole buffer to the next."""
        if isinstance(buffer, Mask):
            n, _, h, w = self._shapes[buffer.layer]
            return -(-n * h * w // PLANES) if buffer in self._joint else n * -(-h * w // PLANES)
        n, _, h, w = self._shapes[buffer]
        return n * h * w

    def blocks(self, buffer: Buffer) -> int:
        """Return the channel blocks of a buffer."""
        return blocks(self._shapes[buffer.layer if isinstance(buffer, Mask) else buffer][1])

    def pieces(self, chain: Chain, tile: Tile) -> tuple[dict[str, Tile], dict[Buffer, Piece]]:
        """Return what a tile of a chain's result touches: the part of each tensor that is made, and the part of each
        buffer that is needed."""
        last = chain[-1]
        made = {last.over: tile}
        found: dict[Buffer, Piece] = {}
        for operation in reversed(chain):
            own = made[operation.over]
            if operation.result is not None:
                found[operation.result] = self._piece(operation.result, own)
            if operation.mask is not None:
                found[Mask(operation.mask)] = self._mask_piece(Mask(operation.mask), own)
            for operand in operation.operands:
                needed = self.reached(operation, operand, own)
                before = found.get(operand.name)
                if before is not None and before.tile is not None:
                    needed = _both(needed, before.tile)
                found[operand.name] = self._piece(operand.name, needed)
                if operand.name != operation.over:
                    made[operand.name] = needed
        return made, found

    def making(self, number: int, count: int) -> Making:
        """Return what the tile of number ``count`` of a chain makes."""
        return self._making(self.chains[number], self._tilings[number], count)

    def _making(self, chain: Chain, tiling: Tiling, count: int) -> Making:
        tile, before = tiling.tiles[count], tiling.tiles[count - 1]
        made, _ = self.pieces(chain, tile)
        fresh: dict[str, Tile | None] = {operation.over: made[operation.over] for operation in chain}
        kept = None
        if not tiling.apart or count == 0 or tile.images > 1 or before.image != tile.image:
            return Making(made=made, fresh=fresh)
        made_before, _ = self.pieces(chain, before)
        for operation in chain:
            name = operation.over
            own, there = made[name], made_before[name]
            rows = min(there.row + there.rows - own.row, own.rows)
            if rows > 0:
                left = replace(own, row=own.row + rows, rows=own.rows - rows)
                fresh[name] = left if left.rows else None
                kept = (name, replace(own, rows=rows))
        return Making(made=made, fresh=fresh, kept=kept)

    def reached(self, operation: Operation, operand: Operand, tile: Tile) -> Tile:
        """Return what a tile of an operation's result needs of an operand."""
        n, _, h, _ = self._shapes[operand.name]
        if operation.whole:
            return Tile(image=0, images=n, row=0, rows=h, blocks=tile.blocks if operand.blockwise else None)
        row, rows = (0, h) if tile.images > 1 else operand.reach.rows(tile.row, tile.rows, h)
        return Tile(image=tile.image, images=tile.images, row=row, rows=rows)

    # Sizes.

    def _words(self, buffer: Buffer) -> int:
        if isinstance(buffer, Mask):
            n, _, h, w = self._shapes[buffer.layer]
            return self.blocks(buffer) * n * -(-h * w // PLANES)
        return self.blocks(buffer) * self.stride(buffer)

    def _piece(self, name: str, tile: Tile) -> Piece:
        _, _, h, w = self._shapes[name]
        first = (tile.image * h + tile.row) * w
        first_block, blocks = tile.blocks or (0, self.blocks(name))
        words = tile.images * tile.rows * w
        return Piece(buffer=name, first=first, words=words, first_block=first_block, blocks=blocks, tile=tile)

    def _mask_piece(self, mask: Mask, tile: Tile) -> Piece:
        n, _, h, w = self._shapes[mask.layer]
        words = -(-tile.images * tile.rows * w // PLANES)
        first = 0 if tile.images == n else tile.image * -(-h * w // PLANES) + tile.row * w // PLANES
        return Piece(buffer=mask, first=first, words=words, first_block=0, blocks=self.blocks(mask), tile=None)

    def _whole(self, chain: Chain) -> Tile:
        last = chain[-1]
        n, _, h, _ = self._shapes[last.over]
        return Tile(image=0, images=n, row=0, rows=h)

    def _tiling(self, chain: Chain, tiles: tuple[Tile, ...], slots: int, found: Collection[Hashable] = ()) -> Tiling:
        """A way to run a chain that finds some buffers in the store as a whole."""
        between = {operation.result for operation in chain[:-1]}
        apart = written(chain)
        shared: dict[Buffer, int] = {}
        inner: dict[Buffer, int] = {}
        outer: dict[Buffer, int] = {}
        first: dict[Buffer, Piece] = {}
        for tile in tiles:
            if tile.image > 0:
                break  # none is larger than those that begin with the first image
            for buffer, piece in self.pieces(chain, tile)[1].items():
                if buffer not in found:
                    sizes = inner if buffer in between else outer
                    sizes[buffer] = max(piece.blocks * piece.words, sizes.get(buffer, 0))
                    if piece != first.setdefault(buffer, piece) or tiles[-1].image > 0:
                        apart.add(buffer)  # tiles read different parts of it
        for buffer in first.keys() - apart - between:
            shared[buffer] = outer.pop(buffer)
        return Tiling(tiles=tiles, slots=slots, base=0, shared=shared, inner=inner, outer=outer)

    def _fitting(self, chain: Chain, found: Collection[Hashable], words: int) -> Tiling:
        """How a chain runs in a workspace of ``words`` words: of the ways that fit the one that takes fewest cycles."""
        kinds = ((1, False), (2, False), (2, True)) if self._config.job_slots == 2 else ((1, False), (2, False))
        ways = [
            tiling
            for tiles in self._cuts(chain)
            for slots, apart in (kinds if len(tiles) > 1 else kinds[:1])
            if (tiling := replace(self._tiling(chain, tiles, slots, found), apart=apart)).words <= words
        ]
        return min(ways, key=lambda tiling: self._cycles(chain, tiling))

    def _cycles(self, chain: Chain, tiling: Tiling) -> int:
        """About how many cycles a chain takes: its jobs, and the transfers during which none of its jobs run."""
        jobs = [0, 0]  # of the dense slot, of the light one
        for tile in range(len(tiling.tiles)):
            making = self._making(chain, tiling, tile)
            if making.kept is not None:
                name, part = making.kept
                jobs[1] += _JOB_CYCLES + GATHERED_CYCLES * self.blocks(name) * part.rows * self._shapes[name][3]
            for operation in chain:
                name = operation.over
                fresh = making.fresh[name]
                if fresh is None:
                    continue
                pixels = fresh.images * fresh.rows * self._shapes[name][3]
                cycles = self._pixel_cycles(operation, self._shapes[name][3])
                jobs[_is_light(operation)] += _JOB_CYCLES + cycles * self.blocks(name) * pixels
        count, word_cycles = len(tiling.tiles), BLOCK * PLANES // self._config.axi_bits
        moved = word_cycles * sum(tiling.outer.values())
        beside = tiling.apart or tiling.tiles[0].images > 1
        together = max(jobs) if beside and self._config.job_slots == 2 else sum(jobs)
        return together + count * len(tiling.outer) * _TRANSFER_CYCLES + moved * (count if tiling.slots == 1 else 1)

    def _pixel_cycles(self, operation: Operation, outputs: int) -> int:
        """About how many cycles 32 channels of a pixel of an operation's result take, of rows of ``outputs``."""
        item = operation.item
        if not isinstance(item, Convolution) or not runs_depthwise(item):
            return operation.pixel_cycles
        shape, config = geometry(item), self._config
        words = KernelRow.fastest(shape, outputs, config.depthwise_taps).words * BLOCK // config.depthwise_lanes
        return max(shape.kh * words, BLOCK // config.vector_width)

    def _least(self, chain: Chain, found: Collection[Hashable] = ()) -> int:
        """Words of the workspace that a chain takes at least."""
        *_, smallest = self._cuts(chain)
        return self._tiling(chain, smallest, 1, found).words

    def _workspace(self, number: int, found: frozenset[Hashable]) -> int:
        """Words of the workspace that chain ``number`` gets at least: half of the store, unless it needs less."""
        chain = self.chains[number]
        whole = self._tiling(chain, (self._whole(chain),), 1, found).words
        half = self._config.store_words // 2
        return whole if whole <= half else min(whole, max(half, self._least(chain, found)))

    # Tiles.

    def _allowed(self, operation: Operation, tile: Tile) -> bool:
        """Whether a tile of several images begins its mask at a whole word in each of them."""
        if operation.mask is None or tile.images == 1:
            return True
        _, _, h, w = self._shapes[operation.mask]
        return Mask(operation.mask) in self._joint or h * w % PLANES == 0

    def _cuts(self, chain: Chain) -> Iterator[tuple[Tile, ...]]:
        """Yield the ways to cut a chain into tiles, the fewest first."""
        operation = chain[-1]
        if operation.whole:
            blocks = max((self.blocks(operand.name) for operand in operation.operands if operand.blockwise), default=1)
            yield (self._whole(chain),)
            for count in range(blocks - 1, 0, -1):
                yield tuple(
                    replace(self._whole(chain), blocks=(block, min(count, blocks - block)))
                    for block in range(0, blocks, count)
                )
            return
        assert operation.result is not None
        n, _, h, w = self._shapes[operation.result]
        for images in range(n, 0, -1):
            tiles = tuple(
                Tile(image=image, images=min(images, n - image), row=0, rows=h) for image in range(0, n, images)
            )
            if all(self._allowed(operation, tile) for tile in tiles):
                yield tiles
        step = operation.row_step
        if operation.mask is not None:
            step = math.lcm(step, PLANES // math.gcd(PLANES, w))  # a band begins at a whole word of the mask
        for rows in range((h - 1) // step * step, 0, -step):
            yield tuple(
                Tile(image=image, images=1, row=row, rows=min(rows, h - row))
                for image in range(n)
                for row in range(0, h, rows)
            )

    # What runs together, what stays and what goes.

    def _plan(self) -> BufferPlan:
        """When each buffer is needed; those between the operations of a chain have no place of their own."""
        plan = BufferPlan()
        for time, chain in enumerate(self.chains):
            between = {operation.result for operation in chain[:-1]}
            for operation in chain:
                named: list[Buffer] = [operand.name for operand in operation.operands]
                named += [] if operation.result is None else [operation.result]
                named += [] if operation.mask is None else [Mask(operation.mask)]
                for buffer in named:
                    if buffer not in between:
                        plan.touch(buffer, self._words(buffer), time)
        return plan

    def _spill(self) -> None:
        store = self._config.store_words
        self._joint = frozenset()
        self.chains = self._chained()
        for chain in self.chains:
            words = self._least(chain)
            if words > store:
                raise CapacityError(
                    f"{chain[-1].name} needs {words} words of the store at once, {self._config.name} has {store}: "
                    "raise store_words, or take a smaller batch"
                )
        masks = {chain: Mask(chain[-1].mask) for chain in self.chains if chain[-1].mask is not None}
        self._joint = frozenset(masks.values())
        plan = self._plan()
        touched = [
            Touched(
                name=buffer,
                words=plan.words(buffer),
                chains=plan.times(buffer),
                made=buffer in written(self.chains[plan.times(buffer)[0]]),
            )
            for buffer in plan.buffers
        ]
        residency = Residency(store, len(self.chains), self._workspace)
        residency.place(touched)
        self._stays = residency.stays
        self._offsets = plan.place([about.name for about in touched if about.made and self._goes(about)])
        self.spilled_words = plan.end(self._offsets)
        self._tilings = self._fitted(residency)
        whole = {
            chain: tiling.tiles == (self._whole(chain),)
            for chain, tiling in zip(self.chains, self._tilings, strict=True)
        }
        self._joint -= {mask for chain, mask in masks.items() if not whole[chain]}
        self._tilings = self._fitted(residency)

    def _goes(self, about: Touched) -> bool:
        """Whether a buffer that is made has to go to external memory, as it does not stay until it is last read."""
        found: dict[Any, list[Stay]] = self._stays
        stays = [(stay.begin, stay.end) for stay in found.get(about.name, ())]
        return about.name not in self._outside and (about.chains[0], about.chains[-1]) not in stays

    def _fitted(self, residency: Residency) -> list[Tiling]:
        """How each chain runs in what is free above the buffers that stay: at that end of it where the one before
        leaves room for what has to come in meanwhile, beginning with the slot that its last tile leaves alone."""
        store, (first, end) = self._config.store_words, (0, 0)
        tilings: list[Tiling] = []
        busy: Collection[range] = ()
        for number, chain in enumerate(self.chains):
            top = residency.top(number)
            tiling = self._fitting(chain, residency.found(number), store - top)
            low, high = top, store - tiling.words
            base = low if min(end, low + tiling.words) - max(first, low) <= end - max(first, high) else high
            first, end = base, base + tiling.words
            ways = [replace(tiling, base=base, first_slot=slot) for slot in range(tiling.slots)]
            tilings.append(min(ways, key=lambda way: _met(way, written(chain), busy)))
            busy = tilings[-1].places(len(tiling.tiles) - 1).values()
        return tilings

    def _chained(self) -> tuple[Chain, ...]:
        """Join each layer to the one before it where that saves taking its operand out and in again.

        A chain ends where a tensor has other readers, leaves the machine, or has a mask; before a layer that makes more
        than it reads; before a second one that needs rows above or below, so that few are made twice, and those by a
        pointwise layer; and where half of the store could not hold the smallest tile.
        """
        readers = Counter(
            name for (operation,) in self.chains for name in {operand.name for operand in operation.operands}
        )
        joined: list[Chain] = []
        for (operation,) in self.chains:
            before = joined[-1] if joined else ()
            if before and self._follows(before, operation, readers):
                joined[-1] = (*before, operation)
            else:
                joined.append((operation,))
        return tuple(joined)

    def _follows(self, chain: Chain, operation: Operation, readers: Mapping[str, int]) -> bool:
        last = chain[-1]
        name, result = last.result, operation.result
        if not isinstance(operation.item, Layer) or name is None or result is None:
            return False
        reaches = [operand.reach != Reach() for member in (*chain, operation) for operand in member.operands]
        return (
            isinstance(last.item, Layer)
            and any(operand.name == name for operand in operation.operands)
            and readers[name] == 1
            and name not in self._outside
            and last.mask is None
            and self._words(result) <= self._words(name)
            and sum(reaches) <= 1
            and self._least((*chain, operation)) <= self._config.store_words // 2
        )


def _is_light(operation: Operation) -> bool:
    """Whether the jobs of an operation take the light one of two slots."""
    item = operation.item
    return isinstance(item, Layer) and (not isinstance(item, Convolution) or runs_depthwise(item))


def _met(tiling: Tiling, results: Collection[Buffer], busy: Collection[range]) -> int:
    """Words that come in for a chain's first tile where something else is busy."""
    comes = [place for buffer, place in tiling.places(0).items() if buffer not in results]
    return sum(max(min(a.stop, b.stop) - max(a.start, b.start), 0) for a in comes for b in busy)


def _both(a: Tile, b: Tile) -> Tile:
    """The rows from the first of two tiles' to the last."""
    row, end = min(a.row, b.row), max(a.row + a.rows, b.row + b.rows)
    return Tile(image=a.image, images=a.images, row=row, rows=end - row)
