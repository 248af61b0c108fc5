"""A moving test card that is cheap to draw, with a frame counter that survives encoding and scaling."""

import numpy as np
from numpy.typing import NDArray

_BARS = ((192, 192, 192), (192, 192, 0), (0, 192, 192), (0, 192, 0), (192, 0, 192), (192, 0, 0), (0, 0, 192))
_COLUMNS, _ROWS = 12, 2
BITS = _COLUMNS * _ROWS
_BLOCKS_DOWN = 15  # a counter block is a fifteenth of the height, and a twelfth of the width
_DARK, _BRIGHT = 16, 235


class TestCard:
    """Colour bars, a square that travels below them, and the counter on top."""

    __test__ = False

    def __init__(self, width: int, height: int, seed: int) -> None:
        """``seed`` picks the order of the bars, so that two cards can be told apart."""
        colours = np.roll(np.array(_BARS, np.uint8), seed, axis=0)
        self._background = np.empty((height, width, 3), np.uint8)
        self._background[:] = colours[np.arange(width) * len(colours) // width]
        self._side = height // 6
        self._background[-2 * self._side :] = 64

    def draw(self, count: int) -> NDArray[np.uint8]:
        """Picture number ``count``: a new (height, width, 3) uint8 RGB array."""
        image = self._background.copy()
        height, width = image.shape[:2]
        left = count * max(2, width // 160) % (width - self._side)
        top = height - 3 * self._side // 2
        image[top : top + self._side, left : left + self._side] = 255
        for bit in range(BITS):
            rows, columns = _block(bit, height, width)
            image[rows, columns] = _BRIGHT if count >> bit & 1 else _DARK
        return image


def read_counter(image: NDArray[np.uint8]) -> int:
    """The count that a test card shows (modulo 2**24), from (height, width[, 3]) pixels of any size, decoded or not."""
    height, width = image.shape[:2]
    bits = (_centre(image[_block(bit, height, width)]).mean() > 128 for bit in range(BITS))
    return sum(1 << bit for bit, bright in enumerate(bits) if bright)


def _block(bit: int, height: int, width: int) -> tuple[slice, slice]:
    row, column = divmod(bit, _COLUMNS)
    return (
        slice(row * height // _BLOCKS_DOWN, (row + 1) * height // _BLOCKS_DOWN),
        slice(column * width // _COLUMNS, (column + 1) * width // _COLUMNS),
    )


def _centre(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the edges, where neighbours bleed in."""
    height, width = block.shape[:2]
    return block[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
