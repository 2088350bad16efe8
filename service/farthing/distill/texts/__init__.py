"""From labelled texts and other fields to an int8 bundle of the tasks moderation and classify."""
