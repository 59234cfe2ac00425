"""Sub-networks on one back end of this machine, chosen by a budget, compiled and measured, with a lock for runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from mutualnet3d.data.clip_reader import ClipReader, Reader
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.backend_choice import choose_backend
from mutualnet3d.deploy.forked import run_in_fork
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.deploy.pickled_files import PickledFiles
from mutualnet3d.deploy.stages import Plan, PlannedStage
from mutualnet3d.deploy.subnet_choice import SubnetChoice
from mutualnet3d.log import printable
from mutualnet3d.models.fork_safe_lock import ForkSafeLock
from mutualnet3d.models.last_map import MapLayer
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.shapes import SubnetConfig

# Clips over a video, or (clips, crops of each); None: chosen by the budget.
ViewsWanted: TypeAlias = int | tuple[int, int] | Views | None


class SubnetPredictor:
    """Base of `Predictor`, without the reading of videos.

    Args:
        networks: store of the sub-networks.
        backend: name of the back end, of `BACKENDS`; "auto": the fastest here of those that compute in float32, like
            the query table; "fast": the fastest of all that agree on a clip of noise, and of int8 if it costs almost no
            accuracy by the table. The last two run all candidates now, but for "pt2", which is code, see
            `choose_backend`.
        device: name of the device, "cpu" or "cuda"; None: a GPU if there is one, for PyTorch, and the CPU for the other
            libraries, which run there alone.
        threads: number of threads of the CPU; None: each library's own number.
        reader: reader of the videos; None: a `ClipReader`.

    Attributes:
        backend: name of the back end.
        trials: milliseconds of the back ends that were tried for the choice, by name.
        rejected: reasons against the other back ends, by name.

    Raises:
        ValueError: the back end or device is unknown, or cannot run here; the message has the reason.
        ModuleNotFoundError: the back end's library is not installed; the message says what to install.
    """

    def __init__(
        self,
        networks: NetworkStore,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
        reader: Reader | None = None,
    ):
        run_in_fork()
        choice = choose_backend(networks, backend, device, threads)
        self._networks, self._backend = networks, choice.backend
        self.backend, self.trials, self.rejected = choice.backend.name, choice.trials, choice.rejected
        self._subnets = SubnetChoice(networks, choice.backend)
        self._given_reader, self._reader = reader, reader or ClipReader(networks.preprocessing)
        self._settings = device, threads
        self._files: PickledFiles | None = None
        self._map_layers: dict[tuple[SubnetConfig, str | None], MapLayer] = {}  # of `MapPredictor`, each found once
        # One lock with the model's, so that no two threads can have one each and wait for the other's.
        self._lock = networks.network().lock if choice.backend.format == "pytorch" else ForkSafeLock()

    def __repr__(self) -> str:
        """Return a line with networks, back end, and numbers of sub-networks and classes."""
        where = f"{self.backend} on {self._backend.device.type}"
        text = f"{self._networks.path}: {len(self.configs)} sub-networks, {len(self.class_names)} classes"
        return f"<{type(self).__name__}: {printable(text)}, {where}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classifier's outputs."""
        return self._networks.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """Values that clips are made with."""
        return self._networks.preprocessing

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """Sub-networks, the most expensive first."""
        return self._networks.configs

    @property
    def table(self) -> QueryTable:
        """Query table of the back end with rows of all views, and milliseconds of this machine once measured.

        Raises:
            ValueError: the checkpoint has no table, or the table has no rows of int8 for "openvino-int8".
        """
        return self._subnets.table

    def points(self, views: ViewsWanted = None) -> tuple[Row, ...]:
        """Return the Pareto front over milliseconds of a video on this machine and back end, the cheapest first.

        Args:
            views: views of the videos, see `predict`; None: those of each row, for `predict(..., config=row.config,
                views=row.views)`.

        Raises:
            ValueError: the checkpoint has no query table.
        """
        run_in_fork()
        with self._lock:
            number = checked_views(views)
            self._subnets.measure(views=number)
            return self._subnets.front_of("milliseconds", number)

    def front(self, cost: str, views: ViewsWanted = None) -> tuple[Row, ...]:
        """Return the table's Pareto front over a cost of a video, the cheapest first, without a measurement.

        Args:
            cost: name of the cost, "gflops" or "milliseconds".
            views: views of the videos, see `points`.

        Raises:
            ValueError: the cost is another one, or the checkpoint has no query table.
        """
        return self._subnets.front_of(cost, checked_views(views))

    def choose(
        self,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
    ) -> tuple[SubnetConfig, Row | None]:
        """Return the sub-network that `predict` takes with the same arguments, and its row of the table.

        The row is of as many views if the table has such; `row.views` are the views of its accuracy.
        """
        config, _, row = self._choose(gflops, milliseconds, config, views)
        return config, row

    def _choose(
        self,
        gflops: float | None,
        milliseconds: float | None,
        config: SubnetConfig | str | None,
        views: ViewsWanted,
    ) -> tuple[SubnetConfig, Views, Row | None]:
        run_in_fork()
        with self._lock:
            return self._subnets.choose(gflops, milliseconds, config, checked_views(views))

    def choose_cascade(self, mean_gflops: float | None = None, mean_milliseconds: float | None = None) -> Cascade:
        """Return the cascade that `predict` takes for a mean budget."""
        run_in_fork()
        with self._lock:
            return self._subnets.cascade(mean_gflops, mean_milliseconds)

    def plan(
        self,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        mean_gflops: float | None = None,
        mean_milliseconds: float | None = None,
    ) -> Plan:
        """Return the stages that `predict` takes with the same arguments, one unless a mean budget is given."""
        gflops_of = self._networks.gflops
        if mean_gflops is None and mean_milliseconds is None:
            chosen, num_views, row = self._choose(gflops, milliseconds, config, views)
            row = row if row and row.views == num_views else None  # accuracy of what is run, or none
            return Plan((PlannedStage(chosen, num_views, 0.0, gflops_of(chosen)),), row=row)
        if any(value is not None for value in (gflops, milliseconds, config, views)):
            raise ValueError(
                "give a mean budget (mean_gflops, mean_milliseconds) or else a budget of every video, a sub-network "
                "(config) or views: a cascade chooses sub-networks and views"
            )
        return self.plan_of(self.choose_cascade(mean_gflops, mean_milliseconds))

    def plan_of(self, cascade: Cascade) -> Plan:
        """Return the stages of a cascade of the table."""
        gflops_of = self._networks.gflops
        stages = (
            PlannedStage(stage.config, stage.views, stage.threshold, gflops_of(stage.config))
            for stage in cascade.stages
        )
        return Plan(tuple(stages), cascade)

    def prepare(self, configs: Sequence[SubnetConfig | str] | None = None) -> None:
        """Compile sub-networks ahead of later calls.

        Back ends other than PyTorch compile each of them, with weights of its own.

        Args:
            configs: sub-networks, or their keys; None: those of the table's fronts.

        Raises:
            ValueError: there is no such sub-network, or neither `configs` nor a table.
        """
        if isinstance(configs, str):
            raise ValueError(f"configs is {configs!r}; it must be a list of sub-networks or their keys")
        run_in_fork()
        with self._lock:
            for config in self._subnets.front() if configs is None else list(map(self._subnets.runnable, configs)):
                self._backend.forward(config)

    def measure(self, again: bool = False) -> QueryTable:
        """Return the table of the sub-networks on its Pareto fronts, with milliseconds of this machine.

        They are measured once: of a clip, and of videos of several views on the front over milliseconds.

        Args:
            again: True to measure once more, for a machine that has changed.

        Raises:
            ValueError: the checkpoint has no query table.
        """
        run_in_fork()
        with self._lock:
            return self._subnets.measure(again)


def checked_views(views: ViewsWanted) -> Views | None:
    """Return the views that the caller of `predict` wants; None: the budget chooses them.

    Args:
        views: number of clips, (clips, crops of each), or views.

    Returns:
        The views.

    Raises:
        ValueError: the number of clips is not an integer of at least 1, or that of crops is not 1 or 3.
    """
    if views is None:
        return None
    if isinstance(views, Views):
        views = views.spans, views.crops
    spans, crops = views if isinstance(views, tuple) and len(views) == 2 else (views, 1)
    if isinstance(spans, bool) or not isinstance(spans, int) or spans < 1 or crops not in (1, 3):
        raise ValueError(
            f"views is {views!r}; allowed: clips over the video, 1 or more, or (clips, crops), crops 1 or 3"
        )
    return Views(spans, crops)
