from __future__ import annotations

import pytest
from fvcore.common.config import CfgNode

from mutualnet3d.config.requirement import require, value_at


def test_the_error_names_key_value_and_what_is_allowed():
    cfg = CfgNode({"A": {"B": [1, 2]}})
    assert value_at(cfg, "A.B") == [1, 2]
    require(cfg, "A.B", True, "anything")
    with pytest.raises(ValueError, match=r"^A\.B is \[1, 2\]; it must be one number$"):
        require(cfg, "A.B", False, "one number")
