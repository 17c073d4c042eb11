"""Regions of an asset: what people see of them, press and set."""
