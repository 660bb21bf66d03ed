"""Known-answer tests of an installation: `bench metrics check`."""
