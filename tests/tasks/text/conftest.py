"""The tiny pipelines, for the tests of this folder."""

from text_fixtures import sd15_folder, sdxl_folder

__all__ = ["sd15_folder", "sdxl_folder"]
