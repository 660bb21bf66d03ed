"""Images from outside of a task's students and samplers: their plan, and measuring them."""
