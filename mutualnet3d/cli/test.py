r"""Test a checkpoint as a config says: the query table of its sub-networks.

    mutualnet3d test --cfg X3D_tiny_mutual_staged.yaml TEST.CHECKPOINT_FILE_PATH output/demo/calibrated.pyth \
        OUTPUT_DIR output/demo_again

`mutualnet3d train` tests at its end too. Options, processes and exit statuses are those of `mutualnet3d train`.
"""

from __future__ import annotations

from mutualnet3d.cli.train import make_command

main = make_command(__doc__, "test")
