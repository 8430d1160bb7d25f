# SPDX-License-Identifier: Apache-2.0
"""The check of descriptors: jobs of every pass pass it, and with fields changed it says what a model in Python says."""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from amaranth.sim import Simulator, SimulatorContext
from descriptor_model import DescriptorModel

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import Requantise, RoundError, Source, TrainedImages
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.firmware_model.structures import from_bits, leaves
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.jobs import Pass
from respin.rtl.sequencer.check import DescriptorCheck
from respin.rtl.sequencer.descriptor import BODIES, DESCRIPTOR, JOB_PARTS, Header, Opcode
from respin.rtl.sequencer.errors import ErrorCode, Problem
from respin.rtl.sequencer.scaling import scaling_rows

SEED = int(os.environ.get("RESPIN_SEED", "1"))
ROWS = range(16, 600)
MUTATIONS = 600
LONGEST = 4000
"""Cycles that no check may take."""
WIDE = replace(preset("tiny"), name="wide", pixels=4)


def tensors(*shapes: tuple[int, int, int, int], signed: bool = True) -> list[StoreTensor]:
    """Tensors one behind the other."""
    placed, base = [], 0
    for shape in shapes:
        placed.append(StoreTensor(base, shape, signed))
        base += placed[-1].words
    return placed


def samples(config: AcceleratorConfig) -> list[Descriptor]:
    """Descriptors of every kind, all good, none of which leaves an edge open."""
    build = JobBuilder(config)
    x, y, z = tensors((2, 40, 5, 5), (2, 12, 5, 5), (2, 12, 5, 5))
    geometry = Geometry(kh=3, kw=3, pad_y=1, pad_x=1)
    wide, strided = Geometry(kh=3, kw=5, pad_y=1, pad_x=2), Geometry(kh=3, kw=3, stride=2, pad_y=1, pad_x=1)
    table, error = Requantise(table=64, mask=600), RoundError(tensor=5, table=32, mask=600)
    images = TrainedImages(base=16, transposed=304, bias=595, tensor=20, bias_tensor=21)
    narrow, = tensors((2, 8, 4, 4))
    gradient = [*build.gradient(narrow, StoreTensor(200, (2, 8, 4, 4), True), geometry=geometry, images=images)]
    edge = {"flags": ("edge", "first", "last"), "sources": (3,)}
    logits, errors = tensors((3, 40, 1, 1), (3, 40, 1, 1))
    operands = [Source(tensor=y, mult=7), Source(tensor=z, table=96, y=(1, 2, 0, 0))]
    jobs = [
        Descriptor.of_job(build.convolution(x, y, rows=0, geometry=geometry, finish=table)),
        Descriptor.of_job(build.convolution(x, y, rows=0, geometry=geometry, finish=error), fraction=3, **edge),
        Descriptor.of_job(build.depthwise(y, z, rows=3, geometry=geometry, finish=table)),
        Descriptor.of_job(build.gather(x, [Source(tensor=x)], finish=Requantise())),
        Descriptor.of_job(
            build.gather(y, operands, finish=RoundError(tensor=9), wide=True),
            flags=("edge", "first", "last", "fan_in"), sources=(4, 6),
        ),
        Descriptor.of_job(build.loss(logits, errors, 20, tensor=4, alpha=100, on=32768, off=0)),
        *(
            Descriptor.of_job(build.depthwise(y, smaller, rows=3, geometry=shape, finish=Requantise(table=64)))
            for smaller, shape in ((z, wide), (StoreTensor(z.base, (2, 12, 3, 3), True), strided))
        ),
        *(Descriptor.of_job(job, flags=("last",) if job["settle"] else (), sources=(7,)) for job in gradient),
        *(Descriptor.of_job(tile.job) for tile in build.gradient_sums(x, y, 500, geometry=Geometry(kh=1, kw=1))),
    ]
    transfer = {"address": 64, "pitch": 320, "base": 8, "base_pitch": 20, "words": 10, "rows": 5}
    return [
        *jobs,
        Descriptor(opcode=Opcode.LOAD, body=transfer),
        Descriptor(opcode=Opcode.STORE, body=transfer, flags=frozenset({"wait"})),
        Descriptor(opcode=Opcode.TABLE, body={"address": 96, "index": 5, "count": 40}),
        Descriptor(opcode=Opcode.BIASES, body={"address": 96, "index": 64, "count": 40, "row": 30, "shift": 4}),
        Descriptor(opcode=Opcode.ROWS, body={"address": 96, "row": 20, "count": 40}),
        Descriptor(opcode=Opcode.SAVE, body={"row": 21, "count": scaling_rows(config)}),
        Descriptor(opcode=Opcode.RESTORE, body={"row": 3, "count": scaling_rows(config)}),
        Descriptor(opcode=Opcode.BARRIER),
    ]


