"""The exception whose text people are shown as it is. No bpy here."""


class Fault(Exception):
    """One sentence that names what is wrong and what to do about it."""
