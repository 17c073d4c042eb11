"""Radiance fields as volumes: OpenVDB files and the objects that show them."""
