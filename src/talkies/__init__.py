"""Config-driven Lightning recipes that train joint video-audio diffusion models."""
