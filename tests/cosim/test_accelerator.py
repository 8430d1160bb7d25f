# SPDX-License-Identifier: Apache-2.0
"""The whole accelerator: each pass by itself, and a network that learns with faults in its memory."""

import json
from dataclasses import asdict, replace

from respin.cli.demo.options import ENVIRONMENT, MEMORY_FILES, DemoOptions
from respin.cli.simulation import build_accelerator
from respin.rtl.config import preset
from respin.sim.banks import model_plusargs
from respin.sim.runner import run, seed
from respin.sim.tables import FaultRates, table_for

ON_ICARUS = ["strided_error", "depthwise", "weight_gradient", "loss", "errors_that_meet"]
"""Passes of each unit; all of them take Icarus minutes."""
# A short watchdog, so that the wait for it is short; and more than one tap to a word, as larger presets have.
TINY = replace(preset("tiny"), watchdog_cycles=1024, depthwise_taps=3)


def test_passes(simulator, tmp_path):
    dut = build_accelerator(TINY, simulator)
    env = {"ACCELERATOR_CONFIG": json.dumps(asdict(TINY)), "OMP_NUM_THREADS": "1"}
    plusargs = model_plusargs(tmp_path, table=table_for(TINY, seed=seed()))
    only = ON_ICARUS if simulator == "icarus" else []
    run(dut, "tb_accelerator", tests=len(only) or 13, only=only, env=env, plusargs=plusargs, seconds=840)


def test_a_network_learns_with_faults(tmp_path):
    """Far enough for the errors to reach the first layer of the Rep-Net module and move it."""
    dut = build_accelerator(TINY, "verilator")
    rates = FaultRates(write_error=1e-2, read_error=1e-5)
    options = DemoOptions(
        config=TINY,
        simulator="verilator",
        steps=16,
        batch=2,
        test_images=2,
        seed=seed(),
        write_error=rates.write_error,
        read_error=rates.read_error,
        folder=str(tmp_path),
    )
    plusargs = model_plusargs(tmp_path / MEMORY_FILES, table=table_for(TINY, seed=seed(), rates=rates))
    env = {ENVIRONMENT: str(options.write()), "OMP_NUM_THREADS": "1"}
    run(dut, "respin.cli.demo.program", tests=1, env=env, plusargs=plusargs, seconds=900)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["memory"]["retries"] > 0
    assert result["memory"]["words_corrected"] > 0
    assert any(job["name"] == "start.rep.first gradient" for job in result["jobs"])
