"""Results: the paper's tables as data, the suites that reproduce them, and committed records."""
