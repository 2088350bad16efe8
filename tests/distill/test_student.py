"""The net in PyTorch and the student in NumPy are one function."""

import itertools

import numpy as np
import pytest

from farthing.blocks import FeatureBlock
from farthing.distill.recipe_file import StudentSize
from farthing.distill.student import Student, gather

SIZE = StudentSize(dim=16, hidden=8)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(1, 9, 40))]).astype(np.int64)
    return FeatureBlock(indptr, rng.integers(0, 64, indptr[-1]).astype(np.int32))


def test_rows_are_gathered_in_the_order_asked_for(features):
    rows = np.array([7, 0, 7, 39])
    ids, begins, counts = gather(features, rows)
    own = [features.indices[features.indptr[r] : features.indptr[r + 1]].tolist() for r in rows]
    assert ids.tolist() == list(itertools.chain(*own)) and counts.tolist() == [len(o) for o in own]
    assert [ids[b : b + int(n)].tolist() for b, n in zip(begins, counts, strict=True)] == own


@pytest.mark.distill
@pytest.mark.parametrize("heads", [1, 3])
def test_the_net_scores_as_its_student(features, heads):
    pytest.importorskip("torch", reason="needs the extra distill")
    from farthing.distill.pytorch import seeded_torch
    from farthing.distill.student import Net

    net = Net(seeded_torch(3), 64, SIZE, heads, spread=1.0)
    student, rows = net.student(), np.arange(40)

    def logits(net, **how):
        return net.logits(features, rows, lambda n: np.ones(n, np.float32), **how).detach().numpy()

    np.testing.assert_allclose(logits(net), student.forward(features), atol=1e-5)
    assert 0 < np.abs(logits(net, rounded=True) - logits(net)).max() < 0.2
    again = Net(seeded_torch(3), 64, SIZE, heads, spread=1.0)
    assert (logits(again) == logits(net)).all()  # of one seed
    other = Net(seeded_torch(4), 64, SIZE, heads)
    assert (logits(other) != logits(net)).any()
    other.set_to(student)
    assert (logits(other) == logits(net)).all()
    halved = Student(
        student.table / 2, student.hidden_weight, student.hidden_bias, student.output_weight, student.output_bias
    )
    dropped = net.logits(features, rows, lambda n: np.full(n, 0.5, np.float32)).detach().numpy()
    np.testing.assert_allclose(dropped, halved.forward(features), atol=1e-5)
