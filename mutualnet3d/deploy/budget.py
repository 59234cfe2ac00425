"""Controller of a time budget per window, on a machine that others use too. Arithmetic only, without a clock.

The time of a window is modelled as a product of two: the time of its row on the idle machine (its *base*), and the
*load*, which all rows share. Only ratios count. A base is at first the row's milliseconds plus, for each of its frames,
the time that the windows so far took outside of the network. Times measured when rows change correct it.

If a row does not keep the budget, the controller moves down at once, to the best row that is forecast to keep it. It
moves up to a row that would have kept the budget in the last windows, but for outliers. The longer the next better row
has not been tried, the less its forecast counts, so that no wrong estimate excludes it for ever. A move up that has to
be taken back doubles the number of windows before the next one, until a move succeeds or the load falls.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mutualnet3d.results.budget_query import best_row
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.query_table import QueryTable, Row, Views

# A window over the budget by this factor causes a move at once. One that is less over may be noise: the second of three
# causes it.
_FAR_OVER = 1.1
# The part of the budget that a row may be forecast to need, to be moved to. A row stays up to all of it.
_MARGIN = 0.95
# Windows of one row that take less than this part of the budget together count as one, a "spell": a short window tells
# little of a long one, as the system gives its cores to one process after the other.
_SPELL = 0.25
# Spells before a move up, at first and at most; of these, one in so many may be an outlier.
_PATIENCE, _MAX_PATIENCE, _OUTLIER_IN = 3, 48, 3
# The load is the median of so many spells, the time outside of the network of so many windows.
_RECENT, _RECENT_WINDOWS = 3, 9
# Divisor of the forecast of the next better row for each spell that it has not been tried, and the number of these.
_DOUBT, _MAX_DOUBTED = 1.01, 1000
# A failed move up is forgotten when the load is below this part of what it was then.
_FALLEN = 0.8
# Loads that differ by a larger factor are not the same load: a move up under a changed load corrects nothing.
_STEADY, _MAX_SURPRISE = 1.25, 1.5
# Bases are corrected by this factor at most, either way.
_MAX_CORRECTION = 1.5


@dataclass
class _Spell:
    """Consecutive windows of the row of an index, see `_SPELL`."""

    index: int
    num_windows: int = 0
    milliseconds: float = 0.0


class BudgetController:
    """Controller that chooses the sub-network of each window by the times of the windows before.

    Args:
        rows: sub-networks with their milliseconds of a clip on the idle machine; only those on the Pareto front of
            top-1 over milliseconds are used.
        milliseconds: budget of a window, above 0.

    Attributes:
        rows: rows on the front, the cheapest first.
        milliseconds: budget.

    Raises:
        ValueError: there is no row, or the budget is not a number above 0 or under the cheapest row's time, which the
            message has.
    """

    def __init__(self, rows: Sequence[Row], milliseconds: float):
        table = QueryTable(tuple(rows))
        first = best_row(table.rows, None, milliseconds, Views())
        self.rows, self.milliseconds = front_of_rows(table.rows, "milliseconds", Views()), float(milliseconds)
        self._index = self.rows.index(first)
        self._corrections = [1.0] * len(self.rows)
        # The newest last; it may be growing.
        self._spells: deque[_Spell] = deque(maxlen=_MAX_PATIENCE)
        # Milliseconds outside of the network for each frame, on the idle machine, by the last windows.
        self._besides_a_frame: deque[float] = deque(maxlen=_RECENT_WINDOWS)
        self._least_load = math.inf
        self._since_move = 0  # spells
        self._patience = _PATIENCE
        self._went_up = False  # by the last move
        # After a move up, until bases are corrected by it: the row that was left, and the loads by its last spells.
        self._trial: tuple[int, list[float]] | None = None
        # The largest of the first spells after a move down.
        self._load_at_failure = 0.0

    @property
    def row(self) -> Row:
        """Row to run now."""
        return self.rows[self._index]

    @property
    def load(self) -> float:
        """Ratio of a window's time now to that on the idle machine, at least 1; 1 before any window.

        The machine counts as idle at its least load so far.
        """
        return max(1.0, self._present_load() / self._least_load) if self._spells else 1.0

    def observe(self, milliseconds: float, network: float | None = None) -> None:
        """Record the time of a window of `row`, and choose the next row.

        Args:
            milliseconds: time of the whole window.
            network: time of the network in the window; None: the whole.

        Raises:
            ValueError: a time is not a number above 0, or the network's is more than the whole.
        """
        network = milliseconds if network is None else network
        if not (math.isfinite(milliseconds) and 0 < network <= milliseconds):
            raise ValueError(
                f"a window of {milliseconds!r} milliseconds, {network!r} of them the network's; allowed: numbers above "
                "0, the part at most the whole"
            )
        network_load = network / (self.row.milliseconds * self._corrections[self._index])
        self._besides_a_frame.append((milliseconds - network) / network_load / self.row.config.frames)
        is_whole = self._add(milliseconds)
        load = self._present_load()
        self._least_load = min(self._least_load, load)
        if milliseconds > _FAR_OVER * self.milliseconds:
            self._go_down(max(load, milliseconds / self._base(self._index)))
        elif self._base(self._index) * load > self.milliseconds:
            self._go_down(load)
        elif is_whole:
            self._stay_or_go_up(load)

    def _add(self, milliseconds: float) -> bool:
        """Add a window to its spell; return True if that completes the spell."""
        shortest = _SPELL * self.milliseconds
        last = self._spells[-1] if self._since_move else None
        if last is None or last.milliseconds >= shortest:
            last = _Spell(self._index)
            self._spells.append(last)
            self._since_move += 1
        last.num_windows += 1
        last.milliseconds += milliseconds
        return last.milliseconds >= shortest

    # ---- times of windows --------------------------------------------------------------------------------------------

    def _base(self, index: int) -> float:
        """Return the milliseconds of a window of the row of an index on the idle machine."""
        row = self.rows[index]
        besides = row.config.frames * statistics.median(self._besides_a_frame)
        return row.milliseconds * self._corrections[index] + besides

    def _loads(self, count: int) -> list[float]:
        """Return the loads of the last `count` spells, or of as many as there are."""
        spells = list(self._spells)[-count:]
        return [spell.milliseconds / (spell.num_windows * self._base(spell.index)) for spell in spells]

    def _present_load(self) -> float:
        return statistics.median(self._loads(_RECENT))

    def _correct_bases(self) -> None:
        """Correct the bases of the two rows of a move up, which should have run under the same load.

        A move down corrects nothing, as the load changed. The row that has run less is corrected more.
        """
        if self._trial is None:
            return
        (left, before), self._trial = self._trial, None
        now = self._loads(min(self._since_move, _RECENT))
        surprise = statistics.median(now) / statistics.median(before)
        is_steady = all(max(loads) <= _STEADY * min(loads) for loads in (before, now))
        if not (is_steady and 1 / _MAX_SURPRISE <= surprise <= _MAX_SURPRISE):
            return
        runs_of_left, runs = (1 + sum(spell.index == index for spell in self._spells) for index in (left, self._index))
        fraction = runs_of_left / (runs_of_left + runs)
        # Half of it, as some of it is noise.
        self._correct(self._index, surprise ** (fraction / 2))
        self._correct(left, surprise ** ((fraction - 1) / 2))

    def _correct(self, index: int, factor: float) -> None:
        corrected = self._corrections[index] * factor
        self._corrections[index] = min(max(corrected, 1 / _MAX_CORRECTION), _MAX_CORRECTION)

    # ---- moves -------------------------------------------------------------------------------------------------------

    def _go_down(self, load: float) -> None:
        """Move to the best row that is forecast to fit under `load`, or else to the cheapest."""
        self._correct_bases()
        if self._index == 0:
            return
        failed = self._went_up and self._since_move <= self._patience
        self._patience = min(2 * self._patience, _MAX_PATIENCE) if failed else _PATIENCE
        self._load_at_failure = 0.0
        within = [index for index in range(self._index) if self._is_within(index, load)]
        self._move(max(within, default=0))

    def _stay_or_go_up(self, load: float) -> None:
        if self._since_move <= _RECENT and not self._went_up:
            self._load_at_failure = max(self._load_at_failure, *self._loads(1))
        if self._since_move == _RECENT:
            self._correct_bases()
        is_held = self._went_up and self._since_move > self._patience
        if is_held or load <= _FALLEN * self._load_at_failure:
            self._patience = _PATIENCE
        better = self._better() if self._since_move >= self._patience else None
        if better is not None:
            self._trial = self._index, self._loads(_RECENT)
            self._move(better)

    def _better(self) -> int | None:
        """Return the best row above the present one that would have fitted in the last spells, outliers aside."""
        loads = sorted(self._loads(self._patience))
        load = loads[-1 - len(loads) // _OUTLIER_IN]
        for index in range(len(self.rows) - 1, self._index, -1):
            doubt = _DOUBT ** min(self._since_move, _MAX_DOUBTED) if index == self._index + 1 else 1.0
            if self._is_within(index, load / doubt):
                return index
        return None

    def _is_within(self, index: int, load: float) -> bool:
        return self._base(index) * load <= _MARGIN * self.milliseconds

    def _move(self, index: int) -> None:
        self._went_up = index > self._index
        self._index, self._since_move = index, 0
