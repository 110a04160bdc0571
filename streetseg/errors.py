"""The one exception that users are meant to read."""


class StreetsegError(Exception):
    """Something the user can mend: what is wrong, where, and what to do, in one line.

    The command line prints it without a traceback and exits with status 1.
    """
