"""Serve on this machine: a Ray of our own, Ray Serve in front, one word to say who else runs, and a clean end."""
