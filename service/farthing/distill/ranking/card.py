"""Writes the CARD.md of a rerank bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.distill.card import cell, frame, source, table
from farthing.distill.ranking.recipe import RankingRecipe
from farthing.scoring.manifest import Manifest

METRICS = ("ndcg@10", "map", "mrr")


def card(recipe: RankingRecipe, manifest: Manifest) -> str:
    """Write the card."""
    evaluation = manifest.evaluation
    return frame(
        recipe.name,
        recipe.description,
        [
            (
                "",
                [
                    "Query and candidate are compared word by word (BM25, coverage, runs, stems, title, the first stage's score, and",
                    "each of these beside the other candidates of the event); the numbers and the words go through an embedding bag",
                    "and a hidden layer to one score; static int8. A score orders the candidates of one event; it is no probability",
                    "and cannot be compared between events.",
                ],
            ),
            ("Intended use and limits", _limits(recipe)),
            ("Data", _data(recipe, evaluation)),
            ("Evaluation", _evaluation(recipe, evaluation)),
            ("Rebuild", _rebuild(recipe, evaluation)),
        ],
    )


def _limits(recipe: RankingRecipe) -> list[str]:
    return [
        "Reordering what a first stage (BM25 or the like) found for short English questions. It knows words, and words of",
        "like meaning where it has vectors; it does not understand negation, numbers or who did what to whom. Of a text",
        f"the first {recipe.pairs.settings.get('max_words', 256)} words are read. Not for deciding about people, and no",
        "substitute for advice: a passage that ranks first need not be true.",
    ]


def _data(recipe: RankingRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    common = f": how common words are{' and word vectors' if recipe.words.epochs else ''}, no more"
    vectors = f": word vectors{' and lists' if recipe.lists.glosses else ' only'}"
    return [
        *(source(s.name, s.licence, s.note) for s in recipe.source),
        *(source(b.name, b.licence, what=common) for b in recipe.words.background),
        *(source(g.name, g.licence, g.note, what=vectors) for g in recipe.words.glosses),
        *(source(e.name, e.licence, what=" (measured on only)") for e in recipe.elsewhere),
        "",
        "Queries of a test split were taken out of training and dev. Candidates were shuffled before they were ranked,",
        "and ties keep that order, so that the order of a file gives nothing away.",
        *(_teacher(recipe, evaluation) if evaluation["teacher_lists"] else []),
        *(_vectors(recipe, evaluation) if evaluation["words_with_vector"] else []),
    ]


def _teacher(recipe: RankingRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    return [
        "",
        f"A teacher, MiniLM (`all-MiniLM-L6-v2`, Apache-2.0, as a bi-encoder), ordered {evaluation['teacher_lists']:,}",
        f"lists: {'the training lists, and ' if recipe.lists.own else ''}training questions and pieces of the training texts, each with the {recipe.lists.depth} best of BM25 over",
        *_gloss_lists(recipe),
        "The student learnt from those orders too.",
    ]


def _vectors(recipe: RankingRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    return [
        "",
        f"`features.npz` holds {recipe.words.dim}-dimensional vectors of {evaluation['words_with_vector']:,} words"
        f"{' and pieces of words' if recipe.words.max_pieces else ''}: MiniLM's",
        *_vectors_from(recipe, evaluation),
    ]


def _evaluation(recipe: RankingRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, what, str(metrics["ndcg@10"]["queries"]), *(cell(metrics[m]) for m in METRICS)]
        for name, entry in evaluation["sets"].items()
        for what, metrics in entry.items()
    ]
    return [
        "Training stopped by dev, a tenth of the training queries." + f" {recipe.evaluation_note}".rstrip(),
        "95 % bootstrap intervals over queries; nDCG has linear gain, its ideal from all judgements given.",
        "",
        *table(["set", "what", "queries", "nDCG@10", "MAP", "MRR"], rows),
        "",
        *(_gain(name, entry) for name, entry in evaluation["gain_over_first_stage"].items()),
        f"Largest difference of a score between int8 and float32 on test: {evaluation['worst_score_difference']}.",
    ]


def _rebuild(recipe: RankingRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    return [
        f"Recipe `models/recipes/{recipe.name}.toml` (SHA-256 {evaluation['recipe_sha256'][:16]}...). Training took",
        f"{evaluation['training_cpu_seconds']} CPU seconds, evaluation included; a teacher's vectors that were kept from",
        "an earlier run are not counted.",
    ]


def _gain(name: str, entry: Mapping[str, Any]) -> str:
    gains = [f"{m} {entry[m]['value']:+.3f} ({entry[m]['low']:+.3f} to {entry[m]['high']:+.3f})" for m in METRICS]
    return f"{name}, int8 over the order of its first stage, query by query: {', '.join(gains)}.\n"


def _vectors_from(recipe: RankingRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    if not recipe.words.epochs:
        return ["encoding of each word alone, reduced by principal components."]
    lines = [
        "encoding of each word alone, trained until the weighted mean over a text's words came close to MiniLM's encoding",
        f"of the text: sentences and questions of the training texts{', these whole too' if recipe.words.whole_texts else ''}, and {evaluation['word_texts']:,} texts more.",
    ]
    if recipe.words.max_pieces:
        lines.append("An unknown word is cut into pieces, much as MiniLM cuts it, and their vectors stand for its own.")
    return lines


def _gloss_lists(recipe: RankingRecipe) -> list[str]:
    if not recipe.lists.glosses:
        return ["the training texts."]
    names = " and ".join(g.name for g in recipe.words.glosses)
    return [
        f"the training texts; and {recipe.lists.glosses:,} pieces of glosses of {names}, among passages of neighbouring glosses."
    ]
