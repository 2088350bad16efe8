"""From labelled texts, click logs and rankings to int8 bundles (extra ``distill``). Features are those of serving.

::

    texts/ clicks/ ranking/     a kind of recipe each: recipe, data, teacher, training, evaluation, card
    student                     the net that all of them train
    quantize -> draft -> gate   integers; scored by what serves them; refused where they lose too much
    card, measure, recipe_file  what cards, evaluations and recipes have in common; data_files: and their data
    teachers/                   models that are trained here, to teach
"""
