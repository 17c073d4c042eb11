"""The exceptions whose text is shown to people as it is."""


class UserError(Exception):
    """A fault in what the user gave: one sentence that names it and says what to do."""


class MissingModel(UserError):
    """A model, or a part of one, is not where it should be; the sentence says how to get it."""
