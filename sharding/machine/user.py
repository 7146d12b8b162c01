"""A name for the user, where the system has none: a container that is run under any user id."""

import os
import pwd


def ensure_user_name() -> None:
    """Set LOGNAME if the user id has no entry in the password file: libraries ask for the name, and fail without."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        # `getpass.getuser` takes the first of LOGNAME, USER, LNAME, USERNAME; torch and matplotlib ask it.
        os.environ.setdefault("LOGNAME", f"uid-{os.getuid()}")
