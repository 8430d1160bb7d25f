# SPDX-License-Identifier: Apache-2.0
"""Networks of integer layers without training: what their integers are worth, raw sums, and what is refused."""

import dataclasses

import pytest
import torch

from respin.golden.inference import InferenceNetwork, RawSums, TensorFormat
from respin.golden.network import Convolution
from respin.golden.ops import QuantiserTable

FORM = TensorFormat(scale=0.5, zero_point=3, signed=False)
LAYER = Convolution(
    name="double",
    x="input",
    weight=torch.full((2, 1, 1, 1), 4, dtype=torch.int8),
    # Twice the input's worth, in units of 1 and from zero point 0: 4 * (q - 3) / 4.
    table=QuantiserTable.build(2, bias=-12, mult=1, shift=2, lo=-128, hi=127),
    groups=1,
)
SUMS = RawSums(
    name="sums",
    x="input",
    weight=torch.tensor([[[[1, -2]]]], dtype=torch.int8),
    bias=torch.tensor([100]),
    padding=(0, 0, 1, 0),
    pad_value=3,
    scale=torch.tensor([0.25], dtype=torch.float64),
)


def network(**changes: object) -> InferenceNetwork:
    given = {
        "name": "small",
        "input_shape": (1, 2, 2),
        "layers": (LAYER,),
        "formats": {"input": FORM, "double": TensorFormat(scale=1.0)},
        "output": "double",
    }
    return InferenceNetwork(**(given | changes))


def test_formats_round_halves_to_the_even_and_clamp() -> None:
    x = torch.tensor([-2.0, -1.5, -1.25, 0.25, 0.75, 200.0])
    assert FORM.to_integer(x).tolist() == [0, 0, 1, 3, 5, 255]
    assert FORM.to_integer(x).dtype == torch.uint8
    assert FORM.to_float(torch.tensor([0, 3, 255])).tolist() == [-1.5, 0.0, 126.0]
    assert TensorFormat(scale=0.5).to_integer(x).tolist() == [-4, -3, -2, 0, 2, 127]


def test_a_network_runs_on_integers_and_on_what_they_are_worth() -> None:
    x = torch.tensor([[[[0, 3], [5, 255]]]], dtype=torch.uint8)
    assert network().run(x)[0, 1].tolist() == [[-3, 0], [2, 127]]
    assert network().run_real(FORM.to_float(x))[0, 0].tolist() == [[-3, 0], [2, 127]]
    assert network().shapes() == {"input": (1, 2, 2), "double": (2, 2, 2)}


def test_raw_sums_are_int32_with_their_bias() -> None:
    raw = network(layers=(), formats={"input": FORM}, output="sums", sums=SUMS)
    x = torch.tensor([[[[0, 3], [5, 255]]]], dtype=torch.uint8)
    result = raw.run(x)
    assert result.dtype == torch.int32
    # The padding is 3: 3 - 2 * 0 + 100, 0 - 2 * 3 + 100, ...
    assert result[0, 0].tolist() == [[103, 94], [93, -405]]
    assert raw.run_real(FORM.to_float(x))[0, 0].tolist() == [[25.75, 23.5], [23.25, -101.25]]
    assert raw.shapes()["sums"] == (1, 2, 2)
    unscaled = dataclasses.replace(raw, sums=dataclasses.replace(SUMS, scale=None))
    with pytest.raises(ValueError, match="the raw sums sums are worth nothing that the model says"):
        unscaled.run_real(FORM.to_float(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": (dataclasses.replace(LAYER, x="y"),)}, "double reads y, which no layer before it makes"),
        ({"layers": (LAYER, LAYER)}, "double is made twice"),
        ({"output": "y"}, "the output is y, which no layer makes"),
        ({"output": "input"}, "the output is input, which no layer makes"),
        ({"sums": SUMS}, "the output must be the raw sums sums, not double"),
        ({"formats": {"double": FORM}}, "formats must have the input's"),
        ({"formats": {"input": FORM, "y": FORM}}, "the format of y belongs to no tensor"),
    ],
)
def test_networks_that_do_not_hang_together_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0.0}, "scale must be positive and finite, not 0.0"),
        ({"scale": float("nan")}, "scale must be positive and finite, not nan"),
        ({"zero_point": 128}, "zero_point must be in -128..127, not 128"),
        ({"zero_point": -1, "signed": False}, "zero_point must be in 0..255, not -1"),
    ],
)
def test_formats_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorFormat(**({"scale": 1.0} | changes))


def test_an_input_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="x must be int8 or uint8, not float32"):
        network().run(torch.zeros(1, 1, 2, 2))
