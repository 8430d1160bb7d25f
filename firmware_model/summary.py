# SPDX-License-Identifier: Apache-2.0
"""What a compiled network takes of a machine."""

from dataclasses import dataclass

from respin.firmware_model.compiler import INFER, TRAIN
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.placement import Placement
from respin.golden.inference import RawSums
from respin.golden.network import Convolution, Edge, Gradient


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Figures of a program image.

    Parameters
    ----------
    batch:
        Images in a batch.
    macs:
        Multiply-accumulates of a program for a batch, by the programs' names.
    rows, rows_there_are:
        MRAM rows that weights take, and those of all banks.
    store_words, store_words_there_are:
        Words that all tensors take for as long as they are needed, and the store's.
    spilled_bytes:
        External memory of tensors that the store has no room for.
    packed:
        Of the convolutions whose windows the host lays out, the channels that these have.
    table_entries, table_entries_there_are:
        Constants for channels, and the entries of the table, which is reloaded where it does not hold all.
    memory:
        Bytes of external memory in all.
    descriptors:
        By the programs' names.
    """

    batch: int
    macs: dict[str, int]
    rows: int
    rows_there_are: int
    store_words: int
    store_words_there_are: int
    spilled_bytes: int
    packed: dict[str, int]
    table_entries: int
    table_entries_there_are: int
    memory: int
    descriptors: dict[str, int]


def summarise(placement: Placement, image: ProgramImage) -> Summary:
    """Return the figures of what a compiler made of ``placement``."""
    config = placement.config
    forward, backward = _macs(placement)
    macs = {INFER: forward, TRAIN: forward + backward}
    return Summary(
        batch=placement.batch,
        macs={name: count for name, count in macs.items() if name in image.programs},
        rows=placement.rows.used,
        rows_there_are=config.usable_rows,
        store_words=placement.schedule.needed,
        store_words_there_are=config.store_words,
        spilled_bytes=image.scratch,
        packed={layer: placement.whole(name).shape[1] for layer, name in placement.packing.names.items()},
        table_entries=placement.table_entries,
        table_entries_there_are=config.table_channels,
        memory=image.memory,
        descriptors={name: image.count(name) for name in image.programs},
    )


def _macs(placement: Placement) -> tuple[int, int]:
    """Multiply-accumulates of inference, and of errors and gradients."""

    def of(layer: Convolution | RawSums) -> int:
        _, _, height, width = placement.whole(layer.name).shape
        return placement.batch * height * width * layer.weight.numel()

    network, forward, backward = placement.network, 0, 0
    for operation in placement.operations:
        match operation.item:
            case Convolution() | RawSums() as layer:
                forward += of(layer)
            case Gradient(layer=name):
                backward += of(network.convolution(name))
            case Edge(through=str(name)) if isinstance(through := network.layer(name), Convolution):
                backward += of(through)
            case _:
                pass
    return forward, backward
