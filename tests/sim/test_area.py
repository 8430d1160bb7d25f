# SPDX-License-Identifier: Apache-2.0
"""The area's estimate: what is counted, by hand, and how figures move it."""

from dataclasses import replace

import pytest

from respin.rtl.config import preset
from respin.sim.area import ARRAY, FIGURES, GROUPS, REST, STORE, WHOLE, Logic, parts, square_micrometres
from respin.sim.cost import load_costs, swings

CONFIG = preset("tiny")


def plain(**values):
    """Figures that are 1 but for those given."""
    costs = load_costs()
    return {name: replace(costs[name], value=values.get(name.partition(".")[2], 1.0)) for name in FIGURES}


def counted(**logic):
    """All blocks: nothing in them but in some."""
    modules = [*(module for modules in GROUPS.values() for module in modules), WHOLE]
    return {module: logic.get(module, Logic(lut6=0, flip_flops=0)) for module in modules}


def area(found, **values):
    return {part.name: part.square_micrometres(plain(**values)) for part in found}


def test_memories_follow_from_the_configuration():
    cells, bits = 2048 * 288, 1024 * 256
    found = parts(CONFIG)
    assert [part.name for part in found] == [ARRAY, STORE]
    assert area(found, mtj=3) == {ARRAY: 3 * cells, STORE: bits}
    assert area(found, sram_bit=2, array_share=0.5) == {ARRAY: 2 * cells, STORE: 4 * bits}


def test_logic_is_gates_and_its_own_memory():
    blocks = counted(respin_engine=Logic(lut6=100, flip_flops=10, memory_bits=7))
    found = area(parts(CONFIG, blocks), gate=2, lut6=5, flip_flop=3, logic_share=0.5)
    assert found["engine"] == 2 * (500 + 30) / 0.5 + 7


def test_what_no_block_has_is_the_rest_and_each_job_slot_has_its_vector_path():
    blocks = counted(
        respin_vector=Logic(lut6=20, flip_flops=2), respin_loss=Logic(lut6=1, flip_flops=0),
        respin=Logic(lut6=50, flip_flops=9, memory_bits=99),
    )  # fmt: skip
    for slots, luts in ((1, 21), (2, 41)):
        found = {part.name: part.logic for part in parts(replace(CONFIG, job_slots=slots), blocks)}
        assert found["vector path"] == Logic(lut6=luts, flip_flops=2 * slots)
        assert found[REST] == Logic(lut6=50 - luts, flip_flops=9 - 2 * slots)


def test_every_block_has_one_part():
    from respin.gen.blocks import MEASURED

    named = [module for modules in GROUPS.values() for module in modules]
    assert len(named) == len(set(named))
    # The dot slices are the engine's.
    assert {*named, WHOLE, "respin_dot"} == {block.name for block in MEASURED}


def test_figures_move_the_sum_the_widest_first():
    made = parts(CONFIG, counted(respin_engine=Logic(lut6=100, flip_flops=0)))
    found = swings(plain(), lambda of: square_micrometres(made, of), 2)
    assert "area.flip_flop" not in {swing.name for swing in found}, "nothing has one"
    assert [swing.span for swing in found] == sorted((swing.span for swing in found), reverse=True)
    whole = sum(area(made).values())
    (mtj,) = [swing for swing in found if swing.name == "area.mtj"]
    assert (mtj.divided, mtj.multiplied) == (pytest.approx(whole - 2048 * 144), pytest.approx(whole + 2048 * 288))
