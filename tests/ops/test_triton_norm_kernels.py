from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "mutualnet3d/ops/triton_norm_kernels.py"
FEATURES = {"x", "y", "grad", "shortcut", "grad_shortcut", "grad_x"}
VECTORS = {"partial", "statistics", "weight", "bias", "gate", "sums", "means", "normalised_means", "grad_means"}
VECTORS |= {"running_mean", "running_var"}

# Compiles every kernel for a GPU that need not be there, and prints how many loads of 16 bytes it has.
COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mutualnet3d.ops import triton_norm_kernels

features, vectors, capability = sys.argv[1].split(), sys.argv[2].split(), int(sys.argv[3])
values = dict(DIV=8, BLOCK_N=64, BLOCK_C=32, BLOCK_K=64, ACT=2, HAS_SHORTCUT=False, HAS_GATE=True, TRACKS=True)
for name, kernel in vars(triton_norm_kernels).items():
    if not isinstance(kernel, triton.runtime.JITFunction) or name.startswith("_"):
        continue
    signature, constants, attributes = {}, {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in values:
            signature[argument], constants[place,] = "constexpr", values[argument]
            continue
        kinds = {**dict.fromkeys(features, "*bf16"), **dict.fromkeys(vectors, "*fp32"), "eps": "fp32", "factor": "fp32"}
        signature[argument] = kinds.get(argument, "i32")
        if argument in features + vectors:
            attributes[place,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
    print(name, compiled.asm["ptx"].count("ld.global.v4"))
"""


def kernels() -> dict[str, ast.FunctionDef]:
    """The kernels' definitions; helpers, which other kernels call, have names that begin with an underscore."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}


@pytest.mark.parametrize("name", kernels())
def test_no_number_of_a_shape_is_compiled_in(name):
    """Each of them would have kernels compiled for its value 1, for multiples of 16 and for others."""
    kernel = kernels()[name]
    numbers = {
        argument.arg
        for argument in kernel.args.args
        if argument.annotation is None and argument.arg not in FEATURES | VECTORS
    }
    (decorator,) = kernel.decorator_list
    assert isinstance(decorator, ast.Call)
    (unspecialized,) = decorator.keywords
    assert unspecialized.arg == "do_not_specialize"
    assert set(ast.literal_eval(unspecialized.value)) == numbers != set()


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_and_load_whole_vectors(capability, tmp_path):
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(COMPILE), " ".join(FEATURES), " ".join(VECTORS), str(capability)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    loads = dict(line.split() for line in done.stdout.splitlines())
    assert loads.keys() == kernels().keys()
    for name in ("partial_statistics", "normalize", "partial_gradients", "input_gradient"):
        assert int(loads[name]) > 0
