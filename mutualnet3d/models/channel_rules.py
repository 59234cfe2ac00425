"""Rules of operations for channels: the place of the channels in a result, by the operation's name.

An operation without a rule is allowed only on channels that come whole at every width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from mutualnet3d.models.channel_flow import Channels, Runs, unite


class Layout(NamedTuple):
    """Place of channels in a tensor.

    Args:
        axis: number of the dimension of the channels.
        runs: runs of channels along it, in order.
    """

    axis: int
    runs: Runs


class NoRule(Exception):
    """Operation that a rule does not cover with these arguments.

    Args:
        reason: sentence about its effect on the channels; "" for an unknown operation.
        fixed: runs that have to come whole for the operation; None: all that it reads.
    """

    def __init__(self, reason: str = "", fixed: Iterable[Channels] | None = None):
        super().__init__(reason)
        self.fixed = None if fixed is None else tuple(fixed)


class Call(NamedTuple):
    """Call of an operation.

    Args:
        function: the operation.
        args: positional arguments.
        kwargs: named arguments.
        tensors: tensors among the arguments, in order.
        layouts: layout of each tensor; None where no channels slim.
        output: first tensor of the result.
    """

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    tensors: list[torch.Tensor]
    layouts: list[Layout | None]
    output: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        """Shape of the first tensor."""
        return self.tensors[0].shape

    @property
    def layout(self) -> Layout:
        """Layout of the first tensor.

        Raises:
            NoRule: the first tensor has no layout, but another argument has one.
        """
        if self.layouts[0] is None:
            raise NoRule
        return self.layouts[0]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument by its place or its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


Rule = Callable[[Call], Layout | None]


def rule_of(function: Callable[..., Any]) -> Rule | None:
    """Return the rule of an operation of torch, or None."""
    return _RULES.get(operation_name(function))


def operation_name(function: Callable[..., Any]) -> str:
    """Return an operation's name, the same for functions, methods, operators and forms that write in place."""
    name = getattr(function, "__name__", type(function).__name__).strip("_")
    return _OPERATORS.get(name, name)


# Name of an operator's method -> operation.
_OPERATORS = {
    f"{prefix}{name}": {"truediv": "div"}.get(name, name)
    for name in ("add", "sub", "mul", "div", "truediv", "pow")
    for prefix in ("i", "r")
} | {"truediv": "div"}


def _keep(call: Call) -> Layout:
    """Return the layout of an operation on each value: its result has the first tensor's channels."""
    layout = call.layout
    if call.output.shape[layout.axis : layout.axis + 1] != call.shape[layout.axis : layout.axis + 1]:
        raise NoRule("it changes the number of channels")
    return layout


def _keep_in_space(call: Call) -> Layout:
    """Return the layout of an operation over the last dimensions.

    These are as many as its name says (pooling), or all but two (resizing).
    """
    digit = operation_name(call.function).partition("pool")[2][:1]
    if call.layout.axis > (call.tensors[0].ndim - 1 - int(digit) if digit else 1):
        raise NoRule("it works along the dimension of the channels")
    return _keep(call)


def _meet(call: Call) -> Layout | None:
    """Return the layout of an operation on several tensors that broadcast: their channels are the same runs."""
    ndim = call.output.ndim
    meeting: list[Layout] = []  # axes counted in the result
    for tensor, layout in zip(call.tensors, call.layouts, strict=True):
        if layout is not None:
            axis = layout.axis + ndim - tensor.ndim
            if sum(run.size for run in layout.runs) == 1 < call.output.shape[axis]:
                continue  # one channel, of which each of the others meets a copy
            meeting.append(Layout(axis, layout.runs))
    if not meeting:
        return None
    axis = meeting[0].axis
    if any(other.axis != axis for other in meeting):
        raise NoRule("it joins tensors whose channels are in different dimensions")
    runs = unite([other.runs for other in meeting])
    for tensor, layout in zip(call.tensors, call.layouts, strict=True):
        place = axis - (ndim - tensor.ndim)
        if layout is None and place >= 0 and tensor.shape[place] != 1:
            raise NoRule("it meets a tensor that comes whole at every width", runs)
    return Layout(axis, runs)


def _cat(call: Call) -> Layout:
    ndim = call.output.ndim
    dim = call.argument(1, "dim", call.kwargs.get("axis", 0)) % ndim
    axes = {layout.axis for layout in call.layouts if layout is not None}
    if len(axes) > 1:
        raise NoRule("it joins tensors whose channels are in different dimensions")
    (axis,) = axes
    every: list[Runs] = []
    for tensor, layout in zip(call.tensors, call.layouts, strict=True):
        every.append((Channels(tensor.shape[axis], is_fixed=True),) if layout is None else layout.runs)
    if dim != axis:
        return Layout(axis, unite(every))
    return Layout(axis, tuple(run for runs in every for run in runs))


def _stack(call: Call) -> Layout:
    dim = call.argument(1, "dim", 0) % call.output.ndim
    if None in call.layouts or len({layout.axis for layout in call.layouts if layout is not None}) > 1:
        raise NoRule("it joins tensors whose channels are in different dimensions")
    axis = call.layout.axis
    runs = unite([layout.runs for layout in call.layouts if layout is not None])
    return Layout(axis + (dim <= axis), runs)