class Checker:
    """A check in the simulator."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        self.dut = DescriptorCheck(config=config)
        self.longest = 0

    async def check(self, ctx: SimulatorContext, bits: int, *, last: bool = False) -> tuple[ErrorCode, int]:
        dut = self.dut
        ctx.set(dut.descriptor.as_value(), bits)
        ctx.set(dut.last, last)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        cycles = 1
        while not ctx.get(dut.done):
            await ctx.tick()
            cycles += 1
            assert cycles < LONGEST, "the check does not end"
        self.longest = max(self.longest, cycles)
        return ctx.get(dut.error), ctx.get(dut.info)

    async def restart(self, ctx: SimulatorContext) -> None:
        ctx.set(self.dut.restart, 1)
        await ctx.tick()
        ctx.set(self.dut.restart, 0)

    def let_write(self, ctx: SimulatorContext, rows: range) -> None:
        ctx.set(self.dut.row_first, rows.start)
        ctx.set(self.dut.row_end, rows.stop)

    def run(self, bench: Callable[[SimulatorContext], Any]) -> None:
        async def bounded(ctx: SimulatorContext) -> None:
            self.let_write(ctx, ROWS)
            await bench(ctx)

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bounded)
        simulator.run()


def mutate(descriptor: int, opcode: Opcode, rng: random.Random) -> int:
    """One or two fields of the descriptor changed: a little, by a bit, or to anything."""
    places = [(name, low, width) for name, low, width in leaves(Header) if name not in ("magic", "reserved")]
    if opcode in BODIES:
        field = DESCRIPTOR[BODIES[opcode]]
        bodies = [(name, low + field.offset, width) for name, low, width in leaves(field.shape)]
        # Fields that are set are the ones that count.
        counted = [place for place in bodies if descriptor >> place[1] & ((1 << place[2]) - 1)]
        places = counted * 4 + bodies + places
    for _ in range(rng.choice([1, 1, 2])):
        _, low, width = rng.choice(places)
        mask = (1 << width) - 1
        value = descriptor >> low & mask
        value = rng.choice([value + 1, value - 1, value ^ 1 << rng.randrange(width), rng.getrandbits(width), 0, mask])
        descriptor = descriptor & ~(mask << low) | (value & mask) << low
    return descriptor


@pytest.mark.parametrize("config", [preset("tiny"), WIDE, preset("default")], ids=lambda config: config.name)
def test_fields_changed_are_judged_as_the_model_does(config: AcceleratorConfig) -> None:
    checker, rng = Checker(config), random.Random(f"{SEED} {config.name}")
    good = [(descriptor.opcode, int.from_bytes(descriptor.pack(), "little")) for descriptor in samples(config)]
    refused: dict[str, int] = {}

    async def bench(ctx: SimulatorContext) -> None:
        model = DescriptorModel(config, ROWS)
        for opcode, bits in good:
            assert model.judge(from_bits(DESCRIPTOR, bits), last=False) == "", opcode
            assert await checker.check(ctx, bits) == (ErrorCode.NONE, 0), opcode
        for number in range(MUTATIONS):
            start = rng.randrange(config.usable_rows)
            rows = rng.choice([ROWS, ROWS, ROWS, range(start, start)])
            model = DescriptorModel(config, rows)
            checker.let_write(ctx, rows)
            await checker.restart(ctx)
            opcode, bits = good[number % len(good)]
            bits = mutate(bits, opcode, rng)
            why = model.judge(from_bits(DESCRIPTOR, bits), last=False)
            error, info = await checker.check(ctx, bits)
            shown = from_bits(DESCRIPTOR, bits)
            body = shown[BODIES[opcode]] if opcode in BODIES else ""
            assert (error != ErrorCode.NONE) == bool(why), (why, error, info, shown["header"], body)
            refused[why] = refused.get(why, 0) + 1

    checker.run(bench)
    # What is rarer is in the tests below.
    kinds = {"", "opcode", "flags", "count", "limit", "agreement", "store", "rows", "external"}
    assert kinds <= refused.keys(), f"nothing was refused for {kinds - refused.keys()}"


def test_every_leaf_of_a_job_is_packed() -> None:
    """The body is the job's parts, bit for bit."""
    names = [name for name, _, _ in leaves(JOB_PARTS)]
    assert len(names) == len(set(names))
    for name, low, width in leaves(JOB_PARTS):
        bits = ((1 << width) - 1) << low
        assert [leaf for leaf, at, size in leaves(JOB_PARTS) if bits >> at & ((1 << size) - 1)] == [name]


