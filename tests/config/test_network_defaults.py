from __future__ import annotations

from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.config.network_defaults import network_defaults


def test_sections_are_a_fresh_copy_and_begin_the_whole_config():
    sections = network_defaults()
    assert list(sections) == ["MODEL", "X3D", "RESNET", "SLOWFAST", "MUTUAL"] == list(default_cfg())[:5]
    sections.MODEL.NUM_CLASSES = 3
    assert network_defaults().MODEL.NUM_CLASSES == default_cfg().MODEL.NUM_CLASSES == 400
