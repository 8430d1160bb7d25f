# SPDX-License-Identifier: Apache-2.0
"""Random small networks as programs on the compiled machine, every tensor of inference and training against golden."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, example, given, reject, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from random_network import Plan, build, images_of, plans

from respin.cli.network.trial import Trial
from respin.firmware_model.storage import CapacityError
from respin.rtl.config import preset
from respin.sim.runner import seed

CONFIG = preset("tiny")
"""One machine for all of them: it is compiled once."""
STEPS = 2
SHRINKING = Plan(channels=1, size=(2, 1), batch=2, flat=True, seed=1)
"""A layer that learns makes a smaller map than it reads."""


def run(plan: Plan, settled: int) -> Counter[str]:
    """Provision, infer and train on the machine; returns what was compared."""
    x, labels = images_of(plan)
    trial = Trial.of_network(
        CONFIG, build(plan), x, labels, batch=plan.batch, seed=plan.seed, settled=settled, say=lambda _: None
    )
    try:
        trial.start(honest=True)
    except CapacityError:
        reject()
    trial.infer()
    edges = sum(trial.train()["edges_run"] for _ in range(STEPS))
    trial.machine.close()
    compared = trial.comparison
    assert not compared.different, "\n".join(compared.differences)
    spilled = int(not trial.placement.schedule.resident)
    return Counter(tensors=compared.tensors, numbers=compared.numbers, edges=edges, spilled=spilled)


def test_random_networks(request: pytest.FixtureRequest) -> None:
    """More with ``--network-cases``. With scales that golden's steps before have made valid, every edge runs."""
    total: Counter[str] = Counter()

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
    def check(plan: Plan, settled: int) -> None:
        total.update(run(plan, settled), networks=1)
        total.update(type(step).__name__ for step in plan.steps)

    check()
    print(dict(total))
    assert total["edges"] > total["networks"]
