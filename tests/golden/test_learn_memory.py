# SPDX-License-Identifier: Apache-2.0
"""Memory of a training step: the published figures by the published rule, and this system's by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from respin.golden.backbones import Backbone, BackboneLayer, Block, InputFormat
from respin.golden.backbones.proxyless import proxyless_mobile_shapes
from respin.golden.backbones.recipe import Attachment, Recipe
from respin.golden.backward import backward
from respin.golden.float_network import FloatNetwork
from respin.golden.learn.published_memory import (
    MEGABYTE,
    Operation,
    PublishedMemory,
    PublishedTrains,
    measure,
    operations,
    published_memory,
)
from respin.golden.learn.system_memory import SystemMemory, system_memory, tensor_shapes
from respin.golden.learn.task_storage import TaskStorage, float_task_storage, task_storage
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    IntegerNetwork,
    Layer,
    Loss,
    Merge,
    MergeInput,
    Trained,
    Upsample,
)
from respin.golden.ops import LossParameters
from respin.golden.quantise import requantiser
from respin.golden.trainer import TrainingState, train_step

# The published rule.


def proxyless(trains: PublishedTrains, classes: int = 102, *, norms: bool = True) -> PublishedMemory:
    return published_memory(
        proxyless_mobile_shapes(), size=(224, 224), classes=classes, batch=8, trains=trains, norms=norms
    )


@pytest.mark.parametrize(("trains", "megabytes"), [("modules+biases", 32.8), ("biases", 29.9), ("head", 29.0)])
def test_published_figures(trains: PublishedTrains, megabytes: float) -> None:
    """Derived from the released code: ProxylessNAS-Mobile, 224 x 224, 102 classes, batch 8."""
    assert round(proxyless(trains).total / MEGABYTE, 1) == megabytes


def test_published_counts() -> None:
    head = proxyless("head", classes=1000)
    assert head.trained + head.frozen == 4_080_512
    assert proxyless("modules", classes=1000).trained - head.trained == 415_464
    assert proxyless("everything", classes=1000).frozen == 0


def test_operations_are_those_of_the_float_network() -> None:
    backbone = proxyless_mobile_shapes()
    network = FloatNetwork(backbone, 102, backbone.rep_modules)
    memory = proxyless("modules", norms=False)
    assert sum(p.numel() for p in network.parameters()) == memory.trained + memory.frozen
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == memory.trained

    made: list[int] = []

    def watch(name: str, y: Tensor) -> None:
        if not name.endswith(".sum"):
            made.append(y.numel())

    network.maps(torch.empty((1, 3, 224, 224), device="meta"), watch)
    listed = operations(backbone, size=(224, 224), classes=102, trains="head")
    assert [operation.outputs for operation in listed if operation.kind == "convolution"] == made


def test_each_kind_of_operation_by_hand() -> None:
    listed = [
        Operation(kind="convolution", inputs=10, outputs=20, groups=2, weights=6, biases=4, biases_train=True),
        Operation(kind="relu", inputs=20, outputs=20),
        Operation(kind="convolution", inputs=20, outputs=4, weights=7, weights_train=True),
        Operation(kind="norm", inputs=4, outputs=4, beside=20, weights=2, biases=2, weights_train=True),
        Operation(kind="smooth", inputs=4, outputs=4),
        Operation(kind="linear", inputs=4, outputs=3, weights=12, biases=3, weights_train=True, biases_train=True),
    ]
    assert [operation.running for operation in listed] == [80, 80, 96, 96, 16, 28]
    assert [operation.saved(backward=True) for operation in listed] == [0, 2.5, 80, 16, 16, 16]
    assert [operation.saved(backward=False) for operation in listed] == [0, 0, 80, 16, 0, 16]
    memory = measure(listed, batch=2)
    assert memory == PublishedMemory(activations=2.5 + 80 + 96, saved=130.5, batch=2, trained=28, frozen=8)
    assert memory.total == 2 * 178.5 + 4 * 28 + 8
    assert measure(listed, batch=2, backward=False).activations == 80 + 96


def plain(name: str, inputs: int, outputs: int, *, stride: int = 1, relu: bool = True) -> BackboneLayer:
    return BackboneLayer(
        name=name,
        weight=torch.zeros(outputs, inputs, 1, 1),
        bias=torch.zeros(outputs),
        stride=stride,
        activation="relu6" if relu else "linear",
    )


SMALL = Backbone(
    name="small",
    licence="none",
    stem=plain("stem", 3, 4, stride=2),
    blocks=(Block(name="block0", layers=(plain("block0.project", 4, 4, relu=False),), residual=True),),
    last=plain("last", 4, 16),
    input=InputFormat(mean=(0.0,), deviation=(1.0,), scale=1.0),
    recipe=Recipe(attachments=(Attachment(block="block0", kernel=1),)),
)


def test_a_small_backbone_by_hand() -> None:
    """On 16 x 16 pixels: a map of 8 x 8, a module of 8 hidden channels on 4 x 4."""
    memory = published_memory(SMALL, size=(16, 16), classes=5, batch=3, trains="modules", norms=False)
    stem_mask, hidden_mask, last_mask = 4 * 64 / 8, 8 * 16 / 8, 16 * 64 / 8
    module_inputs = 4 * (4 * 16) + 4 * (8 * 16)
    assert memory.saved == stem_mask + hidden_mask + last_mask + module_inputs + 4 * 16
    assert memory.activations == stem_mask + hidden_mask + module_inputs + 4 * (4 * 64 + 16 * 64)
    assert memory.trained == (4 * 8 // 2 + 8 + 8 * 4 + 4) + (16 * 5 + 5)
    assert memory.frozen == (3 * 4 + 4) + (4 * 4 + 4) + (4 * 16 + 16)
    assert memory.total == 3 * memory.activations + 4 * memory.trained + memory.frozen


def test_a_residual_block_holds_its_input() -> None:
    project = operations(SMALL, size=(16, 16), classes=5, trains="head", norms=False)[2]
    assert project.running == 3 * 4 * 4 * 64
    assert replace(project, beside=0).running == 2 * 4 * 4 * 64


def test_norms_are_operations_where_they_are_counted() -> None:
    kinds = {
        norms: [operation.kind for operation in operations(SMALL, size=(16, 16), classes=5, trains="head", norms=norms)]
        for norms in (False, True)
    }
    assert kinds[False] == ["convolution", "relu", "convolution", "convolution", "relu", "linear"]
    assert [kind for kind in kinds[True] if kind != "norm"] == kinds[False]
    assert kinds[True].count("norm") == 3


# This system.

BATCH = 2
SHAPE = (2, 4, 4)


def convolution(
    name: str, x: str, outputs: int, inputs: int, *, kernel: int = 1, stride: int = 1, relu: bool = False
) -> Convolution:
    generator = torch.Generator().manual_seed(len(name))
    return Convolution(
        name=name,
        x=x,
        weight=torch.randint(-9, 10, (outputs, inputs, kernel, kernel), generator=generator).to(torch.int8),
        table=requantiser(torch.full((outputs,), 1 / 16, dtype=torch.float64), signed=not relu),
        stride=stride,
        padding=kernel // 2,
    )


def learns(layer: Convolution, tensor: int, *, weights: bool = True) -> Convolution:
    return replace(layer, trained=Trained(tensor=tensor if weights else None, bias_tensor=tensor + 1, bias_shift=0))


def build(layers: list[Layer]) -> IntegerNetwork:
    ids = iter(range(1, 100))
    loss = Loss(name="error.logits", logits="logits", tensor=next(ids), parameters=LossParameters.of(1 / 16, 3, 0.0))
    edges, gradients = backward(layers, loss=loss.name, logits=loss.logits, new_tensor=lambda _name: next(ids))
    return IntegerNetwork(layers=tuple(layers), loss=loss, edges=edges, gradients=gradients)


def average(name: str, x: str, channels: int, *, signed: bool) -> AveragePool:
    table = requantiser(torch.full((channels,), 1 / 4, dtype=torch.float64), signed=signed)
    return AveragePool(name=name, x=x, kernel=(2, 2), table=table)


STEM = convolution("stem", INPUT, 4, 2, kernel=3, relu=True)
MAIN = convolution("main", "stem", 4, 4)
END: list[Layer] = [
    replace(convolution("expand", "sum", 8, 4, stride=2, relu=True), keeps_mask=True),
    average("features", "expand", 8, signed=True),
    learns(convolution("logits", "features", 3, 8), 200),
]


def merge(*names: str) -> Merge:
    return Merge(name="sum", operands=tuple(MergeInput(x=name, mult=1) for name in names), shift=1, lo=-128, hi=127)


@pytest.fixture(scope="module")
def rep_net() -> IntegerNetwork:
    """A residual block with a module beside it, an expansion, the head."""
    module: list[Layer] = [
        average("pool", "stem", 4, signed=False),
        learns(replace(convolution("first", "pool", 8, 4, relu=True), keeps_mask=True), 202),
        learns(convolution("last", "first", 4, 8), 204),
        Upsample(name="up", x="last", size=(4, 4)),
    ]
    return build([STEM, MAIN, *module, merge("main", "stem", "up"), *END])


def test_rep_net_by_hand(rep_net: IntegerNetwork) -> None:
    stem = main = up = added = 2 * 64
    pool, first, features = 2 * 16, 2 * 32, 2 * 8
    first_mask = expand_mask = 2 * 32 // 8
    errors = {"logits": 2 * 3, "features": 2 * 8, "expand": 2 * 32, "sum": 2 * 64, "last": 2 * 16, "first": 2 * 32}
    images = 4 * 2 * 9 + 4 * 4 + 2 * 8 * 4 + 8 * 4 + 2 * 4 * 8 + 2 * 3 * 8
    weights, biases = 8 * 4 + 4 * 8 + 3 * 8, 8 + 4 + 3
    memory = system_memory(rep_net, SHAPE, batch=BATCH)
    assert memory == SystemMemory(
        # At the merge.
        forward=stem + main + up + added + pool + first + first_mask,
        # Where errors pass the expansion; its mask and the features are no longer needed.
        backward=errors["expand"] + errors["sum"] + pool + first + first_mask,
        # The same moment of the forward pass, the inputs of the module's convolutions outside.
        on_chip=stem + main + up + added + first_mask,
        saved=pool + first + features + first_mask + expand_mask,
        masks=first_mask + expand_mask,
        external=pool + first + features + errors["logits"] + errors["last"] + errors["first"],
        trainable=weights + biases,
        frozen=4 * 2 * 9 + 4 * 4 + 8 * 4,
        mram=images + biases,
        check=-(-(images + biases) // 8),
    )
    assert memory.peak == memory.forward == 616
    assert memory.backward == 296


def test_shapes_are_those_of_a_step(rep_net: IntegerNetwork) -> None:
    generator = torch.Generator().manual_seed(1)
    state = TrainingState.initial(rep_net, 1)
    for _ in range(len(rep_net.edges) + 1):
        x = torch.randint(0, 256, (BATCH, *SHAPE), generator=generator).to(torch.uint8)
        record = train_step(rep_net, state, x, torch.tensor([0, 2]), log2_rate=-8)
        state = record.after
    made = record.activations.tensors | record.errors
    assert tensor_shapes(rep_net, SHAPE) == {name: tuple(tensor.shape[1:]) for name, tensor in made.items()}


def test_the_head_alone_saves_its_input(rep_net: IntegerNetwork) -> None:
    head = replace(rep_net, edges=(), gradients=rep_net.gradients[:1])
    memory = system_memory(head, SHAPE, batch=BATCH)
    assert (memory.saved, memory.masks, memory.external) == (16, 0, 16 + 6)
    assert memory.backward == 16 + 6 + 6
    # A module that no gradient needs is forgotten as it goes: the merge needs its operands and its result.
    assert memory.forward == 4 * 128


def test_biases_need_masks_and_no_inputs() -> None:
    stem = learns(replace(STEM, keeps_mask=True), 202, weights=False)
    network = build([stem, learns(MAIN, 204, weights=False), merge("main", "stem"), *END])
    memory = system_memory(network, SHAPE, batch=BATCH)
    features, stem_mask, expand_mask = 16, 128 // 8, 64 // 8
    assert memory.masks == stem_mask + expand_mask
    assert memory.saved == features + memory.masks
    assert memory.external == features + 6
    # Where the errors that come around the block meet those that passed it.
    assert memory.backward == 3 * 128 + stem_mask
    assert memory.trainable == 3 * 8 + 3 + 4 + 4
    assert memory.frozen == 72 + 16 + 32
    assert memory.mram == 72 + 2 * (16 + 32 + 24) + 11


def test_a_batch_is_needed(rep_net: IntegerNetwork) -> None:
    with pytest.raises(ValueError, match="batch must be at least 1, not 0"):
        system_memory(rep_net, SHAPE, batch=0)


# A task's own region.


def test_a_task_s_region_by_hand(rep_net: IntegerNetwork) -> None:
    first, last, head = 8 * 4, 4 * 8, 3 * 8
    entries = (8 + 4 + 3) + 8 + 1  # outputs of what trains, features, the merge with the module
    edges, tensors = 5, 6  # into features, expansion, merge, last and first; weights and biases of three layers
    storage = task_storage(rep_net)
    assert storage == TaskStorage(
        # No error passes the module's first convolution: it has no transposed image.
        weights=first + 2 * last + 2 * head,
        biases=8 + 4 + 3,
        tables=9 * entries,
        state=3 * edges + 3 * tensors + 4 + 4,
    )
    assert storage.content == 144 + 15 + 216 + 41
    assert (storage.check, storage.total) == (52, 468)


def test_a_region_of_biases_has_no_weights_but_the_head_s() -> None:
    stem = learns(replace(STEM, keeps_mask=True), 202, weights=False)
    network = build([stem, learns(MAIN, 204, weights=False), merge("main", "stem"), *END])
    assert task_storage(network) == TaskStorage(
        # Errors pass the head, on their way to the biases.
        weights=2 * 3 * 8,
        biases=4 + 4 + 3,
        # The merge and the layers before it are the backbone's, the same in all tasks.
        tables=9 * (3 + 8),
        state=3 * len(network.edges) + 3 * (1 + 1 + 2) + 4 + 4,
    )


def test_a_merge_of_four_takes_two_entries(rep_net: IntegerNetwork) -> None:
    four = merge("main", "stem", "up", "main")
    wider = replace(rep_net, layers=tuple(four if layer.name == "sum" else layer for layer in rep_net.layers))
    assert task_storage(wider).tables - task_storage(rep_net).tables == 9


def test_float_parameters_of_a_task_s_own() -> None:
    network = FloatNetwork(SMALL, 5, SMALL.rep_modules)
    module, head = 4 * 8 // 2 + 8 + 8 * 4 + 4, 16 * 5 + 5
    assert float_task_storage(network, "modules") == 4 * (module + head)
    network = FloatNetwork(SMALL, 5)
    assert float_task_storage(network, "head") == 4 * head
    assert float_task_storage(network, "biases") == 4 * (4 + 4 + 16 + head)
    # Its tasks share the backbone.
    assert float_task_storage(network, "everything") == 4 * head
