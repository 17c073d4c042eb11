"""How good a shape is: against another one, against a picture, and by itself."""
