"""Text-to-image tasks: COCO and PartiPrompts with Stable Diffusion and SDXL."""
