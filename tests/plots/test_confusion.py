from __future__ import annotations

import sys

import pytest
import torch

from mutualnet3d.plots.confusion import save_confusion_plot


def test_a_picture_of_few_and_of_many_classes(tmp_path):
    for num_classes in (3, 70):
        path = tmp_path / f"{num_classes}.png"
        names = [f"class {number}" for number in range(num_classes)]
        save_confusion_plot(torch.eye(num_classes, dtype=torch.int64), names, str(path), "title")
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_class_without_videos_is_drawn_too(tmp_path):
    save_confusion_plot(torch.tensor([[2, 1], [0, 0]]), ["a", "b"], str(tmp_path / "c.png"), "title")
    assert (tmp_path / "c.png").exists()


def test_names_of_any_script_and_with_dollars_are_drawn(tmp_path, recwarn):
    names = ["Fußball", "$a_$", "Жонглирование", "中国"]
    path = tmp_path / "c.png"
    save_confusion_plot(torch.eye(4, dtype=torch.int64), names, str(path), "für $5 und $6_$")
    assert path.exists()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"^matplotlib is not installed: pip install 'mutualnet3d\[plot\]'$"):
        save_confusion_plot(torch.eye(2), ["a", "b"], str(tmp_path / "c.png"), "title")
    assert not (tmp_path / "c.png").exists()