def test_problems_have_their_names() -> None:
    config = preset("tiny")
    checker = Checker(config)
    convolution, edge, depthwise, gather, fan_in, loss, *rest = samples(config)
    gradient = next(descriptor for descriptor in rest if descriptor.kind.name == "GRADIENT")
    load, table, rows, save, restore = (
        next(descriptor for descriptor in rest if descriptor.opcode is opcode)
        for opcode in (Opcode.LOAD, Opcode.TABLE, Opcode.ROWS, Opcode.SAVE, Opcode.RESTORE)
    )

    def changed(descriptor: Descriptor, part: str, **fields: int) -> Descriptor:
        body = {**descriptor.body, part: {**descriptor.body[part], **fields}} if part else {**descriptor.body, **fields}
        return replace(descriptor, body=body)

    cases = [
        (replace(load, flags=frozenset({"first"})), Problem.FLAGS),
        *((replace(alone, beside=1), Problem.FLAGS) for alone in (edge, fan_in, loss, gradient, rows, convolution)),
        (replace(save, beside=1), Problem.FLAGS),
        (replace(depthwise, beside=2), Problem.FLAGS),
        (replace(edge, flags=frozenset({"edge"})), Problem.ORDER),
        (Descriptor(opcode=Opcode.END), Problem.ORDER),
        (replace(edge, tensor=64), Problem.TENSOR),
        (replace(fan_in, sources=(4,)), Problem.TENSOR),
        (replace(edge, sources=()), Problem.TENSOR),
        (changed(convolution, "vector", source=2), Problem.KIND),
        (changed(depthwise, "read", repeats=0), Problem.COUNT),
        (changed(gather, "gather", count=0), Problem.COUNT),
        (changed(loss, "loss", classes=1025), Problem.LIMIT),
        (changed(depthwise, "depthwise", taps=config.depthwise_taps + 1), Problem.LIMIT),
        (changed(depthwise, "window", kx0=1, dilation_x=2), Problem.LIMIT),
        (changed(depthwise, "depthwise", kw=4), Problem.AGREEMENT),
        (changed(depthwise, "depthwise", strided=1, kw=2), Problem.AGREEMENT),
        (changed(convolution, "read", count=4), Problem.AGREEMENT),
        (changed(convolution, "read", tiles=2), Problem.AGREEMENT),
        (changed(gradient, "feed", pixels=31), Problem.AGREEMENT),
        (changed(convolution, "vector", base=1000), Problem.STORE),
        (changed(loss, "loss", labels=1022), Problem.STORE),
        (changed(gradient, "update", base=0), Problem.ROWS),
        (changed(gradient, "update", transposed_base=590), Problem.ROWS),
        (changed(rows, "", row=15), Problem.ROWS),
        (changed(save, "", row=15), Problem.ROWS),
        (changed(save, "", row=ROWS.stop - 15), Problem.ROWS),
        (changed(restore, "", row=config.usable_rows - 15), Problem.ROWS),
        *((changed(save, "", count=count), Problem.COUNT) for count in (0, 15, 17)),
        (changed(restore, "", count=17), Problem.COUNT),
        (changed(table, "", index=1000), Problem.TABLE),
        (changed(load, "", address=16), Problem.EXTERNAL),
    ]  # fmt: skip

    async def bench(ctx: SimulatorContext) -> None:
        for number, (descriptor, problem) in enumerate(cases):
            await checker.restart(ctx)
            got = await checker.check(ctx, int.from_bytes(descriptor.pack(), "little"))
            assert got == (ErrorCode.FIELD, problem.value), f"case {number}: {problem} and not {got}"
        for joining in (replace(load, beside=3), replace(convolution, beside=2), replace(depthwise, beside=1)):
            await checker.restart(ctx)
            got = await checker.check(ctx, int.from_bytes(joining.pack(), "little"))
            assert got == (ErrorCode.NONE, 0)
        await checker.restart(ctx)
        bits = int.from_bytes(replace(load, opcode=Opcode.MUL).pack(), "little")
        assert await checker.check(ctx, bits) == (ErrorCode.OPCODE, Opcode.MUL.value)

    checker.run(bench)


