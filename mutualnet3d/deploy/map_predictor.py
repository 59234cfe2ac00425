"""Maps of the places that a network looks at, by PyTorch's network, since an exported one has no gradients."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Sequence
from dataclasses import fields

import torch

from mutualnet3d.data.clip_reader import Frames
from mutualnet3d.deploy.activation_map import ActivationMap
from mutualnet3d.deploy.backends import torch_threads
from mutualnet3d.deploy.clip_network import normalize_of
from mutualnet3d.deploy.forked import run_in_fork
from mutualnet3d.deploy.prediction import Prediction, ReadVideo, best_labels, score_views
from mutualnet3d.deploy.subnet_predictor import ViewsWanted
from mutualnet3d.deploy.video_predictor import VideoPredictor, check_top
from mutualnet3d.models.grad_cam import find_layer, grad_cam
from mutualnet3d.models.last_map import MapLayer, map_layer
from mutualnet3d.models.receptive_field import resample_map
from mutualnet3d.results.label import Label
from mutualnet3d.shapes import SubnetConfig


class MapPredictor(VideoPredictor):
    """Base of `Predictor`, with maps of the places that the network looks at."""

    def activation_map(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        fps: float | None = None,
        top: int = 5,
        label: str | int | None = None,
        layer: str | None = None,
    ) -> ActivationMap:
        """Predict the labels of a video, and map the places where the network saw a class, by Grad-CAM.

        The map is of the first view, which is the middle of the video without `views` and budget. PyTorch's network
        computes map and labels in float32, whatever the back end of `predict`. The map takes a little more time than
        the prediction.

        Args:
            source: path of a video file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            gflops: largest cost of the video, 1e9 multiply-adds, see `predict`.
            milliseconds: largest time of the video, see `predict`.
            config: sub-network, or its key, see `predict`.
            views: clips over the video, see `predict`.
            fps: frame rate of frames or of a folder, see `predict`.
            top: number of labels, at least 1.
            label: name or number of the class; None: the best class.
            layer: name of the layer whose feature map is used; None: the layer that `last_map` chooses.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: nothing fits the budget, or an argument is not allowed, as for `predict`; the class or layer is
                unknown, or the layer has no feature map; or the bundle lacks PyTorch's network.
        """
        class_number(label, self.class_names)  # before the work
        plan = self.plan(gflops, milliseconds, config, views)
        self._check_has_maps(plan.stages[0].config)
        (video,) = self._read(source, plan.stages, plan.row, fps)
        return self.map_clips(video, top, label, layer)

    def prepare_maps(
        self, configs: Sequence[SubnetConfig], label: str | int | None = None, layer: str | None = None
    ) -> None:
        """Find the layers of sub-networks ahead of later calls.

        Args:
            configs: sub-networks.
            label: name or number of the class of later calls; None: the best class.
            layer: name of the layer of later calls; None: the chosen one.

        Raises:
            ValueError: the class or layer is unknown, or there are no maps, see `activation_map`.
        """
        class_number(label, self.class_names)
        for config in configs:
            self._check_has_maps(config)
            self._map_layer(config, layer)

    def has_maps(self, config: SubnetConfig) -> bool:
        """Return True if `activation_map` can run a sub-network: PyTorch's network is there."""
        return "pytorch" in self._networks.formats(config)

    def map_clips(
        self, video: ReadVideo, top: int = 5, label: str | int | None = None, layer: str | None = None
    ) -> ActivationMap:
        """Return the map of clips that were read, the second half of `activation_map`.

        Args:
            video: result of `read`.
            top: number of labels, at least 1.
            label: name or number of the class; None: the best class.
            layer: name of the layer whose feature map is used; None: the chosen one.

        Raises:
            ValueError: an argument is refused, see `activation_map`, or the place of the clips in the video is unknown.
        """
        check_top(top)
        number, config, ensemble = class_number(label, self.class_names), video.config, self.preprocessing.ensemble
        self._check_has_maps(config)
        if video.place is None:
            raise ValueError(f"{video.source}: its reader tells no place of the clips (ReadClips.place)")

        def choose_class(logits_VK: torch.Tensor) -> int:
            if number is not None:
                return number
            return best_labels(score_views(logits_VK.cpu(), ensemble), self.class_names, 1)[0].index

        run_in_fork()
        with self._lock, torch_threads(self._backend.threads):
            model = self._networks.network()
            if self._backend.format == "pytorch":
                self._backend.forward(config)  # it moves the network to its device
            looked_at = self._map_layer(config, layer)
            device = next(model.parameters()).device
            normalize = normalize_of(self.preprocessing, torch.channels_last_3d).to(device)
            started = time.perf_counter()
            clips = [normalize(clip.permute(0, 1, 4, 2, 3).to(device)) for clip in video.clips]
            logits_VK, map_THW = grad_cam(model, config, clips, looked_at.name, choose_class)
            logits_VK = logits_VK.float().cpu()
            frames, size = video.clips[0].shape[1:3]
            map_TSS = resample_map(map_THW, looked_at.centres, frames, size).cpu()
            seconds = time.perf_counter() - started
        number = choose_class(logits_VK)
        score = float(score_views(logits_VK, ensemble)[number])
        prediction = self._prediction_of(video, logits_VK, seconds, top)
        values = {field.name: getattr(prediction, field.name) for field in fields(Prediction)}
        row = video.row if self._backend.exact else None  # accuracy of another precision
        return ActivationMap(
            **{**values, "backend": "pytorch", "row": row},
            label=Label(self.class_names[number], number, score),
            layer=looked_at.name,
            map_TSS=map_TSS.numpy(),
            indices=video.place.indices_of[frames],
            seconds=video.place.seconds_of[frames],
            box=video.place.box,
        )

    def _map_layer(self, config: SubnetConfig, name: str | None) -> MapLayer:
        """Return the layer of a name, or the chosen layer of the sub-network."""
        with self._lock:
            model = self._networks.network()
            if name is not None:
                find_layer(model, name)
            if (config, name) not in self._map_layers:
                self._map_layers[config, name] = map_layer(model, config, name)
            return self._map_layers[config, name]

    def _check_has_maps(self, config: SubnetConfig) -> None:
        """Refuse networks without maps.

        Raises:
            ValueError: PyTorch's network is missing.
        """
        if not self.has_maps(config):
            raise ValueError(
                f"{self._networks.path} has no PyTorch network of {config}, and an exported one has no activation "
                "maps: load the calibrated.pyth of the test run, or a bundle with checkpoint.pyth"
            )


def class_number(label: str | int | None, class_names: tuple[str, ...]) -> int | None:
    """Return the number of a class, given by its name or number; None for None.

    Args:
        label: name or number of the class.
        class_names: names of the classes.

    Returns:
        The number.

    Raises:
        ValueError: there is no such class; the message lists similar names.
    """
    if label is None:
        return None
    if isinstance(label, str) and label in class_names:
        return class_names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(class_names):
        return label
    similar = difflib.get_close_matches(str(label), class_names, n=3) or class_names[:5]
    raise ValueError(
        f"label is {label!r}; allowed: the name of a class, or its number from 0 to {len(class_names) - 1}; similar "
        f"names: {', '.join(similar)}"
    )
