from __future__ import annotations

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.config.key_rules import RULES
from mutualnet3d.models import build, build_model
from mutualnet3d.models.build import BUILDERS, build_network, recipe_of, space_of
from mutualnet3d.shapes import ClipShape
from tests.models.families import FAMILIES


def test_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown model 'x3d_xl'; known: c2d_8x8_r101, .*, x3d_l, x3d_m, x3d_s"):
        m3.create_model("x3d_xl")


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_network_can_be_built_again(family):
    model = FAMILIES[family]()
    again = build_network(model.builder, model.arguments)
    assert again.builder in BUILDERS
    assert type(again) is type(model)
    assert again.full_clip == model.full_clip
    shapes, expected = ({k: v.shape for k, v in network.state_dict().items()} for network in (again, model))
    assert shapes == expected


# S3D's building is in tests/models/test_torchvision_networks.py, R(2+1)D-18's takes as long as three others'.
LONG = {"s3d", "r2plus1d_18"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in m3.list_models()]
)
def test_published_networks_know_their_builder(name):
    with torch.device("meta"):
        model = m3.create_model(name, num_classes=7)
    families = {"x3d": "x3d", "slowfast": "slowfast"} | dict.fromkeys(("r3d", "mc3", "r2plus1d", "s3d"), "torchvision")
    assert model.builder == families.get(name.split("_")[0], "resnet")
    assert model.arguments["num_classes"] == 7
    assert model.arguments["full_clip"] == model.full_clip


@pytest.mark.parametrize("name", ["X3D_tiny_mutual.yaml", "SLOW_8x8_R50_mutual.yaml", "SLOWFAST_4x16_R50.yaml"])
def test_a_config_is_a_builder_and_its_arguments(name):
    cfg = m3.load_cfg(name)
    builder, arguments = recipe_of(cfg)
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.builder == builder
    assert {name: model.arguments[name] for name in arguments} == arguments


@pytest.mark.parametrize(
    ("builder", "arguments", "message"),
    [
        ("vit", {}, "unknown builder 'vit'; allowed: resnet, slowfast, torchvision, x3d, and netw"),
        (
            "x3d",
            {"full_clip": ClipShape(4, 64), "num_classes": 2, "heads": 3},
            "builder x3d: .*'heads'; its argum",
        ),
        ("x3d", {"num_classes": 2}, "builder x3d: missing .*'full_clip'"),
    ],
)
def test_recipes_that_cannot_be(builder, arguments, message):
    with pytest.raises(ValueError, match=message):
        build_network(builder, arguments)


@pytest.mark.parametrize(
    ("name", "overrides", "space"),
    [
        (
            "SLOW_8x8_R50_mutual.yaml",
            ["TEST.SIZES", []],
            ((0.63, 1.0), (224, 192, 160, 128), (8, 6, 5, 3), (256, 219, 183, 146)),
        ),
        ("X3D_M.yaml", [], ((1.0, 1.0), (224,), (16,), (224,))),
        ("X3D_tiny_mutual.yaml", ["TEST.SIZES", [56, 44, 36]], ((0.63, 1.0), (48, 40, 32), (8, 6), (56, 44, 36))),
    ],
)
def test_the_space_of_a_config(name, overrides, space):
    described = space_of(m3.load_cfg(name, overrides))
    assert tuple(described) == ("width_range", "sizes", "frames", "tested_sizes")
    assert tuple(described.values()) == space


NETWORK_KEYS = [
    *(("X3D_tiny_mutual.yaml", key) for key in RULES if key.startswith("X3D.")),
    *(("SLOWFAST_4x16_R50.yaml", key) for key in RULES if key.startswith(("RESNET.", "SLOWFAST."))),
    *(("SLOW_8x8_R50_mutual.yaml", key) for key in RULES if key.startswith("RESNET.")),
    *((name, "MODEL.NUM_CLASSES") for name in ("X3D_tiny_mutual.yaml", "SLOW_8x8_R50_mutual.yaml")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), NETWORK_KEYS)
def test_ends_of_a_keys_range_build_a_network_or_name_the_key(name, key):
    rule = RULES[key]
    ends = [rule.low if rule.above is None else 5e-324, rule.high, *rule.choices]
    refusals = []
    for end in (end for end in ends if end is not None and rule.lengths is None):
        try:
            with torch.device("meta"):
                build_model(m3.load_cfg(name, [key, end]))
        except ValueError as error:
            refusals.append(str(error))
    assert all(key in refusal for refusal in refusals)


def test_a_network_that_cannot_be_built_names_the_keys():
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml", ["X3D.DIM_C5", 65536, "MODEL.NUM_CLASSES", 1_000_000])
    message = r"larger than allowed.* \(the config: MODEL\.NUM_CLASSES 1000000, .*X3D\.DIM_C5 65536"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_model(cfg)
    with pytest.raises(ValueError, match=r"builder x3d cannot build a network of these arguments: "):
        build_network("x3d", {"full_clip": ClipShape(4, 32), "num_classes": 2, "width_factor": 1e30})


def test_every_argument_of_a_config_has_its_key():
    for name in ("X3D_tiny_mutual.yaml", "SLOW_8x8_R50_mutual.yaml", "SLOWFAST_4x16_R50.yaml"):
        _, arguments = recipe_of(m3.load_cfg(name))
        assert set(arguments) - set(build._KEYS) == {"full_clip"}
    assert set(build._KEYS.values()) <= set(RULES)
