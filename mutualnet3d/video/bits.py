"""Numbers in the headers of pictures: fields of some bits each, and variable-length codes."""

from __future__ import annotations


class NotUnderstood(ValueError):
    """Error for headers of which the order of pictures cannot be told."""


class Bits:
    """Numbers of some bits each, from the start of `data` on."""

    def __init__(self, data: bytes):
        self._value, self._left = int.from_bytes(data), 8 * len(data)
        self._num_bits = self._left

    def take(self, count: int) -> int:
        """Return the number in the next `count` bits.

        Args:
            count: number of bits.

        Raises:
            NotUnderstood: there are fewer.
        """
        self._left -= count
        if self._left < 0:
            raise NotUnderstood("a header ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def take_code(self) -> int:
        """Return the next number in Exp-Golomb code (ITU-T H.264, 9.1): as many zeros as digits follow its first 1.

        Raises:
            NotUnderstood: it ends early.
        """
        rest = self._value & ((1 << self._left) - 1)
        num_zeros = self._left - rest.bit_length()
        self.take(num_zeros)
        return self.take(num_zeros + 1) - 1

    def take_signed_code(self) -> int:
        """Return the next number in the Exp-Golomb code of signed numbers; see `take_code`."""
        code = self.take_code()
        return (code + 1) // 2 if code % 2 else -(code // 2)

    @property
    def num_taken(self) -> int:
        """Number of bits before the next number."""
        return self._num_bits - self._left
