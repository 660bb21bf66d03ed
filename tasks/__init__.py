"""Tasks: data, teachers and their noise schedules, conditions, evaluation protocols."""
