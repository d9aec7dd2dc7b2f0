"""Generative processes whose true latents are known: one file each."""
