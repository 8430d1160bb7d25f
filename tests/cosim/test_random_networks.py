# SPDX-License-Identifier: Apache-2.0
"""Random small networks as programs on the compiled machine, every tensor of inference and training against golden."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, reject, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from random_network import Add, Conv, Module, Plan, build, images_of, plans
from test_machine import TINY, start

from respin.cli.network.trial import Trial
from respin.firmware_model.storage import CapacityError
from respin.rtl.config import AcceleratorConfig, preset
from respin.sim.runner import seed

CONFIG = preset("tiny")
"""One machine for all of them: it is compiled once."""
STEPS = 2
SHRINKING = Plan(channels=1, size=(2, 1), batch=2, flat=True, seed=1)
"""A layer that learns makes a smaller map than it reads."""
MEETING = Plan(
    channels=5,
    size=(6, 5),
    batch=2,
    steps=(
        Conv(outputs=5, kernel=(3, 3), padding=(1, 1, 1, 1), clamp="relu6", learns=True),
        Module(of=1, hidden=8, kernel=3, pool=2),
        Add(of=(1,)),
    ),
)
"""Errors meet that come through a module, by it and past it."""


def run(plan: Plan, settled: int, config: AcceleratorConfig, *, steps: int = STEPS) -> Counter[str]:
    """Provision, infer and train on the machine; returns what was compared."""
    x, labels = images_of(plan)
    trial = Trial.of_network(
        config, build(plan), x, labels, batch=plan.batch, seed=plan.seed, settled=settled, say=lambda _: None
    )
    try:
        trial.start(honest=True, training=steps > 0)
    except CapacityError:
        reject()
    trial.infer()
    edges = sum(trial.train()["edges_run"] for _ in range(steps))
    trial.machine.close()
    compared = trial.comparison
    assert not compared.different, "\n".join(compared.differences)
    spilled = int(not trial.placement.schedule.resident)
    return Counter(tensors=compared.tensors, numbers=compared.numbers, edges=edges, spilled=spilled)


def test_inference_alone() -> None:
    assert run(MEETING, 0, CONFIG, steps=0)["tensors"] > len(MEETING.steps)


def test_random_networks(request: pytest.FixtureRequest) -> None:
    """More with ``--network-cases``. With scales that golden's steps before have made valid, every edge runs."""
    total: Counter[str] = Counter()
    config = replace(CONFIG, job_slots=request.config.getoption("--job-slots"))

    @seeded(seed())
    @settings(
        max_examples=request.config.getoption("--network-cases"),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(plan=plans(), settled=st.sampled_from([0, 3]))
    @example(plan=SHRINKING, settled=0)
    @example(plan=MEETING, settled=3)
    def check(plan: Plan, settled: int) -> None:
        total.update(run(plan, settled, config), networks=1)
        total.update(type(step).__name__ for step in plan.steps)

    check()
    print(dict(total))
    assert total["edges"] > 0


@pytest.mark.icarus_runs
def test_a_random_network_on_a_bench(simulator: str, tmp_path: Path) -> None:
    """Of some smaller ones that with the most kinds of steps; for Icarus they are smaller still."""
    most_steps = 2 if simulator == "icarus" else 4
    drawn: list[Plan] = []

    @seeded(seed())
    @settings(max_examples=30, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(plans(most_steps=most_steps, largest=4, most_channels=6))
    def draw(plan: Plan) -> None:
        drawn.append(plan)

    draw()
    plan = max(drawn, key=lambda plan: len({type(step) for step in plan.steps}))
    print(plan)
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    start(TINY, simulator, "tb_machine_random", tmp_path, tests=1)
