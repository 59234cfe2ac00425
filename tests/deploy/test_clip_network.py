from __future__ import annotations

import os

import pytest
import torch

from mutualnet3d.deploy.clip_network import ClipNetwork, export_program, input_names, normalize_of, random_clips
from mutualnet3d.shapes import ClipShape
from tests.deploy.networks import HOW, SMALL, source_of


@pytest.mark.parametrize("family", ["x3d", "slowfast"])
def test_bytes_in_logits_out(family, tmp_path):
    source = source_of(family, tmp_path, reverse_channels=True)
    clips = random_clips(source.shapes(SMALL), 2)
    normalize = normalize_of(source.preprocessing, torch.contiguous_format)
    with torch.no_grad():
        inputs = [normalize(clip.permute(0, 1, 4, 2, 3)) for clip in clips]
        expected = source.network().extract(SMALL)(inputs)
        logits = ClipNetwork(source.network().extract(SMALL), source.preprocessing)(*clips)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    not_reversed = normalize_of(HOW, torch.contiguous_format)
    assert not torch.equal(not_reversed(clips[0].permute(0, 1, 4, 2, 3)), inputs[0])


@pytest.mark.slow
def test_a_program_says_nothing_of_this_machine(tmp_path):
    source = source_of("x3d", tmp_path)
    program = export_program(source.network(), SMALL, source.preprocessing)
    path = tmp_path / "network.pt2"
    torch.export.save(program, path)
    content = path.read_bytes()
    assert os.path.dirname(torch.__file__).encode() not in content
    assert os.path.dirname(os.path.dirname(os.path.abspath(__file__))).encode() not in content
    clips = random_clips(source.shapes(SMALL), 3)
    with torch.no_grad():
        assert torch.equal(torch.export.load(path).module()(*clips), program.module()(*clips))


def test_clips_of_noise_are_the_same_again():
    shapes = (ClipShape(2, 8), ClipShape(4, 8))
    first, second = random_clips(shapes, 3, seed=1), random_clips(shapes, 3, seed=1)
    assert [tuple(clip.shape) for clip in first] == [(3, 2, 8, 8, 3), (3, 4, 8, 8, 3)]
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert not torch.equal(first[0], random_clips(shapes, 3, seed=2)[0])
    assert (input_names(1), input_names(2)) == (["clip"], ["slow", "fast"])
