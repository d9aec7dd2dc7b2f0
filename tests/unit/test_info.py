import pytest

from scident.info import MetricInfo, expanded


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", [""]),
        ("plain", ["plain"]),
        ("z_x,t", ["z_x,t"]),
        ("{x,t}", ["x", "t"]),
        ("{x,t}:{p,q}", ["x:p", "x:q", "t:p", "t:q"]),
        ("a{b}c", ["abc"]),
        ("labels:{x,t}<-{p}", ["labels:x<-p", "labels:t<-p"]),
    ],
)
def test_braces_name_every_combination(pattern, names):
    assert expanded(pattern) == names


def test_variants_of_a_metric_are_written_out():
    said = {"label": "", "source": "", "formula": "", "needs": (), "range": (0, 1), "better": "neither"}
    info = MetricInfo(**said, variants=("", "{x,t}:p"), shown=("{t}",))
    assert info.variants == info.variants_on("iid") == ("", "x:p", "t:p")
    assert info.shown == ("t",)
