# SPDX-License-Identifier: Apache-2.0
"""The methods by name, with the settings that a protocol may choose between."""

from respin.golden.builder import Rules
from respin.golden.learn.methods import FloatMethod, IntegerMethod, LinearMethod, Method, Setting, falling
from respin.golden.learn.variations import VARIATIONS


def _rates(*rates: float, norms: tuple[int, ...] = (0,)) -> tuple[Setting, ...]:
    return tuple(
        Setting(name=f"rate {rate:g}{', norm' if norm else ''}", values=(("rate", rate), ("norm", norm)))
        for norm in norms
        for rate in rates
    )


INTEGER_SETTINGS = falling(-1.0, -2.0, 0.0)
COMPARED: dict[str, Method] = {
    method.name: method
    for method in (
        IntegerMethod(
            name="rep-net",
            title="Rep-Net, INT8",
            arithmetic="int8",
            trains="modules",
            settings=INTEGER_SETTINGS,
        ),
        IntegerMethod(
            name="head",
            title="head only, INT8",
            arithmetic="int8",
            trains="head",
            settings=INTEGER_SETTINGS,
            rules=Rules(modules=False),
        ),
        IntegerMethod(
            name="bias",
            title="biases and head, INT8",
            arithmetic="int8",
            trains="biases",
            settings=INTEGER_SETTINGS,
            rules=Rules(modules=False, biases=True),
        ),
        FloatMethod(
            name="rep-net-float",
            title="Rep-Net, float32",
            arithmetic="float32",
            trains="modules",
            settings=_rates(1e-3, 3e-4, 3e-3, norms=(0, 1)),
        ),
        FloatMethod(
            name="bias-float",
            title="biases and head, float32",
            arithmetic="float32",
            trains="biases",
            settings=_rates(1e-3, 3e-4, 3e-3),
        ),
        FloatMethod(
            name="full-float",
            title="full fine-tuning, float32",
            arithmetic="float32",
            trains="everything",
            settings=_rates(3e-4, 1e-4, 1e-3),
        ),
        LinearMethod(
            name="linear",
            title="logistic regression on frozen features",
            arithmetic="float32",
            trains="head",
            settings=tuple(
                Setting(name=f"C {c:g}", values=(("C", c),)) for c in (1e-2, 1e-4, 3e-4, 1e-3, 3e-3, 3e-2, 1e-1, 1.0)
            ),
        ),
    )
}
"""Methods worth comparing. Another kind needs an entry here and a learner that can ``step``, ``predict`` and save
itself."""
METHODS: dict[str, Method] = COMPARED | VARIATIONS
"""All that can be asked for, by name: the methods and variations of the INT8 Rep-Net's rules."""