def _reshape(call: Call) -> Layout:
    """Return the layout of a reshape: the channels stay one dimension, or its first factor."""
    axis, runs = call.layout
    before, channels = prod(call.shape[:axis]), call.shape[axis]
    for place, length in enumerate(call.output.shape):
        if prod(call.output.shape[:place]) == before:
            if length == channels:
                return Layout(place, runs)
            if length > channels and length % channels == 0:
                # Positions of a channel lie together, so that leading channels are leading features.
                factor = length // channels
                return Layout(place, tuple(Channels(run.size * factor, leader=run) for run in runs))
    raise NoRule("it joins the channels with other dimensions, or cuts them into several")


def _expand(call: Call) -> Layout:
    axis, runs = call.layout
    place = axis + call.output.ndim - call.tensors[0].ndim
    if call.output.shape[place] != call.shape[axis]:
        raise NoRule("it changes the number of channels")
    return Layout(place, runs)


def _by_probe(call: Call) -> Layout | None:
    """Return the layout of an operation along dimensions (a permutation, a mean), by a trial on a small tensor.

    The small tensor is 2 long where the channels are.
    """
    if len(call.tensors) > 1:
        return _meet(call)  # the larger value of two tensors
    layout = call.layout
    shape = [2 if place == layout.axis else 1 for place in range(call.tensors[0].ndim)]
    probe = torch.empty(shape, device="meta")
    args = [probe if value is call.tensors[0] else value for value in call.args]
    kwargs = {name: probe if value is call.tensors[0] else value for name, value in call.kwargs.items()}
    result = call.function(*args, **kwargs)
    output = result if isinstance(result, torch.Tensor) else result[0]
    places = [place for place, length in enumerate(output.shape) if length == 2]
    return Layout(places[0], layout.runs) if places else None


def _split(call: Call) -> Layout:
    layout = call.layout
    dim = call.argument(1 if operation_name(call.function) == "unbind" else 2, "dim", 0) % len(call.shape)
    if dim == layout.axis:
        raise NoRule("it cuts the channels")
    gone = operation_name(call.function) == "unbind" and dim < layout.axis
    return Layout(layout.axis - gone, layout.runs)


def _softmax(call: Call) -> Layout:
    if call.argument(1, "dim") in (call.layout.axis, call.layout.axis - len(call.shape)):
        raise NoRule("it turns channels into probabilities: let the network return logits")
    return _keep(call)


def _getitem(call: Call) -> Layout:
    layout = call.layout
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    taken = sum(item is not None and item is not Ellipsis for item in index)
    lists = sum(isinstance(item, torch.Tensor | list) for item in index)
    if lists > 1 or (lists and any(isinstance(item, int) for item in index)):
        raise NoRule("it takes values by several lists")
    items: list[Any] = []
    for item in index:
        items += [slice(None)] * (len(call.shape) - taken) if item is Ellipsis else [item]
    source = place = 0
    for item in items:
        if item is not None and source == layout.axis:
            if item not in (slice(None), slice(0, None)):
                raise NoRule("it cuts the channels")
            return Layout(place, layout.runs)
        if isinstance(item, torch.Tensor) and item.ndim != 1:
            raise NoRule("it takes values by a list of several dimensions")
        source += item is not None
        place += not isinstance(item, int)
    return Layout(place + layout.axis - source, layout.runs)


def _prelu(call: Call) -> Layout:
    if call.tensors[1].numel() != 1:
        raise NoRule("it has a number for each channel")
    return call.layout


def _nothing(call: Call) -> None:
    """Return None for an operation whose result has no channels that slim."""


_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("relu", "relu6", "silu", "sigmoid", "logsigmoid", "tanh", "gelu", "elu", "selu", "celu", "leaky_relu"),
            *("hardswish", "hardsigmoid", "hardtanh", "hardshrink", "softplus", "softsign", "mish", "threshold"),
            *("exp", "log", "sqrt", "rsqrt", "abs", "neg", "square", "sin", "cos", "erf", "reciprocal", "positive"),
            *("clamp", "clamp_min", "clamp_max", "clip", "nan_to_num", "contiguous", "clone", "detach", "to", "float"),
            *("half", "double", "bfloat16", "type", "type_as", "cpu", "cuda", "requires_grad", "pad", "dropout"),
            *("dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
            *("rrelu", "alias", "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like"),
        ),
        _keep,
    ),
    **dict.fromkeys(
        (
            *(f"{kind}_pool{n}d" for kind in ("max", "avg", "lp", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)),
            *("interpolate", "upsample"),
        ),
        _keep_in_space,
    ),
    **dict.fromkeys(
        (
            *("add", "sub", "mul", "div", "pow", "remainder", "lerp", "maximum", "minimum", "where", "addcmul"),
            *("addcdiv", "multiply", "divide", "subtract", "true_divide", "eq", "ne", "lt", "le", "gt", "ge"),
        ),
        _meet,
    ),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as"), _reshape),
    **dict.fromkeys(("expand", "expand_as"), _expand),
    **dict.fromkeys(
        (
            *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"),
            *("mean", "sum", "amax", "amin", "std", "var", "logsumexp", "max", "min", "prod"),
        ),
        _by_probe,
    ),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind", "split_with_sizes"), _split),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    "getitem": _getitem,
    "prelu": _prelu,
    **dict.fromkeys(("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "all", "any"), _nothing),
}
