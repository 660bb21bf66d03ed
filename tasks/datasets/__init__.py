"""Real images: where they are found, how they are checked, how they are split and packed."""
