# SPDX-License-Identifier: Apache-2.0
"""Jobs for the operators of a network: what firmware fills in so that the units walk the right loops.

Each function returns jobs as nested mappings of the fields of :class:`respin.rtl.jobs.Job`; absent fields are 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from respin.firmware_model.geometry import Geometry, KernelRow, error_phases
from respin.firmware_model.job_parts import (
    Fields,
    Finish,
    Part,
    Randomness,
    RawTile,
    RoundError,
    Source,
    TrainedImages,
)
from respin.firmware_model.layout import StoreTensor, blocks
from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.jobs import GATHER_SOURCES, Pass, VectorMode, VectorSource

_LEAST_TILE = 64
"""Outputs that a tile has where there are as many: fewer would read rows too often. Half of it with two job slots,
where layers are cut into shorter jobs."""


@dataclass(frozen=True, slots=True)
class JobBuilder:
    """Builds jobs for one configuration."""

    config: AcceleratorConfig
    randomness: Randomness = field(default_factory=Randomness)

    def _job(self, kind: Pass, **parts: Any) -> Fields:
        return {"kind": kind, "seed": self.randomness.seed, "step": self.randomness.step, **parts}

    def _finish(self, out: StoreTensor, source: VectorSource, finish: Finish, part: Part, **walk: int) -> Fields:
        """The vector job of a pass, and what the pass says of its errors."""
        n, channels, h, w = out.shape
        width = self.config.slices if source is VectorSource.ENGINE else BLOCK
        vector = {
            "source": source,
            "n": n,
            "oh": h,
            "ow": w,
            "h": h,
            "w": w,
            "step_y": 1,
            "step_x": 1,
            "repeats": part.repeats(width),
            "base": out.base,
            "block_stride": out.block_stride,
            "channels": channels,
            "channel0": part.channel0,
            "map_h": part.shape[2],
            "index": part.index,
            **finish.fields(out),
            **walk,
        }
        if isinstance(finish, RoundError):
            return {"vector": vector, "tensor": finish.tensor, "scaled": 1, "settle": 1}
        return {"vector": vector}

    def convolution(
        self,
        x: StoreTensor,
        out: StoreTensor,
        *,
        rows: int,
        geometry: Geometry,
        finish: Finish,
        pad: int = 0,
        bits: int = 8,
        part: Part | None = None,
    ) -> Fields:
        """A full convolution of ``x`` with the image at row ``rows``; also an error pass, with the transposed image."""
        part = part or Part(shape=out.shape)
        n, _, oh, ow = out.shape
        positions = (n, oh, ow)
        return self._engine_pass(x, out, rows, geometry, finish, part, pad=pad, bits=bits, positions=positions, walk={})

    def _engine_pass(
        self,
        x: StoreTensor,
        out: StoreTensor,
        rows: int,
        geometry: Geometry,
        finish: Finish,
        part: Part,
        *,
        pad: int,
        bits: int,
        positions: tuple[int, int, int],
        walk: Fields,
    ) -> Fields:
        n, oh, ow = positions
        config = self.config
        items = n * oh * ow
        steps = blocks(x.shape[1]) * geometry.kh * geometry.kw
        repeats = part.repeats(config.slices)
        tile = self._tile(items, steps * repeats)
        rows += part.channel0 * steps
        return self._job(
            Pass.CONVOLUTION,
            window=self._window(x, geometry, (n, oh, ow), steps=steps, tile=tile, repeats=repeats, pad=pad),
            read={"base": rows, "count": steps * config.slices, "tiles": -(-items // tile), "repeats": repeats},
            engine={
                "repeats": repeats,
                "items": items,
                "tile": tile,
                "steps": steps,
                "bits": bits,
                "signed": int(x.signed),
            },
            **self._finish(out, VectorSource.ENGINE, finish, part, tile=tile, oh=oh, ow=ow, **walk),
        )

    def _tile(self, items: int, steps: int) -> int:
        """Outputs of a tile, all about as many, for ``items`` outputs of ``steps`` steps.

        The sums of one tile drain while the next one streams, but for those of the last one: in a short job it is made
        smaller than the memory of sums, so that it drains in a thirty-second of what the job streams.
        """
        config = self.config
        streamed = items * steps * PLANES * config.beats // config.pixels
        drained = config.slices // config.vector_width + 1  # cycles of an output's sums
        least = _LEAST_TILE // config.job_slots
        most = min(config.acc_depth * config.pixels, max(streamed // (32 * drained), least))
        tiles = -(-items // most)
        return min(-(-items // (tiles * config.pixels)) * config.pixels, items)

    def convolution_error(
        self,
        dy: StoreTensor,
        dx: StoreTensor,
        *,
        rows: Sequence[int],
        geometry: Geometry,
        finish: Finish,
        depthwise: bool = False,
        part: Part | None = None,
        dy_row: int = 0,
    ) -> Iterator[Fields]:
        """Errors back through a convolution of ``geometry``: one job per phase of the stride, no inserted zeros.

        ``rows`` are the bases of the phases' transposed images, row-major over (y, x) phases (:func:`error_phases`).
        A band of rows begins at a multiple of the stride; ``dy`` begins at row ``dy_row`` of its map.
        """
        part = part or Part(shape=dx.shape)
        stride, (n, _, band, _) = geometry.stride, dx.shape
        phases = [
            (base, phase)
            for base, phase in zip(rows, error_phases(geometry, *part.shape[2:]), strict=True)
            if phase.y0 < band
        ]
        for number, (base, phase) in enumerate(phases, 1):
            oh, shape = -(-(band - phase.y0) // stride), phase.geometry
            shape = replace(shape, pad_y=shape.pad_y - part.row // stride + dy_row)
            walk = {"step_y": stride, "step_x": stride, "y0": phase.y0, "x0": phase.x0}
            positions = (n, oh, phase.ow)
            if depthwise:
                job = self._depthwise_pass(dy, dx, base, shape, finish, part, pad=0, positions=positions, walk=walk)
            else:
                job = self._engine_pass(
                    dy, dx, base, shape, finish, part, pad=0, bits=8, positions=positions, walk=walk
                )
            # The tensor's largest magnitude is that of all its phases.
            yield job | {"settle": int(number == len(phases))}

    def _window(
        self,
        x: StoreTensor,
        geometry: Geometry,
        positions: tuple[int, int, int],
        *,
        steps: int,
        tile: int,
        repeats: int = 1,
        pad: int = 0,
        **more: int,
    ) -> Fields:
        n, oh, ow = positions
        _, _, h, w = x.shape
        return {
            "base": x.base,
            "block_stride": x.block_stride,
            "n": n,
            "h": h,
            "w": w,
            "oh": oh,
            "ow": ow,
            "kh": geometry.kh,
            "kw": geometry.kw,
            "dilation_x": 1,
            "stride": geometry.stride,
            "pad_y": geometry.pad_y,
            "pad_x": geometry.pad_x,
            "pad": pad & 0xFF,
            "steps": steps,
            "tile": tile,
            "repeats": repeats,
            **more,
        }

    def depthwise(
        self,
        x: StoreTensor,
        out: StoreTensor,
        *,
        rows: int,
        geometry: Geometry,
        finish: Finish,
        pad: int = 0,
        part: Part | None = None,
    ) -> Fields:
        """A depthwise convolution with the image at row ``rows``."""
        part = part or Part(shape=out.shape)
        n, _, oh, ow = out.shape
        return self._depthwise_pass(x, out, rows, geometry, finish, part, pad=pad, positions=(n, oh, ow), walk={})

    def _depthwise_pass(
        self,
        x: StoreTensor,
        out: StoreTensor,
        rows: int,
        geometry: Geometry,
        finish: Finish,
        part: Part,
        *,
        pad: int,
        positions: tuple[int, int, int],
        walk: Fields,
    ) -> Fields:
        n, oh, ow = positions
        row = KernelRow.fastest(geometry, ow, self.config.depthwise_taps)
        rows_of_block = geometry.kh * geometry.kw
        count, block0 = part.repeats(BLOCK), part.channel0 // BLOCK
        window = self._window(
            x,
            replace(geometry, kw=row.words),
            (n, oh, row.columns(ow)),
            steps=geometry.kh * row.words,
            tile=1,
            repeats=count,
            pad=pad,
            advance=1,
            block0=block0,
        )
        return self._job(
            Pass.DEPTHWISE,
            window=window | {"dilation_x": 1 if row.strided else row.taps},
            read={"base": rows + block0 * rows_of_block, "count": rows_of_block, "tiles": 1, "repeats": count},
            depthwise={
                "kw": geometry.kw,
                "taps": row.taps,
                "strided": int(row.strided),
                "signed": int(x.signed),
            },
            **self._finish(out, VectorSource.DEPTHWISE, finish, part, oh=oh, ow=ow, **walk),
        )

    def gather(
        self,
        out: StoreTensor,
        sources: Sequence[Source],
        *,
        finish: Finish,
        wide: bool = False,
        part: Part | None = None,
    ) -> Fields:
        """A gathered sum of up to four tensors, finished into ``out``."""
        job = self._finish(out, VectorSource.GATHER, finish, part or Part(shape=out.shape))
        job["vector"]["unit"] = int(job["vector"]["per_channel"] == 0 and job["vector"]["mult"] == 1)
        operands = [source.fields() for source in sources]
        unused: list[Fields] = [{} for _ in range(GATHER_SOURCES - len(sources))]
        gather = {"count": len(sources), "wide": int(wide), "sources": operands + unused}
        return self._job(Pass.GATHER, gather=gather, **job)

    def loss(
        self,
        logits: StoreTensor,
        errors: StoreTensor,
        labels: int,
        *,
        tensor: int,
        alpha: int,
        on: int,
        off: int,
        stochastic: bool = True,
    ) -> Fields:
        """Softmax cross-entropy of the logits; the label of image ``i`` is in store word ``labels + i``."""
        return self._job(
            Pass.LOSS,
            tensor=tensor,
            loss={
                "base": logits.base,
                "block_stride": logits.block_stride,
                "out": errors.base,
                "out_stride": errors.block_stride,
                "labels": labels,
                "n": logits.shape[0],
                "classes": logits.shape[1],
                "alpha": alpha,
                "on": on,
                "off": off,
                "stochastic": int(stochastic),
            },
        )

    def gradient(
        self,
        x: StoreTensor,
        dy: StoreTensor,
        *,
        geometry: Geometry,
        images: TrainedImages,
        part: tuple[int, int] | None = None,
    ) -> Iterator[Fields]:
        """Weight gradient and update of one layer: a job for each tile that fits the partial-sum memory.

        With ``part`` only what follows from some channel blocks of ``x``, the first one and how many: these alone have
        to lie in the store, the first one at the base of ``x``.
        """
        for o0, step, steps, bias, last in self._gradient_tiles(x, dy, geometry, part):
            job = self._gradient_tile(x, dy, geometry, images, o0, step, steps, bias=bias, last=last)
            if part is not None:
                job["window"] = {**job["window"], "block0": job["window"]["block0"] - part[0]}
            yield job

    def gradient_sums(self, x: StoreTensor, dy: StoreTensor, out: int, *, geometry: Geometry) -> Iterator[RawTile]:
        """The weight gradient as int32, stored at word ``out``, each tile over the one before; no bias."""
        for o0, step, steps, _, _ in self._gradient_tiles(x, dy, geometry):
            items = steps * BLOCK
            job = self._gradient_pass(Pass.GRADIENT_RAW, x, dy, geometry, o0, step, steps, bias=False)
            job["vector"] = {
                "source": VectorSource.ENGINE,
                "mode": VectorMode.RAW,
                "n": 1,
                "oh": 1,
                "ow": items,
                "h": 1,
                "w": items,
                "step_y": 1,
                "step_x": 1,
                "repeats": 1,
                "base": out,
                "block_stride": items,
                "raw_stride": items,
                "channels": self.config.slices,
                "tile": items,
            }
            yield RawTile(job=job, base=out, o0=o0, first=step, steps=steps)

    def _gradient_tiles(
        self, x: StoreTensor, dy: StoreTensor, geometry: Geometry, part: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, int, int, bool, bool]]:
        """Tiles as (first output, first step, steps, with the bias, last of the layer).

        A tile's sums, 32 a step and one for the bias, stay on chip until they are reduced.
        """
        capacity = self.config.acc_depth * self.config.pixels
        taps = geometry.kh * geometry.kw
        total = blocks(x.shape[1]) * taps
        first, count = part or (0, blocks(x.shape[1]))
        end = (first + count) * taps
        outputs = dy.shape[1]
        for o0 in range(0, outputs, self.config.slices):
            step = first * taps
            while step < end:
                steps = min(end - step, capacity // BLOCK)
                if step + steps == total and steps * BLOCK == capacity:
                    steps -= 1
                bias = step + steps == total
                yield o0, step, steps, bias, bias and o0 + self.config.slices >= outputs
                step += steps

    def _gradient_tile(
        self,
        x: StoreTensor,
        dy: StoreTensor,
        geometry: Geometry,
        images: TrainedImages,
        o0: int,
        step: int,
        steps: int,
        *,
        bias: bool,
        last: bool,
    ) -> Fields:
        job = self._gradient_pass(Pass.GRADIENT, x, dy, geometry, o0, step, steps, bias=bias)
        update = self._update(x.shape[1], dy.shape[1], geometry, images, o0, step)
        return job | {
            "settle": int(last),
            "update": {**update, "steps": steps, "bias": int(bias)},
        }

    def _gradient_pass(
        self,
        kind: Pass,
        x: StoreTensor,
        dy: StoreTensor,
        geometry: Geometry,
        o0: int,
        step: int,
        steps: int,
        *,
        bias: bool,
    ) -> Fields:
        """Errors and activations through the engine: a sum for each of M outputs and 32 inputs of each step."""
        n, _, oh, ow = dy.shape
        pixels = n * oh * ow
        block, tap = divmod(step, geometry.kh * geometry.kw)
        items = steps * BLOCK + bias
        first = {"block0": block, "ky0": tap // geometry.kw, "kx0": tap % geometry.kw, "steps": steps}
        return self._job(
            kind,
            window=self._window(x, geometry, (n, oh, ow), tile=BLOCK, **first),
            feed={
                "base": dy.block_base(o0 // BLOCK),
                "pixels": pixels,
                "lane0": o0 % BLOCK,
                "steps": steps,
                "bias": int(bias),
            },
            engine={
                "repeats": 1,
                "items": items,
                "tile": items,
                "steps": -(-pixels // BLOCK),
                "bits": 8,
                "signed": int(x.signed),
            },
        )

    def _update(
        self, inputs: int, outputs: int, geometry: Geometry, images: TrainedImages, o0: int, step: int
    ) -> Fields:
        """Where a gradient tile's weights lie, in rows and as elements of their tensor."""
        slices, taps = self.config.slices, geometry.kh * geometry.kw
        group_in, group_out = inputs // images.groups, outputs // images.groups
        block, tap = divmod(step, taps)
        k0, o_group = block * BLOCK, o0 // group_out
        stride = blocks(outputs) * taps * slices
        transposed = 0
        if images.transposed is not None:
            transposed = images.transposed + k0 // slices * stride + (o0 // BLOCK * taps + taps - 1 - tap) * slices
        return {
            "base": images.base + (o0 // slices * blocks(inputs) * taps + step) * slices,
            "transposed": int(images.transposed is not None),
            "transposed_base": transposed,
            "transposed_stride": stride,
            "bias_base": images.bias + o0 // BLOCK,
            "taps": taps,
            "tap0": tap,
            "o0": o0,
            "outputs": outputs,
            "index": (o0 - o_group) * group_in * taps + k0 * taps,
            "index_stride": group_in * taps,
            "group_out": group_out,
            "o_group": o_group,
            "o_offset": o0 % group_out,
            "group_in": group_in,
            "k_group": k0 // group_in,
            "k_offset": k0 % group_in,
            "tensor": images.tensor,
            "bias_tensor": images.bias_tensor,
            "apply": 1,
            "bias_apply": 1,
        }
