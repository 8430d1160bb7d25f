# SPDX-License-Identifier: Apache-2.0
"""The update unit on its own, with several shapes of the accelerator."""

import json
from dataclasses import asdict

import pytest

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.learn.update import Update
from respin.sim.runner import build, run

TESTS_OF_ONE_LAYER = 7
PAUSES = 2

SMALL = [
    {"outputs": 6, "inputs": 40, "kw": 2},
    {"outputs": 9, "inputs": 36, "kh": 3, "kw": 1, "bias": False, "transposed": False},
    {"outputs": 6, "inputs": 24, "groups": 3, "kw": 2},
    {"outputs": 36, "inputs": 3},
]
WIDE = [
    {"outputs": 33, "inputs": 40, "kw": 2},
    {"outputs": 48, "inputs": 48, "groups": 3, "kw": 2},
    {"outputs": 10, "inputs": 64, "transposed": False},
]


def simulate(config, layers, simulator):
    dut = build("update", emit(Update(config=config), "update"), simulator=simulator)
    env = {"UPDATE_CONFIG": json.dumps(asdict(config)), "UPDATE_LAYERS": json.dumps(layers)}
    run(dut, "tb_update", tests=len(layers) * PAUSES + TESTS_OF_ONE_LAYER, env=env)


@pytest.mark.icarus_runs("tiny")
@pytest.mark.parametrize(
    "config",
    [
        preset("tiny"),
        AcceleratorConfig(name="two_streams", slices=8, pixels=2, vector_width=4),
        AcceleratorConfig(name="one_part", slices=4, pixels=8, vector_width=4),
    ],
    ids=lambda config: config.name,
)
def test_update(config, simulator):
    simulate(config, SMALL, simulator)


@pytest.mark.long
def test_update_of_default():
    simulate(preset("default"), WIDE, "verilator")
