"""Whether the script that was started may be imported again, as the processes of a fork server do."""

import ast
import sys
from pathlib import Path

from sharding.errors import UsageError


def check_main_guard() -> None:
    """Check that the main script has a line `if __name__ == "__main__":`; not that its work is below it.

    Raises:
        UsageError: It has none.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:  # a notebook or `-c`; `-m` is imported by name
        return
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):  # no source: a frozen program, for example
        return
    if not any(isinstance(node, ast.If) and _names_main(node.test) for node in tree.body):
        raise UsageError(
            f"{file}: worker processes import this script again, and would run it; put what it does below a line `if "
            '__name__ == "__main__":`, or use no worker processes'
        )


def _names_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))
