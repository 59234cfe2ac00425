"""Published weights of networks: addresses and classes, from the tables of pytorchvideo and torchvision."""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass, field

from iopath.common.file_io import g_pathmgr

from mutualnet3d.files.web_file import is_address, local_copy, place_of

KINETICS = "kinetics400"

# Name of a network, with or without a data set; told from paths before the tables are loaded.
_NAME = re.compile(r"\w+(:\w+)?")

# Name of a network -> module of pytorchvideo.models.hub, and the name in its table.
_PYTORCHVIDEO = {
    **{f"x3d_{size}": ("x3d", f"x3d_{size}") for size in ("xs", "s", "m", "l")},
    "slow_8x8_r50": ("resnet", "slow_r50"),
    "c2d_8x8_r50": ("resnet", "c2d_r50"),
    "i3d_8x8_r50": ("resnet", "i3d_r50"),
    "slowfast_8x8_r50": ("slowfast", "slowfast_r50"),
    "slowfast_8x8_r101": ("slowfast", "slowfast_r101"),
}


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that a project has published.

    Args:
        model: name of the network.
        dataset: data set of the training, such as kinetics400.
        source: project: pytorchvideo or torchvision.
        address: address of the file. The name of a torchvision file has the first digits of its SHA-256 sum.
        class_names: names of the classifier's outputs.
    """

    model: str
    dataset: str
    source: str
    address: str
    class_names: tuple[str, ...] = field(repr=False)

    @property
    def path(self) -> str:
        """Path of the file on this machine, present or not."""
        return place_of(self.address)


@dataclass(frozen=True)
class LocalWeights:
    """File of weights on this machine, or of a store that iopath knows.

    Args:
        path: the file.
        address: address that it was downloaded from; "" for none.
        class_names: names of the classifier's outputs; empty where they are not published.
    """

    path: str
    address: str = ""
    class_names: tuple[str, ...] = ()


@functools.cache
def all_published() -> tuple[PublishedWeights, ...]:
    """Return all published weights; of a network with several the default ones come first."""
    import torchvision

    video = torchvision.models.video
    # pytorchvideo's own list of class names (kinetics_classnames.json) has the same 400 in the same order.
    kinetics_names = tuple(video.R3D_18_Weights.KINETICS400_V1.meta["categories"])
    published = []
    for model, (module, name) in _PYTORCHVIDEO.items():
        address = importlib.import_module(f"pytorchvideo.models.hub.{module}").checkpoint_paths[name]
        published.append(PublishedWeights(model, KINETICS, "pytorchvideo", address, kinetics_names))
    for model in torchvision.models.list_models(module=video):
        weights = torchvision.models.get_model_weights(model)
        for member in (weights.DEFAULT, *(other for other in weights if other is not weights.DEFAULT)):
            dataset = member.name.lower().rpartition("_v")[0]
            names = tuple(member.meta["categories"])
            published.append(PublishedWeights(model, dataset, "torchvision", member.url, names))
    return tuple(published)


def published_weights(model: str, dataset: str = "") -> PublishedWeights:
    """Return the published weights of a network.

    Args:
        model: name of the network, such as "x3d_m" or "r3d_18".
        dataset: name of the data set, such as "kinetics400"; "": the network's default.

    Raises:
        ValueError: there are none; the message lists the networks, or the data sets, that have some.
    """
    of_model = [weights for weights in all_published() if weights.model == model]
    if not of_model:
        models = ", ".join(_published_models())
        raise ValueError(f"no published weights of {model!r}; there are some of {models}")
    matching = [weights for weights in of_model if dataset in ("", weights.dataset)]
    if not matching:
        datasets = ", ".join(weights.dataset for weights in of_model)
        raise ValueError(f"no published weights of {model} on {dataset!r}; there are those on {datasets}")
    return matching[0]


def find_weights(text: str) -> LocalWeights:
    """Return the file of weights for a path, an address or a network's name; download it if it is not there.

    Args:
        text: path of a file, any that iopath can open; an address, http://, https:// or file://; or the name of a
            network with published weights, with or without a data set: "x3d_m", "x3d_m:kinetics400". A file of that
            name takes precedence.

    Raises:
        FileNotFoundError: the server has no such file.
        DownloadError: the download fails; the message says where to put the file by hand.
        ValueError: there is no such data set, or the file's hash is not the one in its address.
    """
    if is_address(text):
        published = [weights for weights in all_published() if weights.address == text]
        return LocalWeights(local_copy(text), text, published[0].class_names if published else ())
    model, _, dataset = text.partition(":")
    if _NAME.fullmatch(text) and model in _published_models() and not g_pathmgr.exists(text):
        weights = published_weights(model, dataset)
        return LocalWeights(local_copy(weights.address), weights.address, weights.class_names)
    return LocalWeights(text)


def _published_models() -> tuple[str, ...]:
    """Return the names of networks with published weights."""
    return tuple(dict.fromkeys(weights.model for weights in all_published()))
