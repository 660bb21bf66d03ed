"""Text-to-image: denoisers conditioned on text, their encoders, students and baselines."""
