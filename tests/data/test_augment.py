from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from mutualnet3d.data.augment import Augment, RandAugmentPolicy
from mutualnet3d.shapes import ClipShape

LARGE, SMALL = ClipShape(4, 96), ClipShape(2, 48)


def smooth_clips():
    """Clips with one smooth, coloured picture in every frame and shape."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    blob = torch.exp(-20 * ((x - 0.3) ** 2 + (y - 0.6) ** 2))
    picture_CHW = torch.stack([40 + 150 * x, 220 - 160 * y, 30 + 200 * blob])
    return {
        shape: F.avg_pool2d(picture_CHW, 96 // shape.size).round().to(torch.uint8).repeat(shape.frames, 1, 1, 1)
        for shape in (LARGE, SMALL)
    }


def grey_clips(level=0):
    return {shape: torch.full((shape.frames, 3, shape.size, shape.size), level).byte() for shape in (LARGE, SMALL)}


def draws(augment, clips, count):
    return (augment(clips, np.random.default_rng(seed)) for seed in range(count))


EVERYTHING = Augment(
    rand_augment="rand-m9-n4-mstd0.5-inc1", grayscale_probability=0.2, erase_probability=0.5, erase_count=2
)
KINDS = {
    "everything": EVERYTHING,
    "rand_augment": Augment(rand_augment="rand-m9-n4-mstd0.5-inc1"),
    "color_jitter": Augment(color_jitter=0.4),
    "gray": Augment(grayscale_probability=0.5),
    "erase": Augment(erase_probability=0.9, erase_count=3),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def augment(request):
    return request.param


def test_clips_keep_their_shapes_and_the_input_its_pixels(augment):
    clips = smooth_clips()
    before = {shape: clip.clone() for shape, clip in clips.items()}
    changed = 0
    for result in draws(augment, clips, 10):
        assert list(result) == [LARGE, SMALL]
        for shape, clip_TCHW in result.items():
            assert clip_TCHW.dtype == torch.uint8
            assert clip_TCHW.shape == before[shape].shape
            assert torch.equal(clips[shape], before[shape])
            changed += not torch.equal(clip_TCHW, before[shape])
    assert changed >= 4


def test_a_result_depends_on_the_generator_and_its_own_clip_alone(augment):
    """Not on the other shapes, not on their order; and the global generators are left alone."""
    clips = smooth_clips()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    for seed, result in enumerate(draws(augment, clips, 6)):
        turned = augment(dict(reversed(clips.items())), np.random.default_rng(seed))
        alone = augment({SMALL: clips[SMALL]}, np.random.default_rng(seed))
        assert torch.equal(turned[LARGE], result[LARGE])
        assert torch.equal(turned[SMALL], result[SMALL])
        assert torch.equal(alone[SMALL], result[SMALL])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]


def test_gpus_are_not_seeded(monkeypatch):
    def fail(*_):
        raise AssertionError("a GPU's generator was seeded")

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, fail)
    assert len(list(draws(EVERYTHING, smooth_clips(), 3))) == 3


def test_memory_formats_give_the_same(augment):
    clips = smooth_clips()
    channels_last = {shape: clip.contiguous(memory_format=torch.channels_last) for shape, clip in clips.items()}
    for contiguous, last in zip(draws(augment, clips, 4), draws(augment, channels_last, 4), strict=True):
        assert all(torch.equal(contiguous[shape], last[shape]) for shape in clips)


@pytest.mark.parametrize("kind", ["rand_augment", "color_jitter", "gray"])
def test_all_frames_are_changed_alike(kind):
    for result in draws(KINDS[kind], smooth_clips(), 10):
        for clip_TCHW in result.values():
            assert torch.equal(clip_TCHW, clip_TCHW[:1].expand_as(clip_TCHW))


@pytest.mark.parametrize(
    ("augment", "tolerance"),
    [
        (KINDS["color_jitter"], 1.0),
        (KINDS["gray"], 1.0),
        (Augment(rand_augment="rand-m9-n1-mstd1"), 8.0),  # Equalize; 1.5 for all others
        (KINDS["rand_augment"], 12.0),  # one operation after another: small differences are made larger
    ],
)
def test_all_shapes_are_changed_alike(augment, tolerance):
    """Within a few levels, in the mean over the picture, the large clip, made small, is the small one; a change is far
    larger."""
    clips, changes = smooth_clips(), []
    for result in draws(augment, clips, 60):
        large, small = F.avg_pool2d(result[LARGE][0].float(), 2), result[SMALL][0].float()
        assert (large - small).abs().mean() < tolerance
        changes.append((small - clips[SMALL][0].float()).abs().mean().item())
    assert max(changes) > 20


def test_nothing_asked_for_changes_nothing():
    augment, clips = Augment(), smooth_clips()
    assert augment.is_identity
    assert not any(kind.is_identity for kind in KINDS.values())
    rng = np.random.default_rng(0)
    assert all(augment(clips, rng)[shape] is clip for shape, clip in clips.items())
    assert rng.random() == np.random.default_rng(0).random()


def test_colour_jitters_range():
    """Contrast and saturation leave a plain grey as it is: what is left is the brightness, 0.6 to 1.4 times 100."""
    clip = {SMALL: grey_clips(100)[SMALL][:1, :, :4, :4]}
    levels = [result[SMALL].unique().tolist() for result in draws(Augment(color_jitter=0.4), clip, 400)]
    assert all(len(level) == 1 for level in levels)
    assert (min(levels)[0], max(levels)[0]) == (60, 139)  # rounded down
    assert np.mean(levels) == pytest.approx(100, abs=3)
    assert np.std(levels) == pytest.approx(80 / 12**0.5, rel=0.06)


def test_jitter_gives_way_to_rand_augment():
    both = Augment(rand_augment="rand-m9-n1", color_jitter=0.4)
    only = Augment(rand_augment="rand-m9-n1")
    for first, second in zip(draws(both, smooth_clips(), 10), draws(only, smooth_clips(), 10), strict=True):
        assert torch.equal(first[LARGE], second[LARGE])


def test_grey_clips():
    clips = smooth_clips()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    grey = Augment(grayscale_probability=1.0)(clips, np.random.default_rng(0))
    for shape, clip_TCHW in grey.items():
        expected = (clips[shape] * weights).sum(1, keepdim=True).expand_as(clip_TCHW)
        assert (clip_TCHW - expected).abs().max() <= 1
    one_frame = {SMALL: clips[SMALL][:1]}
    changed = [
        result[SMALL] is not one_frame[SMALL] for result in draws(Augment(grayscale_probability=0.2), one_frame, 500)
    ]
    assert np.mean(changed) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rand-m7-n4-mstd0.5-inc1", RandAugmentPolicy(7, 4, 0.5)),
        ("rand-inc1-mstd1-n1-m0", RandAugmentPolicy(0, 1, 1.0)),
        ("rand-m9-mstd0.5", RandAugmentPolicy(9, 2, 0.5)),
        ("rand", RandAugmentPolicy(10, 2, 0.0)),
    ],
)
def test_rand_augment_strings(text, expected):
    assert RandAugmentPolicy.parse(text) == expected
    assert Augment(rand_augment=text).rand_augment == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("augmix-m3", "rand_augment must be '' or a string such as 'rand-m7-n4-mstd0.5-inc1', got 'augmix-m3'"),
        ("v0", "got 'v0'"),
        ("rand-m11", "'rand-m11': 'm11' is none of m<0 to 10>, n<1, 2, ...>, mstd<0 or more>, inc1"),
        ("rand-m7-n0", "'n0' is none of"),
        ("rand-n1.5", "'n1.5' is none of"),
        ("rand-m7-w0", "'w0' is none of"),
        ("rand-m-1", "'m' is none of"),
        ("rand-inc2", "'inc2' is none of"),
        ("rand-", "'' is none of"),
        ("rand-m7-n2-m8", "'rand-m7-n2-m8': m must be given once, not twice"),
        ("rand-m9-inc0", "inc0 means operations that weaken as the magnitude grows, torchvision has only those"),
    ],
)
def test_rand_augment_strings_that_are_refused(text, message):
    with pytest.raises(ValueError) as error:
        Augment(rand_augment=text)
    assert message in str(error.value)


def test_rand_augments_magnitudes():
    rng = np.random.default_rng(0)
    drawn = [RandAugmentPolicy(7, 4, 0.5).draw_magnitudes(rng) for _ in range(2000)]
    assert np.mean([len(magnitudes) for magnitudes in drawn]) == pytest.approx(2.0, abs=0.08)
    assert {len(magnitudes) for magnitudes in drawn} == {0, 1, 2, 3, 4}
    magnitudes = np.concatenate(drawn)
    assert magnitudes.mean() == pytest.approx(7.0, abs=0.03)
    assert magnitudes.std() == pytest.approx(0.5, abs=0.02)
    wild = np.concatenate([RandAugmentPolicy(9, 4, 5.0).draw_magnitudes(rng) for _ in range(200)])
    assert (wild.min(), wild.max()) == (0.0, 10.0)


@pytest.mark.parametrize(("magnitude", "expected"), [(0, 0), (7, 21), (10, 30)])
def test_rand_augments_magnitude_in_torchvisions_bins(monkeypatch, magnitude, expected):
    made = []

    class Recorder(v2.RandAugment):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(options)

    monkeypatch.setattr(v2, "RandAugment", Recorder)
    list(draws(Augment(rand_augment=f"rand-m{magnitude}-n4", interpolation="bilinear"), smooth_clips(), 3))
    assert made
    for options in made:
        assert (options["magnitude"], options["num_magnitude_bins"], options["num_ops"]) == (expected, 31, 1)
        assert options["interpolation"] == v2.InterpolationMode.BILINEAR


def test_turned_pictures_are_filled_with_the_mean_colour():
    """At magnitude 9 no colour operation changes black, so that what is not black is filled in."""
    augment = Augment(rand_augment="rand-m9-n2", mean=(0.2, 0.4, 0.6))
    colours = {
        tuple(result[SMALL][0, :, y, x].tolist())
        for result in draws(augment, grey_clips(0), 40)
        for y in (0, 47)
        for x in (0, 47)
    }
    assert (0, 0, 0) in colours
    assert (51, 102, 153) in colours


def test_bicubic_differs_from_bilinear_only_a_little():
    bicubic, bilinear = (Augment(rand_augment="rand-m9", interpolation=name) for name in ("bicubic", "bilinear"))
    differences = [
        (first[SMALL].float() - second[SMALL].float()).abs().mean().item()
        for first, second in zip(draws(bicubic, smooth_clips(), 20), draws(bilinear, smooth_clips(), 20), strict=True)
    ]
    assert 0.01 < max(differences) < 2


def erased_box(clip_TCHW, level=0):
    """Top, left, bottom, right of what is not `level`, as fractions."""
    changed_HW = (clip_TCHW != level).any(0).any(0)
    rows, columns = changed_HW.any(1).nonzero(), changed_HW.any(0).nonzero()
    edges = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    return np.array([edge.item() / len(changed_HW) for edge in edges])


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_the_same_box_is_erased_everywhere(mode):
    augment = Augment(erase_probability=1.0, erase_mode=mode, mean=(0.9,) * 3, std=(0.05,) * 3)
    for result in draws(augment, grey_clips(0), 20):
        large, small = (erased_box(result[shape]) for shape in (LARGE, SMALL))
        np.testing.assert_allclose(large, small, atol=0.5 / 96 + 0.5 / 48 + 1e-9)
        for clip_TCHW in result.values():
            for frame_CHW in clip_TCHW:
                np.testing.assert_array_equal(erased_box(frame_CHW[None]), erased_box(clip_TCHW))


def test_constant_boxes_are_0_after_normalising():
    clip_TCHW = Augment(erase_probability=1.0, erase_mode="const")(grey_clips(9), np.random.default_rng(0))[LARGE]
    colours = clip_TCHW.unique().tolist()
    assert colours == [9, 115]
    normalised = (115 / 255 - 0.45) / 0.225
    assert normalised == pytest.approx(0, abs=0.01)
    top, left, bottom, right = (erased_box(clip_TCHW, 9) * 96).round().astype(int)
    assert (clip_TCHW[..., top:bottom, left:right] == 115).all()


def test_random_boxes_have_one_colour_in_all_shapes():
    augment = Augment(erase_probability=1.0, erase_mode="rand", mean=(0.3, 0.5, 0.7), std=(0.05, 0.1, 0.05))
    colours = []
    for result in draws(augment, grey_clips(255), 300):
        inside = {}
        for shape, clip_TCHW in result.items():
            top, left, bottom, right = (erased_box(clip_TCHW, 255) * shape.size).round().astype(int)
            box = clip_TCHW[..., top:bottom, left:right]
            inside[shape] = box[0, :, 0, 0]
            assert torch.equal(box, inside[shape].view(3, 1, 1).expand_as(box))
        assert torch.equal(inside[LARGE], inside[SMALL])
        colours.append(inside[LARGE].tolist())
    np.testing.assert_allclose(np.mean(colours, axis=0) / 255, [0.3, 0.5, 0.7], atol=0.02)
    np.testing.assert_allclose(np.std(colours, axis=0) / 255, [0.05, 0.1, 0.05], atol=0.012)


def test_noise_is_new_for_every_pixel_and_frame():
    augment = Augment(erase_probability=1.0, mean=(0.5,) * 3, std=(0.1,) * 3)
    clip_TCHW = augment(grey_clips(0), np.random.default_rng(0))[LARGE]
    top, left, bottom, right = (erased_box(clip_TCHW) * 96).round().astype(int)
    noise = clip_TCHW[..., top:bottom, left:right].float() / 255
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.std().item() == pytest.approx(0.1, abs=0.01)
    for first, second in ((noise[0], noise[1]), (noise[:, 0], noise[:, 1]), (noise[..., 1:], noise[..., :-1])):
        assert np.corrcoef(first.flatten(), second.flatten())[0, 1] == pytest.approx(0, abs=0.1)


def test_areas_aspects_and_places_of_boxes():
    augment = Augment(erase_probability=0.25, erase_mode="const")
    size = ClipShape(1, 128)
    results = list(draws(augment, {size: torch.zeros(1, 3, 128, 128, dtype=torch.uint8)}, 3000))
    boxes = np.array([erased_box(result[size]) for result in results if result[size].any()])
    assert len(boxes) / 3000 == pytest.approx(0.25, abs=0.025)
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas, ratios = heights * widths, np.log(heights / widths)
    assert 0.015 < areas.min() < 0.03
    assert 0.3 < areas.max() < 0.345
    assert areas.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.012)
    assert abs(ratios).max() < np.log(1 / 0.3) + 0.1
    assert ratios.mean() == pytest.approx(0, abs=0.08)
    assert ratios.std() == pytest.approx(2 * np.log(1 / 0.3) / 12**0.5, rel=0.06)
    assert boxes.min(0)[:2].max() <= 2 / 128
    assert boxes.max(0)[2:].min() >= 126 / 128


def test_several_boxes_share_the_area():
    augment = Augment(erase_probability=1.0, erase_mode="const", erase_count=3)
    clip = {SMALL: grey_clips(0)[SMALL][:1]}
    shares = [(result[SMALL] != 0).float().mean().item() for result in draws(augment, clip, 300)]
    assert max(shares) < 0.35
    # The mean area, less what overlaps; three boxes of full size would cover over 40 %.
    assert 0.14 < np.mean(shares) < 0.18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"color_jitter": -0.4}, "Augment: color_jitter must be 0 or more and finite, got -0.4"),
        ({"grayscale_probability": 1.1}, r"Augment: grayscale_probability must be in \[0, 1\], got 1.1"),
        ({"erase_probability": -1.0}, r"Augment: erase_probability must be in \[0, 1\], got -1.0"),
        ({"erase_mode": "noise"}, "Augment: erase_mode must be const, rand or pixel, got 'noise'"),
        ({"erase_count": 0}, "Augment: erase_count must be an integer of at least 1, got 0"),
        ({"interpolation": "random"}, "Augment: interpolation must be bilinear or bicubic, got 'random'"),
        ({"mean": [0.4, 0.4]}, r"Augment: mean must be three values in \[0, 1\], got \(0.4, 0.4\)"),
        ({"mean": [0.4, 0.4, 114.0]}, r"Augment: mean must be three values in \[0, 1\], got \(0.4, 0.4, 114.0\)"),
        ({"std": [0.2, 0.2, -0.2]}, r"Augment: std must be three values of 0 or more, got \(0.2, 0.2, -0.2\)"),
    ],
)
def test_values_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Augment(**changes)
