"""How a job is cancelled: raised out of a progress call, and no failure of anything."""


class Cancelled(BaseException):
    """The person who asked for the job has taken it back. Let it pass; only the server of jobs catches it.

    No Exception, as it may be raised anywhere (interruption.py), also within a library that catches those.
    """
