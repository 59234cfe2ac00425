from __future__ import annotations

from mutualnet3d.cli import names
from mutualnet3d.deploy import backends
from mutualnet3d.deploy.export import FORMATS
from mutualnet3d.results.paper import paper_results
from mutualnet3d.results.query_table import COSTS


def test_names_are_those_of_their_homes():
    assert (*backends.CHOICES, *backends.BACKENDS) == names.BACKENDS
    assert tuple(FORMATS) == names.FORMATS
    assert names.COSTS == COSTS
    assert tuple(paper_results()) == names.PAPER_NETWORKS
