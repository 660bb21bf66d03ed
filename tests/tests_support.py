"""Paths that tests share."""

from pathlib import Path

TINY_PLUGIN = Path(__file__).parent / "plugins" / "tiny_task.py"
EXAMPLE = Path(__file__).parent.parent / "examples" / "consistency.py"
STANDIN_PLUGIN = Path(__file__).parent / "plugins" / "standin_imagenet.py"
TEXT_PLUGIN = Path(__file__).parent / "plugins" / "standin_text.py"
GATED_PLUGIN = Path(__file__).parent / "plugins" / "gated.py"
