from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models.statistics import SubnetStatistics
from mutualnet3d.ops import SlimBatchNorm3d
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.models.families import calibrated, clips, tiny

CONFIG, OTHER = SubnetConfig(0.6, 48, 2), SubnetConfig(0.8, 48, 2)


def values(channels: int = 8, mean: float = 1.0):
    return {"norm": (torch.full((channels,), mean), torch.ones(channels))}


@pytest.fixture
def statistics() -> SubnetStatistics:
    return SubnetStatistics({"norm": SlimBatchNorm3d(12)})


def test_what_is_set_can_be_had_and_removed(statistics):
    statistics.set(CONFIG, values())
    statistics.set(OTHER, values(12), interpolated=True)
    assert (CONFIG in statistics, OTHER in statistics, SubnetConfig(1.0, 48, 2) in statistics) == (True, True, False)
    assert (len(statistics), list(statistics)) == (2, [CONFIG, OTHER])
    assert (statistics.calibrated, statistics.interpolated) == ([CONFIG], [OTHER])
    assert len(statistics[OTHER]["norm"][0]) == 12
    statistics.set(OTHER, values(12))  # from data now
    assert (statistics.calibrated, statistics.interpolated) == ([CONFIG, OTHER], [])
    statistics.remove(CONFIG)
    assert statistics.get(CONFIG) is None
    with pytest.raises(KeyError):
        statistics.remove(CONFIG)


def test_statistics_of_another_network_are_refused(statistics):
    with pytest.raises(ValueError, match=r"statistics of w0\.6-s48-t2 are not of this network's batch norms: .*other"):
        statistics.set(CONFIG, {"other": values()["norm"]})
    with pytest.raises(ValueError, match="at norm have 999 and 999 channels; the layer has 12, and 8"):
        statistics.set(CONFIG, values(999))
    with pytest.raises(
        ValueError, match="at norm have 12 and 8 channels; the layer has 12, and 8 where it is narrowed"
    ):
        statistics.set(CONFIG, {"norm": (torch.zeros(12), torch.ones(8))})
    with pytest.raises(ValueError, match="at norm have 8 and 8 channels; the layer has 12, and 12 where"):
        statistics.set(OTHER, values(8))  # a narrower sub-network's
    assert not statistics


TENSOR = torch.zeros(8)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"statistics": [1]}, r"statistics is \[1\]; it must be a mapping"),
        ({"statistics": {"zz": values()}}, "not a sub-network's key: 'zz'"),
        ({"statistics": {7: values()}}, "not a sub-network's key: 7"),
        ({"statistics": {str(CONFIG): None}}, "w0.6-s48-t2 are not of this network's batch norms: None"),
        ({"statistics": {str(CONFIG): {"norm": None}}}, "at norm are None; they must be mean and variance"),
        ({"statistics": {str(CONFIG): {"norm": (TENSOR,)}}}, "at norm are .*; they must be mean and variance"),
        ({"statistics": {str(CONFIG): {"norm": (1.0, 2.0)}}}, "at norm are .*; they must be mean and variance"),
        ({"statistics": {str(CONFIG): {"norm": (TENSOR[None], TENSOR[None])}}}, "at norm are .*; they must be mean"),
        ({"statistics": {str(CONFIG): {"norm": (TENSOR.long(), TENSOR)}}}, "at norm are .*; they must be mean"),
        (
            {"statistics": {str(CONFIG): {"norm": (TENSOR, TENSOR - 1)}}},
            "at norm have a mean that is not finite, or a var",
        ),
        ({"statistics": {str(CONFIG): {"norm": (TENSOR / 0, TENSOR)}}}, "at norm have a mean that is not finite"),
        (
            {"statistics": {str(CONFIG): {"norm": (TENSOR, TENSOR / 0)}}},
            "at norm have a mean that is not finite, or a var",
        ),
        ({"statistics": {str(CONFIG): {"norm": (TENSOR, TENSOR + float("inf"))}}}, "at norm have a mean that is not"),
        ({"interpolation_losses": [[2, 48, 10**400]]}, "points of top-1 must be finite"),
        ({"interpolated": "w"}, "interpolated is 'w'; it must be a list"),
        ({"interpolation_losses": 5}, "interpolation_losses is 5; it must be a list"),
        ({"interpolation_losses": [[2, 48]]}, r"interpolation_losses has \[2, 48\]; each must be frames, size and"),
        ({"interpolation_losses": [[2, 48, "x"]]}, "each must be frames, size and points of top-1"),
        ({"interpolation_losses": [[2, 48, float("nan")]]}, "points of top-1 must be finite"),
        ({"interpolation_losses": [[0, 48, 0.5]]}, "frames must be an integer of at least 1, got 0"),
    ],
)
def test_states_that_are_none_are_refused_and_nothing_is_kept(statistics, state, message):
    statistics.set(OTHER, values(12))
    with pytest.raises(ValueError, match=message):
        statistics.load_state_dict({"statistics": {str(OTHER): values(12)}, **state})
    assert not statistics
    assert not statistics.interpolation_losses


