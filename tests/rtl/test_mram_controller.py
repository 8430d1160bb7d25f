# SPDX-License-Identifier: Apache-2.0
"""The bank controller on plain memories: order, rates, correction, writes, defects, arbitration, watchdog."""

import random
from dataclasses import replace

import pytest
from amaranth.back import rtlil
from amaranth.sim import SimulatorContext
from mram_bench import SEED, Bench, columns_of, random_row

from respin.rtl.config import PRESETS, AcceleratorConfig, preset
from respin.rtl.mram.controller import MramController
from respin.rtl.mram.ports import ErrorKind, Outcome, WriteKind
from respin.rtl.mram.pulses import PULSE_GROUPS

TINY = replace(preset("tiny"), mram_rows=64, spare_rows=0, watchdog_cycles=1024)
EIGHT = replace(preset("default"), mram_rows=16, spare_rows=0, watchdog_cycles=1024)
CONFIGS = [TINY, replace(TINY, name="two", banks=2, ecc_decoders=2), EIGHT]
by_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)


def filled(config: AcceleratorConfig, **bank) -> tuple[Bench, list[list[int]]]:
    bench = Bench(config, **bank)
    rng = random.Random(SEED)
    rows = [random_row(rng) for _ in range(config.total_rows)]
    for row, weights in enumerate(rows):
        bench.store(row, weights)
    return bench, rows


