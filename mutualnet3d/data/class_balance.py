"""Balance of classes of few and many videos: weights for losses, or an order of clips that has them equally often."""

from __future__ import annotations

import numpy as np

from mutualnet3d.data.clip_order import ClipOrder

_STREAM = 0x636C61  # separates these draws from others that start from the seed


def class_weights(label_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the weights of the classes' losses, float32 (K,), by which all classes count equally.

    Each class has the same sum of weights over its videos, and their mean over all videos is 1 (scikit-learn's
    "balanced"). Classes without videos have 0.

    Args:
        label_N: classes of the videos.
        num_classes: K.
    """
    num_videos_K = np.bincount(label_N, minlength=num_classes)
    num_used = np.count_nonzero(num_videos_K)
    weights_K = np.zeros(num_classes, np.float32)
    used = num_videos_K > 0
    weights_K[used] = len(label_N) / (num_used * num_videos_K[used])
    return weights_K


class BalancedOrder:
    """Stream of training clips in which all classes that have videos come equally often.

    It is a pure function of (seed, position): all classes in a random order, then in another, and so on. A class gives
    its videos in a random order, then in another: videos of a small class come more often, each time with other random
    choices.

    Args:
        label_N: classes of the videos.
        seed: seed of all orders.
    """

    def __init__(self, label_N: np.ndarray, seed: int):
        self.num_videos, self.seed = len(label_N), seed
        by_class = np.argsort(label_N, kind="stable")
        starts = np.flatnonzero(np.diff(label_N[by_class], prepend=-1))
        self._videos_of = np.split(by_class, starts[1:])  # of each class, in the order of the classes
        self._classes = ClipOrder(len(self._videos_of), self._seed_of(0))
        self._orders = [
            ClipOrder(len(videos), self._seed_of(number)) for number, videos in enumerate(self._videos_of, start=1)
        ]

    def _seed_of(self, number: int) -> int:
        return int(np.random.SeedSequence((self.seed, number, _STREAM)).generate_state(1)[0])

    def at(self, position: int) -> tuple[int, int]:
        """Return the number of the order of its class, and the video, at a position of the stream."""
        turn, class_number = self._classes.at(position)
        epoch, place = self._orders[class_number].at(turn)
        return epoch, int(self._videos_of[class_number][place])
