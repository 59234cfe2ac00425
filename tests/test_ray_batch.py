"""examples/ray_batch.py on a Ray cluster of two nodes of this machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.test_latency import write_tested
from tests.conftest import write_video

pytest.importorskip("ray", reason="ray is not installed (extra [ray])")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
# The cluster is started, and ended, in the process of the example.
SCRIPT = """
import runpy, socket
import ray
from ray.cluster_utils import Cluster

# A node that chooses its ports itself waits 15 seconds for each, which a busy machine exceeds.
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")

def free_ports():
    sockets = [socket.socket() for _ in PORTS]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return dict(zip(PORTS, ports))

if __name__ == "__main__":
    head = {"num_cpus": 1, "include_dashboard": False, **free_ports()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, **free_ports())
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        print(len([node for node in ray.nodes() if node["Alive"]]), "nodes", flush=True)
        runpy.run_path("examples/ray_batch.py", run_name="__main__")
    finally:
        ray.shutdown()
        cluster.shutdown()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint and a list of 24 videos, two of them broken, one missing."""
    folder = tmp_path_factory.mktemp("ray")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "bright"])
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    content = write_video(folder / "00.mp4", frames).read_bytes()
    for number in range(1, 24):
        if number != 7:
            (folder / f"{number:02d}.mp4").write_bytes(b"no video" if number in (3, 15) else content)
    (folder / "list.txt").write_text("".join(f"{number:02d}.mp4\n" for number in range(24)))
    return folder


STATUSES = ["bad" if number in (3, 15) else "missing" if number == 7 else "ok" for number in range(24)]


def start(words, folder):
    script = folder / "cluster.py"
    script.write_text(SCRIPT)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_raylet_start_wait_time_s"] = "300"  # of a busy machine
    command = [sys.executable, str(script), *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def actors():
    """Return the processes that have a predictor."""
    numbers = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if b"ray::" in text and b"ShardPredictor" in text:
            numbers.append(int(path.parent.name))
    return numbers


def paths_and_statuses(output):
    from pyarrow import parquet

    table = parquet.read_table(output, columns=["path", "status"])
    return sorted(zip(table["path"].to_pylist(), table["status"].to_pylist(), strict=True))


def test_an_actor_is_killed_and_each_file_is_in_the_results_once(folder, tmp_path):
    output = tmp_path / "results"
    words = [folder / "list.txt", "--checkpoint", folder / "calibrated.pyth", "--subnet", "w0.5-s32-t2"]
    words += ["--output", output, "--shard-size", 2, "--actors", 2, "--compare", 5]
    before = set(actors())
    process = start(words, tmp_path)
    deadline = time.monotonic() + 600
    while not list(output.glob("part-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is not None:
        pytest.fail(process.communicate()[0])
    (victim, *_) = set(actors()) - before
    os.kill(victim, signal.SIGKILL)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 1, printed
    assert "2 nodes" in printed
    assert "24 files: 21 ok, 2 bad, 1 missing; " in printed
    assert "a second by Ray" in printed
    assert "a second in one process" in printed
    expected = [(str(folder / f"{number:02d}.mp4"), status) for number, status in enumerate(STATUSES)]
    assert paths_and_statuses(output) == expected
    # Two parts are lost: the second start makes them alone.
    times = {path.name: path.stat().st_mtime_ns for path in output.glob("part-*")}
    for number in (1, 4):
        (output / f"part-{number:06d}.parquet").unlink()
    process = start(words[:-2], tmp_path)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 1, printed
    assert paths_and_statuses(output) == expected
    anew = {path.name for path in output.glob("part-*") if path.stat().st_mtime_ns != times[path.name]}
    assert anew == {"part-000001.parquet", "part-000004.parquet"}


def test_the_pages_line_is_one_of_the_example():
    page = (ROOT / "docs" / "MANY_FILES.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("python examples/ray_batch.py"))
    import runpy

    parser = runpy.run_path(str(ROOT / "examples" / "ray_batch.py"))["parser"]()
    assert parser.parse_args(shlex.split(line)[2:]).actors == 2
