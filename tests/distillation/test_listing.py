"""`jaxdd.keywords`: a table of what can be said of a run."""

import numpy as np

import jaxdd
from jaxdd.distillation import options
from tests.helpers import refused


def test_keywords_are_listed_with_what_holds_without_them():
    table = jaxdd.keywords("dsa", dataset="cifar10", ipc=10)
    rows = {row.name: row for row in table}
    assert set(rows) == set(options.FLAGS) - {"dataset"}
    assert rows["ipc"].value == 10
    assert rows["image_lr"].value == 0.1
    assert not rows["mask_ratio"].acts
    assert "--" not in str(table)
    masked = jaxdd.keywords("dsa", mask="depth", mask_ratio=np.float64(0.25))
    assert "mask_ratio        0.25 " in str(masked.about("mask"))
    assert "<td>mask_ratio</td><td>0.25</td>" in masked._repr_html_()
    assert masked.about("no such text").about("x")._repr_html_()
    assert str(masked.about("no such text")) == ""
    mine = jaxdd.Recipe(jaxdd.FeatureMatching(), jaxdd.Fresh())
    assert next(r for r in jaxdd.keywords(mine) if r.name == "features").acts
    with refused("there is no keyword 'sdc_wieght': sdc_weight is meant?"):
        jaxdd.keywords("dsa", sdc_wieght=1.0)
