from __future__ import annotations

import pytest

from mutualnet3d.video.bits import Bits, NotUnderstood


def test_numbers_of_some_bits_and_codes_follow_each_other():
    # 101, then the codes of 0, 1, 2, 7, and the signed ones of 1 and -1.
    bits = Bits(int("101 1 010 011 0001000 010 011 0".replace(" ", ""), 2).to_bytes(3))
    assert bits.take(3) == 5
    assert [bits.take_code() for _ in range(4)] == [0, 1, 2, 7]
    assert [bits.take_signed_code() for _ in range(2)] == [1, -1]
    assert (bits.take(0), bits.num_taken) == (0, 23)
    with pytest.raises(NotUnderstood, match="a header ends early"):
        bits.take(2)


@pytest.mark.parametrize("data", [b"", b"\0", b"\x01"])
def test_a_code_that_ends_early_is_an_error(data):
    with pytest.raises(NotUnderstood, match="a header ends early"):
        Bits(data).take_code()
