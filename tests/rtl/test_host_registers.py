# SPDX-License-Identifier: Apache-2.0
"""The registers behind their port against a plain model of the map."""

import pytest
from amaranth.hdl import Value
from host_bench import Bench
from host_model import OKAY, SLVERR, RegisterModel

from respin.rtl.config import preset
from respin.rtl.host.counters import COUNTED, HostCounters
from respin.rtl.host.register_file import RegisterFile, RegisterValues
from respin.rtl.host.registers import register_map


class Manager(Bench):
    """A host that waits at random, with address and data of a write in any order."""

    def __init__(self, name: str, *, waits: float = 0.0) -> None:
        self.map = register_map(preset("tiny"))
        self.dut = RegisterFile(registers=self.map)
        super().__init__(self.dut, name)
        self.probability = waits
        self.model = RegisterModel(self.map)
        self.pulses: list[str] = []
        self.watch(self.dut.axi, "aw", "w", "b", "ar", "r")
        self.background(self._collect_pulses)

    async def _collect_pulses(self, ctx) -> None:
        names = ("start", "abort", "soft_reset", "clear_counters", "march", "next_error", "memory_start")
        while True:
            _, _, *levels = await ctx.tick().sample(*(getattr(self.dut.regs, name) for name in names))
            self.pulses += [name for name, level in zip(names, levels, strict=True) if level]

    def offset(self, name: str) -> int:
        return self.map.register(name).offset

    async def pause(self, ctx) -> None:
        while self.waits(self.probability):
            await ctx.tick()

    async def write(self, ctx, address: int, value: int, strobe: int = 15) -> int:
        axi = self.dut.axi
        ctx.set(axi.awaddr, address)
        ctx.set(axi.wdata, value)
        ctx.set(axi.wstrb, strobe)
        left = {"aw", "w"}
        delays = {channel: self.random.randrange(6) if self.probability else 0 for channel in left}
        for waited in range(100):
            for channel in left:
                ctx.set(getattr(axi, f"{channel}valid"), waited >= delays[channel])
            _, _, *ready = await ctx.tick().sample(axi.awready, axi.wready, axi.bvalid)
            assert not ready[2], "a response to half a write"
            for channel, taken in zip(("aw", "w"), ready, strict=False):
                if channel in left and taken and waited >= delays[channel]:
                    left.discard(channel)
                    ctx.set(getattr(axi, f"{channel}valid"), 0)
            if not left:
                break
        assert not left
        await self.pause(ctx)
        ctx.set(axi.bready, 1)
        response = (await ctx.tick().sample(Value.cast(axi.bresp)).until(axi.bvalid))[-1]
        ctx.set(axi.bready, 0)
        return response

    async def read(self, ctx, address: int) -> tuple[int, int]:
        axi = self.dut.axi
        await self.pause(ctx)
        ctx.set(axi.araddr, address)
        ctx.set(axi.arvalid, 1)
        await ctx.tick().until(axi.arready)
        ctx.set(axi.arvalid, 0)
        await self.pause(ctx)
        ctx.set(axi.rready, 1)
        response, content = await ctx.tick().sample(Value.cast(axi.rresp), axi.rdata).until(axi.rvalid)
        ctx.set(axi.rready, 0)
        return response, content

    def show(self, ctx, **values: int) -> None:
        for name, value in values.items():
            ctx.set(getattr(self.dut.regs, name), value)
        self.model.inputs |= values


@pytest.mark.parametrize("waits", [0.0, 0.6])
def test_random_accesses(waits):
    host = Manager(f"random {waits}", waits=waits)
    ended = {OKAY: 0, SLVERR: 0}

    async def bench(ctx):
        rng, model = host.random, host.model
        for _ in range(1500):
            if rng.random() < 0.2:
                name, width = rng.choice(list(host.map.inputs.items()))
                host.show(ctx, **{name: rng.getrandbits(width)})
            if rng.random() < 0.1:
                event = rng.choice(list(host.map.events))
                ctx.set(getattr(host.dut.regs, event), 1)
                await ctx.tick()
                ctx.set(getattr(host.dut.regs, event), 0)
                model.event(event)
            address, value, strobe = model.random_access(rng)
            if rng.random() < 0.5:
                response = model.write(address, value, strobe)
                assert await host.write(ctx, address, value, strobe) == response
            else:
                response, content = model.read(address)
                assert await host.read(ctx, address) == (response, content), f"{address:#x}"
            ended[response] += 1
            await ctx.tick()
            assert {name: ctx.get(getattr(host.dut.regs, name)) for name in model.outputs()} == model.outputs()
            await ctx.tick()
            assert ctx.get(host.dut.irq) == model.interrupt()
        await ctx.tick().repeat(3)
        assert sorted(host.pulses) == sorted(model.pulses)

    host.run(bench)
    assert min(ended.values()) > 200


def test_every_register_reads_what_it_should():
    host = Manager("all")

    async def bench(ctx):
        for name, width in host.map.inputs.items():
            host.show(ctx, **{name: host.random.getrandbits(width)})
        for address in range(0, 1 << host.map.address_bits, 4):
            assert await host.read(ctx, address) == host.model.read(address), f"{address:#x}"

    host.run(bench)


