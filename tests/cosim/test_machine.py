# SPDX-License-Identifier: Apache-2.0
"""The whole machine, with external memory and banks: a network that learns as programs."""

from dataclasses import replace

from dut_machine import build_machine, run_bench

from respin.rtl.config import preset

# A short watchdog, so that the wait for it is short.
TINY = replace(preset("tiny"), watchdog_cycles=1024)
ON_ICARUS = [
    "a_program_by_hand",
    "windows_of_memory",
    "rows_table_and_biases",
    "scales_are_saved_and_restored",
    "headers_that_are_not_its_own",
    "descriptors_that_are_refused",
    "errors_while_it_runs",
]


def start(config, simulator, module, folder, **options):
    return run_bench(build_machine(config, simulator), config, module, folder, **options)


def test_programs_by_hand(simulator, tmp_path):
    if simulator == "verilator":
        start(TINY, simulator, "tb_machine", tmp_path, tests=11)
    else:
        start(TINY, simulator, "tb_machine", tmp_path, tests=len(ON_ICARUS), only=ON_ICARUS)


def test_fuzz(request, tmp_path):
    """More with ``--fuzz-cases``."""
    cases = request.config.getoption("--fuzz-cases")
    start(TINY, "verilator", "tb_machine_fuzz", tmp_path, tests=1, cases=cases, seconds=300 + cases)


def test_training_as_programs(tmp_path):
    """Far enough for every scale to be valid and the first trained layer to move; memory that pauses."""
    start(TINY, "verilator", "tb_machine_training", tmp_path, tests=1, steps=14, batch=2, stall=40)


def test_a_network_in_tiles(tmp_path):
    """A store and a table that hold neither all tensors nor all constants; memory that pauses."""
    small = replace(TINY, store_words=256, table_channels=64)
    start(small, "verilator", "tb_machine_tiled", tmp_path, tests=2, steps=8, batch=2, stall=40)
