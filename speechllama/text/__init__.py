"""Text: CTC units, prompts, tasks, target languages, filters."""
