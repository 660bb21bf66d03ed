"""The base of the framework: errors, files, locks, progress, devices, imports by name."""
