"""Feature extractors: a network and its preprocessing each, and the references of real images that they make."""
