"""The array types that the risk engine passes around, and the error for arrays that do not fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
StateArray = NDArray[np.int8]


class ShapeMismatch(ValueError):
    """Arrays that must agree in length or index range do not."""


def frozen(array: FloatArray) -> FloatArray:
    """Return a float64 copy of an array that nobody can write to."""
    copy = np.array(array, dtype=np.float64, copy=True)
    copy.setflags(write=False)
    return copy


def frozen_index(array: IntArray) -> IntArray:
    """Return an int64 copy of an index array that nobody can write to."""
    copy = np.array(array, dtype=np.int64, copy=True)
    copy.setflags(write=False)
    return copy


def same_length(expected: int, **named: FloatArray | IntArray) -> None:
    """Raise ShapeMismatch unless every named array is one-dimensional with the expected length."""
    for name, array in named.items():
        if array.ndim != 1 or array.shape[0] != expected:
            raise ShapeMismatch(f"{name} has shape {array.shape}, expected ({expected},)")
