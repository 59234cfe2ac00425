"""The machine, its versions, and the tests that need a GPU."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch
from report import Measurement, Row, Setting, Sheet

from gpu_parts.common import (
    ROOT,
    name_of,
    nvidia_smi,
)
from mutualnet3d.results.latency import device_name


def environment(setting: Setting) -> dict[str, Measurement]:
    def versions(sheet: Sheet) -> None:
        def item(name: str, value: object) -> None:
            sheet.row("Machine and versions", {"item": name, "value": str(value)})

        item("device of this report", name_of(setting))
        if setting.device == "cuda":
            properties = torch.cuda.get_device_properties(0)
            item("GPUs", torch.cuda.device_count())
            item("GPU memory, GiB", f"{properties.total_memory / 2**30:.1f}")
            item("compute capability", f"{properties.major}.{properties.minor}")
            item("multiprocessors", properties.multi_processor_count)
            query = "driver_version,clocks.max.sm,clocks.max.mem,power.limit,clocks.sm,temperature.gpu"
            answers = nvidia_smi(query)
            for name, value in zip(query.split(","), answers, strict=False):
                item(f"nvidia-smi {name}", value)
            item("NCCL", ".".join(map(str, torch.cuda.nccl.version())))
        item("CUDA of torch", torch.version.cuda)
        item(
            "cuDNN of torch", torch.backends.cudnn.version() if setting.device == "cuda" else "not asked without a GPU"
        )
        for name in ("torch", "torchvision", "triton", "pytorchvideo", "numpy", "av"):
            try:
                item(name, importlib.metadata.version(name))
            except importlib.metadata.PackageNotFoundError:
                item(name, "not installed")
        item("Python", platform.python_version())
        item("CPU", device_name(torch.device("cpu")))
        item("CPU cores of this process", len(os.sched_getaffinity(0)))
        item("host memory, GiB", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}")
        item("system", platform.platform())
        item("sizes", "tiny, to try the report out" if setting.is_tiny else "full")

    return {"versions": versions}


def gpu_tests(setting: Setting) -> dict[str, Measurement]:
    def run(sheet: Sheet) -> None:
        # Other files may need packages that a GPU machine lacks.
        files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.needs_cuda" in path.read_text()]
        paths = [str(path.relative_to(ROOT)) for path in files]
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder, "results.xml")
            command = [sys.executable, "-m", "pytest", "-q", "-m", "needs_cuda", "-p", "no:cacheprovider"]
            command += ["--continue-on-collection-errors", f"--junitxml={results}", *paths]
            variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
            limit = max(sheet.seconds_left, 10.0)
            try:
                done = subprocess.run(
                    command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=limit, errors="replace"
                )
            except subprocess.TimeoutExpired as error:
                output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout
                sheet.text("pytest, stopped", (output or "")[-4000:])
                raise TimeoutError(f"pytest took longer than {limit:.0f} s") from error
            cases = list(ElementTree.parse(results).iter("testcase")) if results.exists() else []
        counts = dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
        for case in cases:
            outcome = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
            outcome = "failed" if outcome == "failure" else outcome
            counts[outcome] += 1
            row: Row = {"test": case.get("name"), "outcome": outcome, "seconds": float(case.get("time") or 0.0)}
            sheet.row(f"Tests, on {name_of(setting)}", row)
            if outcome in ("failed", "error"):
                details = case.find("failure" if outcome == "failed" else "error")
                text = (details.text or details.get("message") or "") if details is not None else ""
                sheet.text(f"{case.get('name')}: {outcome}", "\n".join(text.splitlines()[-30:]))
        sheet.row(f"Tests, all together, on {name_of(setting)}", {**counts, "exit status of pytest": done.returncode})
        sheet.note(f"`pytest -m needs_cuda` over {', '.join(paths)}; without a GPU all of them are skipped.")
        if done.returncode not in (0, 1):
            sheet.text("pytest", (done.stdout + done.stderr)[-4000:])
        if done.returncode:
            bad = f"{counts['failed']} failed, {counts['error']} with errors"
            raise RuntimeError(f"{bad}; pytest ended with status {done.returncode}")

    return {"pytest": run}
