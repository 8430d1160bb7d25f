# SPDX-License-Identifier: Apache-2.0
"""The loop nest of a vector job, as both the vector unit and the gather unit walk it."""

from amaranth.hdl import Module, Mux, Shape, Signal, unsigned
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.jobs import VectorJob, VectorMode, VectorSource

RAW_BYTES = 4
"""Words that a RAW job writes for each pixel: the bytes of an int32."""


def group_shape(config: AcceleratorConfig) -> Shape:
    """Index of a group of V channels in a word."""
    return unsigned(max(1, (BLOCK // config.vector_width - 1).bit_length()))


class OutputLoop(Component):
    """Counts through ``for r in repeats: for (n, oy, ox): for byte in 4 or 1: for group of V channels``.

    ``byte`` is the byte of the sum that a RAW job stores; other jobs have one. Counts of a job are 1 or more.

    Latency: a step is done in the next cycle. Throughput: a step a cycle.

    Parameters
    ----------
    config:
        ``vector_width`` channels in a group; an entry holds ``slices`` channels if it is the engine's, else 32.

    Members
    -------
    job: In(VectorJob)
        Held while the loop runs.
    restart: In(1)
        Back to the first step.
    step: In(1)
        To the next one.
    group, byte: Out
        The group of channels within the entry, and the byte.
    group_last, pixel_last, row_last, image_last, repeat_last, last: Out(1)
        This step is the last one of the groups, of the pixel (all bytes), of a row of pixels, of an image, of a repeat,
        of the job. Each implies those before it.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "job": In(VectorJob),
            "restart": In(1),
            "step": In(1),
            "group": Out(group_shape(config)),
            "byte": Out(range(RAW_BYTES)),
            "group_last": Out(1),
            "pixel_last": Out(1),
            "row_last": Out(1),
            "image_last": Out(1),
            "repeat_last": Out(1),
            "last": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        job, config = self.job, self._config
        engine_groups = config.slices // config.vector_width
        groups = Mux(job.source == VectorSource.ENGINE, engine_groups, BLOCK // config.vector_width)
        raw_bytes = Mux(job.mode == VectorMode.RAW, RAW_BYTES, 1)
        column, row, image, repeat = (
            Signal.like(field, name=name)
            for name, field in (("column", job.ow), ("row", job.oh), ("image", job.n), ("repeat", job.repeats))
        )
        ended = self.step
        for counter, count, last, outer in (
            (self.group, groups, self.group_last, 1),
            (self.byte, raw_bytes, self.pixel_last, self.group_last),
            (column, job.ow, self.row_last, self.pixel_last),
            (row, job.oh, self.image_last, self.row_last),
            (image, job.n, self.repeat_last, self.image_last),
            (repeat, job.repeats, self.last, self.repeat_last),
        ):
            following = counter + 1
            m.d.comb += last.eq((following == count) & outer)
            with m.If(self.restart | (self.step & last)):
                m.d.sync += counter.eq(0)
            with m.Elif(ended):
                m.d.sync += counter.eq(following)
            ended = self.step & last
        return m
