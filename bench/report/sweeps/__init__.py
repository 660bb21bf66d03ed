"""The table, the frontiers and the figure of a sweep."""
