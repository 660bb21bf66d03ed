"""Packed records: bundles, and what `bench records pack` puts beside records."""
