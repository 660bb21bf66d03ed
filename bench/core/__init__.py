"""What every part of the framework stands on: errors, files, progress, devices, imports by name."""
