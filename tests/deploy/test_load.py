from __future__ import annotations

import os
import shutil

import pytest
import torch

from mutualnet3d.deploy.load import check_same, load_checkpoint_networks, load_model_file
from mutualnet3d.engine.checkpoint import save_checkpoint
from mutualnet3d.files.torch_file import MODEL, read_torch_file, write_torch_file
from mutualnet3d.results.query_table import QueryTable
from tests.cli.test_latency import CONFIGS, write_tested


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"), class_names=["dark", "bright"])


def test_networks_are_those_of_the_file_and_the_table_beside_it(tested):
    model, path, table, _ = tested
    source = load_checkpoint_networks(path)
    assert source.configs == CONFIGS
    assert (source.class_names, source.table) == (("dark", "bright"), table)
    assert source.preprocessing.crop_size == 32
    clip = [torch.randn(1, 3, 2, 32, 32)]
    with torch.no_grad(), model.eval().active(CONFIGS[1]), source.network().active(CONFIGS[1]):
        assert torch.equal(source.network()(clip), model(clip))


def test_a_table_is_of_one_file(tested, tmp_path):
    _, path, table, table_path = tested
    check_same(table, path)
    other = shutil.copy(path, tmp_path / "calibrated.pyth")
    assert load_checkpoint_networks(str(other)).table is None  # none beside it
    assert load_checkpoint_networks(str(other), table_path).table == table
    with pytest.raises(ValueError, match=r"is checkpoint \w{16}, the table is of checkpoint 0123; give the calibrated"):
        check_same(QueryTable(table.rows, {"checkpoint": "0123"}), path)
    with pytest.raises(ValueError, match="the table does not say which checkpoint it is of"):
        check_same(QueryTable(table.rows, {}), path)


def test_files_that_cannot_be_deployed(tested, tmp_path):
    path = str(tmp_path / "a.pyth")
    with pytest.raises(FileNotFoundError, match=r"no file at .*a\.pyth, which should be a model file"):
        load_model_file(path)
    torch.save({"model_state": {}}, path)
    with pytest.raises(ValueError, match=r"a\.pyth: not a model file of mutualnet3d"):
        load_model_file(path)
    save_checkpoint(path, {"model_state": {}})
    with pytest.raises(ValueError, match=r"a\.pyth: no config in it; give the calibrated\.pyth that a test run wrote"):
        load_model_file(path)
    content = read_torch_file(tested[1], "a file")
    write_torch_file(path, MODEL, {**content, "builder": "vit"})
    with pytest.raises(
        ValueError, match=r"a\.pyth: unknown builder 'vit'; allowed: resnet, slowfast, torchvision, x3d"
    ):
        load_checkpoint_networks(path)
    write_torch_file(path, MODEL, {**content, "preprocessing": {}})
    with pytest.raises(ValueError, match=r"a\.pyth: preprocessing has num_frames, .*; missing or unknown: .*crop_size"):
        load_checkpoint_networks(path)


@pytest.mark.parametrize("names", [[], ["dark"], ["dark", "bright", "loud"]])
def test_names_of_other_classes_are_refused(tested, tmp_path, names):
    """Fewer names than outputs would be an IndexError at the first prediction of the last class."""
    content = read_torch_file(tested[1], "a model file")
    path = str(tmp_path / "a.pyth")
    write_torch_file(path, MODEL, {**content, "class_names": names})
    with pytest.raises(ValueError, match=rf"a\.pyth: class_names has {len(names)} names, the classifier 2 outputs"):
        load_checkpoint_networks(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_the_tables_place_is_refused(make, tested, tmp_path):
    shutil.copy(tested[1], tmp_path)
    make(tmp_path / "query_table.json")
    with pytest.raises(ValueError, match=r"query_table\.json: a query table must be a file; this is a (FIFO|folder)"):
        load_checkpoint_networks(str(tmp_path / "calibrated.pyth"))


@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "FIFO"), (os.mkdir, "folder")])
def test_what_is_no_file_in_the_model_files_place_is_refused(make, kind, tmp_path):
    make(tmp_path / "calibrated.pyth")
    with pytest.raises(ValueError, match=rf"calibrated\.pyth: a model file must be a file; this is a {kind}"):
        load_model_file(str(tmp_path / "calibrated.pyth"))
