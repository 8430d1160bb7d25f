# SPDX-License-Identifier: Apache-2.0
"""Components of the vector path refuse what is no configuration, by name and value."""

import re

import pytest

from respin.rtl.vector.gather import Gather
from respin.rtl.vector.loop import OutputLoop
from respin.rtl.vector.loss import LossHead
from respin.rtl.vector.rounding import ElementRandom
from respin.rtl.vector.sources import SourceWalker
from respin.rtl.vector.table import QuantiserTable
from respin.rtl.vector.unit import VectorUnit
from respin.rtl.vector.walker import OutputWalker
from respin.rtl.vector.writer import WordWriter

COMPONENTS = (
    VectorUnit, Gather, LossHead, OutputLoop, OutputWalker, SourceWalker, QuantiserTable, ElementRandom, WordWriter,
)  # fmt: skip


@pytest.mark.parametrize("component", COMPONENTS)
def test_config_must_be_one(component: type) -> None:
    with pytest.raises(TypeError, match=re.escape("config must be an AcceleratorConfig, not 'tiny'")):
        component(config="tiny")