@by_config
@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_rows_come_in_the_order_of_the_loops(config: AcceleratorConfig, stall: float) -> None:
    bench, rows = filled(config)
    jobs = [(3, 5, 2, 3), (0, 0, 1, 1), (config.total_rows - 4, 4, 1, 1), (0, 1, 9, 2)]
    order = [base + r * count + i for base, count, tiles, repeats in jobs for r in range(repeats)
             for _ in range(tiles) for i in range(count)]  # fmt: skip

    async def driver(ctx: SimulatorContext) -> None:
        for job in jobs:
            await bench.read(ctx, *job)

    async def checker(ctx: SimulatorContext) -> None:
        assert await bench.rows(ctx, len(order), stall) == [(rows[row], 0) for row in order]
        for _ in range(4):
            await ctx.tick()
        assert ctx.get(bench.dut.idle)
        assert bench.nonzero(ctx) == {"rows_read": len(order)}
        for b, bank in enumerate(bench.banks):
            assert [row for _, row in bank.log] == [row // config.banks for row in order if row % config.banks == b]

    bench.run(driver, checker)


@pytest.mark.parametrize("banks", [1, 2, 4, 8])
@pytest.mark.parametrize("decoders", [1, 2, 4])
@pytest.mark.parametrize("read_cycles", [1, 5])
def test_read_rate(banks: int, decoders: int, read_cycles: int) -> None:
    config = replace(EIGHT, banks=banks, mram_rows=64, ecc_decoders=decoders)
    bench, rows = filled(config, read_cycles=read_cycles)
    steps = 4 // decoders
    interval = max(steps, (read_cycles + 1 + steps) / banks)

    async def driver(ctx: SimulatorContext) -> None:
        await bench.read(ctx, 0, 64)

    async def checker(ctx: SimulatorContext) -> None:
        await bench.rows(ctx, 1)
        first = bench.cycle
        assert await bench.rows(ctx, 63) == [(row, 0) for row in rows[1:64]]
        assert bench.cycle - first <= 63 * interval + banks
        assert first <= 2 + read_cycles + steps + 4

    bench.run(driver, checker)


@by_config
def test_errors_are_corrected_counted_and_never_silent(config: AcceleratorConfig) -> None:
    bench, rows = filled(config)
    bench.store(2, rows[2], errors=[4 * 5 + 1])
    bench.store(3, rows[3], errors=range(4 * 70, 4 * 71))  # a dead strip: one bit of every codeword
    bench.store(5, rows[5], errors=[4 * 5 + 2, 4 * 9 + 2, 0])

    async def driver(ctx: SimulatorContext) -> None:
        await bench.read(ctx, 0, 8)

    async def checker(ctx: SimulatorContext) -> None:
        got = await bench.rows(ctx, 8, stall=0.3)
        wrong = list(rows[5])
        for weight, bit in ((16, 5), (17, 1)):  # codeword 2, data bits 5 and 9
            wrong[weight] = int.from_bytes(bytes([wrong[weight] & 0xFF ^ 1 << bit]), "little", signed=True)
        assert got == [(rows[i], 0) if i != 5 else (wrong, 1) for i in range(8)]
        await ctx.tick()
        assert bench.nonzero(ctx) == {"rows_read": 8, "words_corrected": 6, "uncorrectable": 1}
        assert bench.error(ctx, "read_error") == (ErrorKind.UNCORRECTABLE.value, 5)
        ctx.set(bench.dut.clear, 1)
        await ctx.tick()
        ctx.set(bench.dut.clear, 0)
        assert bench.nonzero(ctx) == {}
        assert bench.error(ctx, "read_error") == (ErrorKind.NONE.value, 0)

    bench.run(driver, checker)


def strips_changed(before: int, after: int) -> list[int]:
    return [strip for strip in range(72) if (before ^ after) >> 4 * strip & 0xF]


def pulses(row: int, strips: list[int], index: int, commands: tuple[str, ...]) -> list[tuple]:
    """The commands that write strips: by group, lowest first."""
    taken = []
    for group in PULSE_GROUPS:
        mask = sum(1 << strip for strip in strips if strip in group)
        taken += [(command, row, mask, index) for command in commands if mask]
    return taken


@by_config
@pytest.mark.parametrize("scheme", ["sas", "erase_program"])
def test_only_strips_that_change_are_pulsed(config: AcceleratorConfig, scheme: str) -> None:
    config = replace(config, write_scheme=scheme)
    commands = ("WRITE_SAS",) if scheme == "sas" else ("SOT_ONLY", "STT_ONLY")
    bench, rows = filled(config)
    row = config.total_rows - 3
    bank, local = bench.banks[row % config.banks], row // config.banks
    step = [weight + (1 if i == 7 and weight < 127 else 0) for i, weight in enumerate(rows[row])]
    new = random_row(random.Random(SEED + 1))

    async def driver(ctx: SimulatorContext) -> None:
        totals = {"raw_reads": 0, "row_writes": 0, "strips_pulsed": 0, "pulses": 0, "bits_flipped": 0}
        expected = []
        for before, after in [(rows[row], step), (step, new)]:
            status = await bench.write(ctx, row, data=after)
            assert (status["outcome"], status["retries"], status["defects"]) == (Outcome.OK.value, 0, 0)
            assert bench.columns(row) == columns_of(after)
            strips = strips_changed(columns_of(before), columns_of(after))
            orders = pulses(local, strips, 0, commands)
            expected += [("READ", local), *orders, ("READ", local)]
            totals["raw_reads"] += 2
            totals["row_writes"] += 1
            totals["pulses"] += len(orders)
            totals["strips_pulsed"] += len(strips) * len(commands)
            totals["bits_flipped"] += (columns_of(before) ^ columns_of(after)).bit_count()
        assert bank.log == expected
        assert all(order[2].bit_count() <= 16 for order in expected if order[0] != "READ")
        await ctx.tick()
        assert bench.nonzero(ctx) == totals

    bench.run(driver)


@by_config
def test_an_unchanged_row_is_not_pulsed(config: AcceleratorConfig) -> None:
    bench, rows = filled(config)

    async def driver(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, 6, data=rows[6])
        assert (status["outcome"], status["retries"]) == (Outcome.OK.value, 0)
        await ctx.tick()
        assert bench.nonzero(ctx) == {"raw_reads": 1, "row_writes": 1, "writes_skipped": 1}

    bench.run(driver)


@by_config
def test_only_strips_that_failed_are_retried_with_the_next_pulse(config: AcceleratorConfig) -> None:
    bench, _ = filled(config)
    bank = bench.banks[0]
    bank.cells[1] = 0
    data = [-1] * 32
    target = columns_of(data)
    weak = {4 * 3 + 1: 2, 4 * 40: 1, 4 * 41 + 3: 3}
    bank.needs[1] = weak
    assert all(target >> column & 1 for column in weak)

    async def driver(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, config.banks, data=data)
        assert (status["outcome"], status["retries"]) == (Outcome.OK.value, 3)
        expected = [("READ", 1)]
        for index in range(4):
            strips = [s for s in strips_changed(0, target) if index == 0 or any(
                column // 4 == s and least >= index for column, least in weak.items())]  # fmt: skip
            expected += [*pulses(1, strips, index, ("WRITE_SAS",)), ("READ", 1)]
        assert bank.log == expected
        await ctx.tick()
        found = bench.counters(ctx)
        assert (found["retries"], found["raw_reads"], found["bits_flipped"]) == (3, 5, target.bit_count())
        assert found["strips_pulsed"] == sum(entry[2].bit_count() for entry in expected if len(entry) == 4)
        assert bench.error(ctx, "write_error") == (ErrorKind.NONE.value, 0)

    bench.run(driver)


@pytest.mark.parametrize(("columns", "outcome", "defects"), [
    ([5], Outcome.DEFECT, 1),
    (range(12, 16), Outcome.DEFECT, 4),
    ([0, 5, 10, 287], Outcome.DEFECT, 4),
    ([0, 4], Outcome.FAILED, 0),
    ([3, 287], Outcome.FAILED, 0),
    (range(12, 20), Outcome.FAILED, 0),
])  # fmt: skip
@by_config
def test_what_stays_wrong_is_accepted_or_reported(config, columns, outcome, defects) -> None:
    bench, _ = filled(config)
    row = 2 * config.banks
    data = random_row(random.Random(SEED))
    target = columns_of(data)
    mask = sum(1 << column for column in columns)
    bench.banks[0].cells[2] = before = target ^ (1 << 288) - 1
    bench.banks[0].stuck[2] = (mask, before)

    async def driver(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, row, data=data)
        assert (status["outcome"], status["defects"], status["retries"]) == (outcome.value, defects, 3)
        await ctx.tick()
        found = bench.counters(ctx)
        assert (found["defects_accepted"], found["writes_failed"]) == (defects, int(outcome is Outcome.FAILED))
        assert (found["row_writes"], found["retries"], found["bits_flipped"]) == (1, 3, 288 - mask.bit_count())
        kind = ErrorKind.DEFECT if outcome is Outcome.DEFECT else ErrorKind.WRITE_FAILED
        assert bench.error(ctx, "write_error") == (kind.value, row)
        await bench.read(ctx, row, 1)
        [(weights, uncorrectable)] = await bench.rows(ctx, 1)
        assert uncorrectable == (outcome is Outcome.FAILED)
        if outcome is Outcome.DEFECT:
            assert weights == data

    bench.run(driver)


@by_config
def test_no_retry_without_retries(config: AcceleratorConfig) -> None:
    bench, rows = filled(replace(config, write_retries=0))
    data = [weight ^ 1 for weight in rows[0]]
    bench.banks[0].stuck[0] = (1 << 0, columns_of(rows[0]))

    async def driver(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, 0, data=data)
        assert (status["outcome"], status["defects"], status["retries"]) == (Outcome.DEFECT.value, 1, 0)

    bench.run(driver)


@by_config
def test_raw_access_shows_and_sets_columns(config: AcceleratorConfig) -> None:
    bench, rows = filled(config)
    row = config.banks + config.banks // 2
    bench.store(row, rows[row], errors=[17, 18])
    before = columns_of(rows[row]) ^ 1 << 17 ^ 1 << 18
    strips = 1 | 1 << 23 | 1 << 71

    async def driver(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, row, kind=WriteKind.RAW_READ.value)
        assert (status["outcome"], status["columns"]) == (Outcome.OK.value, before)
        request = {"kind": WriteKind.RAW_WRITE.value, "data": [-1] * 32, "check": [255, 255, 127, 255], "pulse": 9}
        status = await bench.write(ctx, row, mask=strips, **request)
        assert (status["outcome"], status["retries"]) == (Outcome.OK.value, 0)
        after = before | 0xF | 0xF << 92 | 0xB << 284
        after &= ~(4 << 284)
        status = await bench.write(ctx, row, kind=WriteKind.RAW_READ.value)
        assert status["columns"] == after
        assert (await bench.write(ctx, row, mask=0, **request))["outcome"] == Outcome.OK.value
        log = bench.banks[row % config.banks].log
        assert log == [("READ", 1), *pulses(1, [0, 23, 71], 9, ("WRITE_SAS",)), ("READ", 1)]
        await ctx.tick()
        assert bench.nonzero(ctx) == {"raw_reads": 2, "pulses": 3, "strips_pulsed": 3}

    bench.run(driver)


@by_config
def test_rows_that_do_not_exist_are_refused(config: AcceleratorConfig) -> None:
    bench, rows = filled(config)
    last = config.total_rows - 1

    async def driver(ctx: SimulatorContext) -> None:
        for row in (last + 1, 2**24 - 1):
            for kind in WriteKind:
                assert (await bench.write(ctx, row, kind=kind.value))["outcome"] == Outcome.REFUSED.value
        assert bench.error(ctx, "write_error") == (ErrorKind.REFUSED.value, 2**24 - 1)
        await bench.read(ctx, last, 2)
        await bench.read(ctx, last - 1, 2, 1, 2)
        assert await bench.rows(ctx, 2) == [(rows[last - 1], 0), (rows[last], 0)]
        await bench.read(ctx, 2**24 - 1, 2**16 - 1)
        for _ in range(4):
            await ctx.tick()
        assert bench.error(ctx, "read_error") == (ErrorKind.REFUSED.value, 2**24 - 1)
        assert ctx.get(bench.dut.idle)
        assert bench.nonzero(ctx) == {"refused": 2 * len(WriteKind) + 3, "rows_read": 2}
        assert not any(entry[0] != "READ" for bank in bench.banks for entry in bank.log)

    bench.run(driver)


@by_config
def test_nothing_is_asked_of_a_bank_without_power(config: AcceleratorConfig) -> None:
    bench, rows = filled(config, power_up=300)

    async def driver(ctx: SimulatorContext) -> None:
        await bench.read(ctx, 0, 3)
        assert await bench.rows(ctx, 3) == [(row, 0) for row in rows[:3]]
        assert bench.cycle > 300

    bench.run(driver)


@by_config
def test_a_jammed_bank_ends_requests_and_the_next_ones_work(config: AcceleratorConfig) -> None:
    bench, rows = filled(config)
    bank = bench.banks[0]
    row = config.banks

    async def driver(ctx: SimulatorContext) -> None:
        bank.jam = True
        status = await bench.write(ctx, row, data=rows[row])
        assert status["outcome"] == Outcome.TIMEOUT.value
        assert bench.error(ctx, "write_error") == (ErrorKind.TIMEOUT.value, row)
        await bench.read(ctx, row, 2)
        ctx.set(bench.dut.rows.ready, 1)
        await ctx.tick().until(bench.dut.counters.timeouts == 2)
        assert bench.error(ctx, "read_error") == (ErrorKind.TIMEOUT.value, row)
        bank.jam = False
        await bench.read(ctx, row, 2)
        assert await bench.rows(ctx, 2) == [(rows[row], 0), (rows[row + 1], 0)]
        assert (await bench.write(ctx, row, data=rows[0]))["outcome"] == Outcome.OK.value
        assert bench.columns(row) == columns_of(rows[0])

    bench.run(driver)


@by_config
def test_a_bank_that_jams_in_a_read_is_given_up(config: AcceleratorConfig) -> None:
    bench, rows = filled(config, read_cycles=4)

    async def driver(ctx: SimulatorContext) -> None:
        await bench.read(ctx, 0, 3)
        await ctx.tick().until(bench.dut.banks[0].busy)
        bench.banks[0].jam = True
        await ctx.tick().until(bench.dut.counters.timeouts == 1)
        assert bench.error(ctx, "read_error") == (ErrorKind.TIMEOUT.value, 0)
        bench.banks[0].jam = False  # the late answer must not pass for that of the next read
        await bench.read(ctx, config.banks, 2)
        assert await bench.rows(ctx, 2) == [(rows[config.banks], 0), (rows[config.banks + 1], 0)]

    bench.run(driver)


@by_config
def test_neither_side_starves_the_other(config: AcceleratorConfig) -> None:
    bench, rows = filled(config)
    target = 3 * config.banks
    writes = 20

    async def read(ctx: SimulatorContext) -> None:
        await bench.read(ctx, config.banks, config.banks, 200)

    async def check(ctx: SimulatorContext) -> None:
        expected = [(row, 0) for row in rows[config.banks : 2 * config.banks]] * 200
        assert await bench.rows(ctx, len(expected), stall=0.2) == expected

    async def write(ctx: SimulatorContext) -> None:
        for number in range(writes):
            data = [number] * 32
            start = bench.cycle
            assert (await bench.write(ctx, target, data=data))["outcome"] == Outcome.OK.value
            assert bench.cycle - start < 80
            assert bench.columns(target) == columns_of(data)

    bench.run(read, check, write)


@by_config
def test_a_consumer_that_waits_for_a_write_gets_its_rows(config: AcceleratorConfig) -> None:
    """Rows are read ahead and left there while every row is rewritten: no deadlock, and what comes then is the new
    content."""
    bench, rows = filled(config)
    new = [random_row(bench.rng) for _ in range(2 * config.banks)]

    async def driver(ctx: SimulatorContext) -> None:
        await bench.read(ctx, 0, 2 * config.banks)
        for _ in range(30):
            await ctx.tick()
        for row, data in enumerate(new):
            assert (await bench.write(ctx, row, data=data))["outcome"] == Outcome.OK.value
        # Only the row in the output register was decoded before the writes.
        expected = [(rows[0], 0), *((data, 0) for data in new[1:])]
        assert await bench.rows(ctx, 2 * config.banks) == expected
        await ctx.tick()
        assert bench.counters(ctx)["rows_read"] == 2 * config.banks

    bench.run(driver)


def test_back_to_back_writes_leave_the_reader_its_turn() -> None:
    """B = 1: a row each time between two writes, however fast these come."""
    bench, rows = filled(replace(TINY, ecc_decoders=4))
    done = 0

    async def read(ctx: SimulatorContext) -> None:
        nonlocal done
        await bench.read(ctx, 0, 8)
        for row in range(8):
            assert await bench.rows(ctx, 1) == [(rows[row], 0)]
            done = row + 1

    async def write(ctx: SimulatorContext) -> None:
        for number in range(12):
            await bench.write(ctx, 40, data=[number] * 32)
            assert done >= min(number - 1, 8)

    bench.run(read, write)


def test_configuration_must_be_one() -> None:
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 'tiny'"):
        MramController(config="tiny")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_elaborates(name: str) -> None:
    assert rtlil.convert(MramController(config=preset(name)))
