"""The tiny pipelines, for the tests of this folder."""

from text_fixtures import flux_folder, sd3_folder, sd15_folder, sdxl_folder

__all__ = ["flux_folder", "sd3_folder", "sd15_folder", "sdxl_folder"]
