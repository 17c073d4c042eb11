"""The one exception whose text is shown to people as it is."""


class UserError(Exception):
    """A fault in what the user gave: one sentence that names it and says what to do."""
