"""The models that can be had: where from, how large, under which licence, and whether they lie here.

Standard library only: the add-on draws the list of it, the backend downloads by it.
"""
