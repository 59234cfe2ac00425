from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mutualnet3d.engine.checkpoint import save_checkpoint
from mutualnet3d.files.torch_file import MODEL, read_torch_file, write_torch_file
from mutualnet3d.models import ModelFile, SlimmableNet, read_model_file, write_model_file
from mutualnet3d.models.model_file import TrainedNetwork, to_builtins, trained_network
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.models.families import FAMILIES, calibrated, clips, tiny

CONFIG = SubnetConfig(0.6, 48, 2)
DESCRIPTION = {
    "class_names": ("dark", "bright"),
    "preprocessing": {"mean": (0.45, 0.45, 0.45)},
    "space": {"width_range": (0.6, 1.0), "sizes": (64, 48), "frames": (4, 2), "tested_sizes": (64, 48)},
    "channels_last": True,
}


def model_file_of(model: SlimmableNet, **changes: object) -> ModelFile:
    return ModelFile.of(model, **{**DESCRIPTION, "step": 7, "config": "TRAIN: {}\n", **changes})


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_network_comes_back_with_weights_and_statistics(family, tmp_path):
    model = calibrated(tiny(family), CONFIG)
    model.statistics.interpolation_losses[ClipShape(2, 48)] = 0.25
    path = str(tmp_path / "model.pyth")
    write_model_file(path, model_file_of(model))
    other = read_model_file(path).build().eval()
    assert type(other) is type(model)
    assert other.full == model.full
    x = clips(model, CONFIG)
    with torch.no_grad(), model.active(CONFIG), other.active(CONFIG):
        assert torch.equal(other(x), model(x))
    assert list(other.statistics) == [CONFIG]
    assert other.statistics.interpolation_losses == {ClipShape(2, 48): 0.25}


def test_the_rest_of_the_description_comes_back_as_plain_values(tmp_path):
    path = str(tmp_path / "model.pyth")
    write_model_file(path, model_file_of(tiny("x3d")))
    read = read_model_file(path)
    assert (read.builder, read.class_names, read.network.step) == ("x3d", ("dark", "bright"), 7)
    assert read.arguments["full_clip"] == {"frames": 4, "size": 64}
    assert read.preprocessing == {"mean": [0.45, 0.45, 0.45]}
    assert read.space["tested_sizes"] == [64, 48]
    assert (read.channels_last, read.memory_format) == (True, torch.channels_last_3d)
    assert read.config == "TRAIN: {}\n"
    assert read.versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert replace(read, channels_last=False).memory_format == torch.contiguous_format


def test_a_model_file_is_short_in_a_session():
    """Without its tensors and its config."""
    model_file = model_file_of(tiny("x3d"), config="KEY: 1\n" * 1000)
    assert "TrainedNetwork(step=" in repr(model_file)
    assert "tensor" not in repr(model_file)
    assert len(repr(model_file)) < 2000


def test_plain_values_are_those_of_files():
    assert to_builtins({"a": (ClipShape(4, 32), [1, (2,)])}) == {"a": [{"frames": 4, "size": 32}, [1, [2]]]}


def test_interpolated_statistics_stay_interpolated(tmp_path):
    model = calibrated(tiny("x3d"), CONFIG)
    model.statistics.set(CONFIG, model.statistics[CONFIG], interpolated=True)
    path = str(tmp_path / "model.pyth")
    write_model_file(path, model_file_of(model))
    assert read_model_file(path).build().statistics.interpolated == [CONFIG]


def test_the_tensors_of_older_files_are_found_too():
    """A training's checkpoint has no statistics; one of the first release had them in the same places."""
    assert trained_network({"model_state": {"w": 1}, "step": 3}) == TrainedNetwork({"w": 1}, {}, 3)
    statistics = {"statistics": {"w0.6-s48-t2": {}}, "interpolation_losses": [[2, 48, 0.1]]}
    assert trained_network({"model_state": {}, **statistics}).statistics == statistics


def test_a_network_of_no_builder_has_no_file():
    with pytest.raises(ValueError, match=r"a network that can be built again: one of build_x3d, .* or build_model"):
        model_file_of(SlimmableNet(torch.nn.ModuleList(), ClipShape(4, 32)))


