# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

from respin.gen.emit import emit
from respin.rtl.config import preset
from respin.rtl.vector.loss import LossHead
from respin.sim.runner import build, run


def test_loss_head(simulator):
    config = preset("tiny")
    dut = build("loss_head", emit(LossHead(config=config), "loss_head"), simulator=simulator)
    run(dut, "tb_loss", tests=5, env={"RESPIN_CONFIG": json.dumps(asdict(config))})
