# SPDX-License-Identifier: Apache-2.0
"""How the handshakes of each component are proven: which of its parts are free, what is assumed, its broken copies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import Component
from catalogue import Break
from properties import before
from stream_rules import ASKS, job_slots, same

from respin.rtl.jobs import Pass

Parts = dict[str, list[Component]]
"""Free parts by their class."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a component is proven.

    ``free``: classes of its parts that are free. ``given`` is assumed besides, of it and of them; ``says`` what.
    ``largest_memory``: the words of the largest memory that is not cut out. With ``apart`` each handshake is judged by
    itself. Of its broken copies the first one goes on as if what it offers were taken at once, where it offers
    something.
    """

    free: tuple[str, ...] = ()
    given: Callable[[Module, Component, Parts], Value] | None = None
    says: str = ""
    configuration: str = "nano"
    largest_memory: int = 32
    breaks: tuple[Break, ...] = ()
    deaf: bool = True
    apart: bool = False
    quick: bool = False


def _no_timeout(m: Module, dut: Component, parts: Parts) -> Value:
    return ~parts["Watchdog"][0].expired


def _ends_loaded(m: Module, dut: Component, parts: Parts) -> Value:
    walk, loading = parts["BlockWalk"][0], Signal()
    with m.If(walk.start):
        m.d.sync += loading.eq(1)
    with m.Elif(walk.go & walk.end):
        m.d.sync += loading.eq(0)
    asks = parts["Fetch"][0].requests.valid
    return ~(dut.job.ready & loading) & ~(walk.start & asks)


def _jobs_end_when_all_is_done(m: Module, dut: Component, parts: Parts) -> Value:
    one = {kind: found[0] for kind, found in parts.items()}
    controls, vectors = parts["JobControl"], parts["VectorUnit"]
    update, front = one["Update"], one["Guard" if "Guard" in one else "MaintainedMemory"]
    of_dense = (one["Engine"].words, one["Engine"].rows, one["GradientFeeder"].window, vectors[0].engine)
    of_update = (update.results, update.rows, update.written)
    of_light = (one["DepthwiseUnit"].words, one["DepthwiseUnit"].rows)
    of_all = [front.read, front.write, dut.row_data, dut.row_written]
    of_all += [share.memory_rows for share in parts.get("RowShare", ())]
    ways = [
        Cat(job.payload.kind, job.valid, control.idle)
        for (job, _), control in zip(job_slots(dut), controls, strict=True)
    ]
    holds = (
        _stays(m, (*of_dense, *of_update), ways[0])
        & _stays(m, of_light, ways[-1])
        & _stays(m, of_all, ways[0] if len(ways) == 1 else _ways_of_rows(dut, parts))
    )
    for control in controls:
        going_on = Cat(control.offer & ~control.taken, control.settle & ~control.settled)
        holds &= (before(m, going_on) & ~Cat(control.offer, control.settle)) == 0
        holds &= ASKS["JobControl"].holds(m, control)
    settles, measures = Cat(control.settle for control in controls), Cat(vector.done for vector in vectors)
    return holds & ~(settles.any() & measures.any())


def _stays(m: Module, streams: Sequence[Value], ways: Value) -> Value:
    """What says where streams go does not change while one of them waits."""
    return ~before(m, Cat(port.valid & ~port.ready for port in streams).any()) | same(m, ways)


def _ways_of_rows(dut: Component, parts: Parts) -> Value:
    """What says where rows go with two job slots."""
    (share,) = parts["RowShare"]
    return Cat(*_no_shared_rows(dut, parts), dut.job.valid | dut.light_job.valid, share.memory.valid, share.idle.all())


def _no_shared_rows(dut: Component, parts: Parts) -> tuple[Value, Value]:
    """The rows are the host's; they are the update's."""
    controls = parts["JobControl"]
    updating = ~controls[0].idle & (dut.job.payload.kind == Pass.GRADIENT)
    return Cat(control.idle for control in controls).all(), updating


def _beside_each_other(m: Module, dut: Component, parts: Parts) -> Value:
    (guard,), (share,), jobs = parts["Guard"], parts["RowShare"], (dut.job, dut.light_job)
    lone = (Pass.LOSS, Pass.GRADIENT, Pass.GRADIENT_RAW)
    alone = [
        job.payload.scaled | job.payload.settle | Cat(job.payload.kind == kind for kind in lone).any() for job in jobs
    ]
    return (
        _jobs_end_when_all_is_done(m, dut, parts)
        & ~(Cat(job.valid for job in jobs).all() & Cat(alone).any())
        & (share.idle.all() | ~Cat(_no_shared_rows(dut, parts)).any())
        & _stays(m, (guard.read, guard.write), Value.cast(dut.regions))
    )


def _undisturbed(m: Module, dut: Component, parts: Parts) -> Value:
    (host,), (machine,) = parts["Host"], parts["SequencedAccelerator"]
    return ~host.regs.soft_reset & ASKS["SequencedAccelerator"].holds(m, machine)


def _turns(m: Module, dut: Component, parts: Parts) -> Value:
    (sequencer,), (keeper,), (memory,) = parts["Sequencer"], parts["Keeper"], parts["Accelerator"]
    asked = {user: user.row_write.valid | user.row_read.valid for user in (sequencer, keeper)}
    waits = Cat(port.valid & ~port.ready for port in (memory.row_written, memory.row_data)).any()
    return (
        ~(~keeper.idle & asked[sequencer])
        & ~(keeper.idle & asked[keeper])
        & (same(m, keeper.idle) | ~before(m, waits))
    )


def _rows_of_one(m: Module, dut: Component, parts: Parts) -> Value:
    (loader,), (scaling,) = parts["Loader"], parts["ScalingRows"]
    waits = Cat(port.valid & ~port.ready for port in (dut.row_written, dut.row_data)).any()
    return (scaling.idle | ~(loader.row_write.valid | loader.row_read.valid)) & (
        same(m, scaling.idle) | ~before(m, waits)
    )


_SEQUENCER = ("Stager", "EdgeState", "Loader", "Storer", "ScalingRows", "TransferQueue", "Watchdog", "Processor")
_ROWS_OF_ONE = (
    "the loader asks for no rows while SAVE or RESTORE is under way, and these neither begin nor end while an answer"
    " waits"
)
_TURNS = "only the one asks for rows whose turn it is, and turns do not change while an answer waits"
_UNITS = (
    *("JobControl", "Window", "VectorUnit", "MaintainedMemory", "Store", "GradientFeeder", "Engine"),
    *("DepthwiseUnit", "Gather", "LossHead", "Update", "DelayedScales", "RangeReader"),
)
_ALL_IS_DONE = (
    "its watchdog ends no job, nothing waits on a stream that is switched when a job begins or ends, and units measure"
    " and count nothing once it is settled or reported"
)
_IDLE_ALONE = Break(
    module="top",
    before="host.valid.eq(self.store_write.valid)",
    after="host.valid.eq(self.store_write.valid & self._idle)",
)


def kind_of(name: str) -> str:
    """The class that a case is of: there may be several, told apart behind a comma."""
    return name.split(",")[0]


CASES = {
    "SkidBuffer": Case(quick=True),
    "ReadArbiter": Case(),
    "BurstSplitter": Case(quick=True),
    "DmaRead": Case(),
    "DmaWrite": Case(),
    "BeatsToWords": Case(),
    "WordsToBeats": Case(),
    "AxiLitePort": Case(quick=True),
    "RegisterFile": Case(),
    "Host": Case(
        free=("DmaRead", "DmaWrite", "BeatsToWords", "WordsToBeats", "ReadArbiter", "RegisterFile"),
        given=lambda m, dut, parts: ~parts["DmaWrite"][0].timed_out,
        says="no write times out",
    ),
    "ErrorLog": Case(free=("SyncFIFO",)),
    "RowWalk": Case(quick=True),
    "RowDecoder": Case(),
    "RowWriter": Case(
        free=("RowCompare",),
        breaks=(
            Break(
                module="mram.writer",
                before="self.requests.ready.eq(self.status.ready)",
                after="self.requests.ready.eq(1)",
            ),
        ),
    ),
    "MramController": Case(
        free=("RowReader", "RowDecoder", "RowWriter", "EventCounters"),
        breaks=(
            Break(
                module="mram.controller",
                before="writer.granted.eq(writer.claim & ~read_first",
                after="writer.granted.eq(~read_first",
            ),
        ),
    ),
    "MaintainedMemory": Case(
        free=("MramController", "ErrorLog"),
        breaks=(Break(module="mram.memory", before="passing | (self._task == _Task.WRITE)", after="passing"),),
    ),
    "Guard": Case(
        configuration="tiny",
        breaks=(Break(module="mram.guard", before="with m.Elif(~self._watch | judged):", after="with m.Else():"),),
    ),
    "Sweep": Case(
        configuration="tiny", free=("Processor", "Watchdog"), given=_no_timeout, says="its watchdog does not end a wait"
    ),
    "Keeper": Case(
        configuration="tiny",
        free=("Sweep",),
        breaks=(
            Break(
                module="mram.keeper",
                before="m.d.sync += self._header_version.eq(word)",
                after="m.d.sync += self._side.eq(~self._side)",
            ),
        ),
    ),
    "Fetch": Case(),
    "RangeReader": Case(free=("Fetch",)),
    "Window": Case(
        free=("Fetch",),
        breaks=(
            Break(
                module="buffer.window",
                before="self._step.eq(~fetch.requests.valid | fetch.requests.ready)",
                after="self._step.eq(1)",
            ),
        ),
    ),
    "Transposer": Case(largest_memory=31, free=("Exchange",)),
    "GradientFeeder": Case(
        free=("Fetch", "Transposer", "SyncFIFOBuffered", "BlockWalk"),
        given=_ends_loaded,
        says="it ends no job before all of it has gone into the transposer, and all its errors were asked for",
    ),
    "BlockWalk": Case(
        deaf=False,
        breaks=(
            Break(
                module="buffer.feeder",
                before="self.present.eq(self.index < left)",
                after="self.present.eq((self.index < left) & self.go)",
            ),
        ),
    ),
    "GroupGather": Case(),
    "Accumulator": Case(),
    "Engine": Case(),
    "DepthwiseUnit": Case(largest_memory=31),
    "WordWriter": Case(),
    "VectorUnit": Case(
        free=("ElementRandom", "Finish", "WordWriter", "QuantiserTable"),
        breaks=(
            Break(
                module="vector.unit",
                before="available | ~fetch.place.valid) & write_ready & mask_ready)",
                after="available | ~fetch.place.valid) & write_ready)",
            ),
        ),
    ),
    "GatherLanes": Case(
        deaf=False,
        breaks=(Break(module="vector.gather_lanes", before="with m.If(self.en & valid):", after="with m.If(valid):"),),
    ),
    "Gather": Case(
        free=("SourceWalker", "GatherLanes"),
        breaks=(Break(module="vector.gather", before="en.eq(~blocked & ~self.starved)", after="en.eq(~blocked)"),),
    ),
    "LossHead": Case(free=("Divider", "RandomLanes")),
    "RandomLanes": Case(
        deaf=False,
        breaks=(Break(module="learn.random", before="with m.If(self.en):", after="with m.If(1):"),),
    ),
    "StepProbability": Case(
        deaf=False,
        breaks=(
            Break(
                module="learn.probability",
                before="with m.If(self.en):\n            m.d.sync += [later",
                after="with m.If(1):\n            m.d.sync += [later",
            ),
        ),
    ),
    "TernarySteps": Case(
        free=("IndexWalk", "RandomLanes", "StepScales", "StepProbability"),
        breaks=(Break(module="learn.ternary", before="likely.en.eq(en)", after="likely.en.eq(1)"),),
    ),
    "TileRows": Case(),
    "RowUpdate": Case(),
    "Update": Case(
        free=("TernarySteps", "TileRows", "RowUpdate"),
        breaks=(Break(module="learn.update", before="work & ~taken[i])", after="work & (taken == 0))"),),
    ),
    "JobControl": Case(),
    "BlockFetch": Case(),
    "Stager": Case(free=("DescriptorCheck",)),
    "Loader": Case(
        breaks=(
            Break(
                module="sequencer.loader",
                before="self.table_write.ready & (half | last_entry)",
                after="(half | last_entry)",
            ),
        ),
    ),
    "Storer": Case(),
    "EdgeState": Case(
        deaf=False,
        breaks=(
            Break(
                module="sequencer.edges",
                before="with m.If(self.resolve):\n                    m.d.sync += [index",
                after="with m.If(self.resolve | self.commit):\n                    m.d.sync += [index",
            ),
        ),
    ),
    "ScalingRows": Case(),
    "Sequencer": Case(free=_SEQUENCER, given=_rows_of_one, says=_ROWS_OF_ONE),
    "DelayedScales": Case(
        largest_memory=64,
        deaf=False,
        breaks=(
            Break(module="learn.table", before="load.en.eq(access & ~port.write)", after="load.en.eq(cleared)"),
        ),
    ),
    "RowShare": Case(configuration="two slots"),
    "JobSlot": Case(configuration="two slots"),
    "Stager, two job slots": Case(configuration="two slots", free=("DescriptorCheck",)),
    "Sequencer, two job slots": Case(
        configuration="two slots",
        free=(*_SEQUENCER, "JobSlot"),
        given=_rows_of_one,
        says=_ROWS_OF_ONE,
    ),
    "Accelerator": Case(
        free=_UNITS,
        apart=True,
        given=_jobs_end_when_all_is_done,
        says=_ALL_IS_DONE,
        breaks=(_IDLE_ALONE,),
    ),
    "Accelerator, two job slots": Case(
        configuration="two slots",
        free=(*_UNITS, "Guard", "RowShare"),
        apart=True,
        given=_beside_each_other,
        says=f"{_ALL_IS_DONE}, jobs with scales, losses and gradients run alone, a job ends after its rows have come,"
        " and the region table holds while a request waits",
        breaks=(_IDLE_ALONE,),
    ),
    "SequencedAccelerator": Case(free=("Sequencer", "Accelerator")),
    "SequencedAccelerator, with a keeper": Case(
        configuration="tiny",
        free=("Sequencer", "Accelerator", "Keeper"),
        given=_turns,
        says=_TURNS,
    ),
    "SequencedAccelerator, two job slots": Case(
        configuration="two slots",
        free=("Sequencer", "Accelerator", "Keeper"),
        given=_turns,
        says=_TURNS,
    ),
    "Machine": Case(
        free=("Host", "SequencedAccelerator"),
        given=_undisturbed,
        says="no soft reset comes, and the DMA ends each command's words with its last one and neither refuses nor"
        " times out",
    ),
}
KINDS = {*map(kind_of, CASES)}
"""Classes of components that are proven."""
