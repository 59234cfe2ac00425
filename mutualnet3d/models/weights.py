"""Loading of weights: this project's files, pytorchvideo's model zoo, PySlowFast's checkpoints, other trainings' files.

The content tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mutualnet3d.files.safetensors_file import is_safetensors, read_safetensors
from mutualnet3d.files.torch_file import OtherNetwork, format_of, read_torch_file
from mutualnet3d.models.published import find_weights
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.trained_network import trained_network
from mutualnet3d.models.weight_fit import WeightFit, classifier_of, family_of, fit_of, listed
from mutualnet3d.models.weight_parts import USUAL, WeightPart, parts_of

logger = logging.getLogger("mutualnet3d")


@dataclass(frozen=True)
class LoadedWeights:
    """Weights that were loaded.

    Attributes:
        path: file of the weights.
        source: project whose names the weights had: "pytorchvideo" (this project's files have them too) or
            "PySlowFast".
        of_project: True for a file of this project.
        new_classifier: True for a file whose classifier has another number of classes, and was left out.
        step: training steps that the weights have seen; 0 where the file does not say.
        class_names: names of the classifier's outputs, by the file or its publisher; else empty.
    """

    path: str
    source: str
    of_project: bool
    new_classifier: bool
    step: int
    class_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"weights of {self.path} ({'this project' if self.of_project else self.source}'s)"


def load_weights(
    model: SlimmableNet, path: str, new_classifier: bool = True, inflate: bool = False, averaged: bool = False
) -> LoadedWeights:
    """Load the weights of `path` into `model`, with their class names and the calibrated statistics if there are any.

    The formats are model files and checkpoints of this project, checkpoints of pytorchvideo's model zoo and of
    PySlowFast (its own networks and those that it builds by pytorchvideo), and state dicts with either project's names
    as people save them: in any container (`state_dict`, `model`, ...), with any prefix (`module.`, `_orig_mod.`, ...),
    beside other tensors, by torch.save or as safetensors. The tensors that fit the network are taken. Of several sets
    that fit, the weights of the last step take precedence over averages (names with ema, swa, averaged), and usual
    names (`state_dict`, `model`, `net`, ...) over others. The log says which tensors were taken and left.

    Args:
        model: network that takes the weights.
        path: path of the file; its address (http://, https://, file://), whose content is downloaded once; or the name
            of a network with published weights ("x3d_m", "x3d_m:kinetics400"), see `models.published`.
        new_classifier: True to keep the model's own classifier where the file's has another number of classes, and log
            a line about it. False: refuse the file.
        inflate: True to repeat kernels of one frame over the frames of the model's kernels, divided by their number:
            weights of images (Carreira and Zisserman, arXiv 1705.07750, section 2.4).
        averaged: True for averaged weights: those of a training's checkpoint (SOLVER.EMA_DECAY), or another project's
            whose name has ema, swa or averaged.

    Raises:
        FileNotFoundError: there is no such file.
        DownloadError: the download fails; the message says where to put the file by hand.
        ValueError: the file is a Caffe2 pickle, cannot be read, holds no weights or is of a newer release of this
            project; the weights are another network's (the message lists names that are missing, unknown or of another
            shape); or several sets of weights fit equally well.
    """
    local = find_weights(path)
    path = local.path
    try:
        content = read_weights_file(path)
    except ValueError as error:
        if not local.address:
            raise
        raise ValueError(f"{error}; it is from {local.address}: remove it, and it will be downloaded again") from error
    of_project = format_of(content, path) is not None
    fits = [fit_of(part, model, inflate) for part in _parts(content, model, path, of_project, averaged)]
    fit = _best(fits, model, path, prefers_average=averaged)
    if fit.classes:
        in_file, in_model = fit.classes
        if not new_classifier:
            raise ValueError(
                f"{path}: its classifier has {in_file} classes, the model {in_model}; MODEL.NUM_CLASSES must be that "
                "of the weights"
            )
        logger.warning("%s: classifier of %d classes left out; that of %d starts afresh", path, in_file, in_model)
    model.load_state_dict(fit.state, strict=False)
    step = 0
    if of_project:
        trained = trained_network(content)
        step = trained.step
        if not fit.classes:
            try:
                model.statistics.load_state_dict(trained.statistics)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
    else:
        _tell(fit, fits, path)
    model.class_names = () if fit.classes else _class_names(content if of_project else {}, model, local.class_names)
    return LoadedWeights(path, fit.source, of_project, bool(fit.classes), step, model.class_names)


def _class_names(content: Mapping[str, Any], model: SlimmableNet, published: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the classifier's outputs: those of a model file, or published ones.

    Names of another number than the outputs are dropped.
    """
    names = content.get("class_names") or published
    is_right = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    num_classes = [len(model.state_dict()[name]) for name in classifier_of(model)[:1]]
    return tuple(names) if is_right and num_classes == [len(names)] else ()


def read_weights_file(path: str) -> dict[str, Any]:
    """Return the content of a file of torch.save or safetensors, tensors on the CPU; nothing in it is executed.

    Args:
        path: file of torch.save or safetensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is a Caffe2 pickle, or cannot be read.
    """
    if path.endswith(".pkl"):
        raise ValueError(
            f"{path}: Caffe2 model files (.pkl) are Python pickles, and loading one runs whatever code it holds; they "
            "are not read here. Let PySlowFast load it (TRAIN.CHECKPOINT_TYPE caffe2) and save a .pyth, or take the "
            ".pyth of the same network from a model zoo"
        )
    if is_safetensors(path):
        return dict(read_safetensors(path, "weights"))
    content = read_torch_file(path, "weights")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a checkpoint or a state dict")
    return content


def _parts(
    content: Mapping[str, Any], model: SlimmableNet, path: str, of_project: bool, averaged: bool
) -> list[WeightPart]:
    """Return the parts of a file that may be the network's weights.

    Args:
        content: content of the file.
        model: network that takes the weights.
        path: file, for messages.
        of_project: True for a file of this project.
        averaged: True for averaged weights.

    Raises:
        ValueError: the file has no weights, or no averaged ones.
    """
    own_averages = averaged and isinstance(content.get("averaged"), Mapping)
    if averaged and of_project and not own_averages:
        raise ValueError(f"{path}: has no averaged weights; those are of trainings with SOLVER.EMA_DECAY")
    searched: Any = content
    if of_project:
        searched = (content["averaged"] if own_averages else content).get("model_state")
    parts = parts_of(searched, frozenset(model.state_dict())) if isinstance(searched, Mapping) else []
    if not parts:
        raise ValueError(f"{path}: no weights in it; its keys are {', '.join(map(str, list(content)[:10])) or 'none'}")
    if averaged and not of_project:
        parts = [part for part in parts if part.is_average]
        if not parts:
            raise ValueError(
                f"{path}: has no averaged weights; those are of trainings with SOLVER.EMA_DECAY, and of other projects "
                "tensors under a name with ema, swa or averaged"
            )
    return parts


def _best(fits: Sequence[WeightFit], model: SlimmableNet, path: str, prefers_average: bool) -> WeightFit:
    """Return the best of several fits.

    Args:
        fits: fits of the file's parts to the network.
        model: network that takes the weights.
        path: file, for messages.
        prefers_average: True for averaged weights.

    Raises:
        OtherNetwork: no weights fit.
        ValueError: several weights fit equally well, or the names are PySlowFast's of an unknown network.
    """

    def rank(fit: WeightFit) -> tuple[bool, int]:
        return fit.part.is_average != prefers_average, fit.part.num_unusual

    complete = sorted((fit for fit in fits if fit.is_complete), key=rank)
    if not complete:
        _refuse(max(fits, key=lambda fit: (fit.num_matching, -fit.part.num_unusual)), model, path)
    best = complete[0]
    equal_rank = [fit for fit in complete[1:] if rank(fit) == rank(best) and not fit.equals(best)]
    if equal_rank:
        raise ValueError(
            f"{path}: holds several weights that fit the network: "
            f"{'; '.join(str(fit.part) for fit in (best, *equal_rank))}. Save those that are meant alone, as a state "
            "dict: torch.save(torch.load(path)[container], 'weights.pyth')"
        )
    return best


def _refuse(fit: WeightFit, model: SlimmableNet, path: str) -> None:
    """Raise the error about weights of another network."""
    if fit.foreign:
        raise ValueError(
            f"{path}: PySlowFast's weights, but of a network that is none of its SlowFast, ResNet or X3D: "
            f"{listed(fit.foreign)}"
        )
    families = family_of(fit.state), family_of(model.state_dict())
    kinds = f", {families[0]} and not {families[1]}" if families[0] != families[1] else ""
    raise OtherNetwork(path, f". {fit.differences}", kinds)


def _tell(fit: WeightFit, fits: Sequence[WeightFit], path: str) -> None:
    """Log the tensors of a file that were taken and those that were left, unless all were taken."""
    facts = []
    part = fit.part
    if part.prefix or part.wrappers or part.num_unusual or not USUAL.issuperset(part.keys):
        facts.append(f"the weights are those of {part}")
    others = [other for other in fits if other is not fit and other.is_complete and not other.equals(fit)]
    if others:
        facts.append(f"not used, though they fit: {'; '.join(str(other.part) for other in others)}")
    if fit.unused:
        facts.append(f"not used: {len(fit.unused)} tensors ({listed(fit.unused)})")
    if facts:
        logger.info("%s: %s", path, "; ".join(facts))
