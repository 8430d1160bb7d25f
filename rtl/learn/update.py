# SPDX-License-Identifier: Apache-2.0
"""The update unit: from the sums of a weight-gradient pass to rows in MRAM."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import result_layout
from respin.rtl.jobs import EXPONENT, LAYER_LOG2_RATE, ReadJob, UpdateJob
from respin.rtl.learn.row_update import RowUpdate
from respin.rtl.learn.scales import LargestGradient
from respin.rtl.learn.table import TablePort
from respin.rtl.learn.ternary import SEED_BITS, STEP_BITS, TernarySteps, UpdateCommit
from respin.rtl.learn.tile_rows import TileRows
from respin.rtl.mram.ports import ReadRow, WriteRequest, WriteStatus


class UpdateCounters(data.Struct):
    """Event counters of the update unit; they wrap at 2^32.

    ``entries``: gradients of weights and biases. ``moves``: steps other than 0. ``rows_written``: rows read, moved
    and written. ``rows_skipped``: rows without a step, neither read nor written. ``rows_uncorrectable``: rows not
    written because they could not be read. ``rows_failed``: rows whose write was refused or failed.
    """

    entries: unsigned(32)
    moves: unsigned(32)
    rows_written: unsigned(32)
    rows_skipped: unsigned(32)
    rows_uncorrectable: unsigned(32)
    rows_failed: unsigned(32)


class Update(wiring.Component):
    """Measures the gradients of a trained layer, makes ternary steps of them and applies these to its images in MRAM.

    ``u`` and what it follows from: :class:`respin.rtl.learn.ternary.TernarySteps`. Rows:
    :class:`respin.rtl.learn.tile_rows.TileRows`. Writing: :class:`respin.rtl.learn.row_update.RowUpdate`. The next
    tile's gradients, of the next job too, are taken while a tile is written.

    The jobs of a layer (one for each tile that fits the engine's sums) add up in one set of statistics, which a
    commit takes to the table of largest gradients. No job of another layer may come in between.

    Latency: M + 3 cycles from a job to its first sum, ``latency`` cycles from a sum to its step. Throughput:
    ``max(1, M * P * K / 256)`` sums a cycle until both halves of the tile buffer wait for MRAM.

    Parameters
    ----------
    config:
        The accelerator.

    Members
    -------
    seed : In(32)
    step : In(20)
        Of the training run; held while the unit is busy.
    log2_rate, exponent : In
        Of the job that is offered: the layer's learning rate, and the unit of its sums, 2^exponent.
    job : In(stream(UpdateJob))
        A job without steps and bias does nothing.
    commit : In(stream(UpdateCommit))
        Goes before a job that waits, and after one that was taken.
    results : In(stream(result_layout(config)))
    read : Out(stream(ReadJob))
    rows : In(stream(ReadRow))
    write : Out(stream(WriteRequest))
    written : In(stream(WriteStatus))
    host : In(TablePort(LargestGradient))
        Saves and restores the table of largest gradients.
    counters : Out(UpdateCounters)
    clear_counters : In(1)
    busy : Out(1)
        There is a job, a commit, or a row that is not yet in MRAM.
    error : Out(1)
        High for a cycle where a tensor id has no entry in the table.

    Raises
    ------
    TypeError
        If ``config`` is no AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self._ternary = TernarySteps(config=config)
        self.latency = self._ternary.latency
        super().__init__({
            "seed": In(SEED_BITS),
            "step": In(STEP_BITS),
            "log2_rate": In(LAYER_LOG2_RATE),
            "exponent": In(EXPONENT),
            "job": In(stream.Signature(UpdateJob)),
            "commit": In(stream.Signature(UpdateCommit)),
            "results": In(stream.Signature(result_layout(config))),
            "read": Out(stream.Signature(ReadJob)),
            "rows": In(stream.Signature(ReadRow)),
            "write": Out(stream.Signature(WriteRequest)),
            "written": In(stream.Signature(WriteStatus)),
            "host": In(TablePort(LargestGradient)),
            "counters": Out(UpdateCounters),
            "clear_counters": In(1),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ternary = ternary = self._ternary
        m.submodules.rows = rows = TileRows(config=self.config)
        m.submodules.row_update = row_update = RowUpdate()
        for name in ("commit", "results", "host"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(ternary, name))
        wiring.connect(m, ternary.steps, rows.beats)
        wiring.connect(m, rows.changes, row_update.changes)
        for name in ("read", "rows", "write", "written"):
            wiring.connect(m, getattr(row_update, name), wiring.flipped(getattr(self, name)))
        self._share_job(m, ternary.job, rows.job)

        m.d.comb += [
            ternary.seed.eq(self.seed),
            ternary.step.eq(self.step),
            ternary.log2_rate.eq(self.log2_rate),
            ternary.exponent.eq(self.exponent),
            self.busy.eq(self.job.valid | ~(ternary.idle & rows.idle & row_update.idle)),
            self.error.eq(ternary.error),
        ]
        events = {
            "entries": ternary.entries,
            "moves": ternary.moves,
            "rows_written": row_update.done,
            "rows_skipped": rows.skipped,
            "rows_uncorrectable": row_update.uncorrectable,
            "rows_failed": row_update.failed,
        }
        for name, event in events.items():
            m.d.sync += self.counters[name].eq(self.counters[name] + event)
        with m.If(self.clear_counters):
            m.d.sync += self.counters.eq(0)
        return m

    def _share_job(self, m: Module, *takers: stream.Interface) -> None:
        """Give each job to all ``takers``, each of which may take it before the others do."""
        job = self.job.payload
        work = self.job.valid & ((job.steps != 0) | job.bias)
        taken = Signal(len(takers))
        takes = taken | Cat(taker.ready for taker in takers)
        m.d.comb += self.job.ready.eq(~work | takes.all())
        with m.If(work):
            m.d.sync += taken.eq(Mux(takes.all(), 0, takes))
        for i, taker in enumerate(takers):
            m.d.comb += [taker.payload.eq(job), taker.valid.eq(work & ~taken[i])]
