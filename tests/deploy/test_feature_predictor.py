"""Features of a predictor: those of the eager network, at the times that it says, on every back end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.data.file_reader import UnreadFile
from mutualnet3d.deploy import Predictor
from mutualnet3d.deploy.clip_network import normalize_of
from mutualnet3d.deploy.export import export
from mutualnet3d.files.json_file import read_json
from mutualnet3d.video.errors import VideoDecodeError
from tests.deploy.networks import FULL, SMALL
from tests.deploy.test_export import EXACT


@pytest.fixture(scope="module")
def predictor(networks):
    return Predictor(networks, "pytorch", threads=1)


def vectors_by_hand(networks, clips, layer="blocks.5.proj"):
    """Return what the classifier reads of uint8 clips, by a hook; of another layer what it gives."""
    model, values = networks.network(), []
    normalize = normalize_of(networks.preprocessing, torch.contiguous_format)

    def take(_, args, output):
        values.append(args[0].flatten(1) if layer == "blocks.5.proj" else output)

    hook = model.get_submodule(layer).register_forward_hook(take)
    with torch.no_grad(), model.active(SMALL):
        model([normalize(clip.permute(0, 1, 4, 2, 3)) for clip in clips])
    hook.remove()
    return values[0].numpy()


def test_vectors_of_clips_are_the_eager_networks(predictor, networks, video):
    """30 frames, 24 a second; a clip is eight of them."""
    read = predictor.read(video, config=SMALL, views=3)
    expected_VC = vectors_by_hand(networks, read.clips)
    per_view = predictor.features(video, config=SMALL, views=3, per_clip=True)
    np.testing.assert_allclose(per_view.feature_NC, expected_VC, rtol=1e-4, atol=1e-5)
    # Three clips of a video begin at 0, 1/3 and 2/3 of the 22 frames that are more than one.
    assert per_view.start_N.tolist() == pytest.approx([0, 7 / 24, 14 / 24])
    assert per_view.end_N.tolist() == pytest.approx([8 / 24, 15 / 24, 22 / 24])
    assert (per_view.config, per_view.backend, per_view.layer, per_view.num_clips, per_view.num_lost) == (
        SMALL,
        "pytorch",
        None,
        3,
        0,
    )
    mean = predictor.features(video, config=SMALL, views=3)
    np.testing.assert_allclose(mean.feature_NC, expected_VC.mean(axis=0, keepdims=True), rtol=1e-4, atol=1e-5)
    assert (mean.start_N.tolist(), mean.end_N.tolist()) == ([0.0], [pytest.approx(22 / 24)])
    assert per_view.feature_NC.dtype == mean.feature_NC.dtype == np.float32


def test_windows_are_those_of_segments(predictor, video):
    windows = predictor.segments(video, every=0.25, config=SMALL).windows
    features = predictor.features(video, every=0.25, config=SMALL, batch_size=3)
    assert features.start_N.tolist() == windows.start_N.tolist()
    assert features.end_N.tolist() == (windows.start_N + windows.span_seconds).tolist()
    classifier = predictor._networks.network().get_submodule("blocks.5.proj")
    with torch.no_grad():
        score_NK = classifier(torch.from_numpy(features.feature_NC)).softmax(dim=1)
    np.testing.assert_allclose(score_NK, windows.score_NK, atol=1e-5)


def test_budgets_and_values_that_are_not_allowed(predictor, video, networks):
    assert predictor.features(video, gflops=1.01 * networks.gflops(SMALL)).config == SMALL
    assert predictor.features(video).config == FULL
    with pytest.raises(ValueError, match=r"give views of the video, or windows over it \(every\), not both"):
        predictor.features(video, views=2, every=1.0)
    with pytest.raises(ValueError, match="every is 0; it must be"):
        predictor.features(video, every=0)
    with pytest.raises(VideoDecodeError, match=r"nowhere\.mp4"):
        predictor.features("nowhere.mp4")
    with pytest.raises(ValueError, match="windows have one view each, the plan has 2"):
        predictor.features_of_files([video], predictor.plan(config=SMALL, views=2), every=1.0)


def test_maps_of_a_layer(predictor, networks, video):
    read = predictor.read(video, config=SMALL, views=2)
    maps = predictor.features(video, config=SMALL, views=2, per_clip=True, layer="blocks.4")
    expected = vectors_by_hand(networks, read.clips, "blocks.4")
    assert maps.feature_NC.shape == (2, 48, 2, 2, 2)
    np.testing.assert_allclose(maps.feature_NC, expected, rtol=1e-4, atol=1e-5)
    assert repr(maps).endswith("2 of 48 x 2 x 2 x 2 of blocks.4; w0.5-s48-t2 on pytorch>")
    with pytest.raises(ValueError, match=r"no layer 'blocks\.9' .*similar names: blocks\.5.*layers of w0\.5-s48-t2: "):
        predictor.features(video, config=SMALL, layer="blocks.9")


def test_windows_of_files_of_which_one_is_broken(predictor, video, tmp_path):
    """tests/cli/test_features.py has clips, which processes read."""
    (tmp_path / "broken.mp4").write_text("no video")
    paths = [video, str(tmp_path / "broken.mp4"), "gone.mp4"]
    results = dict(predictor.features_of_files(paths, predictor.feature_plan(config=SMALL, every=0.5), every=0.5))
    assert sorted(results) == [0, 1, 2]
    assert [results[number].status for number in (1, 2)] == ["bad", "missing"]
    assert isinstance(results[1], UnreadFile)
    assert results[1].reason.startswith(paths[1])
    alone = predictor.features(video, config=SMALL, every=0.5)
    np.testing.assert_allclose(results[0].feature_NC, alone.feature_NC, rtol=1e-4, atol=1e-5)
    assert (results[0].source, results[0].start_N.tolist()) == (video, [0.0, 0.5])


@pytest.fixture(scope="module")
def bundle(networks, tmp_path_factory):
    return export(networks, str(tmp_path_factory.mktemp("features") / "bundle"), [SMALL], EXACT, features=True)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "pt2"])
def test_back_ends_agree(backend, bundle, predictor, video):
    """Of a bundle; the same graphs are made of a checkpoint."""
    expected = predictor.features(video, config=SMALL, views=3, per_clip=True)
    exported = Predictor.load(bundle.path, backend=backend, threads=1)
    got = exported.features(video, config=SMALL, views=3, per_clip=True)
    assert np.abs(got.feature_NC - expected.feature_NC).max() < 1e-3 * np.abs(expected.feature_NC).max()
    windows = exported.features(video, every=0.25)
    expected = predictor.features(video, config=SMALL, every=0.25)
    assert np.abs(windows.feature_NC - expected.feature_NC).max() < 1e-3 * np.abs(expected.feature_NC).max()
    labels = [runner.predict(video, config=SMALL).labels for runner in (exported, predictor)]
    assert [label.score for label in labels[0]] == pytest.approx([label.score for label in labels[1]], rel=1e-4)


@pytest.mark.slow
def test_the_bundle_says_that_it_has_features(bundle):
    description = read_json(f"{bundle.path}/bundle.json", "a bundle's description")
    assert (description["version"], description["networks"][str(SMALL)]["features"]) == (2, 64)
    assert {name: bundle.vector_length(SMALL, name) for name in ("onnx", "openvino-int8")} == {
        "onnx": 64,
        "openvino-int8": None,
    }
