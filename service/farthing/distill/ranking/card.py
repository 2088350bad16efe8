"""CARD.md of a rerank bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.distill.ranking.recipe import Recipe
from farthing.scoring.bundle import Manifest

METRICS = ("ndcg@10", "map", "mrr")


def card(recipe: Recipe, manifest: Manifest) -> str:
    """Write the card."""
    evaluation = manifest.evaluation
    sources = [f"- **{s.name}**. Licence: {s.licence}. {s.note}".rstrip() for s in recipe.source]
    sources += [
        f"- **{b.name}**: how common words are{' and word vectors' if recipe.words.epochs else ''}, no more. Licence: {b.licence}."
        for b in recipe.words.background
    ]
    sources += [
        f"- **{g.name}**: word vectors{' and lists' if recipe.lists.glosses else ' only'}. Licence: {g.licence}. {g.note}".rstrip()
        for g in recipe.words.glosses
    ]
    measured = [f"- **{e.name}** (measured on only). Licence: {e.licence}." for e in recipe.elsewhere]
    teacher = [
        "",
        f"A teacher, MiniLM (`all-MiniLM-L6-v2`, Apache-2.0, as a bi-encoder), ordered {evaluation['teacher_lists']:,}",
        f"lists: {'the training lists, and ' if recipe.lists.own else ''}training questions and pieces of the training texts, each with the {recipe.lists.depth} best of BM25 over",
        *_gloss_lists(recipe),
        "The student learnt from those orders too.",
    ]
    vectors = [
        "",
        f"`features.npz` holds {recipe.words.dim}-dimensional vectors of {evaluation['words_with_vector']:,} words"
        f"{' and pieces of words' if recipe.words.max_pieces else ''}: MiniLM's",
        *_vectors_from(recipe, evaluation),
    ]
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            recipe.description,
            "",
            "Query and candidate are compared word by word (BM25, coverage, runs, stems, title, the first stage's score, and",
            "each of these beside the other candidates of the event); the numbers and the words go through an embedding bag",
            "and a hidden layer to one score; static int8. A score orders the candidates of one event; it is no probability",
            "and cannot be compared between events.",
            "",
            "## Intended use and limits",
            "",
            "Reordering what a first stage (BM25 or the like) found for short English questions. It knows words, and words of",
            "like meaning where it has vectors; it does not understand negation, numbers or who did what to whom. Of a text",
            f"the first {recipe.pairs.settings.get('max_words', 256)} words are read. Not for deciding about people, and no",
            "substitute for advice: a passage that ranks first need not be true.",
            "",
            "## Data",
            "",
            *sources,
            *measured,
            "",
            "Queries of a test split were taken out of training and dev. Candidates were shuffled before they were ranked,",
            "and ties keep that order, so that the order of a file gives nothing away.",
            *(teacher if evaluation["teacher_lists"] else []),
            *(vectors if evaluation["words_with_vector"] else []),
            "",
            "## Evaluation",
            "",
            "Training stopped by dev, a tenth of the training queries." + f" {recipe.evaluation_note}".rstrip(),
            "95 % bootstrap intervals over queries; nDCG has linear gain, its ideal from all judgements given.",
            "",
            "| set | what | queries | nDCG@10 | MAP | MRR |",
            "| --- | --- | --- | --- | --- | --- |",
            *(line for name, entry in evaluation["sets"].items() for line in _lines(name, entry)),
            "",
            *(_gain(name, entry) for name, entry in evaluation["gain_over_first_stage"].items()),
            f"Largest difference of a score between int8 and float32 on test: {evaluation['worst_score_difference']}.",
            "",
            "## Rebuild",
            "",
            f"Recipe `models/recipes/{recipe.name}.toml` (SHA-256 {evaluation['recipe_sha256'][:16]}...). Training took",
            f"{evaluation['training_cpu_seconds']} CPU seconds, evaluation included; a teacher's vectors that were kept from",
            "an earlier run are not counted.",
            "",
        ]
    )


def _gain(name: str, entry: Mapping[str, Any]) -> str:
    said = [f"{m} {entry[m]['value']:+.3f} ({entry[m]['low']:+.3f} to {entry[m]['high']:+.3f})" for m in METRICS]
    return f"{name}, int8 over the order of its first stage, query by query: {', '.join(said)}.\n"


def _vectors_from(recipe: Recipe, evaluation: Mapping[str, Any]) -> list[str]:
    if not recipe.words.epochs:
        return ["encoding of each word alone, reduced by principal components."]
    lines = [
        "encoding of each word alone, trained until the weighted mean over a text's words came close to MiniLM's encoding",
        f"of the text: sentences and questions of the training texts{', these whole too' if recipe.words.whole_texts else ''}, and {evaluation['word_texts']:,} texts more.",
    ]
    if recipe.words.max_pieces:
        lines.append("An unknown word is cut into pieces, much as MiniLM cuts it, and their vectors stand for its own.")
    return lines


def _gloss_lists(recipe: Recipe) -> list[str]:
    if not recipe.lists.glosses:
        return ["the training texts."]
    names = " and ".join(g.name for g in recipe.words.glosses)
    return [
        f"the training texts; and {recipe.lists.glosses:,} pieces of glosses of {names}, among passages of neighbouring glosses."
    ]


def _lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    lines = []
    for what, metrics in entry.items():
        cells = [f"{metrics[m]['value']:.3f} ({metrics[m]['low']:.3f} to {metrics[m]['high']:.3f})" for m in METRICS]
        lines.append(f"| {name} | {what} | {metrics['ndcg@10']['queries']} | {' | '.join(cells)} |")
    return lines