def test_files_that_are_none(tmp_path):
    path = str(tmp_path / "a.pyth")
    with pytest.raises(FileNotFoundError, match=r"no file at .*a\.pyth, which should be a model file"):
        read_model_file(path)
    save_checkpoint(path, {"model_state": {}})
    with pytest.raises(ValueError, match=r"a\.pyth: not a model file of mutualnet3d"):
        read_model_file(path)
    write_model_file(path, model_file_of(tiny("x3d")))
    content = read_torch_file(path, "a file")
    torch.save({**content, "version": 9}, path)
    with pytest.raises(ValueError, match=r"a\.pyth: model version 9; this release reads up to 1"):
        read_model_file(path)
    write_torch_file(path, MODEL, {name: content[name] for name in content if name not in ("builder", "model_state")})
    with pytest.raises(ValueError, match=r"a\.pyth: the model file has no builder, model_state"):
        read_model_file(path)


def test_descriptions_of_another_network_are_refused():
    model_file = model_file_of(tiny("x3d"))
    with pytest.raises(ValueError, match="unknown builder 'vit'"):
        replace(model_file, builder="vit").build()
    with pytest.raises(ValueError, match=r"the weights are not those of the network that is described: .*size mism"):
        replace(model_file, arguments={**model_file.arguments, "num_classes": 9}).build()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": None}, "class_names is None; it must be a list of texts"),
        ({"class_names": "ab"}, "class_names is 'ab'; it must be a list of texts"),
        ({"class_names": ["a", 3]}, r"class_names is \['a', 3\]; it must be"),
        ({"preprocessing": []}, r"preprocessing is \[\]; it must be a mapping"),
        ({"space": None}, "space is None; it must be a mapping"),
        ({"arguments": [1]}, r"arguments is \[1\]; it must be a mapping"),
        ({"builder": None}, "builder is None; it must be a text"),
        ({"channels_last": 1}, "channels_last is 1; it must be True or False"),
        ({"model_state": None}, "model_state is None; it must be tensors by their names"),
        ({"model_state": {5: torch.zeros(1)}}, "model_state is .*; it must be tensors by their names"),
        ({"version": "1"}, "model version is '1'; it must be an integer from 1 to 1"),
        ({"version": None}, "model version is None; it must be an integer"),
    ],
)
def test_parts_of_another_type_name_the_file_and_the_part(change, message, tmp_path):
    path = str(tmp_path / "a.pyth")
    write_model_file(path, model_file_of(tiny("x3d")))
    torch.save({**read_torch_file(path, "a file"), **change}, path)
    with pytest.raises(ValueError, match=rf"a\.pyth: {message}"):
        read_model_file(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"full_clip": {"frames": 4}}, "a clip shape is {'frames': 4}; it must have frames and size"),
        ({"full_clip": None}, "full_clip is None; it must be a clip shape"),
        ({"num_classes": "2"}, "num_classes is '2'; it must be an integer"),
        ({"num_classes": True}, "num_classes is True; it must be an integer"),
        ({"num_classes": -1}, "cannot build a network of these arguments: "),
        ({"num_classes": 10**30}, r"num_classes is 10+; it must be an integer below 2\*\*31"),
        ({"width_factor": 1e6}, "the network is larger than allowed: "),
        ({"depth_factor": 1e6}, "the network is larger than allowed: "),
        ({"dim_c1": 10**6}, "the network is larger than allowed: "),
        ({"full_clip": {"frames": 10**9, "size": 64}}, "a clip of 1000000000 x 64 x 64 has more than 1024 MB"),
        ({"depth_factor": float("nan")}, "depth_factor is nan; it must be a finite number"),
        ({"bn_lin5": 0}, "bn_lin5 is 0; it must be True or False"),
        ({"heads": 1}, "heads"),
    ],
)
def test_arguments_that_no_builder_takes_are_refused(change, message):
    model_file = model_file_of(tiny("x3d"))
    with pytest.raises(ValueError, match=message):
        replace(model_file, arguments={**model_file.arguments, **change}).build()
