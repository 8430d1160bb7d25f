# SPDX-License-Identifier: Apache-2.0
"""What the sequencer keeps of tensors of errors, against a dictionary."""

from typing import Any

from amaranth.sim import Simulator, SimulatorContext
from hypothesis import given, settings
from hypothesis import strategies as st

from respin.rtl.config import preset
from respin.rtl.sequencer.edges import MAX_ALIGN, EdgeState

CONFIG = preset("tiny")
TENSORS = st.integers(0, 7)
COMMIT = st.fixed_dictionaries({
    "usable": st.integers(0, 1), "alive": st.integers(0, 1), "exponent": st.integers(-400, 400),
    "measured": st.booleans(),
})  # fmt: skip
STEP = st.fixed_dictionaries({
    "clear": st.sampled_from([False] * 9 + [True]),
    "tensor": TENSORS,
    "sources": st.lists(TENSORS, max_size=4),
    "commit": st.one_of(st.none(), COMMIT, COMMIT),
})


class Model:
    """The rules of docs/arithmetic.md, in plain Python."""

    def __init__(self) -> None:
        self.states: dict[int, dict[str, Any]] = {}
        self.measured: dict[int, int] = {}

    def resolve(self, tensor: int, sources: list[int]) -> dict[str, Any] | None:
        states = [self.states.get(source, {"usable": 0, "alive": 0, "exponent": 0}) for source in sources]
        if not all(state["usable"] for state in states):
            return None
        alive = [state["exponent"] for state in states if state["alive"]]
        incoming = max(alive or [state["exponent"] for state in states] or [0])
        return {
            "incoming": incoming,
            "rebase": min(max(self.measured.get(tensor, incoming) - incoming, -128), 127),
            "align": [min(max(incoming - state["exponent"], 0), MAX_ALIGN) for state in states],
        }


@settings(max_examples=25, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=40))
def test_edges_equal_the_rules(steps: list[dict[str, Any]]) -> None:
    dut, model = EdgeState(config=CONFIG), Model()

    async def ready(ctx: SimulatorContext) -> None:
        for _ in range(CONFIG.tensor_ids + 2):
            if ctx.get(dut.ready):
                return
            await ctx.tick()
        raise AssertionError("the tables were not cleared in time")

    async def bench(ctx: SimulatorContext) -> None:
        await ready(ctx)
        for step in steps:
            if step["clear"]:
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)
                await ready(ctx)
                model.states.clear()
            ctx.set(dut.tensor, step["tensor"])
            for number, port in enumerate(dut.sources):
                ctx.set(port.valid, number < len(step["sources"]))
                ctx.set(port.id, step["sources"][number] if number < len(step["sources"]) else 63)
            ctx.set(dut.resolve, 1)
            await ctx.tick()
            ctx.set(dut.resolve, 0)
            cycles = 1
            while not ctx.get(dut.resolved):
                await ctx.tick()
                cycles += 1
            assert cycles == dut.latency
            want = model.resolve(step["tensor"], step["sources"])
            assert ctx.get(dut.usable) == (want is not None)
            if want is not None:
                assert ctx.get(dut.incoming) == want["incoming"]
                assert ctx.get(dut.rebase) == want["rebase"]
                assert [ctx.get(align) for align in dut.align][: len(want["align"])] == want["align"]
            if step["commit"] is not None and want is not None:
                commit = dict(step["commit"])
                ctx.set(dut.measured, commit.pop("measured"))
                ctx.set(dut.state, commit)
                ctx.set(dut.commit, 1)
                await ctx.tick()
                ctx.set(dut.commit, 0)
                model.states[step["tensor"]] = commit
                if step["commit"]["measured"]:
                    model.measured[step["tensor"]] = want["incoming"]

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
