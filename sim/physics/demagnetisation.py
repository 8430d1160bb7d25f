# SPDX-License-Identifier: Apache-2.0
"""Demagnetising factors: of an ellipsoid, and of the flat elliptic cylinder that a free layer is."""

import numpy as np
from scipy.special import ellipe, ellipk, elliprd

_ANGLES = 256
"""Directions averaged over; the average over a period converges faster than any power of their number."""


def ellipsoid(length: float, width: float, thickness: float) -> tuple[float, float, float]:
    """Return the factors along the three axes of an ellipsoid, given in one unit; their sum is 1 (Osborn 1945)."""
    x, y, z = (axis / 2 for axis in (length, width, thickness))
    third = x * y * z / 3
    return (
        float(third * elliprd(y * y, z * z, x * x)),
        float(third * elliprd(z * z, x * x, y * y)),
        float(third * elliprd(x * x, y * y, z * z)),
    )


def circular_cylinder(aspect: np.ndarray) -> np.ndarray:
    """Return the factors along the axes of uniformly magnetised cylinders, ``aspect`` being thickness over diameter.

    They are averages over the volume (Joseph 1966).
    """
    square = aspect**2
    modulus = 1 / (1 + square)
    bracket = np.sqrt(1 + square) * (square * ellipk(modulus) + (1 - square) * ellipe(modulus))
    return 1 + 4 / (3 * np.pi * aspect) * (1 - bracket)


def elliptic_cylinder(length: float, width: float, thickness: float) -> tuple[float, float, float]:
    """Return the factors along length, width and thickness (in one unit) of a uniformly magnetised elliptic cylinder.

    They are averages over its volume: ``N = (1/8 pi^3 V) int |D(k)|^2 k_i^2/k^2 d^3k`` with the Fourier transform
    ``D`` of the shape (Beleggia et al. 2005). An ellipse is a stretched circle. So along each direction of
    the stretched wave vector the integral is that of a circular cylinder, and only the average over directions is left.
    """
    angle = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    along, across = (np.cos(angle) / length) ** 2, (np.sin(angle) / width) ** 2
    in_plane = 1 - circular_cylinder(thickness * np.sqrt(along + across))
    long = float(np.mean(in_plane * along / (along + across)))
    short = float(np.mean(in_plane * across / (along + across)))
    return long, short, 1 - long - short
