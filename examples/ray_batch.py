#!/usr/bin/env python3
"""Predict a list of videos on a Ray cluster: shards of the list, each to a Parquet file in one folder.

    pip install 'mutualnet3d[ray]'
    python examples/ray_batch.py videos.csv --checkpoint output/demo/calibrated.pyth --output results --gflops 0.006
    python examples/ray_batch.py videos.csv --checkpoint /shared/calibrated.pyth --output s3://bucket/results \
        --address auto --actors 16 --cpus 4

Checkpoint and videos must be readable under the same paths on every machine; the output is a folder that all machines
share, or an address that pyarrow knows. Each actor loads the model once, reads with `--cpus` processes, and takes one
shard after the other. Ray starts an actor that died again and gives it its shard again; the second start of a job that
was stopped leaves out the shards that are done. Either way each file is once in the results, which
`pyarrow.dataset.dataset(folder)` or `pandas.read_parquet(folder)` reads. The exit status is 0 if all files could be
read, 1 if one could not.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: nobody is sent statistics

import ray
import ray.data

from mutualnet3d.cli.listed_videos import distinct_videos, expand_lists
from mutualnet3d.deploy import Predictor
from mutualnet3d.deploy.shard_predictor import ShardPredictor, begin_run, shards_of
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.results.listed_run import list_text


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", metavar="LIST", help="lists of videos (.csv, .txt), folders, videos")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="calibrated.pyth of a test run")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder, or an address such as s3://...")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--gflops", type=float, help="1e9 multiply-adds that a video may take")
    budget.add_argument("--mean-gflops", type=float, help="1e9 multiply-adds that a video may take, in the mean")
    budget.add_argument("--subnet", metavar="KEY", help="a sub-network, such as w0.63-s160-t10")
    parser.add_argument("--backend", default="pytorch", metavar="NAME", help="default: pytorch")
    parser.add_argument("--top", type=int, default=5, help="number of labels; default: 5")
    parser.add_argument("--shard-size", type=int, default=256, metavar="FILES", help="files of a part; default: 256")
    parser.add_argument("--actors", type=int, default=1, help="processes that have the model; default: 1")
    parser.add_argument("--cpus", type=int, default=1, help="cores of an actor, each reads a video; default: 1")
    parser.add_argument("--address", help="of a running cluster, auto to find it; default: one on this machine")
    words = "time so many files in one process too, one after the other; default: 0"
    parser.add_argument("--compare", type=int, default=0, metavar="FILES", help=words)
    return parser


def main() -> int:
    args = parser().parse_args()
    paths = distinct_videos(expand_lists(args.videos))
    budget = {"gflops": args.gflops, "mean_gflops": args.mean_gflops, "config": args.subnet}
    output = args.output if "://" in args.output else os.path.abspath(args.output)
    asked = {"the list": list_text(paths), "--checkpoint": file_hash(args.checkpoint), "--backend": args.backend}
    asked |= {name: str(value) for name, value in budget.items() if value is not None}
    begin_run(output, {**asked, "--top": str(args.top), "--shard-size": str(args.shard_size)})
    if not ray.is_initialized():
        ray.init(address=args.address, log_to_driver=False)
    shards = shards_of(paths, args.shard_size)
    settings = {**budget, "backend": args.backend, "top": args.top, "workers": args.cpus, "threads": args.cpus}
    started = time.monotonic()
    parts = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
        ShardPredictor,
        fn_constructor_args=[os.path.abspath(args.checkpoint), output],
        fn_constructor_kwargs=settings,
        concurrency=args.actors,
        num_cpus=args.cpus,
    )
    counts: Counter[str] = Counter()
    for part in parts.iter_rows():
        counts.update({status: part[status] for status in ("ok", "bad", "missing")})
    seconds = time.monotonic() - started
    texts = [f"{number} {status}" for status, number in counts.items() if number]
    print(f"{output}: {counts.total()} files: {', '.join(texts)}; {counts.total() / seconds:.2f} a second by Ray")
    if args.compare:
        predictor = Predictor.load(args.checkpoint, backend=args.backend, threads=1)
        some = paths[: args.compare]
        started = time.monotonic()
        num_done = len(list(predictor.predict_many(some, **budget, top=args.top, batch_size=1)))
        print(f"{num_done / (time.monotonic() - started):.2f} a second in one process, one file after the other")
    return 0 if counts["ok"] == len(paths) else 1


if __name__ == "__main__":
    sys.exit(main())
