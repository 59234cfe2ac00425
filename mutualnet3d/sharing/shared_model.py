"""Trained model on the Hugging Face Hub: pushed with its table, curve and card, and loaded by its name.

    shared = SharedModel.load("output/demo/calibrated.pyth")
    shared.push_to_hub("user/name", model_card_kwargs={"license": "cc-by-4.0", "data": "Kinetics-400"})
    predictor = SharedModel.from_pretrained("user/name").predictor()

It needs the extra `hub`. Nothing that is loaded from the hub is run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mutualnet3d.deploy.load import check_same, load_model_file
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.extras import installed, require
from mutualnet3d.log import logger
from mutualnet3d.models.model_file import ModelFile
from mutualnet3d.plots.tradeoff_figure import save_table_plot
from mutualnet3d.results.query_table import QueryTable

hub = require("huggingface_hub", "hub")
require("safetensors", "hub")

from mutualnet3d.sharing.hub_folder import FILES, networks_of, read_hub_folder, write_hub_folder  # noqa: E402
from mutualnet3d.sharing.model_card import CURVE, model_card_text  # noqa: E402


class SharedModel(hub.ModelHubMixin, library_name="mutualnet3d"):  # type: ignore[name-defined,call-arg]
    """Trained model with its query table. `save_pretrained`, `push_to_hub` and `from_pretrained` are huggingface_hub's.

    Args:
        model_file: content of its model file.
        table: costs and accuracy of its sub-networks; None: unknown.
    """

    def __init__(self, model_file: ModelFile, table: QueryTable | None = None):
        self.model_file, self.table = model_file, table

    @classmethod
    def load(cls, path: str, table: str | None = None) -> SharedModel:
        """Return the model of a test run.

        Args:
            path: path of calibrated.pyth.
            table: path of its query table; None: query_table.json beside it, if there is one.

        Raises:
            FileNotFoundError, ValueError: see `load_checkpoint_networks`.
        """
        model_file = load_model_file(path)
        beside = os.path.join(os.path.dirname(path), "query_table.json")
        if table is None and not os.path.lexists(beside):
            return cls(model_file)
        rows = QueryTable.load(table or beside)
        check_same(rows, path)
        return cls(model_file, rows)

    def predictor(self, backend: str = "auto", device: str | None = None, threads: int | None = None) -> Predictor:
        """Return a predictor of the model, see `Predictor`."""
        return Predictor(networks_of(self.model_file, self.table, "the shared model"), backend, device, threads)

    def generate_model_card(self, license: str | None = None, data: str | None = None, repo: str = "user/name") -> Any:
        """Return the model card, by the arguments that `model_card_kwargs` may have.

        Args:
            license: licence of the weights, a name of the hub's such as "cc-by-4.0".
            data: videos of the model's training and test, in words.
            repo: name of the repository on the hub, in the card's example.
        """
        has_curve = self._has_curve()
        return hub.ModelCard(model_card_text(self.model_file, self.table, license, data, repo, has_curve))

    def push_to_hub(self, repo_id: str, **settings: Any) -> str:
        """Push the model to a repository of the hub, which is made if there is none; return the address of the commit.

        Args:
            repo_id: name of the repository, `user/name`.
            **settings: arguments of huggingface_hub's `ModelHubMixin.push_to_hub`.
        """
        card = {"repo": repo_id, **(settings.pop("model_card_kwargs", None) or {})}
        address: str = super().push_to_hub(repo_id, model_card_kwargs=card, **settings)
        return address

    def _has_curve(self) -> bool:
        return self.table is not None and installed("matplotlib")

    def _save_pretrained(self, save_directory: Path) -> None:
        write_hub_folder(str(save_directory), self.model_file, self.table)
        if self._has_curve():
            assert self.table is not None
            save_table_plot(self.table, str(save_directory / CURVE), "Top-1 over the cost of a video")
        elif self.table is not None:
            logger.warning("the card has no curve: matplotlib is not installed: pip install 'mutualnet3d[plot]'")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
    ) -> SharedModel:
        folder = model_id
        if not os.path.isdir(folder):
            folder = hub.snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=list(FILES),
            )
        return cls(*read_hub_folder(folder))
