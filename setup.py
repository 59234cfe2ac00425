"""Build script of mutualnet3d. The tested set of versions is in constraints.txt: `pip install -c constraints.txt .`"""

import re
from pathlib import Path

from setuptools import find_packages, setup

PLOT = ["matplotlib>=3.7", "plotly>=6.3"]
TENSORBOARD = ["tensorboard>=2.16"]
GPU = ["nvidia-ml-py>=12"]
DEPLOY = ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20", "openvino>=2025.0", "nncf>=3"]
WEB = ["streamlit>=1.67", *PLOT]
# pydantic and starlette are what FastAPI is made of; we import them too.
SERVE = [
    "fastapi>=0.115",
    "pydantic>=2",
    "starlette",
    "uvicorn>=0.30",
    "python-multipart>=0.0.18",
    "prometheus-client>=0.20",
]
HUB = ["huggingface_hub>=1.0", "safetensors>=0.4"]
WANDB = ["wandb>=0.18"]
MLFLOW = ["mlflow-skinny>=3"]
COMPLETION = ["argcomplete>=3"]
PARQUET = ["pyarrow>=16"]
RAY = ["ray[data]>=2.40", *PARQUET]
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.6", "mkdocstrings>=0.27", "mkdocstrings-python>=1.12"]
DEV = [
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.6",
    "ruff>=0.6",
    "flake8>=7",
    "pydoclint>=0.12",
    "mypy>=1.10",
    "hypothesis>=6",
    "playwright>=1.50",
    # A test builds the wheel with what is installed.
    "setuptools>=68",
]

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "mutualnet3d/__init__.py").read_text(), flags=re.MULTILINE)
assert VERSION, "no __version__ in mutualnet3d/__init__.py"

setup(
    name="mutualnet3d",
    version=VERSION[1],
    description="One SlowFast, Slow or X3D that runs at many costs: MutualNet training for action recognition",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    project_urls={"Paper": "https://arxiv.org/abs/2105.07085"},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["mutualnet3d", "mutualnet3d.*"]),
    # configs/ at the top is a link to the package's, for those who work in a checkout.
    package_data={"mutualnet3d": ["py.typed", "results/*.json", "configs/**/*.yaml", "slurm/*.sbatch"]},
    entry_points={"console_scripts": ["mutualnet3d = mutualnet3d.cli.main:main"]},
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "pytorchvideo>=0.1.5",
        "av>=18",
        "fvcore>=0.1.5.post20221221",
        "filelock>=3.12",
        "iopath>=0.1.10",
        "safetensors>=0.5",
        "simplejson>=3.19",
        "numpy>=1.26",
        "pillow>=10.1",
        "PyYAML>=6",
        "tqdm>=4.66",
    ],
    extras_require={
        "plot": PLOT,
        "tensorboard": TENSORBOARD,
        "gpu": GPU,
        "deploy": DEPLOY,
        "web": WEB,
        "serve": SERVE,
        "hub": HUB,
        "wandb": WANDB,
        "mlflow": MLFLOW,
        "completion": COMPLETION,
        "parquet": PARQUET,
        "ray": RAY,
        "docs": DOCS,
        "dev": DEV + DOCS + PLOT + TENSORBOARD + DEPLOY + WEB + SERVE + HUB + COMPLETION + RAY,
    },
)
