from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from mutualnet3d.deploy.load import load_model_file
from mutualnet3d.sharing.model_card import model_card_text
from tests.cli.test_latency import write_tested
from tests.conftest import restored_generators


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested")
    with restored_generators():
        _, checkpoint, table, _ = write_tested(folder, class_names=["dark", "![x](http://a.b)"])
    return load_model_file(checkpoint), table


def test_the_card_has_licence_table_curve_and_data(tested):
    model_file, table = tested
    text = model_card_text(model_file, table, "cc-by-4.0", "Kinetics-400, val", "user/name", has_curve=True)
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["library_name"]) == ("cc-by-4.0", "mutualnet3d")
    assert head["pipeline_tag"] == "video-classification"
    assert table.to_markdown() in text
    assert "![Top-1 over the cost of a video](curve.png)" in text
    assert "## Data\n\nKinetics-400, val\n" in text
    assert 'from_pretrained("user/name").predictor()' in text
    assert f"gflops={min(row.gflops_of_video for row in table.query_rows):.3g}" in text
    assert "width 0.5 to 1, crops of 32 pixels, 4, 2 frames. Trained for 7 steps." in text
    assert "![x](http" not in text  # a class name that would load a picture from elsewhere
    assert "dark, \\!\\[x\\]\\(http://a\\.b\\)" in text


def test_what_is_not_known_is_said(tested):
    text = model_card_text(replace(tested[0], space={}), None)
    assert "license" not in yaml.safe_load(text.split("---\n")[1])
    assert "The weights are not licensed yet" in text
    assert "Not tested: there is no query table." in text
    assert "## Data\n\nNot said." in text
    assert "curve.png" not in text
    assert "gflops=" not in text
