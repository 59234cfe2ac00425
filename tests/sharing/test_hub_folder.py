from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mutualnet3d.deploy.load import load_model_file
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.sharing.hub_folder import FILES, networks_of, read_hub_folder, write_hub_folder
from tests.cli.test_latency import CONFIGS, write_tested
from tests.conftest import restored_generators


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A model file and its table."""
    folder = tmp_path_factory.mktemp("tested")
    with restored_generators():
        _, checkpoint, table, _ = write_tested(folder, class_names=["dark", "bright"])
    return load_model_file(checkpoint), table


@pytest.fixture
def folder(tested, tmp_path):
    write_hub_folder(str(tmp_path), *tested)
    return tmp_path


def test_what_is_read_is_what_was_written(tested, folder):
    model_file, table = tested
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    again, table_again = read_hub_folder(str(folder))
    for name in (
        "builder",
        "arguments",
        "class_names",
        "preprocessing",
        "space",
        "channels_last",
        "config",
        "versions",
    ):
        assert getattr(again, name) == getattr(model_file, name)
    assert again.network.step == 7
    assert again.network.weights.keys() == model_file.network.weights.keys()
    assert all(torch.equal(again.network.weights[name], value) for name, value in model_file.network.weights.items())
    assert table_again.rows == table.rows

    clips = [torch.randn(2, 3, 4, 32, 32)]
    networks, before = networks_of(again, table_again, "shared").network(), model_file.build().eval()
    for config in CONFIGS:
        small = [clips[0][:, :, : config.frames]]
        with networks.active(config), before.active(config), torch.no_grad():
            assert torch.equal(networks(small), before(small))


def test_a_model_without_a_table(tested, tmp_path):
    write_hub_folder(str(tmp_path), tested[0], None)
    assert read_hub_folder(str(tmp_path))[1] is None


def test_what_is_damaged_or_of_another_model_is_named(folder):
    def error_of(kind=ValueError):
        with pytest.raises(kind) as caught:
            read_hub_folder(str(folder))
        return str(caught.value)

    tensors, description = folder / "model.safetensors", folder / "config.json"
    whole, text = tensors.read_bytes(), description.read_text()
    other = load_file(tensors)
    name = next(name for name in other if name.startswith("weights/"))
    save_file({**other, name: other[name] + 1}, tensors)
    assert "the table is of checkpoint" in error_of()
    save_file({**other, "elsewhere": other[name].clone()}, tensors)
    assert "model.safetensors: 'elsewhere' is no name of a shared model's tensor" in error_of()
    name = next(name for name in other if name.endswith("/mean"))
    save_file({key: value for key, value in other.items() if key != name}, tensors)
    assert f"{name[:-5]} has no mean" in error_of()
    tensors.write_bytes(whole[:-100])
    assert "model.safetensors: not a file of safetensors, or a damaged one" in error_of()
    tensors.unlink()
    assert "no weights of a shared model at" in error_of(FileNotFoundError)
    tensors.write_bytes(whole)
    for change, message in (
        ({"format": "x"}, "not the description of a shared model of mutualnet3d"),
        ({"version": 2}, "version 2; this release reads 1"),
        ({"class_names": [1]}, "class_names is"),
        ({"builder": 3}, "builder is 3"),
    ):
        description.write_text(json.dumps({**json.loads(text), **change}))
        assert message in error_of()
    description.write_text("{}")
    assert "not the description" in error_of()
    description.write_text(text)
    assert isinstance(read_hub_folder(str(folder))[1], QueryTable)
