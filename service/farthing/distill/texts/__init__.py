"""Makes an int8 bundle of the task moderation or classify from labelled texts and other fields."""
