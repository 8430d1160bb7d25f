# SPDX-License-Identifier: Apache-2.0
"""What the front end does not take, by the name of the node that asks for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One node that cannot be taken.

    Parameters
    ----------
    node:
        Its name in the user's network.
    found:
        What is not supported.
    supported:
        What is.
    """

    node: str
    found: str
    supported: str

    def __str__(self) -> str:
        return f"{self.node}: {self.found}; supported: {self.supported}"


class RefusedError(ValueError):
    """A network with nodes that cannot be taken: all of them, in order."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        super().__init__(f"{refusals[0]}{more}")
        self.refusals = tuple(refusals)


class ModelError(ValueError):
    """A file or module that cannot be read at all."""


def refused(node: str, found: str, supported: str) -> RefusedError:
    """Return the error that refuses one node."""
    return RefusedError([Refusal(node=node, found=found, supported=supported)])


@contextmanager
def bounds_of(node: str) -> Iterator[None]:
    """Turn what an operator or a proof refuses into the refusal of ``node``."""
    try:
        yield
    except RefusedError:
        raise
    except (TypeError, ValueError) as error:
        raise refused(node, str(error), "what docs/arithmetic.md bounds") from error
