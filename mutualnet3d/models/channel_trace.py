"""Search for the flow of channels, by a run of the network on a clip without arithmetic.

`TorchFunctionMode` shows each operation of torch that the run calls, with its tensors, so that the network may be any
Python code: branches by shapes, lists, dictionaries. Layers that slim (convolutions, batch norms, linear layers) are
steps of their own; other operations have rules (`channel_rules`). Names play no part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from mutualnet3d.models.channel_flow import ChannelConflict, ChannelFlow, Channels, Runs, is_depthwise, unite
from mutualnet3d.models.channel_rules import Call, Layout, NoRule, operation_name, rule_of
from mutualnet3d.models.meta_device import result_like_input
from mutualnet3d.shapes import ClipShape

BATCH = 2


def trace_channels(network: nn.Module, clips: Sequence[ClipShape], fixed: Collection[str] = ()) -> ChannelFlow:
    """Return the flow of channels through `network`, from the three colours of its clips to its logits.

    Args:
        network: ordinary network that takes a list of clips (B, C, T, H, W); it stays as it is.
        clips: clip shape of each pathway.
        fixed: names of layers, or of modules with all that is in them, whose outputs come whole at every width. An
            operation in them that cannot be followed has inputs that come whole.

    Raises:
        ValueError: a layer or an operation cannot be followed, or the network does not run on these clips or does not
            return logits (B, K); the message names the place.
    """
    trace = _Trace(network, fixed)
    weights = {name: value.to("meta") for name, value in [*network.named_parameters(), *network.named_buffers()]}
    dtype = next((value.dtype for value in weights.values() if value.is_floating_point()), torch.float32)
    inputs = [torch.empty(BATCH, 3, c.frames, c.size, c.size, dtype=dtype, device="meta") for c in clips]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    hooks = list(trace.hooks())
    try:
        with torch.no_grad(), trace:
            logits = functional_call(network, weights, (inputs,))
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, NotImplementedError) as error:
        if isinstance(error, ChannelTraceError):
            raise
        # The user's own code, on tensors without values: torch says what it cannot do there.
        cause = f"{' '.join(str(error).split()):.300}"
        clip = " and ".join(f"{c.frames} x {c.size} x {c.size}" for c in clips)
        raise ValueError(f"the network does not run on a clip of {clip}: {trace.place()}: {cause}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return trace.finish(logits)


class ChannelTraceError(ValueError):
    """Layer or operation whose channels cannot be followed."""


class _Trace(TorchFunctionMode):
    """Run of a network that notes the channels of its tensors.

    Args:
        network: the network.
        fixed: names of layers or modules, see `trace_channels`.
    """

    def __init__(self, network: nn.Module, fixed: Collection[str]):
        super().__init__()
        self._names = {module: name for name, module in network.named_modules()}
        self._fixed = tuple(fixed)
        self._flow = ChannelFlow()
        self._path: list[nn.Module] = []
        self._layer: nn.Module | None = None
        self._layouts: dict[int, Layout] = {}
        self._alive: list[torch.Tensor] = []  # an id is a tensor's as long as it lives
        self._uses: dict[int, list[str]] = {}
        self._made_by: dict[int, str] = {}
        self._norm_calls: list[str] = []
        # Run that has to come whole -> message without the hint.
        self._needs: list[tuple[Channels, str]] = []

    # ---- the run -----------------------------------------------------------------------------------------------------

    def hooks(self) -> Iterator[Any]:
        """Yield handles of the hooks that tell which module runs."""
        for module in self._names:
            yield module.register_forward_pre_hook(self._enter, with_kwargs=True)
            yield module.register_forward_hook(self._leave, with_kwargs=True)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._path.append(module)
        if self._layer is None and is_followed(module):
            self._layer = module
            for tensor in _tensors_in((args, kwargs)):
                self._uses.setdefault(id(tensor), []).append(self._names[module])

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if self._layer is module:
            self._layer = None
            (x,) = _tensors_in((args, kwargs))
            self._run_layer(module, x, result)
        self._path.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = result_like_input(func, args, kwargs)
        if result is None:
            result = func(*args, **kwargs)
        if self._layer is None:
            outputs = list(_tensors_in(result))
            if outputs or operation_name(func) == "setitem":
                self._run_operation(func, args, kwargs, outputs)
        return result

    def _run_operation(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], outputs: list[torch.Tensor]
    ) -> None:
        tensors = list(_tensors_in((args, kwargs)))
        for tensor in tensors:
            self._uses.setdefault(id(tensor), []).append("")
        layouts = [self._layouts.get(id(tensor)) for tensor in tensors]
        if not any(layouts):
            return
        rule = rule_of(function)
        try:
            if rule is None or not outputs:
                raise NoRule
            layout = rule(Call(function, args, kwargs, tensors, layouts, outputs[0]))
        except (NoRule, ChannelConflict) as error:
            reason, runs = str(error), error.fixed if isinstance(error, NoRule) else None
            self._need_whole(
                [run for other in layouts if other for run in other.runs] if runs is None else runs,
                f"no rule for the operation {operation_name(function)!r}{reason and f': {reason}'}",
            )
            layout = None
        for output in outputs:
            self._write(output, layout)

    def _write(self, tensor: torch.Tensor, layout: Layout | None) -> None:
        self._alive.append(tensor)
        self._layouts.pop(id(tensor), None)
        if layout is not None:
            self._layouts[id(tensor)] = layout

    # ---- layers ------------------------------------------------------------------------------------------------------

    def _run_layer(self, layer: nn.Module, x: torch.Tensor, output: torch.Tensor) -> None:
        name, flow = self._names[layer], self._flow
        axis = x.ndim - 1 if isinstance(layer, nn.Linear) else 1
        layout = self._layouts.get(id(x))
        if layout is None or layout.axis != axis:
            if layout is not None:
                self._need_whole(layout.runs, f"it reads dimension {axis}, and the channels are in {layout.axis}")
            layout = Layout(axis, (Channels(x.shape[axis], is_fixed=True),))
        try:
            reads = unite((flow.reads[name], layout.runs)) if name in flow.reads else layout.runs
            gives = flow.gives[name] if name in flow.gives else self._outputs(layer, reads)
        except ChannelConflict as error:
            raise ChannelTraceError(self._text(f"its channels differ from call to call: {error}")) from error
        flow.reads[name], flow.gives[name] = reads, gives
        if self._is_in_fixed():
            for run in gives:
                run.fix()
        self._write(output, Layout(axis, gives))
        if isinstance(layer, nn.Conv3d):
            self._made_by[id(output)] = name
        elif isinstance(layer, nn.BatchNorm3d):
            self._norm_calls.append(name)

    def _outputs(self, layer: nn.Module, reads: Runs) -> Runs:
        if isinstance(layer, nn.BatchNorm3d) or is_depthwise(layer):
            return reads
        if isinstance(layer, nn.Linear):
            return (Channels(layer.out_features),)
        assert isinstance(layer, nn.Conv3d)
        if layer.groups == 1:
            return (Channels(layer.out_channels),)
        if len(reads) > 1:
            self._need_whole(reads, f"its {layer.groups} groups read a concatenation")
            return (Channels(layer.out_channels, is_fixed=True),)
        reads[0].keep_multiple(layer.in_channels // layer.groups)
        return (Channels(layer.out_channels, leader=reads[0]),)

    # ---- what cannot be followed -------------------------------------------------------------------------------------

    def _need_whole(self, runs: Sequence[Channels], problem: str) -> None:
        """Make runs come whole in a fixed module; elsewhere note that they must."""
        for run in runs:
            if self._is_in_fixed():
                run.fix()
            else:
                self._needs.append((run, self._text(problem)))

    def _is_in_fixed(self) -> bool:
        path = self._names[self._path[-1]]
        return any(path == name or path.startswith(f"{name}.") for name in self._fixed)

    def place(self) -> str:
        """Return the name of the module that runs."""
        return self._names[self._path[-1]] if self._path and self._names[self._path[-1]] else "the network"

    def _text(self, problem: str) -> str:
        kind = type(self._path[-1]).__name__
        where = f"in a layer of type {kind}" if self.place() != "the network" else "in its own forward"
        return f"cannot make {self.place()} slimmable: {problem}, {where}"

    def finish(self, logits: Any) -> ChannelFlow:
        """Return the flow at the end of the run.

        Args:
            logits: result of the network.

        Returns:
            The flow.

        Raises:
            ValueError: an operation cannot be followed, or the result is not logits.
        """
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != BATCH:
            came = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ValueError(f"a network must return one tensor of logits (B, K), for {BATCH} clips it returned {came}")
        flow, layout = self._flow, self._layouts.get(id(logits))
        self._uses.setdefault(id(logits), []).append("")
        if layout is not None:
            if layout.axis != 1:
                raise ValueError("a network must return logits (B, K); it returned the clips in the second dimension")
            flow.logits = layout.runs
            for run in flow.logits:
                run.fix()
        for run, problem in self._needs:
            if not run.is_fixed:
                names = ", ".join(map(repr, flow.makers(run.leader or run)))
                raise ChannelTraceError(f"{problem}. To keep what it reads at full width: fixed=[{names}]")
        for tensor, conv in self._made_by.items():
            (norm, *others) = self._uses.get(tensor, [""])
            is_single = list(self._made_by.values()).count(conv) == self._norm_calls.count(norm) == 1
            if norm and not others and is_single:
                flow.norm_of[conv] = norm
        return flow


def is_followed(module: nn.Module) -> bool:
    """Return True for a layer that has a slimmable form.

    These are convolutions, batch norms and linear layers that compute as torch's own do.
    """
    if isinstance(module, nn.Conv3d):
        kind: type[nn.Module] = nn.Conv3d
        if module.padding_mode != "zeros" or type(module)._conv_forward is not nn.Conv3d._conv_forward:
            return False
    elif isinstance(module, nn.BatchNorm3d | nn.Linear):
        kind = nn.BatchNorm3d if isinstance(module, nn.BatchNorm3d) else nn.Linear
    else:
        return False
    # A weight that is computed (weight norm, other parametrizations) is none of its parameters.
    return type(module).forward is kind.forward and set(module._parameters) == {"weight", "bias"}


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in lists, tuples and mappings."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors_in(part)
