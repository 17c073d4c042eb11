"""The way the bundled models start: an encoder that lifts a picture or a sentence to a volume."""
