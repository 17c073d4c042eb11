"""How the scene is seen: where 3D views look, what they shade with, and which colours come of it."""
