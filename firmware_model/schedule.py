# SPDX-License-Identifier: Apache-2.0
"""Which tensors stay in the store and which live in external memory, and the tiles in which operations run then.

A network that fits the store stays there. Else part of the store becomes a workspace, the smallest tensors get the
rest, and the others are spilled: an operation runs tile by tile, each with the rows of its operands that it needs
brought into the workspace, and its result taken out of it. A tile is the whole batch, some whole images, or a band of
rows of one. All here is arithmetic on sizes; the compiler makes descriptors of it.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from respin.firmware_model.layout import blocks
from respin.firmware_model.operations import Operand, Operation, Shape
from respin.firmware_model.storage import BufferPlan, CapacityError
from respin.rtl.config import PLANES, AcceleratorConfig


@dataclass(frozen=True, slots=True)
class Mask:
    """The buffer of a layer's packed mask."""

    layer: str


Buffer = str | Mask
"""A tensor by its name, or a mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Part of an operation's result: ``images`` whole images, or ``rows`` rows of one."""

    image: int
    images: int
    row: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Part of a buffer, the same for each channel block.

    Parameters
    ----------
    buffer:
        Of what.
    first, words:
        Its first word in a block, and the words of it.
    tile:
        The same as images and rows; of a mask None.
    """

    buffer: Buffer
    first: int
    words: int
    tile: Tile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How an operation runs: its tiles, and how many of them share the workspace, so that one can be brought in and
    another one taken out while a third one runs."""

    tiles: tuple[Tile, ...]
    slots: int


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
        self._operations = operations
        plan = BufferPlan()
        for time, operation in enumerate(operations):
            for buffer in self.buffers(operation):
                plan.touch(buffer, self._words(buffer), time)
        self._bases = plan.place()
        self.needed = plan.end(self._bases)
        """Words of the store that hold all tensors for as long as they are needed."""
        self.workspace = (0, 0)
        """First word and words of the workspace; none if nothing is spilled."""
        self._outside: dict[Buffer, int] = {}
        self.spilled_words = 0
        """Words of external memory that spilled tensors take."""
        self._joint: frozenset[Mask] = frozenset(mask for mask in self._bases if isinstance(mask, Mask))
        self._spill(plan, outside)

    @property
    def resident(self) -> bool:
        """Whether every tensor stays in the store."""
        return self.needed <= self._config.store_words

    def base(self, buffer: Buffer) -> int | None:
        """Return the first word of a buffer in the store; None if it is spilled, or nothing touches it."""
        return self._bases.get(buffer)

    def offset(self, buffer: Buffer) -> int:
        """Return the first word of a spilled buffer in external memory."""
        return self._outside[buffer]

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

    @staticmethod
    def buffers(operation: Operation) -> list[Buffer]:
        """Return what an operation touches, each once."""
        named: list[Buffer] = [operand.name for operand in operation.operands]
        if operation.result is not None:
            named.append(operation.result)
        if operation.mask is not None:
            named.append(Mask(operation.mask))
        return list(dict.fromkeys(named))

    def pieces(self, operation: Operation, tile: Tile) -> list[Piece]:
        """Return the parts of an operation's buffers that a tile of it touches, each buffer once."""
        found: dict[Buffer, Piece] = {}
        for operand in operation.operands:
            reached = self._reached(operation, operand, tile)
            found.setdefault(operand.name, self._piece(operand.name, reached))
        if operation.result is not None:
            found[operation.result] = self._piece(operation.result, tile)
        if operation.mask is not None:
            mask = Mask(operation.mask)
            found[mask] = self._mask_piece(mask, tile)
        return list(found.values())

    def tiling(self, operation: Operation) -> Tiling:
        """Return how an operation runs."""
        if self.resident:
            return Tiling(tiles=(self._whole(operation),), slots=1)
        _, words = self.workspace
        whole = self._whole(operation)
        if self._footprint(operation, (whole,)) <= words and self._allowed(operation, whole):
            return Tiling(tiles=(whole,), slots=1)
        for slots in (2, 1):
            for tiles in self._cuts(operation):
                if self._footprint(operation, tiles) <= words // slots:
                    return Tiling(tiles=tiles, slots=slots)
        raise AssertionError(f"{operation.name} fits no workspace of {words} words")

    # Sizes.

    def _words(self, buffer: Buffer) -> int:
        if isinstance(buffer, Mask):
            n, _, h, w = self._shapes[buffer.layer]
            return self.blocks(buffer) * n * -(-h * w // PLANES)
        return self.blocks(buffer) * self.stride(buffer)

    def _piece(self, name: str, tile: Tile) -> Piece:
        _, _, h, w = self._shapes[name]
        first = (tile.image * h + tile.row) * w
        return Piece(buffer=name, first=first, words=tile.images * tile.rows * w, tile=tile)

    def _mask_piece(self, mask: Mask, tile: Tile) -> Piece:
        n, _, h, w = self._shapes[mask.layer]
        words = -(-tile.images * tile.rows * w // PLANES)
        first = 0 if tile.images == n else tile.image * -(-h * w // PLANES) + tile.row * w // PLANES
        return Piece(buffer=mask, first=first, words=words, tile=None)

    def _reached(self, operation: Operation, operand: Operand, tile: Tile) -> Tile:
        """What a tile of the result needs of an operand."""
        n, _, h, _ = self._shapes[operand.name]
        if operation.whole:
            return Tile(image=0, images=n, row=0, rows=h)
        row, rows = (0, h) if tile.images > 1 else operand.reach.rows(tile.row, tile.rows, h)
        return Tile(image=tile.image, images=tile.images, row=row, rows=rows)

    def _whole(self, operation: Operation) -> Tile:
        n, _, h, _ = self._shapes[operation.result or operation.operands[0].name]
        return Tile(image=0, images=n, row=0, rows=h)

    def sizes(self, operation: Operation, tiles: Sequence[Tile]) -> dict[Buffer, int]:
        """Return the words of the workspace that each spilled buffer of an operation takes in the largest of tiles."""
        sizes: dict[Buffer, int] = {}
        for tile in tiles:
            for piece in self.pieces(operation, tile):
                if piece.buffer not in self._bases:
                    words = self.blocks(piece.buffer) * piece.words
                    sizes[piece.buffer] = max(words, sizes.get(piece.buffer, 0))
        return sizes

    def _footprint(self, operation: Operation, tiles: Sequence[Tile]) -> int:
        return sum(self.sizes(operation, tiles).values())

    # Tiles.

    def _allowed(self, operation: Operation, tile: Tile) -> bool:
        """Whether a tile of several images begins its mask at a whole word in each of them."""
        if operation.mask is None or tile.images == 1:
            return True
        _, _, h, w = self._shapes[operation.mask]
        return Mask(operation.mask) in self._joint or h * w % PLANES == 0

    def _cuts(self, operation: Operation) -> Iterator[tuple[Tile, ...]]:
        """Yield the ways to cut an operation into tiles, the fewest first."""
        if operation.whole:
            yield (self._whole(operation),)
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

    # What stays and what goes.

    def _spill(self, plan: BufferPlan, outside: Collection[str]) -> None:
        if self.resident:
            return
        self._bases = {}
        store = self._config.store_words
        least = 0
        self._joint = frozenset()
        for operation in self._operations:
            words = min(self._footprint(operation, tiles) for tiles in self._cuts(operation))
            if words > store:
                raise CapacityError(
                    f"{operation.name} needs {words} words of the store at once, {self._config.name} has {store}: "
                    "raise store_words, or take a smaller batch"
                )
            least = max(least, words)
        words = max(least, store // 2)
        self.workspace = (store - words, words)
        self._bases = plan.place_smallest(store - words)
        spilled = [buffer for buffer in plan.buffers if buffer not in self._bases and buffer not in outside]
        places = plan.place(spilled)
        self._outside, self.spilled_words = places, plan.end(places)
        self._joint = self._joint_masks()

    def _joint_masks(self) -> frozenset[Mask]:
        """Masks of which every operation that touches them makes the whole batch in one tile: they are packed over all
        images, the others over each."""
        masks = {Mask(operation.mask) for operation in self._operations if operation.mask is not None}
        self._joint = frozenset(masks)
        cut = {
            Mask(operation.mask)
            for operation in self._operations
            if operation.mask is not None
            and self._footprint(operation, (self._whole(operation),)) > self.workspace[1]
        }
        return frozenset(masks - cut)
