"""Scores of single images: by group, and the worst and best of them."""
