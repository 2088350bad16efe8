"""Makes int8 bundles from labelled texts, click logs and rankings (extra ``distill``), with the features of serving.

::

    texts/ clicks/ ranking/     one kind of recipe each: recipe, data, teacher, training, evaluation, card
    student                     the net that all of them train
    quantize -> draft -> gate   make it integers; score it as serving does; refuse it if it loses too much
    card, measure, recipe_file  what cards, evaluations and recipes have in common; data_files: their data
    teachers/                   models that are trained here to teach the students
"""
