#!/usr/bin/env python3
"""Train and test a network as a config says.

    python tools/run_net.py --cfg X3D_M_mutual.yaml DATA.PATH_TO_DATA_DIR data/kinetics OUTPUT_DIR output/x3d_m

TRAIN.ENABLE and TEST.ENABLE say which of the two run. Words behind the options are KEY VALUE overrides.
"""

import argparse
import sys

from mutualnet3d.config import load_cfg
from mutualnet3d.data.bad_videos import TooManyBadVideos
from mutualnet3d.data.requests import AllVideosBad
from mutualnet3d.log import logger
from mutualnet3d.runner import test, train


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, help="a YAML file: its path, or its name under configs/")
    parser.add_argument("--opts", action="store_true", help="understood for PySlowFast's sake; overrides need no word")
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="override the file's values")
    args = parser.parse_args()
    overrides = [word for word in args.overrides if word != "--opts"]
    try:
        cfg = load_cfg(args.cfg, overrides)
        if cfg.TRAIN.ENABLE:
            train(cfg)
        if cfg.TEST.ENABLE:
            test(cfg)
    except (
        ValueError,
        FileNotFoundError,
        ModuleNotFoundError,
        FloatingPointError,
        TooManyBadVideos,
        AllVideosBad,
    ) as error:
        logger.debug("stopped", exc_info=True)  # where it came from, for the log file
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
