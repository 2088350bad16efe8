"""CARD.md: what a bundle is for, what it was made of, how good it is, and where it fails."""

from __future__ import annotations

from farthing.distill.recipe import Recipe
from farthing.scoring.bundle import Manifest


def card(recipe: Recipe, manifest: Manifest) -> str:
    """Write the card of a moderation bundle."""
    evaluation = manifest.evaluation
    rows = [
        "| head | split | macro-F1 | AUC | AP | ECE |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for head in manifest.heads:
        for name, split in (("test, int8", "test"), ("test, float32", "fp32"), ("dev, int8", "dev")):
            m = evaluation[split][head]
            cells = [
                f"{m[k]['value']:.3f} ({m[k]['low']:.3f} to {m[k]['high']:.3f})"
                for k in ("macro_f1", "auc", "ap", "ece")
            ]
            rows.append(f"| {head} | {name} | {' | '.join(cells)} |")
    sources = [f"- **{s.name}** -> head `{s.head}`. Licence: {s.licence}. {s.note}".rstrip() for s in recipe.source]
    cuts = [
        f"- `{head}`: review at {cut['review']}, block at {cut['block']}" for head, cut in manifest.thresholds.items()
    ]
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            recipe.description,
            "",
            "A hashed bag of words, word pairs and byte 4-grams, a hidden layer, one logit a head; static int8. It is a",
            "modest student trained on gold labels alone: no teacher has labelled anything for it yet.",
            "",
            "## Intended use and limits",
            "",
            "Sorting short English comments for human review at high rates. Not for deciding about people, not for other",
            "languages, not for long documents: text after the first 4,096 bytes is not read. It has no understanding of",
            "context, irony or quotation; wording that avoids the words it knows gets past it. The heads mean what their",
            "sources meant by their labels, no more: `sexist` is blind to other abuse, and so on.",
            "",
            "Known bias: the tweets behind `hate_or_offensive` were sampled with a slur lexicon (83 % are positive), and",
            "studies of that data found more false positives on African-American English. Slices by dialect are not measured",
            "here. Look at `offensive` and `sexist` first, and measure on your own data before acting on any head.",
            "",
            "## Data",
            "",
            *sources,
            "",
            "Test texts, and texts that differ from them only in case, punctuation or a retweet mark, were taken out of",
            "training and dev; repeats too.",
            "",
            "## Evaluation",
            "",
            "Cut-offs were chosen on dev; the test splits were used for this table only. 95 % bootstrap intervals.",
            "",
            *rows,
            "",
            f"Largest difference of a score between int8 and float32 on test: {evaluation['worst_score_difference']}.",
            "",
            "## Cut-offs",
            "",
            f"Review: best macro-F1 on dev. Block: precision on dev of at least {recipe.cuts.block_precision}; none where",
            "that is not reached. An event takes the most severe label that any head gives; a head without cuts has no say.",
            "",
            *cuts,
            "",
            "## Rebuild",
            "",
            f"Recipe `models/recipes/{recipe.name}.toml` (SHA-256 {evaluation['recipe_sha256'][:16]}...). Training took",
            f"{evaluation['training_cpu_seconds']} CPU seconds, evaluation included.",
            "",
        ]
    )
