# SPDX-License-Identifier: Apache-2.0
"""How often SECDED(72,64) takes a wrong codeword for a right one, exactly, from its parity-check matrix.

Of the patterns of ``w`` wrong bits those are silent whose syndrome is 0 or a column of H, except the single errors: the
decoder then returns another codeword than was written, and two codewords never share their data.
"""

import math
from functools import cache

from respin.golden.memory.secded import CODE_BITS, parity_columns


@cache
def silent_patterns() -> tuple[int, ...]:
    """Number of error patterns of each weight 0..72 that decode to wrong data without a flag.

    Patterns of each weight are counted by syndrome, a column of H at a time.
    """
    columns = parity_columns()
    counts = [[0] * 256 for _ in range(CODE_BITS + 1)]
    counts[0][0] = 1
    for used, column in enumerate(columns):
        for weight in range(used, -1, -1):
            more, fewer = counts[weight + 1], counts[weight]
            for syndrome in range(256):
                more[syndrome ^ column] += fewer[syndrome]
    silent = [by_syndrome[0] + sum(by_syndrome[column] for column in columns) for by_syndrome in counts]
    return (0, 0, *silent[2:])


def silent_share(weight: int) -> float:
    """Share of the patterns of ``weight`` wrong bits that are silent."""
    return silent_patterns()[weight] / math.comb(CODE_BITS, weight)


def silent_probability(bit_error: float) -> float:
    """Probability that a codeword is silently wrong, each of its bits being wrong with ``bit_error`` by itself."""
    return math.fsum(
        patterns * bit_error**weight * (1 - bit_error) ** (CODE_BITS - weight)
        for weight, patterns in enumerate(silent_patterns())
    )
