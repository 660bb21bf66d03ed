"""Feature extractors: each is a network with its preprocessing; references of real images are made with them."""
