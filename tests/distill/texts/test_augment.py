"""Perturbed copies of texts."""

from farthing.distill.texts.augment import perturb
from farthing.distill.texts.recipe import Augment
from tests.distill.texts.cases import make_rows


def test_perturbed_texts_are_made_of_the_words_and_the_same_at_every_run():
    texts = [row["text"] for row in make_rows(60)]
    settings = Augment(copies=3, drop_words=0.2, swap_words=0.1, join=0.5)
    copies = perturb(texts, settings, seed=1)
    assert copies == perturb(texts, settings, seed=1) != perturb(texts, settings, seed=2)
    assert 170 <= len(copies) <= 180
    words = {word for text in texts for word in text.split()}
    assert all(set(copy.split()) <= words for copy in copies)
    assert sum(copy in texts for copy in copies) < 20
    assert perturb(texts, Augment(copies=1, drop_words=0, swap_words=0, join=0), seed=1) == texts
    assert perturb(["", "a"], settings, seed=1)  # empty texts do no harm
