"""Training of the starter model and fine-tuning; nothing outside this folder imports it."""