def test_reads_and_writes_at_once():
    host = Manager("both")
    done = []

    async def writes(ctx):
        for number in range(100):
            assert await host.write(ctx, host.offset("SEED"), number) == OKAY
        done.append(host.cycle)

    async def reads(ctx):
        last = 0
        for _ in range(100):
            response, content = await host.read(ctx, host.offset("SEED"))
            assert response == OKAY
            assert last <= content < 100
            last = content
        done.append(host.cycle)

    host.run(writes, reads)
    assert max(done) < 500


def test_responses_wait_and_nothing_else_is_done_meanwhile():
    host = Manager("held")
    axi = host.dut.axi

    async def bench(ctx):
        ctx.set(axi.awaddr, host.offset("SEED"))
        ctx.set(axi.awvalid, 1)
        ctx.set(axi.wdata, 1)
        ctx.set(axi.wstrb, 15)
        ctx.set(axi.wvalid, 1)
        await ctx.tick().repeat(20)
        assert (ctx.get(axi.bvalid), ctx.get(axi.awready), ctx.get(axi.wready)) == (1, 0, 0)
        assert ctx.get(host.dut.regs.seed) == 1
        ctx.set(axi.bready, 1)
        await ctx.tick().until(axi.awready)

    host.run(bench)


def test_program_registers_are_locked_while_a_program_runs():
    host = Manager("locked")

    async def bench(ctx):
        base, count = host.offset("PROGRAM_BASE"), host.offset("PROGRAM_COUNT")
        assert await host.write(ctx, base, 0x12345600) == OKAY
        assert await host.write(ctx, base, 0x12345680) == SLVERR
        assert await host.write(ctx, base, 0x000000FF, 0b1110) == OKAY
        assert ctx.get(host.dut.regs.program_base) == 0
        assert await host.write(ctx, base, 0xAB000000, 0b1000) == OKAY
        assert await host.write(ctx, count, 1 << 24) == SLVERR
        assert await host.write(ctx, count, 77) == OKAY
        host.show(ctx, running=1)
        assert await host.write(ctx, base, 0x100) == SLVERR
        assert await host.write(ctx, count, 1) == SLVERR
        assert await host.write(ctx, host.offset("SEED"), 9) == OKAY
        assert (await host.read(ctx, base), await host.read(ctx, count)) == ((OKAY, 0xAB000000), (OKAY, 77))
        host.show(ctx, running=0)
        assert await host.write(ctx, count, 1) == OKAY

    host.run(bench)


def test_a_flag_that_is_set_while_it_is_cleared_stays():
    host = Manager("flags")

    async def bench(ctx):
        status = host.offset("IRQ_STATUS")
        assert await host.write(ctx, host.offset("IRQ_ENABLE"), 0xFFFFFFFF) == OKAY
        ctx.set(host.dut.regs.irq_error, 1)
        assert await host.write(ctx, status, 0xFFFFFFFF) == OKAY
        assert await host.read(ctx, status) == (OKAY, 2)
        assert ctx.get(host.dut.irq)
        ctx.set(host.dut.regs.irq_error, 0)
        assert await host.write(ctx, status, 1) == OKAY
        assert await host.read(ctx, status) == (OKAY, 2)
        assert await host.write(ctx, status, 2) == OKAY
        await ctx.tick()
        assert not ctx.get(host.dut.irq)

    host.run(bench)


def test_halves_of_a_number_belong_together():
    host = Manager("halves")

    async def bench(ctx):
        low, high = host.offset("CYCLES_LOW"), host.offset("CYCLES_HIGH")
        assert await host.read(ctx, high) == (SLVERR, 0)
        host.show(ctx, cycles=0x1_FFFFFFFF, engine_busy=7 << 32)
        assert await host.read(ctx, low) == (OKAY, 0xFFFFFFFF)
        host.show(ctx, cycles=0x2_00000000)
        assert await host.read(ctx, high) == (OKAY, 1)
        assert await host.read(ctx, host.offset("ENGINE_BUSY_LOW")) == (OKAY, 0)
        assert await host.read(ctx, high) == (SLVERR, 0)
        assert await host.read(ctx, host.offset("ENGINE_BUSY_HIGH")) == (OKAY, 7)

    host.run(bench)


def test_counters_add_up_and_start_anew():
    dut = HostCounters()
    bench = Bench(dut, "counters")

    async def process(ctx):
        sums = dict.fromkeys((counter.name for counter in COUNTED), 0)
        for number in range(300):
            clear = number == 150
            ctx.set(dut.clear, clear)
            for counter in COUNTED:
                step = bench.random.getrandbits(counter.step)
                ctx.set(dut.add[counter.name], step)
                sums[counter.name] = 0 if clear else (sums[counter.name] + step) % (1 << counter.width)
            await ctx.tick()
            assert {name: ctx.get(dut.sums[name]) for name in sums} == sums

    bench.run(process)


def test_the_map_is_checked():
    with pytest.raises(TypeError, match="registers must be a RegisterMap, not None"):
        RegisterFile(registers=None)
    with pytest.raises(TypeError, match="registers must be a RegisterMap, not 3"):
        RegisterValues(3)
