"""The parts of an edit: what a region takes, its settings, sampling within it, removal."""