def test_clearing_forgets_everything(statistics):
    statistics.set(CONFIG, values(), interpolated=True)
    statistics.interpolation_losses[ClipShape(2, 48)] = 0.1
    statistics.clear()
    assert not statistics
    assert not statistics.interpolated
    with pytest.raises(ValueError, match=r"w0\.6-s48-t2 cost has not been measured at size 48 with 2 frames"):
        statistics.check_interpolation([CONFIG], max_loss=1.0)


def test_every_change_is_counted(statistics):
    versions = [statistics.version]
    for change in (
        lambda: statistics.set(CONFIG, values()),
        lambda: statistics.apply(torch.Tensor.double),
        lambda: statistics.load_state_dict(statistics.state_dict()),
        lambda: statistics.remove(CONFIG),
        statistics.clear,
    ):
        change()
        versions.append(statistics.version)
    assert versions == sorted(set(versions))


def test_others_stand_in_their_place_for_a_while(statistics):
    statistics.set(CONFIG, values(), interpolated=True)

    def fail():
        assert list(statistics) == statistics.calibrated == [OTHER]
        statistics.set(CONFIG, values(mean=7.0))
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), statistics.replaced({OTHER: values(12, mean=5.0)}):
        fail()
    assert list(statistics) == statistics.interpolated == [CONFIG]
    assert statistics[CONFIG]["norm"][0][0] == 1.0


def test_a_file_has_all_of_it(statistics):
    statistics.set(CONFIG, values(mean=3.0), interpolated=True)
    statistics.interpolation_losses[ClipShape(2, 48)] = 0.25
    state = statistics.state_dict()
    assert state["interpolated"] == ["w0.6-s48-t2"]
    assert state["interpolation_losses"] == [[2, 48, 0.25]]
    other = SubnetStatistics({"norm": SlimBatchNorm3d(12)})
    other.set(OTHER, values(12))
    other.load_state_dict(state)
    assert list(other) == other.interpolated == [CONFIG]
    assert torch.equal(other[CONFIG]["norm"][0], torch.full((8,), 3.0))
    assert other.interpolation_losses == {ClipShape(2, 48): 0.25}
    other.load_state_dict({})
    assert not other


def test_they_can_be_pickled(statistics):
    statistics.set(CONFIG, values(mean=3.0))
    other = pickle.loads(pickle.dumps(statistics))
    assert torch.equal(other[CONFIG]["norm"][0], torch.full((8,), 3.0))
    other.clear()
    assert list(statistics) == [CONFIG]


def test_they_are_stored_on_the_networks_device():
    statistics = SubnetStatistics({"norm": SlimBatchNorm3d(12, device="meta")})
    statistics.set(CONFIG, values())
    assert statistics[CONFIG]["norm"][0].is_meta
    SubnetStatistics({}).set(CONFIG, {})  # a network without batch norms


# ---- of a network ----------------------------------------------------------------------------------------------------


def test_they_follow_the_parameters():
    model = calibrated(tiny("x3d"), CONFIG)
    model.double()
    with torch.no_grad(), model.active(CONFIG):
        assert model([clip.double() for clip in clips(model, CONFIG)]).dtype == torch.float64


class Wrapper(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.load_state_dict(model.state_dict()),
        lambda model: Wrapper(model).load_state_dict(Wrapper(model).state_dict()),
        m3.sort_channels,
    ],
    ids=["weights loaded", "weights loaded into what holds it", "channels sorted"],
)
def test_other_weights_clear_what_was_measured_with_the_old_ones(change):
    """The loss of interpolated statistics too: after sorting, one measured before was accepted."""
    model = calibrated(tiny("x3d"), CONFIG, OTHER)
    model.statistics.interpolation_losses[CONFIG.clip_shape] = 0.1
    between = SubnetConfig(0.7, 48, 2)
    model.interpolate_statistics(between)
    change(model)
    assert not model.statistics
    calibrated(model, CONFIG, OTHER)
    with pytest.raises(ValueError, match=r"w0\.7-s48-t2 cost has not been measured"):
        model.interpolate_statistics(between)
