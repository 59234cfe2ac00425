from __future__ import annotations

import json

from mutualnet3d.data.preparation_plan import REFUSE, PreparationPlan, make_plan
from mutualnet3d.data.preparation_record import Preparation, PreparationRecord
from mutualnet3d.video.transcode import Encoding

SMALL = Encoding(short_side=32, keyframe_every=4, crf=0, preset="ultrafast")


def test_a_plan_tells_what_is_there(tmp_path):
    """And is read back as it was written, names that are no UTF-8 among it; tests/data/test_prepare_videos.py has all
    that may be there."""
    root, out = tmp_path / "root", tmp_path / "out"
    names = ["a/done.avi", "a/new.avi", "b/\udcff.avi"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")
    (out / "a").mkdir(parents=True)
    (out / "a" / "done.mp4").touch()
    done = Preparation(5, (root / "a" / "done.avi").stat().st_mtime_ns, SMALL, damages=2)
    PreparationRecord(str(out)).write({"a/done.avi": done})
    plan = make_plan(str(root), str(out), names, SMALL, REFUSE)
    assert plan.valid == {"a/done.avi": done}
    assert list(plan.to_do) == names[1:]
    assert plan.to_do["a/new.avi"].size == 5
    assert (out / "b").is_dir()
    assert PreparationPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
