"""Data of the text-to-image tasks: prompt lists, COCO's and PartiPrompts' subsets, real images and latents.

`prompts.read_prompts(path)` reads a list of prompts from any of its forms; `coco` and `parti` choose the
lists of the paper's protocols. `detect.open_captioned(path)` opens images with captions, or the official
latents; `latents.pack_latents` encodes them into one memory-mapped array, `packed.open_latents` opens that.
"""
