"""Methods: distillers and the losses they are built from."""
