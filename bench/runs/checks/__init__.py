"""Checks of a record that somebody else made: `bench records check`, and what `bench records pack` refuses."""
