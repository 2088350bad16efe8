"""Which losses of int8 are refused, and in what words."""

import pytest

from farthing.distill.gate import RoundingLoss
from farthing.errors import BundleError


@pytest.mark.parametrize(
    ("points", "interval", "refused"),
    [(0.2, None, False), (0.21, None, True), (-5.0, None, False), (0.21, (0.01, 0.5), True), (0.21, (0.0, 0.5), False),
     (5.0, (-0.1, 9.0), False), (0.1, (0.05, 0.2), False)],
)  # fmt: skip
def test_a_loss_is_refused_where_it_is_large_and_sure(points, interval, refused):
    loss = RoundingLoss("AUC", points, "test", interval)
    assert loss.too_much == refused
    if refused:
        with pytest.raises(
            BundleError, match=rf"^int8 loses {points:.2f} points of AUC.* at most 0\.2 are allowed; train"
        ):
            loss.check()
    else:
        loss.check()


def test_a_refusal_says_of_what_on_which_rows_and_the_mend():
    loss = RoundingLoss("macro-F1", 0.5, "dev and test", (0.1, 0.9))
    with pytest.raises(BundleError) as refused:
        loss.check("train longer", of="rude")
    assert str(refused.value) == (
        "rude: int8 loses 0.50 points of macro-F1 (0.10 to 0.90) to float32 on dev and test, at most 0.2 are allowed; "
        "train longer"
    )
