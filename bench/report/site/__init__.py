"""The static site of results: pages made of records, without a server and without any external request."""
