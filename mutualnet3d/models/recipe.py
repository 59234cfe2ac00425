"""Record of the builder and the arguments of a network, so that a file can have it built again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mutualnet3d.models.slimmable_net import SlimmableNet

Arguments = ParamSpec("Arguments")
Network = TypeVar("Network", bound=SlimmableNet)


def remembered_as(builder: str) -> Callable[[Callable[Arguments, Network]], Callable[Arguments, Network]]:
    """Return a decorator of a builder, whose networks then record `builder` and the arguments of the call.

    Args:
        builder: name of the function in `models.build.BUILDERS`.
    """

    def decorate(build: Callable[Arguments, Network]) -> Callable[Arguments, Network]:
        signature = inspect.signature(build)

        @functools.wraps(build)
        def build_and_remember(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Network:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            network = build(*args, **kwargs)
            network.builder, network.arguments = builder, dict(bound.arguments)
            return network

        return build_and_remember

    return decorate
