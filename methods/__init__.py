"""Methods: distillers, and the losses that they consist of."""
