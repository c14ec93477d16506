"""The one exception that means: the user can mend this, and the message says how."""


class UserError(ValueError):
    """Bad usage or bad input. The message is one line that names the file or option and the cause.

    The command line prints it without a traceback and exits with status 2.
    """
