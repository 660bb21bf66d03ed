"""Data of the text-to-image tasks: prompt lists, subsets of COCO and PartiPrompts, real images and latents.

`prompts.read_prompts(path)` reads a list of prompts from any of its forms; `coco` and `parti` select the
lists of the paper's protocols. `detect.open_captioned(path)` opens images with captions or the official
latents; `latents.pack_latents` encodes them into one memory-mapped array, and `packed.open_latents` opens it.
"""
