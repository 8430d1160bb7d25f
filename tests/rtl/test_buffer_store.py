# SPDX-License-Identifier: Apache-2.0
"""The store: priorities, partial writes, addresses out of range."""

import pytest
from amaranth.sim import Simulator
from buffer_bench import chooser, plain

from respin.rtl.buffer.store import Store
from respin.rtl.config import AcceleratorConfig

WORDS = 64
GROUPS = 8  # of 4 lanes


def make(readers=3, writers=2):
    return Store(config=AcceleratorConfig(name="test", store_words=WORDS, slices=4, vector_width=4), readers=readers,
                 writers=writers)


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


def test_random_accesses():
    dut, random = make(), chooser("store")
    memory = [[0] * 8 for _ in range(WORDS)]

    async def bench(ctx):
        expected = None
        for _ in range(1500):
            wanted = [random.random() < 0.4 for _ in dut.reads]
            addresses = [random.randrange(WORDS) for _ in dut.reads]
            for client, valid, address in zip(dut.reads, wanted, addresses, strict=True):
                ctx.set(client.valid, valid)
                ctx.set(client.addr, address)
            writes = [
                {"valid": random.random() < 0.4, "addr": random.choice([*addresses, random.randrange(WORDS)]),
                 "data": [random.getrandbits(32) for _ in range(8)], "planes": random.getrandbits(8),
                 "groups": random.getrandbits(GROUPS)}
                for _ in dut.writes
            ]  # fmt: skip
            for client, write in zip(dut.writes, writes, strict=True):
                for name, value in write.items():
                    ctx.set(getattr(client, name), value)
            for clients, valids in ((dut.reads, wanted), (dut.writes, [write["valid"] for write in writes])):
                granted = [valid and ctx.get(client.ready) for client, valid in zip(clients, valids, strict=True)]
                first = valids.index(True) if True in valids else None
                assert granted == [number == first for number in range(len(valids))]
            for client in dut.reads:
                assert expected is None or plain(ctx.get(client.data)) == expected
            expected = memory[addresses[wanted.index(True)]].copy() if True in wanted else None
            write = next((write for write in writes if write["valid"]), None)
            if write:
                mask = sum(0xF << 4 * group for group in range(GROUPS) if write["groups"] >> group & 1)
                word = memory[write["addr"]]
                for plane in range(8):
                    if write["planes"] >> plane & 1:
                        word[plane] = word[plane] & ~mask | write["data"][plane] & mask
            await ctx.tick()
        assert not ctx.get(dut.address_error)

    simulate(dut, bench)


@pytest.mark.parametrize("address", [WORDS, WORDS + 5, 1 << 19, (1 << 20) - 1])
@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_an_address_out_of_range_is_never_silent(address, kind):
    dut = make()
    ones = [0xFFFFFFFF] * 8

    async def bench(ctx):
        write, read = dut.writes[1], dut.reads[2]
        for name, value in (("data", ones), ("planes", 0xFF), ("groups", 0xFF), ("valid", 1)):
            ctx.set(getattr(write, name), value)
        for number in range(WORDS):
            ctx.set(write.addr, number)
            await ctx.tick()
        ctx.set(write.valid, kind == "writes")
        ctx.set(write.data, [0] * 8)
        ctx.set(write.addr, address)
        ctx.set(read.valid, kind == "reads")
        ctx.set(read.addr, address)
        assert not ctx.get(dut.address_error)
        await ctx.tick()
        if kind == "reads":
            assert plain(ctx.get(read.data)) == [0] * 8
        ctx.set(write.valid, 0)
        ctx.set(read.valid, 1)
        for number in range(WORDS):
            ctx.set(read.addr, number)
            await ctx.tick()
            assert plain(ctx.get(read.data)) == ones
            assert ctx.get(dut.address_error)
        ctx.set(dut.clear_error, 1)
        await ctx.tick()
        assert not ctx.get(dut.address_error)

    simulate(dut, bench)


def test_parameters_are_checked():
    config = AcceleratorConfig(name="test")
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 'tiny'"):
        Store(config="tiny", readers=1, writers=1)
    with pytest.raises(TypeError, match="readers must be an integer, not 1.0"):
        Store(config=config, readers=1.0, writers=1)
    with pytest.raises(ValueError, match="writers must be at least 1, not 0"):
        Store(config=config, readers=1, writers=0)