def test_a_program_without_rows_to_write_writes_none() -> None:
    """What writes is refused, all else passes: such a program runs without having been looked at as a whole."""
    config = preset("tiny")
    checker = Checker(config)
    made = [*samples(config), Descriptor(opcode=Opcode.COMMIT)]
    writes = [
        descriptor for descriptor in made
        if descriptor.opcode in (Opcode.ROWS, Opcode.COMMIT, Opcode.SAVE)
        or (descriptor.opcode is Opcode.JOB and descriptor.kind is Pass.GRADIENT)
    ]  # fmt: skip
    assert {descriptor.opcode for descriptor in writes} == {Opcode.ROWS, Opcode.COMMIT, Opcode.SAVE, Opcode.JOB}

    async def bench(ctx: SimulatorContext) -> None:
        for first in (0, ROWS.start, config.usable_rows):
            checker.let_write(ctx, range(first, first))
            for descriptor in made:
                await checker.restart(ctx)
                got = await checker.check(ctx, int.from_bytes(descriptor.pack(), "little"))
                want = (ErrorCode.FIELD, Problem.ROWS.value) if descriptor in writes else (ErrorCode.NONE, 0)
                assert got == want, f"{descriptor.opcode.name} {descriptor.kind.name}"

    checker.run(bench)


def test_edges_are_begun_and_ended() -> None:
    config = preset("tiny")
    checker = Checker(config)
    _, edge, *_ = samples(config)
    begin, go_on, end, whole, other = (
        int.from_bytes(replace(edge, flags=frozenset({"edge", *flags}), tensor=tensor).pack(), "little")
        for flags, tensor in ((["first"], 5), ([], 5), (["last"], 5), (["first", "last"], 5), (["last"], 6))
    )
    barrier, finish = (
        int.from_bytes(Descriptor(opcode=opcode).pack(), "little") for opcode in (Opcode.BARRIER, Opcode.END)
    )
    sourced = int.from_bytes(Descriptor(opcode=Opcode.BARRIER, sources=(3,)).pack(), "little")
    order = (ErrorCode.FIELD, Problem.ORDER.value)
    good = (ErrorCode.NONE, 0)
    steps = [
        (sourced, good), (begin, good), (barrier, good), (sourced, order), (go_on, good), (begin, order),
        (other, order), (finish, order), (end, good), (end, order), (whole, good), (whole, good),
    ]  # fmt: skip

    async def bench(ctx: SimulatorContext) -> None:
        for number, (bits, want) in enumerate(steps):
            assert await checker.check(ctx, bits, last=bits == finish) == want, number
        assert await checker.check(ctx, finish, last=True) == good
        assert await checker.check(ctx, whole, last=True) == order

    checker.run(bench)
