# SPDX-License-Identifier: Apache-2.0
"""The programmer's guide: its code runs as it stands, prints what it shows, and the result is golden's."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from respin.golden.ops import QuantiserTable, avg_pool, conv2d, requantise

PAGE = Path(__file__).parents[2] / "docs" / "programming.md"


def test_the_page_runs_and_prints_what_it_shows() -> None:
    blocks = re.findall(r"^```(python|text)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    printed = StringIO()
    for number, (kind, content) in enumerate(blocks):
        if kind == "text":
            assert printed.getvalue() == content, f"block {number} prints\n{printed.getvalue()}"
            printed = StringIO()
            continue
        with redirect_stdout(printed):
            exec(compile(content, f"{PAGE.name}, block {number}", "exec"), names)
    assert not printed.getvalue(), "what a block prints is not shown"
    assert sum(kind == "text" for kind, _ in blocks) == 4

    x, weights, bias = (torch.from_numpy(names[name]) for name in ("pixels", "weights", "bias"))
    table = QuantiserTable.build(12, bias=bias, mult=45000, shift=22, lo=0, hi=255)
    sums = avg_pool(requantise(conv2d(x, weights, padding=1), table), (2, 2))
    want = requantise(sums, QuantiserTable.build(12, mult=1, shift=2, lo=0, hi=255))
    np.testing.assert_array_equal(names["result"], want.numpy())
    assert 0 < int((want > 0).sum()) < want.numel()
    taps, planes, beats, sets = 9, 8, 32 // names["config"].lanes, 3
    assert names["engine"] == 64 * taps * planes * beats * sets
    assert names["cycles"] > names["engine"]
