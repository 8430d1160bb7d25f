# SPDX-License-Identifier: Apache-2.0
"""All proofs, and what is not proven."""

import importlib

from catalogue import Proof

PARTS = {
    "prove_ecc": "Error correction",
    "prove_writer": "Write and verify",
    "prove_locks": "Locks",
    "prove_spares": "Spare rows",
    "prove_keeper": "Procedures on the memory",
    "prove_host": "AXI ports and registers",
    "prove_transport": "Queues, buffers and packers",
    "prove_streams": "Handshakes",
}
"""Modules with ``PROOFS``, and what their part of the table is called."""

PROOFS: dict[str, tuple[Proof, ...]] = {
    title: importlib.import_module(module).PROOFS for module, title in PARTS.items()
}


def all_proofs() -> list[Proof]:
    """Every proof, in the order of the table."""
    return [proof for part in PROOFS.values() for proof in part]
