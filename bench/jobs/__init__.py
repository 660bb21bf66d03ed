"""Jobs: how planned work is described, started and run, on this machine or by another executor."""
