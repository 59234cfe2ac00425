"""Damaged bundles, and what becomes of them in a process of their own: native code may end it."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from mutualnet3d.deploy.bundle_files import SUMS, write_sums
from mutualnet3d.deploy.predictor import Predictor
from tests.copies import SERVER

CLIP = np.random.default_rng(1).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
_SECONDS = 30.0  # of one bundle; it takes half a second
_MEMORY = 24 << 30  # address space, of which torch reserves much


def damaged(content: bytes, number: int) -> bytes:
    """Return `content` with the damage of a number: a byte changed, the end lost, zeros, or bytes too many."""
    generator = random.Random(number)
    place = generator.randrange(len(content))
    length = generator.choice([1, 4, 64, 1024])
    match number % 4:
        case 0:
            return content[:place] + bytes([content[place] ^ (1 << generator.randrange(8))]) + content[place + 1 :]
        case 1:
            return content[:place]
        case 2:
            return content[:place] + bytes(len(content[place : place + length])) + content[place + length :]
        case _:
            return content[:place] + generator.randbytes(length) + content[place:]


def scores(path: str, backend: str) -> list[list[float]]:
    """Return the scores of one clip by the bundle's first and last sub-network."""
    predictor = Predictor.load(path, backend=backend, threads=1)
    configs = {predictor.configs[0], predictor.configs[-1]}
    return [
        sorted(label.score for label in predictor.predict(CLIP, config=config).labels) for config in sorted(configs)
    ]


def outcome(path: str, name: str, backend: str, expected: list[list[float]]) -> str:
    """Return the result of a bundle whose file `name` is damaged, in a word; an error of another kind with its text."""
    try:
        got = scores(path, backend)
    except (ValueError, FileNotFoundError) as error:
        return "refused" if Path(name).stem in str(error) else f"refused without the file: {error}"
    except Exception as error:  # noqa: BLE001 - the point: there must be none
        return f"{type(error).__name__}: {error}"
    return "equal" if got == expected else "others"


def outcomes(bundle: str, folder: Path, name: str, backend: str, numbers: range) -> Counter[str]:
    """Return the number of each outcome of damages to a file that the bundle's sums were made anew for.

    A process that is killed by a signal counts as "killed by N", one without an answer as "no end".
    """
    copy = str(folder / "bundle")
    shutil.copytree(bundle, copy)
    expected = scores(bundle, backend)
    counts: Counter[str] = Counter()
    number = numbers.start
    while number < numbers.stop:
        receiver, sender = SERVER.Pipe(duplex=False)
        process = SERVER.Process(
            target=_run, args=(copy, bundle, name, backend, expected, number, numbers.stop, sender)
        )
        process.start()
        sender.close()
        while number < numbers.stop:
            if not receiver.poll(_SECONDS):
                process.kill()
                counts["no end"] += 1
                number += 1
                break
            try:
                counts[receiver.recv()] += 1
            except EOFError:
                process.join()
                counts[f"killed by {process.exitcode}"] += 1
                number += 1
                break
            number += 1
        process.join()
    return counts


def _run(
    copy: str,
    bundle: str,
    name: str,
    backend: str,
    expected: list[list[float]],
    start: int,
    stop: int,
    sender: Connection,
) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    content = Path(bundle, name).read_bytes()
    for number in range(start, stop):
        Path(copy, name).write_bytes(damaged(content, number))
        Path(copy, SUMS).unlink(missing_ok=True)
        write_sums(copy)
        sender.send(outcome(copy, name, backend, expected))
