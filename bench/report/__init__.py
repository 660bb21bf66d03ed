"""Reports compile records into tables and figures."""
