"""The array types of annotations, by element type, and by the meaning of the axes where one is common."""

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
UInt8Array = NDArray[np.uint8]
Int32Array = NDArray[np.int32]
IntArray = NDArray[np.int64]
UInt64Array = NDArray[np.uint64]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

Picture = UInt8Array  # (H, W, 3), RGB unless said otherwise
Points = Float64Array  # (N, 2) or (N, 3), a row per point
Vectors = Float32Array  # (N, D), a row per embedding
